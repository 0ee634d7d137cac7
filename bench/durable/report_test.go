package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/load"
	"github.com/sapwood-mqtt/sapwood/bench/section"
)

func twoRounds(t *testing.T) *report {
	t.Helper()
	r := newReport(options{durability: "fsync", rounds: 2, duration: time.Second})
	for broker, rates := range map[string][]float64{"Sapwood": {70_000, 90_000}, bareName: {100_000, 100_000}, "NATS": {2000, 2000}} {
		for _, rate := range rates {
			r.entry("publish", "publish 100 × 64 B", broker).add("acked_per_s", rate)
		}
	}
	r.entry("compaction", "compaction a", "Sapwood").Disk = []int64{16, 32}
	return r
}

func TestTables(t *testing.T) {
	r := twoRounds(t)
	f := func(want string) {
		t.Helper()
		if got := r.markdown(); !strings.Contains(got, want) {
			t.Errorf("the section lacks\n%s\nin\n%s", want, got)
		}
	}
	f("| 100 × 64 B | 100,000 | **0.800** | – | – | – | 80,000 | – | 2,000 (Sapwood: 40.00 ×) | – |")
	f("Disk use, MiB, second by second, a: 16 32\n")
	r.lookup("publish 100 × 64 B", "Sapwood").LoadBound = 1
	f("| 100 × 64 B | 100,000 | – | – | – | – | 80,000 ‡ | – | 2,000 | – |")
}

// TestShare: a ratio is of rounds that belong together, or there is none.
func TestShare(t *testing.T) {
	r := twoRounds(t)
	r.lookup("publish 100 × 64 B", bareName).Out++
	if v, ok := share(r.lookup("publish 100 × 64 B", "Sapwood"), r.lookup("publish 100 × 64 B", bareName), "acked_per_s"); ok {
		t.Errorf("a share of %v with a round left out", v)
	}
	if _, ok := share(nil, nil, "acked_per_s"); ok {
		t.Error("a share of nothing")
	}
}

func TestEveryValueHasAUnit(t *testing.T) {
	for _, part := range []string{"bare.go", "publish.go", "compact.go", "offline.go", "restart.go"} {
		source, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range strings.Split(string(source), `e.add("`)[1:] {
			key, _, _ := strings.Cut(piece, `"`)
			if units()[key] == "" {
				t.Errorf("%s: %q has no unit", part, key)
			}
		}
	}
}

func TestSave(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "performance.md")
	if err := twoRounds(t).save(dir); err == nil {
		t.Error("written into a page that does not exist")
	}
	page := "before\n" + section.Begin(command) + "\nold\n" + section.End(command) + "\nafter\n"
	if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := twoRounds(t).save(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if got := string(text); err != nil || !strings.HasPrefix(got, "before\n") || !strings.HasSuffix(got, "after\n") || strings.Contains(got, "old") {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestJudge(t *testing.T) {
	result := func(theirs, ours, rate, asked float64, lost uint64) *load.Result {
		return &load.Result{Options: load.Options{Rate: asked}, Tally: load.Tally{Lost: lost}, Figures: []load.Figure{
			{Key: "cpu_busy", Value: theirs}, {Key: "generator_cpu_busy", Value: ours}, {Key: "rate", Value: rate},
		}}
	}
	for _, c := range []struct {
		name  string
		res   *load.Result
		bound bool
		why   string
	}{
		{"broker busy", result(99, 95, 1, 0, 0), false, ""},
		{"load busy", result(80, 99, 1, 0, 0), true, ""},
		{"load spins at a fixed rate", result(50, 100, 1000, 1000, 0), false, ""},
		{"rate missed", result(50, 100, 900, 1000, 0), false, "only 900 of 1000"},
		{"lost", result(99, 50, 1, 0, 2), false, "went wrong"},
	} {
		if got := loadBound(c.res); got != c.bound {
			t.Errorf("%s: load-bound %v", c.name, got)
		}
		if got := unusable(c.res, nil); (c.why == "") != (got == "") || !strings.Contains(got, c.why) {
			t.Errorf("%s: unusable %q", c.name, got)
		}
	}
}
