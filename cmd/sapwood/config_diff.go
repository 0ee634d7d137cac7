package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/sapwood-mqtt/sapwood/app"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// configDiffCmd is `sapwood config diff`.
type configDiffCmd struct {
	place
	reach.APIFlags
	JSON bool   `help:"Print the changes as JSON."`
	File string `arg:"" optional:"" help:"The file that the broker would take. Without it: its own file, read again."`
}

// Help is the long part of the help page.
func (*configDiffCmd) Help() string {
	return `Asks the running broker (of the data directory, or at --url) what would change if FILE were its
configuration file, with its own flags and variables; nothing is applied. Each line is a setting with its
old and new value and where that comes from: + added, - removed, ~ changed; what a reload cannot apply
says that it needs a restart. Secrets are shown as ***. Where no broker runs, FILE is compared with --config.

Exit status: 0 when nothing would change, 1 when something would or the file is not valid, 2 for a wrong
command line.

Examples:

    sapwood config diff
    sapwood config diff new.yaml
    sapwood config diff --config sapwood.yaml --json new.yaml`
}

// Run shows the differences.
func (c *configDiffCmd) Run(ctx context.Context, std *streams) error {
	result, err := c.compare(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		err = screen.JSON(std.out, result)
	} else {
		err = printChanges(std.out, result)
	}
	if err == nil && (!result.OK || len(result.Changes) > 0) {
		return silent{}
	}
	return err
}

func (c *configDiffCmd) compare(ctx context.Context) (result api.ConfigCheck, err error) {
	var file []byte
	if c.File != "" {
		if file, err = os.ReadFile(c.File); err != nil {
			return result, fmt.Errorf("read the configuration: %w", err)
		}
		if len(file) == 0 {
			file = []byte("\n")
		}
	}
	dir := ""
	if c.URL == "" {
		cfg, _, err := c.load()
		if err != nil {
			return result, err
		}
		dir = cfg.Data
	}
	running, err := c.Broker(dir)
	switch {
	case err != nil:
		return result, err
	case running != nil:
		method := http.MethodGet
		if file != nil {
			method = http.MethodPost
		}
		err = running.Call(ctx, method, "/config/check", reach.YAML(file), &result)
		return result, err
	case c.File == "":
		return result, errors.New("no broker runs on " + dir + ": name a file to compare with --config, or the broker with --data or --url")
	}
	source := (&layers{place: c.place}).source()
	return app.Compare(source, c.File)
}

// printChanges writes one line for each change.
func printChanges(w io.Writer, result api.ConfigCheck) error {
	for _, p := range result.Problems {
		fmt.Fprintln(w, p.Text)
	}
	for _, c := range result.Changes {
		line := map[string]string{"added": "+ ", "removed": "- ", "changed": "~ "}[c.Kind] + c.Key
		switch c.Kind {
		case "added":
			line += " " + c.New
		case "removed":
			line += " " + c.Old
		default:
			line += " " + c.Old + " -> " + c.New
		}
		if c.Kind != "removed" {
			line += "  (" + c.From + ")"
		}
		if c.Restart {
			line += "  needs a restart"
		}
		fmt.Fprintln(w, line)
	}
	for _, warning := range result.Warnings {
		fmt.Fprintln(w, "! "+warning)
	}
	if result.OK && len(result.Changes) == 0 {
		_, err := fmt.Fprintln(w, "no change")
		return err
	}
	return nil
}

// configReloadCmd is `sapwood config reload`.
type configReloadCmd struct {
	place
	reach.APIFlags
	JSON bool `help:"Print what was done as JSON."`
}

// Help is the long part of the help page.
func (*configReloadCmd) Help() string {
	return `Has the running broker (of the data directory, or at --url) read its configuration again, as SIGHUP
does, and shows what that changed. If anything is wrong with it, nothing changes.

Exit status: 0 when the configuration is good, 1 when not, 2 for a wrong command line.

Examples:

    sapwood config reload
    sapwood config reload --url https://broker:8083 --user admin`
}

// Run reloads.
func (c *configReloadCmd) Run(ctx context.Context, std *streams) error {
	dir := ""
	if c.URL == "" {
		cfg, _, err := c.load()
		if err != nil {
			return err
		}
		dir = cfg.Data
	}
	running, err := c.Broker(dir)
	if err != nil {
		return err
	}
	if running == nil {
		return errors.New("no broker runs on " + dir)
	}
	var result api.ConfigReload
	if err := running.Call(ctx, http.MethodPost, "/config/reload", nil, &result); err != nil {
		return err
	}
	if c.JSON {
		err = screen.JSON(std.out, result)
	} else {
		err = printChanges(std.out, api.ConfigCheck{OK: result.OK, Problems: result.Problems, Changes: result.Changes})
		for _, refused := range result.Files {
			fmt.Fprintln(std.out, "! "+refused)
		}
	}
	if err == nil && !result.OK {
		return silent{}
	}
	return err
}
