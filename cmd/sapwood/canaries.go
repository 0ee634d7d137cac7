package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/fleet/canary"
)

// canariesCmd is `sapwood canaries`.
type canariesCmd struct {
	reach.Flags
	JSON bool `help:"Print the report as JSON, with histograms."`
}

// Help is the long part of the help page.
func (*canariesCmd) Help() string {
	return `The broker sends messages to itself all the time, at each QoS and the whole way that a device's go, and measures whether and
how soon they arrive. ` + reach.Through + `
Exit status: 0 when it delivers, 3 when the last messages did not arrive.

Examples:

    sapwood canaries
    sapwood canaries --json`
}

// exitSilent is the exit code of a report that delivery fails.
const exitSilent = 3

// silence ends a report that has said so.
type silence struct{ silent }

// ExitCode is the status for a broker that does not deliver.
func (silence) ExitCode() int { return exitSilent }

// Run shows the report.
func (c *canariesCmd) Run(ctx context.Context, std *streams) error {
	broker, err := c.API()
	if err != nil {
		return err
	}
	var r canary.Report
	if err := broker.Call(ctx, http.MethodGet, "/canaries", nil, &r); err != nil {
		return err
	}
	if c.JSON {
		err = screen.JSON(std.out, r)
	} else {
		err = printCanaries(std, &r)
	}
	if err == nil && r.Interval > 0 && !r.Delivers {
		return silence{}
	}
	return err
}

func printCanaries(std *streams, r *canary.Report) error {
	fmt.Fprintln(std.out, screen.Printable(r.Text))
	if r.Objective > 0 && r.Interval > 0 {
		fmt.Fprintf(std.out, "Objective: %.6g %% of 24 hours within %gs; %s.\n", 100*r.Objective, r.Timeout, map[bool]string{true: "met", false: "MISSED"}[r.Met])
	}
	if r.Interval > 0 {
		fmt.Fprintf(std.out, "The broker started %s: counts, times and outages are since then; the ratios of 24 hours reach back to %s.\n", screen.Moment(r.Since), screen.Moment(r.DaySince))
	}
	if r.Interval == 0 {
		return nil
	}
	t := screen.NewTable(std.out, "QOS", "SENT", "DELIVERED", "LOST", "LATE", "P50", "P99", "LAST HOUR", "24 HOURS")
	for _, f := range r.Canaries {
		n := func(v uint64) string { return strconv.FormatUint(v, 10) }
		t.Row(strconv.Itoa(int(f.QoS)), n(f.Sent), n(f.Delivered), n(f.Lost), n(f.Late), took(f.P50), took(f.P99), fmt.Sprintf("%.4g %%", 100*f.HourRatio), fmt.Sprintf("%.4g %%", 100*f.DayRatio))
	}
	if err := t.Flush(); err != nil || len(r.Outages) == 0 {
		return err
	}
	fmt.Fprintln(std.out)
	t = screen.NewTable(std.out, "OUTAGE FROM", "TO", "LOST", "WHY")
	for _, x := range r.Outages {
		t.Row(screen.Moment(x.From), screen.Moment(x.To), strconv.FormatUint(x.Lost, 10), x.Why)
	}
	return t.Flush()
}

func took(seconds float64) string {
	return brief(time.Duration(seconds * float64(time.Second))).String()
}
