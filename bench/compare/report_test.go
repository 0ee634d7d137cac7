package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/bench/load"
	"github.com/sapwood-mqtt/sapwood/bench/peer"
)

func result(cpu, rate float64, lost uint64) *load.Result {
	return &load.Result{
		Tally:   load.Tally{Lost: lost},
		Figures: []load.Figure{{Key: "cpu", Value: cpu, Unit: "µs"}, {Key: "rate", Value: rate, Unit: "/s"}},
	}
}

func fanInReport(median bool) *report {
	o := options{only: regexp.MustCompile("^fan-in 100 → 1, QoS 0$"), rounds: 3, median: median}
	r := newReport(o, []peer.Broker{{Name: "Sapwood"}, {Name: "Mosquitto"}})
	for _, cpu := range []float64{0.6, 0.4, 0.5} {
		r.Rows[0].add("Sapwood", result(cpu, 1e6*cpu, 0))
	}
	r.Rows[0].add("Mosquitto", result(8, 100_000, 0))
	r.Rows[0].add("Mosquitto", result(1, 100_000, 3))
	r.Rows[0].add("Mosquitto", nil)
	return r
}

func TestTable(t *testing.T) {
	for _, c := range []struct {
		median bool
		want   string
	}{
		{false, "| fan-in 100 → 1, QoS 0 | 0.40 µs | 600,000 | 8 µs († 2 of 3) | 100,000 | **0.05** | 0.07 (0.52 / 7.86) | ≤ 0.50 |"},
		{true, "| fan-in 100 → 1, QoS 0 | 0.50 µs | 500,000 | 8 µs († 2 of 3) | 100,000 | **0.06** | 0.07 (0.52 / 7.86) | ≤ 0.50 |"},
	} {
		if got := fanInReport(c.median).markdown(); !strings.Contains(got, c.want) {
			t.Errorf("median %v: the table lacks\n%s\n%s", c.median, c.want, got)
		}
	}
}

func TestSaveKeepsTheRestOfThePage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "docs")
	r := fanInReport(false)
	if err := r.save(dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "performance.md")
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	page := "before\n" + string(first) + "after\n"
	if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.save(dir); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(file); string(again) != page {
		t.Errorf("the page changed:\n%s\nwas\n%s", again, page)
	}
	if err := os.WriteFile(file, []byte("no markers"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.save(dir); err == nil || !strings.Contains(err.Error(), "markers") {
		t.Errorf("a page without markers: %v", err)
	}
}

// TestRowsNameScenarios: a row that bench does not know would be noticed late.
func TestRowsNameScenarios(t *testing.T) {
	known := map[string]bool{}
	for _, s := range load.Scenarios() {
		known[s.Name] = true
	}
	for _, w := range rows() {
		if !known[w.args[0]] || len(w.figures) == 0 {
			t.Errorf("row %q runs %v", w.name, w.args)
		}
	}
}

func TestUsable(t *testing.T) {
	slow := result(5, 9_000, 0)
	slow.Options.Rate = 10_000
	good := result(5, 9_900, 0)
	good.Options.Rate = 10_000
	for _, c := range []struct {
		name string
		res  *load.Result
		want bool
	}{
		{"none", nil, false},
		{"lost", result(1, 1, 1), false},
		{"closed loop", result(1, 1, 0), true},
		{"rate missed", slow, false},
		{"rate reached", good, true},
	} {
		if got := usable(c.res); got != c.want {
			t.Errorf("%s: usable %v", c.name, got)
		}
	}
}
