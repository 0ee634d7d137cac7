package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file/faulty"
	"github.com/sapwood-mqtt/sapwood/test/chaos/history"
	"github.com/sapwood-mqtt/sapwood/test/chaos/load"
)

var (
	powerCycles = flag.Int("power.cycles", 10, "how often TestPowerLoss ends a broker, by a power cut or otherwise")
	powerSeed   = flag.Uint64("power.seed", 1, "of all that TestPowerLoss leaves to chance")
	powerFaults = flag.String("power.faults", "", "the one fault of its disk; empty = all of them")
	powerReport = flag.Bool("power.report", false, "write what TestPowerLoss came to into docs/reliability.md")
)

// roundCycles is how many ends one disk and one history see.
const roundCycles = 20

// TestPowerLoss ends a broker on a simulated disk again and again, by power cuts, kills and in good order, with a disk that is
// well, full, failing, read-only or slow, under load, and looks whether a promise was broken. F209, F210, F212, F213,
// F216, F224.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	var rows []string
	for _, level := range []disk.Level{disk.Fsync, disk.Process} {
		t.Run(string(level), func(t *testing.T) {
			cycles := *powerCycles
			if level == disk.Process {
				cycles = (cycles + 2) / 3
			}
			var all tally
			for seed := *powerSeed; cycles > 0 && !t.Failed(); seed++ {
				n := min(cycles, roundCycles)
				cycles -= n
				o := newOrdeal(level, seed, func(d *faulty.Disk) file.System { return d })
				o.round(n)
				o.complain(t, n)
				all.add(o.tally)
			}
			t.Log(all.String())
			rows = append(rows, all.row(level))
		})
	}
	if *powerReport {
		writeTable(t, "power", powerTable(rows))
	}
}

// TestPowerLossControl: with a disk that does not do what it says a store cannot keep its promises, and that must be
// found.
func TestPowerLossControl(t *testing.T) {
	t.Parallel()
	for name, lie := range map[string]func(*faulty.Disk) file.System{
		"Sync does nothing":    func(d *faulty.Disk) file.System { return syncless{d} },
		"SyncDir does nothing": func(d *faulty.Disk) file.System { return dirless{d} },
	} {
		t.Run(name, func(t *testing.T) {
			const most = 10
			for seed := range uint64(most) {
				o := newOrdeal(disk.Fsync, seed*4, lie) // no disk that keeps a journal
				o.patience = 2 * time.Second
				o.round(5)
				if o.failure != nil || len(o.found) > 0 {
					t.Logf("found in round %d: %v, %d violations", seed+1, o.failure, len(o.found))
					return
				}
			}
			t.Errorf("nothing was found in %d rounds", most)
		})
	}
}

// syncless is a disk whose Sync lies, but for the file without which a store refuses to open.
type syncless struct{ *faulty.Disk }

func (s syncless) Create(name string) (file.File, error) { return lying(name)(s.Disk.Create(name)) }

func (s syncless) Open(name string, write bool) (file.File, error) {
	return lying(name)(s.Disk.Open(name, write))
}

func lying(name string) func(file.File, error) (file.File, error) {
	return func(f file.File, err error) (file.File, error) {
		if strings.Contains(name, "store.json") {
			return f, err
		}
		return liar{f}, err
	}
}

type liar struct{ file.File }

func (liar) Sync() error { return nil }

// dirless is a disk whose SyncDir lies.
type dirless struct{ *faulty.Disk }

func (dirless) SyncDir(string) error { return nil }

// tally sums up rounds.
type tally struct {
	ends   map[string]int // by kind
	faults map[string]int
	// compactions came to their end; others were interrupted.
	compactions int64
	history.Figures
}

func (a *tally) add(b tally) {
	if a.ends == nil {
		a.ends, a.faults = map[string]int{}, map[string]int{}
	}
	for k, n := range b.ends {
		a.ends[k] += n
	}
	for k, n := range b.faults {
		a.faults[k] += n
	}
	a.compactions += b.compactions
	a.Published += b.Published
	a.Acknowledged += b.Acknowledged
	a.Refused += b.Refused
	a.Received += b.Received
	a.Kills += b.Kills
	a.Lost += b.Lost
	a.Doubled += b.Doubled
	a.Other += b.Other
}

// String is everything in one line.
func (a *tally) String() string {
	return fmt.Sprintf("ends %v, disk faults %v, %d compactions; messages: %+v", a.ends, a.faults, a.compactions, a.Figures)
}

// row is a line of powerTable.
func (a *tally) row(level disk.Level) string {
	faults := 0
	for _, n := range a.faults {
		faults += n
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |", level)
	for _, n := range []int{
		a.ends["power"], a.ends["kill"], a.ends["quit"], a.ends["in recovery"], faults, int(a.compactions),
		a.Acknowledged, a.Refused, a.Received, a.Lost, a.Doubled, a.Other,
	} {
		fmt.Fprintf(&b, " %s |", thousands(n))
	}
	return b.String() + "\n"
}

func powerTable(rows []string) string {
	return "| durability | power cuts | kills | ends in order | again in recovery | disk faults | compactions | acknowledged | refused | received | lost | doubled | other promises broken |\n" +
		"|" + strings.Repeat("---|", 13) + "\n" + strings.Join(rows, "")
}

// ordeal is one disk with a broker that goes through a number of ends.
type ordeal struct {
	m     *machine
	log   *history.Log
	level disk.Level
	seed  uint64
	rand  *rand.Rand
	load  *load.Load
	fault *fault // in force; nil = none

	patience time.Duration // for everybody to finish

	tidying sync.WaitGroup
	tidied  atomic.Int64 // compactions that came to their end
	tally   tally
	found   []history.Violation
	failure error // why it did not come to its end
}

// newOrdeal makes one with an empty disk, which the store sees through a lens.
func newOrdeal(level disk.Level, seed uint64, lens func(*faulty.Disk) file.System) *ordeal {
	o := &ordeal{
		log: history.NewLog(), level: level, seed: seed, rand: rand.New(rand.NewPCG(seed, 7)),
		tally: tally{ends: map[string]int{}, faults: map[string]int{}}, patience: 2 * time.Minute,
	}
	o.m = &machine{
		log: o.log, wires: map[*wire]bool{}, disk: faulty.New(seed),
		open: func(d *faulty.Disk) (*disk.Store, error) {
			cfg := disk.DefaultConfig()
			cfg.SegmentSize, cfg.Reserve = 1<<20, 1<<20
			return disk.Open("/data", level, cfg, disk.Options{System: lens(d)})
		},
	}
	o.m.disk.Journal(seed%4 == 3) // every fourth disk is a kind one
	return o
}

// round is the ordeal, from an empty disk to the judgement.
func (o *ordeal) round(cycles int) {
	o.failure = o.live(cycles)
	o.tidying.Wait()
	o.tally.compactions = o.tidied.Load()
	events := o.log.Events()
	o.found = history.Check(events)
	o.tally.Figures = history.Count(events, o.found)
}

func (o *ordeal) live(cycles int) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			o.m.abandon()
			err = p
		default:
			panic(p)
		}
	}()
	if err := o.m.start(); err != nil {
		return err
	}
	// Large messages make groups of many sectors, each of which may be lost or torn.
	o.load = load.Start(load.Options{Dial: o.m.dial, Log: o.log, Seed: o.seed, Bulk: int(o.seed%3) * 2000})
	defer o.load.Stop()
	for i := range cycles {
		o.cycle()
		if (i+1)%5 == 0 && i+1 < cycles {
			o.settle()
			o.load.Resume()
		}
	}
	o.settle()
	o.log.Add(history.Event{Kind: history.End})
	if err := o.m.quit(true); err != nil {
		return fmt.Errorf("the last end: %w", err)
	}
	return nil
}

// failure ends a round. It keeps what everybody was doing.
type failure struct {
	error
	stacks []byte
}

func (o *ordeal) fatal(format string, args ...any) {
	stacks := make([]byte, 1<<20)
	panic(failure{fmt.Errorf(format, args...), stacks[:runtime.Stack(stacks, true)]})
}

// complain fails a test for which nothing should have been found, and tells how to repeat it.
func (o *ordeal) complain(t *testing.T, cycles int) {
	t.Helper()
	if o.failure == nil && len(o.found) == 0 {
		return
	}
	if o.failure != nil {
		t.Error(o.failure)
		if f, stuck := o.failure.(failure); stuck {
			t.Errorf("stacks in %s", o.save("stacks", string(f.stacks)))
		}
	}
	for i, v := range o.found {
		if i == 10 {
			t.Errorf("and %d more", len(o.found)-i)
			break
		}
		t.Errorf("%s", v)
	}
	var all strings.Builder
	for _, e := range o.log.Events() {
		fmt.Fprintln(&all, &e)
	}
	t.Errorf("go test ./test/chaos -run PowerLoss/%s -power.seed=%d -power.cycles=%d; history in %s", o.level, o.seed, cycles, o.save("history", all.String()))
}

func (o *ordeal) save(name, text string) string {
	file := filepath.Join(os.TempDir(), fmt.Sprintf("sapwood-power-%s-%d.%s.txt", o.level, o.seed, name))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err.Error()
	}
	return file
}

// pause waits for a while up to most.
func (o *ordeal) pause(least, most time.Duration) {
	<-time.After(least + time.Duration(o.rand.Int64N(int64(most-least))))
}

// settle has everybody finish, on a disk that is well, until Resume.
func (o *ordeal) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), o.patience)
	defer cancel()
	if err := o.load.Settle(ctx); err != nil {
		o.fatal("%w", err)
	}
}

// cycle is a stretch of load, perhaps with a fault, an end, and a new beginning.
func (o *ordeal) cycle() {
	o.pause(20*time.Millisecond, 300*time.Millisecond)
	if o.rand.IntN(3) == 0 {
		o.compact(o.m.store)
	}
	well := o.rand.IntN(2) == 0
	if !well {
		o.begin()
		o.pause(20*time.Millisecond, 400*time.Millisecond)
		if o.rand.IntN(2) == 0 {
			o.heal()
			o.recovered()
			o.pause(20*time.Millisecond, 200*time.Millisecond)
		}
	}
	switch kind := o.rand.IntN(8); {
	case kind == 0:
		o.end("quit")
		if err := o.m.quit(well); err != nil {
			o.fatal("an end in good order: %v", err)
		}
		o.m.disk = o.gone(o.m.disk)
	case kind < 4:
		o.crash(0)
	default: // in the middle of something
		o.crash(1 + o.rand.IntN(30))
	}
	o.restart()
}

// compact tidies up as an operator may have it done at any moment; that it may be interrupted is the point.
func (o *ordeal) compact(s *disk.Store) {
	o.tidying.Go(func() {
		if _, err := s.Compact(context.Background(), nil); err == nil {
			o.tidied.Add(1)
		}
	})
}

func (o *ordeal) end(kind string) { o.tally.ends[kind]++ }

// gone is what an end that the broker does not see makes of the disk.
func (o *ordeal) gone(d *faulty.Disk) *faulty.Disk {
	if o.level == disk.Process || o.rand.IntN(3) == 0 {
		return d.Kill()
	}
	return d.PowerCut()
}

// crash ends the broker before the nth change of the disk from now, or at once.
func (o *ordeal) crash(nth int) {
	kind, of := "power", (*faulty.Disk).PowerCut
	if o.level == disk.Process || o.rand.IntN(3) == 0 {
		kind, of = "kill", (*faulty.Disk).Kill
	}
	o.end(kind)
	var once sync.Once
	done := make(chan struct{})
	now := func() {
		once.Do(func() {
			o.m.crash(kind, of)
			close(done)
		})
	}
	if nth > 0 {
		ops := []faulty.Op{faulty.OpChange, faulty.OpSync, faulty.OpWrite, faulty.OpCreate | faulty.OpRename | faulty.OpRemove | faulty.OpSyncDir}
		which := ops[o.rand.IntN(len(ops))]
		o.m.disk.Slow(faulty.Match{Op: which, Nth: nth}, now)
		select {
		case <-done:
		case <-time.After(500 * time.Millisecond):
		}
	}
	now()
	if fromBroker, _ := o.m.stop(100 * time.Millisecond); fromBroker != nil && !errors.Is(fromBroker, context.DeadlineExceeded) {
		o.fatal("the end of a broker without a disk: %v", fromBroker)
	}
}

// restart brings the broker back, on a disk that may still be faulty and may lose its power meanwhile.
func (o *ordeal) restart() {
	for again := o.rand.IntN(4); again > 1; again-- {
		o.interrupted()
	}
	switch err := o.m.start(); {
	case err == nil:
		if o.fault != nil {
			o.pause(20*time.Millisecond, 200*time.Millisecond)
			o.heal()
		}
	case o.fault != nil && o.fault.stops:
		o.heal()
		if err := o.m.start(); err != nil {
			o.fatal("start on a disk that is well again: %v", err)
		}
	default:
		o.fatal("start: %v", err)
	}
	o.recovered()
}

// interrupted is a start that does not come to its end, or not far.
func (o *ordeal) interrupted() {
	next := o.m.disk
	var once sync.Once
	stop := o.m.disk.Slow(faulty.Match{Op: faulty.OpChange, Nth: 1 + o.rand.IntN(12)}, func() {
		once.Do(func() { next = o.gone(o.m.disk) })
	})
	s, err := o.m.open(o.m.disk)
	once.Do(func() { next = o.gone(o.m.disk) })
	stop()
	if err == nil {
		_ = s.Close() // its disk is gone
	}
	o.end("in recovery")
	o.m.disk = next
}

// recovered waits for the store to get well by itself.
func (o *ordeal) recovered() {
	deadline := time.Now().Add(time.Minute)
	for tick := time.Tick(5 * time.Millisecond); ; <-tick {
		err := o.m.store.Health()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			o.fatal("the disk is well, and the store still says: %v", err)
		}
	}
}

// fault is something wrong with the disk.
type fault struct {
	name  string
	stops bool // a store need not open with it
	begin func(d *faulty.Disk)
	end   func(d *faulty.Disk)
}

// begin makes the disk faulty.
func (o *ordeal) begin() {
	all := o.faults()
	f := &all[o.rand.IntN(len(all))]
	if *powerFaults != "" {
		f = &all[slices.IndexFunc(all, func(f fault) bool { return f.name == *powerFaults })]
	}
	o.fault = f
	o.tally.faults[f.name]++
	o.log.Add(history.Event{Kind: history.Faulty, Topic: f.name})
	f.begin(o.m.disk)
}

func (o *ordeal) heal() {
	if o.fault == nil {
		return
	}
	o.fault.end(o.m.disk)
	o.fault = nil
	o.log.Add(history.Event{Kind: history.Healed})
}

func (o *ordeal) faults() []fault {
	// once is a fault that strikes a few times and is over, whether it found something to strike or not.
	once := func(name string, ops faulty.Op, times int) fault {
		m := faulty.Match{Op: ops, Nth: 1 + o.rand.IntN(6)}
		stop := func() {}
		return fault{name, false, func(d *faulty.Disk) { stop = d.Fail(m, syscall.EIO, times) }, func(*faulty.Disk) { stop() }}
	}
	left, delay := o.rand.Int64N(256<<10), time.Duration(5+o.rand.IntN(60))*time.Millisecond
	stopSlow := func() {}
	list := []fault{
		{"full", false, func(d *faulty.Disk) { d.SetFree(left) }, func(d *faulty.Disk) { d.SetFree(1 << 40) }},
		{
			"slow sync", false,
			func(d *faulty.Disk) {
				stopSlow = d.Slow(faulty.Match{Op: faulty.OpSync}, func() { <-time.After(delay) })
			},
			func(*faulty.Disk) { stopSlow() },
		},
		once("write error", faulty.OpWrite, 1),
		once("read error", faulty.OpRead|faulty.OpOpen|faulty.OpList, 1),
		once("directory error", faulty.OpCreate|faulty.OpRename|faulty.OpRemove|faulty.OpSyncDir|faulty.OpAllocate|faulty.OpTruncate, 1),
	}
	if o.level == disk.Process {
		return list // what a Sync that failed has lost was acknowledged before: no promise is left
	}
	return append(
		list,
		once("sync error", faulty.OpSync, 1+o.rand.IntN(3)),
		fault{"read-only", true, func(d *faulty.Disk) { d.ReadOnly(true) }, func(d *faulty.Disk) { d.ReadOnly(false) }},
	)
}
