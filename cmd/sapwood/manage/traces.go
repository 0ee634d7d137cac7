package manage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api/capture"
)

// TracesCmd is `sapwood traces`.
type TracesCmd struct {
	List     tracesListCmd     `cmd:"" default:"withargs" help:"List live traces, also those that others began."`
	Download tracesDownloadCmd `cmd:"" help:"Write what is kept of a live trace to a file."`
	End      tracesEndCmd      `cmd:"" help:"End a live trace and forget it."`
}

// tracesListCmd is `sapwood traces list`.
type tracesListCmd struct {
	reach.Listed
	Filter []string `arg:"" optional:"" help:"Terms of a filter."`
}

// Help is the long part of the help page.
func (*tracesListCmd) Help() string {
	return `Of the console, too. sapwood trace begins one. ` + reach.Through + reach.FilterHelp + `
Examples:

    sapwood traces
    sapwood traces running:true --json`
}

// Run lists traces.
func (c *tracesListCmd) Run(ctx context.Context, std *screen.Streams) error {
	return reach.Show(ctx, &c.Listed, std, "/traces", reach.Query("filter", strings.Join(c.Filter, " ")), []string{"TRACE", "STATE", "ENDS", "PACKETS", "KEPT", "BY", "OF"}, func(x *capture.Info) []string {
		state := "runs"
		if !x.Running {
			state = "ended"
		}
		return []string{x.ID, state, screen.Moment(x.Ends), strconv.FormatUint(x.Packets, 10), screen.Bytes(int64(x.Bytes)), x.By, traced(x)}
	})
}

// traced is what a trace is of.
func traced(x *capture.Info) string {
	switch {
	case x.Client != "":
		return "client " + x.Client
	case x.Topic != "":
		return "topic " + x.Topic
	}
	return "address " + x.Address
}

// tracesDownloadCmd is `sapwood traces download`.
type tracesDownloadCmd struct {
	reach.Flags
	ID     string `arg:"" help:"The trace."`
	Output string `short:"o" placeholder:"FILE" help:"A new file; without it TRACE.pcapng or TRACE.jsonl, - = standard output."`
	Format string `enum:"pcapng,jsonl" default:"pcapng" placeholder:"WORD" help:"pcapng, for Wireshark, or jsonl."`
}

// Help is the long part of the help page.
func (*tracesDownloadCmd) Help() string {
	return reach.Through + `
Examples:

    sapwood traces download 7f3a
    sapwood traces download 7f3a --format jsonl -o - | head`
}

// Run writes a trace.
func (c *tracesDownloadCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	path := "/traces/" + url.PathEscape(c.ID)
	if err := r.Call(ctx, http.MethodGet, path, nil, nil); err != nil { // before there is a file
		return err
	}
	path += "/download?format=" + c.Format
	if c.Output == "-" {
		return r.Copy(ctx, std.Out, path)
	}
	name := cmp.Or(c.Output, url.PathEscape(c.ID)+"."+c.Format)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already: name another with -o", name)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(r.Copy(ctx, f, path), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	_, err = fmt.Fprintf(std.Err, "written to %s\n", screen.Printable(name))
	return err
}

// tracesEndCmd is `sapwood traces end`.
type tracesEndCmd struct {
	reach.Flags
	ID   string `arg:"" help:"The trace."`
	JSON bool   `help:"Print what was done as JSON."`
}

// Help is the long part of the help page.
func (*tracesEndCmd) Help() string {
	return reach.Through + `
Examples:

    sapwood traces end 7f3a`
}

// Run ends a trace.
func (c *tracesEndCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	if err := r.Call(ctx, http.MethodDelete, "/traces/"+url.PathEscape(c.ID), nil, nil); err != nil {
		return err
	}
	return screen.Tell(std, c.JSON, map[string]any{"trace": c.ID, "ended": true}, "trace %s ended", screen.Printable(c.ID))
}
