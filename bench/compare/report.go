package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/load"
	"github.com/sapwood-mqtt/sapwood/bench/peer"
	"github.com/sapwood-mqtt/sapwood/bench/section"
)

// report is everything measured, and what is made of it.
type report struct {
	When     time.Time `json:"when"`
	Rounds   int       `json:"rounds"`
	Median   bool      `json:"median"` // of the rounds; otherwise the best
	CPUs     int       `json:"cpus"`
	Brokers  []string  `json:"brokers"`
	Rows     []rowData `json:"rows"`
	reporter func([]float64) float64
}

// rowData is a row and, per broker, the values of every figure in all rounds but those
// left out (see usable).
type rowData struct {
	row    row
	Name   string                          `json:"name"`
	Args   []string                        `json:"args"`
	Values map[string]map[string][]float64 `json:"values"` // broker, figure, round
	Out    map[string]int                  `json:"left_out,omitempty"`
}

func newReport(o options, brokers []peer.Broker) *report {
	r := &report{When: time.Now().UTC().Truncate(time.Second), Rounds: o.rounds, Median: o.median, CPUs: runtime.NumCPU(), reporter: slices.Min[[]float64]}
	if o.median {
		r.reporter = median
	}
	for _, b := range brokers {
		r.Brokers = append(r.Brokers, b.Name)
	}
	for _, w := range rows() {
		if o.only.MatchString(w.name) {
			r.Rows = append(r.Rows, rowData{
				row: w, Name: w.name, Args: w.args,
				Values: map[string]map[string][]float64{}, Out: map[string]int{},
			})
		}
	}
	return r
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// add takes one round's result; nil stands for a run that gave none.
func (d *rowData) add(broker string, res *load.Result) {
	if !usable(res) {
		d.Out[broker]++
		return
	}
	if d.Values[broker] == nil {
		d.Values[broker] = map[string][]float64{}
	}
	for _, f := range res.Figures {
		d.Values[broker][f.Key] = append(d.Values[broker][f.Key], f.Value)
	}
}

// steady is the part of an asked rate that has to arrive.
const steady = 0.98

// usable tells whether a round says something about the broker: no message lost,
// repeated or reordered, and at a fixed rate that rate reached. What a machine that
// was busy otherwise holds back comes in batches, and batches are cheap.
func usable(res *load.Result) bool {
	if res == nil || res.Broken() {
		return false
	}
	rate, measured := res.Value("rate")
	return !measured || rate >= steady*res.Options.Rate
}

// trace prints the last round of the broker: the figures, and how busy both sides
// were. Where the load is the busier side the rate is the load's.
func (d *rowData) trace(w io.Writer, round int, broker string) {
	fmt.Fprintf(w, "%d  %-40s %-10s", round+1, d.Name, broker)
	v := d.Values[broker]
	last := func(key string) (float64, bool) {
		if s := v[key]; len(s) > 0 {
			return s[len(s)-1], true
		}
		return 0, false
	}
	for _, f := range d.row.figures {
		if x, ok := last(f.key); ok {
			fmt.Fprintf(w, " %8s %s", load.Number(x), f.unit)
		}
	}
	if rate, ok := last("rate"); ok {
		theirs, _ := last("cpu_busy")
		ours, _ := last("generator_cpu_busy")
		own, _ := last("generator_cpu")
		fmt.Fprintf(w, "  %s/s, broker %.0f %%, load %.0f %% (%s µs)", load.Number(rate), theirs, ours, load.Number(own))
	}
	fmt.Fprintln(w)
}

// value is what the rounds say; false when there is nothing.
func (r *report) value(d *rowData, broker, key string) (float64, bool) {
	v := d.Values[broker][key]
	if len(v) == 0 {
		return 0, false
	}
	return r.reporter(v), true
}

// markdown is the table.
func (r *report) markdown() string {
	var b strings.Builder
	how := "best"
	if r.Median {
		how = "median"
	}
	fmt.Fprintf(&b, "%s, %d CPUs, %s of %d rounds. CPU is the broker's, user and system, per message delivered unless the row says otherwise.\n\n",
		r.When.Format("2006-01-02"), r.CPUs, how, r.Rounds)
	b.WriteString("† rounds left out, because messages were lost, repeated or out of order, or the rate was not reached.\n\n")
	b.WriteString("| scenario | Sapwood | messages/s | Mosquitto | messages/s | Sapwood / Mosquitto | FlashMQ / Mosquitto (anchor) | aim |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|\n")
	for i := range r.Rows {
		for _, f := range r.Rows[i].row.figures {
			r.line(&b, &r.Rows[i], f)
		}
	}
	return b.String()
}

func (r *report) line(b *strings.Builder, d *rowData, f figure) {
	name := d.Name
	if f.text != "" {
		name += ": " + f.text
	}
	ours, haveOurs := r.value(d, "Sapwood", f.key)
	theirs, haveTheirs := r.value(d, "Mosquitto", f.key)
	ratio := "–"
	if haveOurs && haveTheirs && theirs > 0 {
		ratio = fmt.Sprintf("**%.2f**", ours/theirs)
	}
	anchor, aim := "–", "–"
	if f.mosquitto > 0 {
		anchor = fmt.Sprintf("%.2f (%s / %s)", f.flashmq/f.mosquitto, load.Number(f.flashmq), load.Number(f.mosquitto))
		aim = "≤ " + load.Number(f.aim)
	}
	fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", name,
		r.cell(d, "Sapwood", f), r.rate(d, "Sapwood"), r.cell(d, "Mosquitto", f), r.rate(d, "Mosquitto"), ratio, anchor, aim)
}

// cell is a broker's figure; a dagger counts the rounds that were left out.
func (r *report) cell(d *rowData, broker string, f figure) string {
	text := "–"
	if v, ok := r.value(d, broker, f.key); ok {
		text = load.Number(v) + " " + f.unit
	}
	if n := d.Out[broker]; n > 0 {
		text += fmt.Sprintf(" († %d of %d)", n, r.Rounds)
	}
	return text
}

// rate is the highest rate of the rounds, where the row saturates the broker.
func (r *report) rate(d *rowData, broker string) string {
	v := d.Values[broker]["rate"]
	if len(v) == 0 || d.row.rated {
		return "–"
	}
	if r.Median {
		return load.Number(float64(int64(median(v))))
	}
	return load.Number(float64(int64(slices.Max(v))))
}

// command names the section of the page.
const command = "bench/compare"

// page is docs/performance.md before the first comparison.
func page() string {
	return "# Performance\n\nMeasured by `go run ./bench/compare -write`: each broker alone on one core, the load on another,\n" +
		"brokers in alternation, persistence and logging off, limits raised so that nobody drops.\n" +
		"Absolute figures belong to the machine; ratios travel. The figures of every round are in performance.json.\n\n" +
		section.Begin(command) + "\n" + section.End(command) + "\n"
}

// save puts the table into dir/performance.md and everything into performance.json.
func (r *report) save(dir string) error {
	file := filepath.Join(dir, "performance.md")
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(file, []byte(page()), 0o644)); err != nil {
			return fmt.Errorf("write the table: %w", err)
		}
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(section.Replace(file, command, r.markdown()),
		os.WriteFile(filepath.Join(dir, "performance.json"), append(data, '\n'), 0o644))
}
