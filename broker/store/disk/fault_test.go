package disk_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file/faulty"
	"github.com/sapwood-mqtt/sapwood/broker/store/storetest"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// tiny is a configuration with many segments and little to write for a new one.
func tiny() disk.Config {
	cfg := disk.DefaultConfig()
	cfg.SegmentSize, cfg.Reserve = 32<<10, 128<<10
	return cfg
}

const data = "data"

// onFaulty is an engine on a simulated disk.
type onFaulty struct {
	*disk.Store
	disk *faulty.Disk
	next func(*faulty.Disk) *faulty.Disk
}

func openFaulty(t testing.TB, d *faulty.Disk) *disk.Store {
	t.Helper()
	s, err := disk.Open(data, disk.Fsync, tiny(), disk.Options{System: d})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

// Reopen starts anew on what the disk is after the end of the process or of the power.
func (s onFaulty) Reopen(t testing.TB) store.Store {
	t.Helper()
	d := s.next(s.disk)
	s.Close() // it has no disk any more
	return onFaulty{openFaulty(t, d), d, s.next}
}

// TestStoreSurvives is the suite with a restart after kill -9 and after a power cut. F209
func TestStoreSurvives(t *testing.T) {
	ways := map[string]func(*faulty.Disk) *faulty.Disk{"kill": (*faulty.Disk).Kill, "power cut": (*faulty.Disk).PowerCut}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) store.Store {
				d := faulty.New(rand.Uint64())
				return onFaulty{openFaulty(t, d), d, way}
			})
		})
	}
}

// story is a client of a store that writes down what it was promised.
type story struct {
	s        *disk.Store
	asked    map[uint64]string // by position of session 1: what may be there
	promised map[uint64]bool   // what has to be
	gone     map[uint64]bool   // what must not be: its Settle was kept
	leaving  map[uint64]bool   // its Settle was asked for
	retained map[string][]string
	kept     map[string]string
	session  bool
}

func newStory(s *disk.Store) *story {
	return &story{
		s: s, asked: map[uint64]string{}, promised: map[uint64]bool{}, gone: map[uint64]bool{}, leaving: map[uint64]bool{},
		retained: map[string][]string{}, kept: map[string]string{},
	}
}

func (st *story) try(records ...store.Record) error {
	done := make(chan error, 1)
	st.s.Commit(&store.Batch{Records: records, Done: func(err error) { done <- err }})
	return <-done
}

// step does the i-th thing.
func (st *story) step(i int) error {
	if !st.session {
		if err := st.try(put(1)); err != nil {
			return err
		}
		st.session = true
	}
	text := fmt.Sprint("message ", i, strings.Repeat(".", i*37%900))
	topic := fmt.Sprint("r/", i%5)
	e := enqueue(message("t", text), 1)
	st.retained[topic] = append(st.retained[topic], text)
	err := st.try(e, store.Record{Op: store.Retain, Message: message(topic, text)})
	seq := e.Targets[0].Seq
	if seq != 0 {
		st.asked[seq] = text
	}
	if err != nil {
		return err
	}
	st.promised[seq] = true
	st.kept[topic], st.retained[topic] = text, nil
	if i%4 == 3 { // three of four leave soon
		var acks []store.Record
		var seqs []uint64
		for seq := range st.promised {
			if seq%4 != 0 && !st.leaving[seq] {
				st.leaving[seq] = true
				seqs = append(seqs, seq)
				acks = append(acks, store.Record{Op: store.Settle, Session: 1, Seq: seq})
			}
		}
		if err := st.try(acks...); err != nil {
			return err
		}
		for _, seq := range seqs {
			st.gone[seq] = true
		}
	}
	return nil
}

// play does the things from from to to, which must all succeed.
func (st *story) play(t testing.TB, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := st.step(i); err != nil {
			t.Fatal(err)
		}
	}
}

// check compares a store that was opened after a crash with the story.
func (st *story) check(t testing.TB, s *disk.Store) {
	t.Helper()
	sessions := 0
	retained := map[string]string{}
	err := s.Load(func(r *store.Recovered) error { sessions++; return nil }, func(m *mqtt.Message) error {
		retained[string(m.Topic)] = string(m.Payload)
		return nil
	})
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	if st.session && sessions != 1 {
		t.Fatalf("%d sessions", sessions)
	}
	found := map[uint64]string{}
	last := uint64(0)
	for _, q := range (onDisk{Store: s}).queue(t, 1) {
		var seq uint64
		rest, text, _ := strings.Cut(q, ":")
		fmt.Sscan(rest, &seq)
		if seq <= last {
			t.Fatalf("position %d after %d", seq, last)
		}
		last, found[seq] = seq, text
	}
	for _, seq := range slices.Sorted(maps.Keys(st.promised)) {
		if _, there := found[seq]; !there && !st.leaving[seq] {
			t.Fatalf("the message at %d was acknowledged and is lost", seq)
		}
	}
	for seq, text := range found {
		if st.gone[seq] {
			t.Fatalf("the message at %d is back", seq)
		}
		if want, ok := st.asked[seq]; ok && text != want {
			t.Fatalf("at %d is %q, not %q", seq, text, want)
		}
	}
	for topic, want := range st.kept {
		if got := retained[topic]; got != want && !slices.Contains(st.retained[topic], got) {
			t.Fatalf("the retained message of %s is %q, not %q", topic, got, want)
		}
	}
}

// TestCutEverywhere cuts the power before every single operation that changes something, through segments, checkpoints and a
// compaction, and once more during the start that follows. F209, F210, F217, F224, F228
func TestCutEverywhere(t *testing.T) {
	t.Parallel()
	const steps = 120
	play := func(d *faulty.Disk, st *story) error {
		for i := range steps {
			if i == steps*2/3 {
				if _, err := st.s.Compact(t.Context(), nil); err != nil {
					return err
				}
			}
			if err := st.step(i); err != nil {
				return err
			}
		}
		return nil
	}
	whole := faulty.New(1)
	st := newStory(openFaulty(t, whole))
	if err := play(whole, st); err != nil {
		t.Fatal(err)
	}
	total := whole.Done(faulty.OpChange)
	st.s.Close()
	stride := max(1, total/400)
	t.Logf("%d operations, a cut every %d", total, stride)
	for n := 1; n <= total; n += stride {
		cut(t, uint64(n), n, play)
	}
}

// cut plays a story until the n-th change and looks at what is left.
func cut(t *testing.T, seed uint64, n int, play func(*faulty.Disk, *story) error) {
	t.Helper()
	d := faulty.New(seed)
	d.Journal(seed%2 == 0)
	var once sync.Once
	var left *faulty.Disk
	d.Slow(faulty.Match{Op: faulty.OpChange, Nth: n}, func() {
		once.Do(func() { left = d.PowerCut() })
	})
	s, err := disk.Open(data, disk.Fsync, tiny(), disk.Options{System: d})
	if err == nil {
		st := newStory(s)
		_ = play(d, st) // it ends in the cut
		s.Close()
		if left == nil {
			left = d.PowerCut()
		}
		// The start is cut off as well, twice, at another place.
		for again := range 2 {
			d = left
			left = nil
			once = sync.Once{}
			d.Slow(faulty.Match{Op: faulty.OpChange, Nth: 1 + (n+again)%11}, func() { once.Do(func() { left = d.PowerCut() }) })
			if s, err := disk.Open(data, disk.Fsync, tiny(), disk.Options{System: d}); err == nil {
				s.Close()
			}
			if left == nil {
				left = d.PowerCut()
			}
		}
		s = openFaulty(t, left)
		st.check(t, s)
		if got := s.Status(); got.Damaged != 0 {
			t.Fatalf("a cut at operation %d is taken for damage: %+v", n, got.Damage)
		}
		s.Close()
		return
	}
	if left == nil {
		t.Fatalf("Open: %v", err)
	}
	openFaulty(t, left).Close()
}

// TestFull: a full disk refuses what grows, takes what frees, and recovers by itself. F212, F213
func TestFull(t *testing.T) {
	d := faulty.New(7)
	s := openFaulty(t, d)
	st := newStory(s)
	st.play(t, 0, 40)
	if err := st.try(store.Record{Op: store.Subscribe, Session: 1, Subscription: store.Subscription{Filter: "known"}}); err != nil {
		t.Fatal(err)
	}
	d.SetFree(0)
	var err error
	i := 40
	for ; err == nil && i < 2000; i++ {
		err = st.step(i)
	}
	if !errors.Is(err, store.ErrFull) || !errors.Is(s.Health(), store.ErrFull) {
		t.Fatalf("after %d steps on a full disk: %v; health %v", i, err, s.Health())
	}
	// Who comes back subscribes again; a new filter is refused.
	if err := st.try(store.Record{Op: store.Subscribe, Session: 1, Subscription: store.Subscription{Filter: "known", Options: 2}}); err != nil {
		t.Fatalf("a known filter on a full disk: %v", err)
	}
	if err := st.try(store.Record{Op: store.Subscribe, Session: 1, Subscription: store.Subscription{Filter: "new"}}); !errors.Is(err, store.ErrFull) {
		t.Fatalf("a new filter on a full disk: %v", err)
	}
	// Acknowledging goes on.
	freed := 0
	for seq := range st.promised {
		if st.leaving[seq] {
			continue
		}
		st.leaving[seq] = true
		if err := st.try(store.Record{Op: store.Settle, Session: 1, Seq: seq}); err != nil {
			t.Fatalf("a Settle on a full disk: %v", err)
		}
		st.gone[seq] = true
		if freed++; freed == 5 {
			break
		}
	}
	// Killed and started while full: everything is there, and it still says why.
	d = d.Kill()
	s.Close()
	s = openFaulty(t, d)
	st.s = s
	st.check(t, s)
	for !errors.Is(s.Health(), store.ErrFull) { // as soon as the next segment could not be had
		runtime.Gosched()
	}
	d.SetFree(1 << 30)
	awaitHealth(t, s)
	for j := range 50 {
		if err := st.step(i + j); err != nil {
			t.Fatalf("after space came back: %v", err)
		}
	}
	d = d.PowerCut()
	s.Close()
	s = openFaulty(t, d)
	st.check(t, s)
	s.Close()
}

// awaitHealth waits until a store takes everything.
func awaitHealth(t *testing.T, s *disk.Store) {
	t.Helper()
	for s.Health() != nil {
		if _, err := s.Compact(t.Context(), nil); err != nil && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, store.ErrFull) && !errors.Is(err, syscall.EIO) {
			t.Fatalf("Compact: %v", err)
		}
	}
}

// TestFailures: a write or a sync that fails once costs nothing that was acknowledged, and the log goes on in a
// new segment.
func TestFailures(t *testing.T) {
	t.Parallel()
	for _, op := range []faulty.Op{faulty.OpWrite, faulty.OpSync, faulty.OpSync | faulty.OpWrite | faulty.OpAllocate | faulty.OpCreate | faulty.OpRename} {
		for nth := 1; nth < 60; nth += 3 {
			d := faulty.New(uint64(nth))
			s := openFaulty(t, d)
			st := newStory(s)
			d.Fail(faulty.Match{Op: op, Nth: nth}, syscall.EIO, 1+nth%3)
			failed := 0
			for i := range 120 {
				if err := st.step(i); err != nil {
					failed++
					awaitHealth(t, s)
				}
			}
			d = d.PowerCut()
			s.Close()
			s = openFaulty(t, d)
			st.check(t, s)
			s.Close()
			if failed > 60 {
				t.Errorf("op %d, %d: %d of 120 steps failed", op, nth, failed)
			}
		}
	}
}

// TestRot: a flipped bit anywhere costs at most what it hit, is told, and keeps nothing from starting. F218
func TestRot(t *testing.T) {
	t.Parallel()
	d := faulty.New(3)
	s := openFaulty(t, d)
	st := newStory(s)
	st.play(t, 0, 150)
	if _, err := s.Compact(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	st.play(t, 150, 190)
	want := (onDisk{Store: s}).queue(t, 1)
	d = d.Kill()
	s.Close()
	r := rand.New(rand.NewPCG(1, 1))
	for _, name := range d.Names() {
		base := filepath.Base(name)
		if !strings.HasSuffix(base, ".seg") && !strings.HasPrefix(base, "checkpoint-") {
			continue
		}
		for range 12 {
			bad := d.Clone()
			size := fileSize(t, bad, name)
			at := r.Int64N(size)
			if err := bad.Flip(name, at, uint(r.IntN(8))); err != nil {
				t.Fatal(err)
			}
			s := openFaulty(t, bad)
			if err := s.Load(func(*store.Recovered) error { return nil }, func(m *mqtt.Message) error {
				if text := string(m.Payload); !strings.HasPrefix(text, "message ") {
					t.Fatalf("%s, bit at %d: a damaged message is delivered: %q", base, at, text)
				}
				return nil
			}); err != nil {
				t.Fatalf("%s, bit at %d: Load: %v", base, at, err)
			}
			got := (onDisk{Store: s}).queue(t, 1)
			lost := 0
			for _, q := range want {
				if !slices.Contains(got, q) {
					lost++
				}
			}
			report, err := s.Check(t.Context(), nil)
			if err != nil {
				t.Fatalf("Check: %v", err)
			}
			// In the very last group it cannot be told from a write that was cut off.
			if lost > 0 && len(report.Damage) == 0 && s.Status().Start.Cut == 0 {
				t.Errorf("%s, bit at %d: %d messages are lost and nobody says so", base, at, lost)
			}
			if lost > 4 { // one record, or one list of acknowledgements; a header costs what follows from it
				t.Errorf("%s, bit at %d: %d messages of %d are lost: %+v", base, at, lost, len(want), report.Damage)
			}
			s.Close()
		}
	}
}

func fileSize(t *testing.T, d *faulty.Disk, name string) int64 {
	f, err := d.Open(name, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// TestMissing: a file that is deleted, emptied or old is told, and what the others hold is there. F220
func TestMissing(t *testing.T) {
	t.Parallel()
	d := faulty.New(4)
	s := openFaulty(t, d)
	st := newStory(s)
	for i := range 150 {
		if err := st.step(i); err != nil {
			t.Fatal(err)
		}
		if i == 60 || i == 90 {
			if _, err := s.Compact(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	d = d.Kill()
	s.Close()
	for _, name := range d.Names() {
		base := filepath.Base(name)
		if !strings.HasSuffix(base, ".seg") && !strings.HasPrefix(base, "checkpoint-") {
			continue
		}
		for how, harm := range map[string]func(*faulty.Disk) error{
			"deleted": func(d *faulty.Disk) error { return d.Remove(name) },
			"emptied": func(d *faulty.Disk) error { return d.Cut(name, 0) },
			"not to be opened": func(d *faulty.Disk) error {
				d.Fail(faulty.Match{Op: faulty.OpOpen, Name: base}, syscall.EIO, 0)
				return nil
			},
			"not to be read": func(d *faulty.Disk) error {
				d.Fail(faulty.Match{Op: faulty.OpRead, Name: base}, syscall.EIO, 0)
				return nil
			},
		} {
			bad := d.Clone()
			if err := harm(bad); err != nil {
				t.Fatal(err)
			}
			s := openFaulty(t, bad)
			if err := s.Load(func(*store.Recovered) error { return nil }, func(*mqtt.Message) error { return nil }); err != nil {
				t.Fatalf("%s %s: Load: %v", base, how, err)
			}
			if strings.HasPrefix(how, "not") { // it starts, and a queue is held up for a while
				s.Close()
				continue
			}
			got := (onDisk{Store: s}).queue(t, 1)
			missing := 0
			for seq := range st.promised {
				if !st.leaving[seq] && !slices.ContainsFunc(got, func(q string) bool { return strings.HasPrefix(q, fmt.Sprint(seq, ":")) }) {
					missing++
				}
			}
			if missing > 0 && s.Status().Damaged == 0 {
				t.Errorf("%s %s: %d messages are missing and nobody says so", base, how, missing)
			}
			s.Close()
		}
	}
}
