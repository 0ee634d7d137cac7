package chaos

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"testing"

	"github.com/sapwood-mqtt/sapwood/test/binary"
	"github.com/sapwood-mqtt/sapwood/test/chaos/history"
	"github.com/sapwood-mqtt/sapwood/test/chaos/process"
)

var (
	cycles     = flag.Int("cycles", 0, "faults of each mode; 0 = a few, as fits into go test")
	modes      = flag.String("modes", ".*", "which modes, a regular expression")
	report     = flag.Bool("report", false, "write the figures into docs/reliability.md")
	durability = flag.String("durability", "fsync", "level of the broker under test")
	seed       = flag.Uint64("seed", 0, "of all chance, for one run of one mode; 0 = another one each time")
)

// under is the broker under test.
var under binary.Binary

func TestMain(m *testing.M) {
	under.Flag()
	code, done, err := process.Isolate()
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/chaos:", err)
		os.Exit(1)
	}
	if !done {
		code = under.Main(m, 0)
	}
	os.Exit(code)
}

// sapwood is the broker under test at a level of durability.
func sapwood(t *testing.T, level string) process.Server {
	t.Helper()
	file, err := under.File()
	if err != nil {
		t.Fatal(err)
	}
	// Small segments, so that much of what the store does with them happens in seconds.
	return process.Sapwood(file, "durability: "+level+"\nstorage: {segment_size: 1MiB, reserve: 4MiB}\nlog: {level: warn}\n")
}

// perform is one run of a test; it says where its history is when something was found.
func perform(t *testing.T, s process.Server, m process.Mode, cycles int, seed uint64) process.Result {
	t.Helper()
	r, err := process.Run(t.Context(), process.Config{Server: s, Mode: m, Cycles: cycles, Seed: seed, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %s, seed %d: %d cycles, tidied %d times, %+v", s.Name, m.Name, seed, r.Cycles, r.Tidied, r.Figures)
	return r
}

func chance() uint64 {
	if *seed != 0 {
		return *seed
	}
	return rand.Uint64N(1 << 32)
}

// complain fails the test if a run found something.
func complain(t *testing.T, r *process.Result, name string) {
	t.Helper()
	if !r.Bad() {
		return
	}
	if r.Failure != nil {
		t.Error(r.Failure)
	}
	for i, v := range r.Violations {
		if i == 10 {
			t.Errorf("and %d more", len(r.Violations)-i)
			break
		}
		t.Error(v)
	}
	file, err := r.Save(name)
	t.Logf("history: %s (%v)", file, err)
}

// runCycles is how many faults one run has: then another broker begins with another crowd.
const runCycles = 6

// TestModes treats the broker in every way there is and finds nothing lost, doubled or out of order
// (F209, F210, F212, F213, F237, F244). With -cycles it does so for long, and with -report it writes down what it came to.
func TestModes(t *testing.T) {
	chosen, err := regexp.Compile("^(?:" + *modes + ")$")
	if err != nil {
		t.Fatal(err)
	}
	s := sapwood(t, *durability)
	var rows []*row
	for _, m := range process.Modes() {
		if chosen.MatchString(m.Name) {
			rows = append(rows, &row{mode: m})
		}
	}
	t.Run("all", func(t *testing.T) {
		for _, r := range rows {
			t.Run(r.mode.Name, func(t *testing.T) {
				t.Parallel()
				treat(t, s, r)
			})
		}
	})
	if *report {
		writeTable(t, "process", table(rows))
	}
}

// treat runs one mode for as many cycles as asked for.
func treat(t *testing.T, s process.Server, w *row) {
	least := max(*cycles, 2)
	refuses := w.mode.Denies && *durability != "memory"
	// A busy machine may publish nothing while the disk fails: then once more, but not for ever.
	for (w.cycles < least || refuses && w.Refused == 0 && w.cycles < 5*least) && !t.Failed() {
		r := perform(t, s, w.mode, max(1, min(runCycles, least-w.cycles)), chance())
		w.add(&r)
		complain(t, &r, w.mode.Name)
	}
	if refuses && w.Refused == 0 && !t.Failed() {
		t.Error("the disk failed and the broker refused nothing: this tests nothing")
	}
}

// TestControl: a broker that promises nothing loses everything when it is killed, and the checker must say so.
func TestControl(t *testing.T) {
	t.Parallel()
	s := sapwood(t, "memory")
	rules := map[history.Rule]int{}
	lost, acknowledged := 0, 0
	for runs := 0; acknowledged < 200 && runs < 10; runs++ { // a busy machine may have little acknowledged before the kill
		r := perform(t, s, process.Modes()[0], 2, chance())
		if r.Failure != nil {
			t.Fatal(r.Failure)
		}
		for _, v := range r.Violations {
			rules[v.Rule]++
		}
		lost, acknowledged = lost+r.Lost, acknowledged+r.Acknowledged
	}
	t.Log(rules)
	for _, rule := range []history.Rule{history.LostSubscription, history.Session, history.Retained} {
		if rules[rule] == 0 {
			t.Errorf("it forgets everything, and the checker found no %q", rule)
		}
	}
	if lost < acknowledged/10 || lost == 0 {
		t.Errorf("it forgets everything, and the checker found %d of %d messages lost", lost, acknowledged)
	}
}
