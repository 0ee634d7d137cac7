package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/app"
	"github.com/sapwood-mqtt/sapwood/app/settings"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// configCmd is `sapwood config`.
type configCmd struct {
	Check   configCheckCmd   `cmd:"" help:"Check a configuration file."`
	Schema  configSchemaCmd  `cmd:"" help:"Print the JSON Schema of the file."`
	Example configExampleCmd `cmd:"" help:"Print a file with every key at its default."`
	Explain configExplainCmd `cmd:"" help:"Explain settings: value, default, origin, effect."`
	Diff    configDiffCmd    `cmd:"" help:"Show what a file, or a reload, would change in a running broker."`
	Reload  configReloadCmd  `cmd:"" help:"Have a running broker read its configuration again."`
}

// configCheckCmd is `sapwood config check`.
type configCheckCmd struct {
	File string `arg:"" help:"The file to check."`
	JSON bool   `help:"Print the problems as JSON."`
}

// Help is the long part of the help page.
func (*configCheckCmd) Help() string {
	return `Checks the file as serve would read it, SAPWOOD_ variables included, and shows every problem
with its line, its column and what would put it right.

Exit status: 0 when serve would take it, 1 when not, 2 for a wrong command line.

Examples:

    sapwood config check sapwood.yaml
    sapwood config check --json sapwood.yaml`
}

// Run checks one file.
func (c *configCheckCmd) Run(std *streams) error {
	_, _, err := app.Load(c.File, os.Environ(), nil)
	var problems settings.Problems
	if err != nil && !errors.As(err, &problems) {
		return err
	}
	if c.JSON {
		err := screen.JSON(std.out, struct {
			OK       bool              `json:"ok"`
			Problems settings.Problems `json:"problems"`
		}{len(problems) == 0, append(settings.Problems{}, problems...)})
		if err != nil || len(problems) == 0 {
			return err
		}
		return silent{}
	}
	if len(problems) == 0 {
		_, err := fmt.Fprintf(std.out, "%s: ok\n", c.File)
		return err
	}
	for _, p := range problems {
		fmt.Fprintln(std.out, p.Text())
	}
	return silent{}
}

// silent ends a command whose output has already said what failed.
type silent struct{}

// Error says nothing more.
func (silent) Error() string { return "" }

// ExitCode is the status for a failure.
func (silent) ExitCode() int { return exitFailed }

// configSchemaCmd is `sapwood config schema`.
type configSchemaCmd struct{}

// Help is the long part of the help page.
func (*configSchemaCmd) Help() string {
	return `An editor with a YAML language server completes and checks the file with it.

Examples:

    sapwood config schema > sapwood.schema.json
    echo '# yaml-language-server: $schema=sapwood.schema.json' >> sapwood.yaml`
}

// Run prints the schema.
func (*configSchemaCmd) Run(std *streams) error { return screen.JSON(std.out, app.Schema()) }

// configExampleCmd is `sapwood config example`.
type configExampleCmd struct{}

// Help is the long part of the help page.
func (*configExampleCmd) Help() string {
	return `Examples:

    sapwood config example > sapwood.yaml`
}

// Run prints the example.
func (*configExampleCmd) Run(std *streams) error {
	_, err := io.WriteString(std.out, app.Example())
	return err
}

// configExplainCmd is `sapwood config explain`.
type configExplainCmd struct {
	layers
	reach.APIFlags
	JSON bool   `help:"Print the settings as JSON."`
	Key  string `arg:"" optional:"" help:"A key such as http.address, or a section such as listeners. Without it, everything in one table."`
}

// Help is the long part of the help page.
func (*configExplainCmd) Help() string {
	return `Shows what serve would run with, given the same flags, file and variables, and for each
setting: its default, where its value comes from, what it does, and what happens at the limit. Where a
broker runs on the data directory (or at --url), it shows what that one runs with, since when, and who
set it. Secrets are shown as ***.

Examples:

    sapwood config explain
    sapwood config explain --config sapwood.yaml listeners
    sapwood config explain --json http.address`
}

// Run explains one key, one section or everything.
func (c *configExplainCmd) Run(ctx context.Context, std *streams) error {
	cfg, set, err := c.load()
	if err != nil {
		return err
	}
	if running, err := c.Broker(cfg.Data); err != nil || running != nil {
		if err != nil {
			return err
		}
		return c.running(ctx, running, std.out)
	}
	found, err := set.Explain(c.Key)
	if err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.out, found)
	}
	if c.Key == "" {
		t := screen.NewTable(std.out, "KEY", "VALUE", "FROM")
		for _, s := range found {
			t.Row(s.Path, s.Value, s.From.String())
		}
		return t.Flush()
	}
	for i, s := range found {
		if i > 0 {
			fmt.Fprintln(std.out)
		}
		explain(std.out, api.Setting{
			Key: s.Path, Value: s.Value, Default: s.Default, From: s.From.String(), Env: s.Env, Type: s.Type, Unit: s.Unit,
			OneOf: s.OneOf, Doc: s.Doc, Exceeded: s.Exceeded, Secret: s.Secret, Restart: s.Restart,
		})
	}
	return nil
}

// running explains what a running broker has.
func (c *configExplainCmd) running(ctx context.Context, r *reach.Broker, w io.Writer) error {
	path := "/config"
	if c.Key != "" {
		path += "/" + url.PathEscape(c.Key)
	}
	var found []api.Setting
	if err := r.Call(ctx, http.MethodGet, path, nil, &found); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(w, found)
	}
	if c.Key == "" {
		t := screen.NewTable(w, "KEY", "VALUE", "FROM", "SINCE", "BY")
		for _, s := range found {
			t.Row(s.Key, s.Value, s.From, s.Since.Local().Format(time.DateTime), s.By)
		}
		return t.Flush()
	}
	for i, s := range found {
		if i > 0 {
			fmt.Fprintln(w)
		}
		explain(w, s)
	}
	return nil
}

// explain prints everything about one setting.
func explain(w io.Writer, s api.Setting) {
	fmt.Fprintf(w, "%s = %s\n", s.Key, s.Value)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "  %-9s %s\n", name, text)
		}
	}
	line("default", s.Default)
	line("from", s.From)
	if !s.Since.IsZero() {
		line("since", s.Since.Local().Format(time.DateTime)+", set by "+s.By)
	}
	line("pending", s.Pending)
	if s.Restart {
		line("changes", "hold after a restart")
	}
	line("variable", s.Env)
	line("type", s.Type)
	line("one of", strings.Join(s.OneOf, ", "))
	line("unit", s.Unit)
	line("does", s.Doc)
	line("exceeded", s.Exceeded)
}
