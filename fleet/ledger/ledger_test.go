package ledger

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
)

// fake is a broker of one event loop whose books are what the test says.
type fake struct {
	lines tally.Lines
	bad   map[string]int64
}

func (f *fake) Books(context.Context) (broker.Books, error) {
	return broker.Books{Total: f.lines, Shards: []tally.Lines{f.lines}}, nil
}

func (f *fake) Unbalanced(context.Context, int) (map[string]int64, int, error) { return f.bad, 7, nil }

func open(t *testing.T, f *fake, dir string, told *[]Finding) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), f, Options{Dir: dir, Tell: func(x Finding) { *told = append(*told, x) }})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestRestarts: over a clean stop nothing is lost; a crash has a line of its own, and with it the books of all runs balance.
func TestRestarts(t *testing.T) {
	dir := t.TempDir()
	var told []Finding
	report := func(l *Ledger) Report {
		t.Helper()
		r, err := l.Report(t.Context())
		if err != nil || r.Difference() != 0 || !r.Balanced {
			t.Fatalf("%+v does not balance by %d: %v", r, r.Difference(), err)
		}
		return r
	}
	f := &fake{lines: tally.Lines{Start: 3, Queued: 3}}
	l := open(t, f, dir, &told)
	f.lines.Copies, f.lines.Sent0, f.lines.Queued = 10, 4, 9
	report(l)
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	f = &fake{lines: tally.Lines{Start: 9, Queued: 9}} // a clean stop
	l = open(t, f, dir, &told)
	if r := report(l); r.Stopped != 0 || r.Crashed != 0 || r.Lines.Start != 3 || r.Lines.Copies != 10 || r.Lines.Queued != 9 {
		t.Errorf("%+v", r)
	}
	f.lines.Acknowledged, f.lines.Queued = 5, 4
	if err := l.save(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	f = &fake{lines: tally.Lines{Start: 6, Queued: 6}} // killed after two more were queued
	l = open(t, f, dir, &told)
	if r := report(l); r.Crashed != -2 || r.Stopped != 0 || r.Lines.Acknowledged != 5 {
		t.Errorf("%+v", r)
	}
	f = &fake{lines: tally.Lines{Start: 6, Queued: 6}} // killed again, at once
	if r := report(open(t, f, dir, &told)); r.Crashed != -2 || len(told) != 0 {
		t.Errorf("%+v, told %v", r, told)
	}
}

// TestDamaged: a file that cannot be read is put aside as it is, which is told once; the books begin anew with what is queued, and balance.
func TestDamaged(t *testing.T) {
	for _, damaged := range []string{"", "{", "null", `{"version":2}`, "\x00\x00\x00\x00", `{"version":1} and more`} {
		dir := t.TempDir()
		var told []Finding
		l := open(t, &fake{lines: tally.Lines{Start: 3, Queued: 3}}, dir, &told)
		if texts, _ := l.Refused(); len(texts) != 0 {
			t.Fatal(texts)
		}
		name := filepath.Join(dir, fileName)
		if err := os.WriteFile(name, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		l = open(t, &fake{lines: tally.Lines{Start: 5, Queued: 5}}, dir, &told)
		r, err := l.Report(t.Context())
		if err != nil || r.Difference() != 0 || r.Lines.Start != 5 || r.Lines.Queued != 5 {
			t.Errorf("%q: %+v, %v", damaged, r, err)
		}
		texts, at := l.Refused()
		if len(texts) != 1 || !strings.Contains(texts[0], "begin anew") || !strings.Contains(texts[0], fileName+".damaged") || at.IsZero() {
			t.Errorf("%q: told %q", damaged, texts)
		}
		if kept, err := os.ReadFile(name + ".damaged"); err != nil || string(kept) != damaged {
			t.Errorf("%q: kept %q, %v", damaged, kept, err)
		}
		l = open(t, &fake{lines: tally.Lines{Start: 5, Queued: 5}}, dir, &told) // killed at once
		if texts, _ := l.Refused(); len(texts) != 0 || len(told) != 0 {
			t.Errorf("%q: told again %q, %v", damaged, texts, told)
		}
	}
}

// TestImbalance: a difference that lasts is told once; that of a client at once.
func TestImbalance(t *testing.T) {
	var told []Finding
	f := &fake{}
	l := open(t, f, "", &told)
	check := func(clients bool, want int) {
		t.Helper()
		if err := l.Check(t.Context(), clients); err != nil || len(told) != want {
			t.Errorf("told %v, %v; want %d", told, err, want)
		}
	}
	f.lines = tally.Lines{Copies: 5, Sent0: 3}
	check(false, 0)
	check(false, 0)
	check(false, 1)
	check(false, 1)
	f.bad = map[string]int64{"c": -1}
	check(true, 2)
	f.lines, f.bad = tally.Lines{Copies: 5, Mailed: 5, Got: 4, Sent0: 4}, nil
	for range 3 {
		check(true, 2)
	}
	check(true, 3)
	if told[0].Difference != 2 || told[1].Name != "c" || told[2].What != "travel" {
		t.Errorf("%+v", told)
	}
	if r, err := l.Report(t.Context()); err != nil || r.Balanced || r.Imbalances != 3 || l.Imbalances() != 3 || r.Clients != 7 {
		t.Errorf("%+v, %v", r, err)
	}
}
