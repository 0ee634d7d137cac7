package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
)

// errHelped is instead of a command where a help page was asked for and printed.
var errHelped = errors.New("a help page was printed")

// parse is what kong.Kong.Parse does, by its own steps but for its hooks, Validate and Run: these find methods by names that only the
// running process knows, and a program that reaches such a call keeps every method of every type. That would be a tenth of this one; .ci/run sees it.
// The context is there also with an error.
func parse(parser *kong.Kong, args []string) (*kong.Context, error) {
	parsed, err := kong.Trace(parser, args)
	if err = errors.Join(err, parsed.Error); err != nil {
		return parsed, err
	}
	for _, p := range parsed.Path {
		if p.Flag != nil && p.Flag.Name == "help" {
			return parsed, cmp.Or(parsed.PrintUsage(false), errHelped)
		}
	}
	if err := parsed.Reset(); err != nil {
		return parsed, err
	}
	if _, err := parsed.Apply(); err != nil {
		return parsed, err
	}
	return parsed, validate(parsed)
}

// validate checks what was given against what may and must be, in the words of kong.
func validate(parsed *kong.Context) error {
	for _, p := range parsed.Path {
		if node := p.Node(); node != nil {
			for _, v := range node.Values() {
				if v.Enum == "" || v.Required && !v.Set {
					continue
				}
				if err := oneOf(v, v.Target); err != nil {
					return err
				}
			}
		}
	}
	command := parsed.Selected()
	if command != nil {
		if c, ok := command.Target.Addr().Interface().(interface{ Verify() error }); ok {
			if err := c.Verify(); err != nil {
				return fmt.Errorf("%s: %w", command.Path(), err)
			}
		}
	} else {
		command = parsed.Model.Node
	}
	for _, p := range parsed.Path {
		if err := missingFlags(p.Flags); err != nil {
			return err
		}
	}
	if err := missingWords(command); err != nil {
		return err
	}
	for _, p := range parsed.Path {
		if err := exclusive(p.Flags); err != nil {
			return err
		}
	}
	return nil
}

// oneOf checks a value that has to be one of a few; where there are several, each.
func oneOf(v *kong.Value, is reflect.Value) error {
	switch is.Kind() {
	case reflect.Slice:
		for i := range is.Len() {
			if err := oneOf(v, is.Index(i)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Pointer:
		if is.IsNil() {
			return nil
		}
		return oneOf(v, is.Elem())
	}
	given, may := fmt.Sprint(is), v.EnumSlice()
	if slices.Contains(may, given) {
		return nil
	}
	for i := range may {
		may[i] = strconv.Quote(may[i])
	}
	return fmt.Errorf("%s must be one of %s but got %q", v.ShortSummary(), strings.Join(may, ","), given)
}

func missingFlags(flags []*kong.Flag) error {
	var missing []string
	for _, f := range flags {
		if f.Required && !f.Set {
			missing = append(missing, f.Summary())
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("missing flags: %s", strings.Join(missing, ", "))
}

// missingWords tells what has to follow a command: its arguments, or one that is a command by itself.
func missingWords(command *kong.Node) error {
	var next, arguments []string
	for _, v := range command.Positional {
		if v.Required && !v.Set {
			arguments = append(arguments, v.Summary())
		}
	}
	if len(arguments) > 0 {
		next = append(next, strconv.Quote(strings.Join(arguments, " ")))
	}
	if runOf(command) == nil {
		for _, c := range command.Children {
			next = append(next, strconv.Quote(c.Name))
		}
	}
	switch {
	case len(next) == 0:
		return nil
	case len(next) == 1:
		return fmt.Errorf("expected %s", next[0])
	case len(next) > 5:
		next = append(next[:5], "...")
	}
	return fmt.Errorf("expected one of %s", strings.Join(next, ", "))
}

// exclusive checks the flags of which one at most may be given.
func exclusive(flags []*kong.Flag) error {
	given := map[string]string{}
	for _, f := range flags {
		if !f.Set {
			continue
		}
		for _, group := range f.Xor {
			if before := given[group]; before != "" {
				return fmt.Errorf("--%s and --%s can't be used together", before, f.Name)
			}
			given[group] = f.Name
		}
	}
	return nil
}

// runOf is the Run method of a command, nil if it has none.
func runOf(command *kong.Node) func(context.Context, *streams) error {
	switch c := command.Target.Addr().Interface().(type) {
	case interface{ Run(*streams) error }:
		return func(_ context.Context, std *streams) error { return c.Run(std) }
	case interface {
		Run(context.Context, *streams) error
	}:
		return c.Run
	case interface {
		Run(context.Context, *screen.Streams) error
	}:
		return func(ctx context.Context, std *streams) error {
			return c.Run(ctx, &screen.Streams{In: std.in, Out: std.out, Err: std.err})
		}
	}
	return nil
}
