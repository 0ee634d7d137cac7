package main

import (
	"context"
	"errors"
)

// helpCmd is `sapwood help`.
type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command; none = all of them."`
}

// Help is the long part of the help page.
func (*helpCmd) Help() string {
	return `The same as --help behind a command.

Examples:

    sapwood help
    sapwood help clients disconnect`
}

// Run shows a help page.
func (c *helpCmd) Run(ctx context.Context, std *streams) error {
	if code := run(ctx, append(c.Command, "--help"), std); code != 0 {
		return coded{code, errors.New("")} // it is said already
	}
	return nil
}
