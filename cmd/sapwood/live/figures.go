package live

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

// NowCmd is `sapwood now`.
type NowCmd struct {
	reach.Flags
	JSON bool `help:"Print it as JSON, with figures and what has changed."`
}

// Help is the long part of the help page.
func (*NowCmd) Help() string {
	return `Tells in a sentence whether all is well, and what is not. ` + reach.Through + `
Exit status: 0 when all is well, 1 when it could not be asked, 3 when there are problems.

Examples:

    sapwood now
    sapwood now --json`
}

// troubled ends a command whose output has said what is wrong.
type troubled struct{}

// Error implements error.
func (troubled) Error() string { return "" }

// ExitCode is the status where there are problems.
func (troubled) ExitCode() int { return 3 }

// Run tells whether it is fine.
func (c *NowCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	var n vitals.Now
	if err := r.Call(ctx, http.MethodGet, "/now", nil, &n); err != nil {
		return err
	}
	if c.JSON {
		err = screen.JSON(std.Out, n)
	} else {
		fmt.Fprintln(std.Out, screen.Printable(n.Text))
		t := screen.NewTable(std.Out, "SEVERITY", "PROBLEM").Whole()
		for _, p := range n.Problems {
			t.Row(string(p.Severity), p.Text)
		}
		if len(n.Problems) > 0 {
			err = t.Flush()
		}
	}
	if err == nil && !n.OK {
		return troubled{}
	}
	return err
}

// HistoryCmd is `sapwood history`.
type HistoryCmd struct {
	reach.Flags
	Metric []string `arg:"" optional:"" help:"Figures; none = list those that are kept."`
	Label  []string `placeholder:"NAME=VALUE" help:"A label that a series has to have; several for all of them."`
	From   string   `default:"1h" placeholder:"TIME" help:"From then on: 24h or 7d ago, 2027-01-31T00:00:00Z, or Unix seconds."`
	To     string   `placeholder:"TIME" help:"Until then; as --from."`
	Step   string   `placeholder:"TIME" help:"Time between points, such as 10m; without it so that there are at most 600."`
	CSV    bool     `name:"csv" xor:"how" help:"Print lines of CSV: time, metric, labels, value."`
	JSON   bool     `xor:"how" help:"Print the answer as JSON."`
}

// Help is the long part of the help page.
func (*HistoryCmd) Help() string {
	return `Figures of up to 30 days; counts are told per second. ` + reach.Through + `
Examples:

    sapwood history
    sapwood history messages_received clients_connected --from 24h --step 1h
    sapwood history messages_dropped --label reason=queue_full --from 7d --csv > drops.csv`
}

// Run shows figures.
func (c *HistoryCmd) Run(ctx context.Context, std *screen.Streams) error {
	if len(c.Metric) == 0 {
		return c.list(ctx, std)
	}
	r, err := c.API()
	if err != nil {
		return err
	}
	q := reach.Query("metric", strings.Join(c.Metric, ","), "from", c.From, "to", c.To, "step", c.Step)
	q["label"] = c.Label
	var chart api.Chart
	if err := r.Call(ctx, http.MethodGet, "/history?"+q.Encode(), nil, &chart); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, chart)
	}
	if c.CSV {
		return exported(std, &chart)
	}
	if len(chart.Series) == 0 {
		_, err := fmt.Fprintln(std.Err, "nothing is kept of that; sapwood history lists what is")
		return err
	}
	t := screen.NewTable(std.Out, "METRIC", "LABELS", "LEAST", "MOST", "LAST", "CURVE")
	begin, step := axis(&chart)
	for _, s := range chart.Series {
		values := make([]float64, len(s.Points))
		for i, p := range s.Points {
			values[i] = p[1]
		}
		if len(values) > 0 {
			t.Row(s.Metric, labelText(s.Labels), count(slices.Min(values)), count(slices.Max(values)), count(values[len(values)-1]), curve(along(s.Points, begin, step)))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.Out, "Curves begin at %s, a character is %s; a dot is a time of which nothing is known.\n", time.Unix(int64(begin), 0).UTC().Format(time.RFC3339), lasted(step))
	return err
}

// curveWidth is how many characters a curve has at most.
const curveWidth = 60

// axis is the time that all curves of a chart share: when it begins, in Unix seconds, and the seconds of one character.
func axis(chart *api.Chart) (begin, step float64) {
	begin, end := math.Inf(1), math.Inf(-1)
	for _, s := range chart.Series {
		if n := len(s.Points); n > 0 {
			begin, end = min(begin, s.Points[0][0]), max(end, s.Points[n-1][0])
		}
	}
	step = max(chart.Step, 1)
	points := math.Floor((end-begin)/step) + 1
	return begin, step * max(1, math.Ceil(points/curveWidth))
}

// along sets points on a time axis: the mean of each step up to the last point, NaN where there is none.
func along(points [][2]float64, begin, step float64) []float64 {
	var values []float64
	n := 0.0
	for _, p := range points {
		at := int((p[0] - begin) / step)
		for len(values) <= at {
			values, n = append(values, math.NaN()), 0
		}
		if n++; n == 1 {
			values[at] = p[1]
		} else {
			values[at] += (p[1] - values[at]) / n
		}
	}
	return values
}

// list shows what is kept.
func (c *HistoryCmd) list(ctx context.Context, std *screen.Streams) error {
	return reach.Whole(ctx, &c.Flags, std, c.JSON, "/history/metrics", []string{"METRIC", "KIND", "SERIES", "WHAT"}, func(m *api.Metric) []string {
		return []string{m.Metric, m.Kind, strconv.Itoa(max(1, len(m.Labels))), m.Text}
	})
}

// exported writes all points in the order of their times.
func exported(std *screen.Streams, chart *api.Chart) error {
	type row struct {
		at    float64
		cells []string
	}
	var rows []row
	for _, s := range chart.Series {
		for _, p := range s.Points {
			at := time.Unix(int64(p[0]), 0).UTC().Format(time.RFC3339)
			rows = append(rows, row{p[0], []string{at, s.Metric, screen.Cell(labelText(s.Labels)), strconv.FormatFloat(p[1], 'g', -1, 64)}})
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.at, b.at) })
	w := csv.NewWriter(std.Out)
	if err := w.Write([]string{"time", "metric", "labels", "value"}); err != nil {
		return err
	}
	for _, r := range rows {
		if err := w.Write(r.cells); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

func labelText(labels map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, name+"="+labels[name])
	}
	return strings.Join(parts, ",")
}

// BackendsCmd is `sapwood backends`.
type BackendsCmd struct {
	reach.Flags
	JSON bool `help:"Print them as JSON."`
}

// Help is the long part of the help page.
func (*BackendsCmd) Help() string {
	return `Who is asked who clients are, what they said, and whether they fail. ` + reach.Through + `
Examples:

    sapwood backends
    sapwood backends --json`
}

// Run lists backends.
func (c *BackendsCmd) Run(ctx context.Context, std *screen.Streams) error {
	heads := []string{"BACKEND", "STATE", "ASKED", "ACCEPTED", "REFUSED", "UNKNOWN", "FAILED", "CACHED", "LAST ERROR"}
	return reach.Whole(ctx, &c.Flags, std, c.JSON, "/authentication", heads, func(b *api.Backend) []string {
		state := "asked"
		if b.Open {
			state = "fails"
		}
		return []string{b.Name, state, count(b.Asked), count(b.Accepted), count(b.Refused), count(b.Unknown), count(b.Failed), count(b.CacheHits), b.LastError}
	})
}
