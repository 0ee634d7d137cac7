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
	"github.com/sapwood-mqtt/sapwood/bench/section"
)

// report is everything measured.
type report struct {
	When       time.Time     `json:"when"`
	CPUs       int           `json:"cpus"`
	Disk       string        `json:"disk"`
	Load       float64       `json:"load_at_start"` // of the machine, mean of the last minute
	Durability string        `json:"durability"`    // Sapwood's
	Rounds     int           `json:"rounds"`
	Duration   time.Duration `json:"duration_ns"`
	Entries    []*entry      `json:"entries"`
}

// entry is what one broker did in one row, round after round.
type entry struct {
	Part      string               `json:"part"`
	Name      string               `json:"name"`
	Broker    string               `json:"broker"`
	Values    map[string][]float64 `json:"values"` // unit by the key's meaning, see units
	Out       int                  `json:"left_out,omitempty"`
	LoadBound int                  `json:"load_bound,omitempty"` // rounds in which the load was the limit
	Disk      []int64              `json:"disk_mib_per_second,omitempty"`
}

// units says what the values are measured in.
func units() map[string]string {
	return map[string]string{
		"acked_per_s": "/s", "rate": "/s", "out_rate": "/s", "in_rate": "/s", "half_rate": "/s", "flushes_per_s": "/s", "single_acked_per_s": "/s",
		"single_flushes_per_s": "/s", "sessions_per_s": "/s", "queued_per_s": "/s", "retained_per_s": "/s",
		"cpu": "µs", "single_cpu": "µs", "in_cpu": "µs", "out_cpu": "µs", "generator_cpu": "µs",
		"cpu_busy": "%", "generator_cpu_busy": "%", "out_cpu_busy": "%", "generator_out_cpu_busy": "%",
		"ack_p50": "µs", "ack_p99": "µs", "ack_p99.9": "µs", "ack_max": "µs", "late_p99": "µs",
		"latency_p50": "µs", "latency_p99": "µs", "latency_p99.9": "µs", "latency_max": "µs",
		"bytes_per_message": "B", "single_bytes_per_message": "B", "messages_per_flush": "messages", "messages_per_sync": "messages", "syncs_per_s": "/s",
		"session_memory": "B", "queued_memory": "B", "queued_disk": "B", "retained_disk": "B",
		"written_mib": "MiB", "live_mib": "MiB", "disk_mib": "MiB", "rss_mib": "MiB", "rss_peak_mib": "MiB", "rss_filled_mib": "MiB",
		"fill_s": "s", "warm_s": "s", "cold_s": "s", "ready_cpu_s": "s", "owed": "messages", "received": "messages", "wrong": "messages", "checked": "messages",
	}
}

func newReport(o options) *report {
	return &report{When: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(), Durability: o.durability, Rounds: o.rounds, Duration: o.duration}
}

// entry finds or makes the entry of a row and broker.
func (r *report) entry(part, name, broker string) *entry {
	if e := r.lookup(name, broker); e != nil {
		return e
	}
	e := &entry{Part: part, Name: name, Broker: broker, Values: map[string][]float64{}}
	r.Entries = append(r.Entries, e)
	return e
}

// lookup is nil when there is none.
func (r *report) lookup(name, broker string) *entry {
	if i := slices.IndexFunc(r.Entries, func(e *entry) bool { return e.Name == name && e.Broker == broker }); i >= 0 {
		return r.Entries[i]
	}
	return nil
}

func (e *entry) add(key string, v float64) { e.Values[key] = append(e.Values[key], v) }

// take adds the load's figures of those keys that it has.
func (e *entry) take(res *load.Result, keys ...string) {
	for _, key := range keys {
		if v, ok := res.Value(key); ok {
			e.add(key, v)
		}
	}
}

// median of the rounds; false when there is none, or no entry.
func (e *entry) median(key string) (float64, bool) {
	if e == nil || len(e.Values[key]) == 0 {
		return 0, false
	}
	v := slices.Sorted(slices.Values(e.Values[key]))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2, true
}

// trace prints the newest values.
func (e *entry) trace(w io.Writer, keys ...string) {
	fmt.Fprintf(w, "%-56s %-30s", e.Name, e.Broker)
	for _, key := range keys {
		if v := e.Values[key]; len(v) > 0 {
			fmt.Fprintf(w, "  %s %s %s", key, load.Number(v[len(v)-1]), units()[key])
		}
	}
	if e.LoadBound > 0 {
		fmt.Fprintf(w, "  (load-bound: %d)", e.LoadBound)
	}
	fmt.Fprintln(w)
}

// share is the median over the rounds of a / b, both of the same round; false when a round is missing, or the load
// was the limit in one: then a's rate is not its own.
func share(a, b *entry, key string) (float64, bool) {
	if a == nil || b == nil || a.LoadBound+b.LoadBound+a.Out+b.Out > 0 || len(a.Values[key]) != len(b.Values[key]) {
		return 0, false
	}
	ratios := &entry{Values: map[string][]float64{}}
	for i, v := range a.Values[key] {
		ratios.add(key, v/b.Values[key][i])
	}
	return ratios.median(key)
}

// column is one figure of a table.
type column struct {
	broker string
	key    string
	head   string
}

// markdown is the section of docs/performance.md.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d CPUs, %s, `durability: %s`, medians of %d rounds of %v. Brokers on one core, the load on another.\n",
		r.When.Format("2006-01-02"), r.CPUs, r.Disk, r.Durability, r.Rounds, r.Duration)
	b.WriteString("‡ the load generator was the limit: the rate is at least this, and no ratio is given. † rounds left out: messages lost, " +
		"repeated or out of order, the rate not reached, or no answer.\n")
	r.publishTable(&b)
	r.ownTable(&b)
	r.latencyTable(&b)
	r.table(&b, "compaction", "Compaction, publish to acknowledgement", []column{
		{"", "acked_per_s", "messages/s"},
		{"", "cpu", "CPU, µs"},
		{"", "ack_p50", "p50, µs"},
		{"", "ack_p99", "p99, µs"},
		{"", "ack_p99.9", "p99.9, µs"},
		{"", "ack_max", "max, µs"},
		{"", "written_mib", "log written, MiB"},
		{"", "live_mib", "never taken, MiB"},
		{"", "disk_mib", "disk at most, MiB"},
	})
	for _, e := range r.Entries {
		if len(e.Disk) > 0 {
			fmt.Fprintf(&b, "\nDisk use, MiB, second by second, %s: %v\n", strings.TrimPrefix(e.Name, e.Part+" "), strings.Trim(fmt.Sprint(e.Disk), "[]"))
		}
	}
	r.table(&b, "offline", "Long offline, then all at once", []column{
		{"", "in_rate", "publishes/s"},
		{"", "in_cpu", "CPU, µs"},
		{"", "out_rate", "drained/s"},
		{"", "out_cpu", "CPU, µs"},
		{"", "rss_filled_mib", "memory when queued, MiB"},
		{"", "rss_peak_mib", "at most while drained, MiB"},
		{"", "disk_mib", "disk at most, MiB"},
		{"", "owed", "owed"},
		{"", "received", "received"},
		{"", "wrong", "lost, doubled or out of order"},
	})
	r.table(&b, "restart", "Restart after kill -9, on all cores", []column{
		{"", "warm_s", "ready, cached, s"},
		{"", "cold_s", "ready, not cached, s"},
		{"", "ready_cpu_s", "CPU until ready, s"},
		{"", "rss_mib", "memory at rest, MiB"},
		{"", "rss_peak_mib", "at most, MiB"},
		{"", "session_memory", "memory per offline session, B"},
		{"", "queued_disk", "disk per queued message, B"},
		{"", "retained_disk", "disk per retained topic, B"},
		{"", "checked", "messages taken afterwards"},
	})
	return b.String()
}

// brokers are the names in a part, in the order they came in.
func (r *report) brokers(part string) (names []string) {
	for _, e := range r.Entries {
		if e.Part == part && e.Broker != bareName && !slices.Contains(names, e.Broker) {
			names = append(names, e.Broker)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { // Sapwood first, the others by name
		return strings.Compare(strings.TrimPrefix(a, "Sapwood"), strings.TrimPrefix(b, "Sapwood"))
	})
	return names
}

// rows are the names of the rows in a part.
func (r *report) rows(part string) (names []string) {
	for _, e := range r.Entries {
		if e.Part == part && !slices.Contains(names, e.Name) {
			names = append(names, e.Name)
		}
	}
	return names
}

// cell is a broker's value in a row.
func (r *report) cell(name, broker, key string) string {
	e := r.lookup(name, broker)
	if e == nil {
		return "–"
	}
	text := "–"
	if v, ok := e.median(key); ok {
		if v >= 1000 {
			v = float64(int64(v))
		}
		text = load.Number(v)
		if e.LoadBound > 0 && units()[key] == "/s" {
			text += " ‡"
		}
	}
	if e.Out > 0 {
		text += fmt.Sprintf(" († %d)", e.Out)
	}
	return text
}

func header(b *strings.Builder, title string, heads ...string) {
	fmt.Fprintf(b, "\n**%s**\n\n| | %s |\n|---%s|\n", title, strings.Join(heads, " | "), strings.Repeat("|---", len(heads)))
}

// table writes a part's entries, a row each.
func (r *report) table(b *strings.Builder, part, title string, columns []column) {
	if len(r.rows(part)) == 0 {
		return
	}
	var heads []string
	for _, c := range columns {
		heads = append(heads, c.head)
	}
	header(b, title, heads...)
	for _, e := range r.Entries {
		if e.Part != part {
			continue
		}
		fmt.Fprintf(b, "| %s", strings.TrimPrefix(e.Name, part+" "))
		for _, c := range columns {
			fmt.Fprintf(b, " | %s", r.cell(e.Name, e.Broker, c.key))
		}
		b.WriteString(" |\n")
	}
}

// publishTable sets the brokers and the bare loop side by side.
func (r *report) publishTable(b *strings.Builder) {
	names := r.brokers("publish")
	if len(r.rows("publish")) == 0 {
		return
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == bareServerName })
	heads := []string{"bare loop, messages/s", "Sapwood ÷ bare loop", "bare server, messages/s", "CPU, µs", "Sapwood ÷ bare server"}
	for _, name := range names {
		heads = append(heads, name+", messages/s", "CPU, µs")
	}
	header(b, "Durable QoS 1 publishes: publishers × payload, one message in flight each unless said otherwise", heads...)
	for _, row := range r.rows("publish") {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s", strings.TrimPrefix(row, "publish "),
			r.cell(row, bareName, "acked_per_s"), r.ratio(row, bareName, "**%.3f**"),
			r.cell(row, bareServerName, "acked_per_s"), r.cell(row, bareServerName, "cpu"), r.ratio(row, bareServerName, "**%.2f**"))
		for _, name := range names {
			fmt.Fprintf(b, " | %s%s | %s", r.cell(row, name, "acked_per_s"), r.beside(row, name), r.cell(row, name, "cpu"))
		}
		b.WriteString(" |\n")
	}
}

// ratio is Sapwood's rate by another's, – where there is none.
func (r *report) ratio(row, broker, format string) string {
	v, ok := share(r.lookup(row, "Sapwood"), r.lookup(row, broker), "acked_per_s")
	if !ok {
		return "–"
	}
	return fmt.Sprintf(format, v)
}

// beside is that ratio in brackets behind a peer's rate.
func (r *report) beside(row, broker string) string {
	if broker == "Sapwood" {
		return ""
	}
	if text := r.ratio(row, broker, "%.2f"); text != "–" {
		return " (Sapwood: " + text + " ×)"
	}
	return ""
}

// ownTable is what stands behind Sapwood's and the bare loop's rates.
func (r *report) ownTable(b *strings.Builder) {
	columns := []column{
		{bareName, "flushes_per_s", "bare loop: syncs/s"},
		{bareName, "cpu", "CPU per message, µs"},
		{bareName, "single_acked_per_s", "a sync per message: messages/s"},
		{bareName, "single_cpu", "CPU, µs"},
		{"Sapwood", "bytes_per_message", "Sapwood: log bytes per message"},
		{"Sapwood", "syncs_per_s", "syncs/s"},
		{"Sapwood", "messages_per_sync", "messages per sync"},
		{"Sapwood", "ack_p50", "ack p50, µs"},
		{"Sapwood", "ack_p99", "p99, µs"},
		{"Sapwood", "cpu_busy", "core busy, %"},
		{"Sapwood", "generator_cpu_busy", "load's core, %"},
	}
	if len(r.rows("publish")) == 0 {
		return
	}
	var heads []string
	for _, c := range columns {
		heads = append(heads, c.head)
	}
	header(b, "Behind these rates", heads...)
	for _, row := range r.rows("publish") {
		fmt.Fprintf(b, "| %s", strings.TrimPrefix(row, "publish "))
		for _, c := range columns {
			fmt.Fprintf(b, " | %s", r.cell(row, c.broker, c.key))
		}
		b.WriteString(" |\n")
	}
}

// latencyTable sets the brokers side by side at half of what each can do.
func (r *report) latencyTable(b *strings.Builder) {
	names := r.brokers("latency")
	if len(names) == 0 {
		return
	}
	var heads []string
	for _, name := range names {
		heads = append(heads, name+": at messages/s", "p50, µs", "p99, µs")
	}
	header(b, "Publish to subscriber at half of the saturated rate, Poisson arrivals", heads...)
	for _, row := range r.rows("latency") {
		fmt.Fprintf(b, "| %s", strings.TrimPrefix(row, "latency "))
		for _, name := range names {
			fmt.Fprintf(b, " | %s | %s | %s", r.cell(row, name, "half_rate"), r.cell(row, name, "latency_p50"), r.cell(row, name, "latency_p99"))
		}
		b.WriteString(" |\n")
	}
}

// command names the section of the page.
const command = "bench/durable"

// save puts the section into dir/performance.md and everything into durability.json.
func (r *report) save(dir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(section.Replace(filepath.Join(dir, "performance.md"), command, r.markdown()),
		os.WriteFile(filepath.Join(dir, "durability.json"), append(data, '\n'), 0o644))
}
