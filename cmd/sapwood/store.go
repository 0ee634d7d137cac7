package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/sapwood-mqtt/sapwood/app"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
)

// storeCmd is `sapwood store`.
type storeCmd struct {
	Check   storeCheckCmd   `cmd:"" help:"Read everything and verify its checksums."`
	Stats   storeStatsCmd   `cmd:"" help:"Show sizes, segments, commits and the last start."`
	Compact storeCompactCmd `cmd:"" help:"Give back the space that nothing needs any more."`
	Export  storeExportCmd  `cmd:"" help:"Write everything that is kept as lines of JSON."`
	Import  storeImportCmd  `cmd:"" help:"Fill an empty store with an export."`
}

// exitDamaged is the exit code of a check that found damage.
const exitDamaged = 3

// whose explains how the commands find the store.
const whose = `Works on the directory itself when no broker runs on it, else through the running broker, which it
finds by the directory; with --url through a broker elsewhere.
`

// storeCheckCmd is `sapwood store check`.
type storeCheckCmd struct {
	storeFlags
	JSON bool `help:"Print the result as JSON."`
}

// Help is the long part of the help page.
func (*storeCheckCmd) Help() string {
	return `Changes nothing. ` + whose + `
Exit status: 0 when all is well, 1 if it could not be read, 2 for a wrong command line, 3 when
something is damaged.

Examples:

    sapwood store check
    sapwood store check --data /var/lib/sapwood --json
    sapwood store check --url http://broker:8083 --password "$PASSWORD"`
}

// Run checks the store.
func (c *storeCheckCmd) Run(ctx context.Context, std *streams) error {
	tool, err := c.open()
	if err != nil {
		return err
	}
	show, end := screen.ProgressBar(std.err, "check", screen.Bytes)
	r, err := tool.Check(ctx, show)
	end()
	if err != nil {
		return err
	}
	if c.JSON {
		err = screen.JSON(std.out, r)
	} else {
		err = printReport(std.out, r)
	}
	if err == nil && len(r.Damage) > 0 {
		return damaged{}
	}
	return err
}

// damaged ends a check whose output has already said what it found.
type damaged struct{ silent }

// ExitCode is the status for damage.
func (damaged) ExitCode() int { return exitDamaged }

func printReport(w io.Writer, r disk.Report) error {
	verdict := "ok"
	if n := len(r.Damage); n > 0 {
		verdict = screen.Count(n, "damaged part")
	}
	fmt.Fprintf(w, "%s: %s, %s, %d retained; %s in %s, %s read\n", verdict, screen.Count(r.Sessions, "session"),
		screen.Count(r.Messages, "queued message"), r.Retained, screen.Count(r.Records, "record"), screen.Count(r.Segments, "segment"), screen.Bytes(r.Bytes))
	return printDamage(w, r.Damage)
}

func printDamage(w io.Writer, list []disk.Damage) error {
	for _, d := range list {
		fmt.Fprintf(w, "\n%s at byte %d, %s\n  %s\n", d.File, d.Offset, screen.Bytes(d.Bytes), d.What)
		if d.Aside != "" {
			fmt.Fprintf(w, "  set aside in %s\n", d.Aside)
		}
	}
	return nil
}

// storeStatsCmd is `sapwood store stats`.
type storeStatsCmd struct {
	storeFlags
	Segments bool `help:"List the segments too."`
	JSON     bool `help:"Print the figures as JSON."`
}

// Help is the long part of the help page.
func (*storeStatsCmd) Help() string {
	return `A stopped broker's store is started for it, as serve would. ` + whose + `
Exit status: 0, 1 if it could not be read, 2 for a wrong command line.

Examples:

    sapwood store stats
    sapwood store stats --segments
    sapwood store stats --json --data /var/lib/sapwood`
}

// Run shows the figures.
func (c *storeStatsCmd) Run(ctx context.Context, std *streams) error {
	tool, err := c.open()
	if err != nil {
		return err
	}
	s, err := tool.Status(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.out, s)
	}
	return printStats(std.out, s, c.Segments)
}

func printStats(w io.Writer, s disk.Status, segments bool) error {
	kinds := map[string]int{}
	for _, g := range s.Segments {
		kinds[g.Kind]++
	}
	saved := "none yet"
	if !s.Saved.IsZero() {
		saved = s.Saved.Local().Format(time.DateTime)
	}
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-11s "+format+"\n", append([]any{name}, args...)...)
	}
	row("store", "%s, durability %s", s.Dir, s.Level)
	row("health", "%s", s.Health)
	free := "free space not known"
	if s.Free >= 0 {
		free = screen.Bytes(s.Free) + " free"
	}
	row("size", "%s on disk, %s of it needed; %s", screen.Bytes(s.Bytes), screen.Bytes(s.Live), free)
	row("segments", "%d log, %d cold", kinds["log"], kinds["cold"])
	row("commits", "%d, in %s; %d failed", s.Commits.Batches, screen.Count(int(s.Commits.Groups), "group"), s.Commits.Failed)
	row("sync", "p50 %v, p99 %v, longest %v", brief(s.Commits.SyncP50), brief(s.Commits.SyncP99), brief(s.Commits.SyncMax))
	row("checkpoint", "%s, %s of log behind it", saved, screen.Bytes(s.Tail))
	row("start", "%v, %d records in %s replayed, %s of torn tail cut", brief(s.Start.Took), s.Start.Records, screen.Bytes(s.Start.Replayed), screen.Bytes(s.Start.Cut))
	row("damage", "%s, %s set aside", screen.Count(s.Damaged, "part"), screen.Bytes(s.Start.Quarantined))
	if err := printDamage(w, s.Damage); err != nil || !segments {
		return err
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "SEGMENT\tKIND\tSIZE\tNEEDED\t")
	for _, g := range s.Segments {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t\n", g.Number, g.Kind, screen.Bytes(g.Bytes), screen.Bytes(g.Live))
	}
	return t.Flush()
}

// brief is a duration in three digits.
func brief(d time.Duration) time.Duration {
	unit := time.Nanosecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

// storeCompactCmd is `sapwood store compact`.
type storeCompactCmd struct {
	storeFlags
	JSON bool `help:"Print the result as JSON."`
}

// Help is the long part of the help page.
func (*storeCompactCmd) Help() string {
	return `A running broker compacts by itself, bit by bit; this does all of it now. ` + whose + `
Exit status: 0, 1 if it failed, 2 for a wrong command line.

Examples:

    sapwood store compact
    sapwood store compact --data /var/lib/sapwood --json`
}

// Run compacts the store.
func (c *storeCompactCmd) Run(ctx context.Context, std *streams) error {
	tool, err := c.open()
	if err != nil {
		return err
	}
	show, end := screen.ProgressBar(std.err, "compact", screen.Bytes)
	r, err := tool.Compact(ctx, show)
	end()
	if err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.out, r)
	}
	_, err = fmt.Fprintf(std.out, "%s before, %s after; %s moved\n", screen.Bytes(r.Before), screen.Bytes(r.After), screen.Bytes(r.Moved))
	return err
}

// storeExportCmd is `sapwood store export`.
type storeExportCmd struct {
	storeFlags
	File string `arg:"" optional:"" default:"-" help:"The file to write, - for standard output."`
	JSON bool   `help:"Print what was written as JSON; not with standard output."`
}

// Help is the long part of the help page.
func (*storeExportCmd) Help() string {
	return `Sessions with their subscriptions, queued messages and retained messages, one a line, for other
tools and other versions; sapwood backup is faster and smaller. A file appears under its name when
it is complete. ` + whose + `
Exit status: 0, 1 if it failed, 2 for a wrong command line.

Examples:

    sapwood store export export.jsonl
    sapwood store export | jq 'select(.session) | .session.client_id'`
}

// Run writes the export.
func (c *storeExportCmd) Run(ctx context.Context, std *streams) error {
	tool, err := c.open()
	if err != nil {
		return err
	}
	return writeOut(std, c.File, "export", c.JSON, func(w io.Writer, show func(done, total int64)) error {
		return tool.Export(ctx, &counted{w: w, show: show})
	})
}

// storeImportCmd is `sapwood store import`.
type storeImportCmd struct {
	place
	File string `arg:"" help:"The export to read, - for standard input."`
	JSON bool   `help:"Print what is there afterwards as JSON."`
}

// Help is the long part of the help page.
func (*storeImportCmd) Help() string {
	return `Only into a data directory without sessions and messages, and without a broker running on it.
Sessions and messages keep their numbers, and with them the packet identifiers that clients know.

Exit status: 0, 1 if it failed, 2 for a wrong command line.

Examples:

    sapwood store import export.jsonl --data ./new-data
    zcat export.jsonl.gz | sapwood store import - --data ./new-data`
}

// Run fills the store.
func (c *storeImportCmd) Run(ctx context.Context, std *streams) error {
	cfg, in, err := c.into(c.File, std)
	if err != nil {
		return err
	}
	defer in.Close()
	show, end := screen.ProgressBar(std.err, "import", linesText)
	err = atRest{cfg}.with(func(s *disk.Store) error { return s.Import(ctx, in, show) })
	end()
	if err != nil {
		return err
	}
	return reportOn(ctx, std, cfg, c.JSON)
}

// reportOn checks what a command has put into a directory, and prints what is there.
func reportOn(ctx context.Context, std *streams, cfg app.Config, asJSON bool) error {
	r, err := disk.CheckDir(ctx, cfg.Data, cfg.Storage, nil)
	if err != nil {
		return err
	}
	if asJSON {
		return screen.JSON(std.out, r)
	}
	return printReport(std.out, r)
}

// linesText writes a number of lines.
func linesText(n int64) string { return fmt.Sprintf("%d lines", n) }
