package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file/faulty"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// TestIdle: a store that nothing happens to is soon left in peace, whatever is in it: no checkpoint and no compaction
// is done again and again. F226
func TestIdle(t *testing.T) {
	fill := map[string]func(t *testing.T, s onDisk){
		"small messages for many": func(t *testing.T, s onDisk) {
			var ids []store.SessionID
			for id := range store.SessionID(1000) {
				ids = append(ids, id+1)
				s.commit(t, put(id+1))
			}
			for range 100 {
				s.commit(t, enqueue(message("t", "x"), ids...))
			}
		},
		"small messages for one": func(t *testing.T, s onDisk) {
			s.commit(t, put(1))
			for range 4000 {
				s.commit(t, enqueue(message("t", "x"), 1))
			}
		},
		"two of three settled": func(t *testing.T, s onDisk) {
			s.commit(t, put(1))
			for i := range 2000 {
				r := enqueue(message("t", strings.Repeat("x", i%997)), 1)
				s.commit(t, r)
				if i%3 > 0 {
					s.commit(t, store.Record{Op: store.Settle, Session: 1, Seq: r.Targets[0].Seq})
				}
			}
		},
	}
	for name, fill := range fill {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := faulty.New(1)
				for range 2 { // the second time it has been opened only
					s := openFaulty(t, d)
					if s.Stats().Sessions == 0 {
						fill(t, onDisk{Store: s})
					}
					time.Sleep(10 * time.Minute)
					before := d.Done(faulty.OpChange)
					time.Sleep(time.Hour)
					if n := d.Done(faulty.OpChange) - before; n > 0 {
						t.Errorf("%d operations in an idle hour", n)
					}
					st := s.Status()
					used := int64(0)
					for _, g := range st.Segments {
						used += g.Bytes
					}
					t.Logf("%d bytes in segments, %d live, %d segments", used, st.Live, len(st.Segments))
					d = d.Kill()
					s.Close()
				}
			})
		})
	}
}

// TestKillCycles: what a process leaves that is killed after a few seconds is given back by those after it. F226
func TestKillCycles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := faulty.New(1)
		var most int64
		for i := range 60 {
			s := onDisk{Store: openFaulty(t, d)}
			if i == 0 {
				s.commit(t, put(1))
			}
			for j := range 10 {
				r := enqueue(message("t", fmt.Sprint(i)), 1)
				s.commit(t, r)
				if j > 0 { // one stays
					s.commit(t, store.Record{Op: store.Settle, Session: 1, Seq: r.Targets[0].Seq})
				}
			}
			time.Sleep(3 * time.Second)
			size := s.Status().Bytes
			if i < 20 {
				most = max(most, size)
			} else if size > 2*most {
				t.Errorf("after %d cycles it has %d bytes, in the first 20 it had %d at most", i, size, most)
			}
			d = d.Kill()
			s.Close()
			if t.Failed() {
				return
			}
		}
		s := onDisk{Store: openFaulty(t, d)}
		defer s.Close()
		if n := len(s.queue(t, 1)); n != 60 {
			t.Fatalf("%d messages of 60", n)
		}
	})
}

// TestFullDrains: on a disk that stays full what waits can be acknowledged to its end, in any order: the log that the
// acknowledgements take is given back, and so is the room of what they freed. F212, F213, F226
func TestFullDrains(t *testing.T) {
	for _, limit := range []bool{false, true} {
		t.Run(fmt.Sprint("limit ", limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { fullDrains(t, limit) })
		})
	}
}

func fullDrains(t *testing.T, limit bool) {
	d := faulty.New(1)
	cfg := tiny()
	if limit {
		cfg.MaxBytes = 4 << 20
	} else {
		d.SetFree(4 << 20)
	}
	fs, err := disk.Open(data, disk.Fsync, cfg, disk.Options{System: d})
	if err != nil {
		t.Fatal(err)
	}
	s := onDisk{Store: fs}
	defer s.Close()
	s.commit(t, put(1))
	var seqs []uint64
	for {
		<-time.After(time.Millisecond) // in a bubble: no real time
		r := enqueue(message("t", strings.Repeat("x", 200)), 1)
		if err := s.try(r); err != nil {
			if !errors.Is(err, store.ErrFull) {
				t.Fatal(err)
			}
			break
		}
		seqs = append(seqs, r.Targets[0].Seq)
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(seqs), func(i, j int) { seqs[i], seqs[j] = seqs[j], seqs[i] })
	taken := -1
	for i, seq := range seqs {
		var err error
		for tries := 0; ; tries++ {
			if err = s.try(store.Record{Op: store.Settle, Session: 1, Seq: seq}); err == nil {
				break
			}
			if tries == 100 {
				t.Fatalf("message %d of %d cannot be acknowledged: %v", i, len(seqs), err)
			}
			<-time.After(time.Second) // in a bubble: no real time
		}
		if s.Health() == nil && taken < 0 {
			taken = i
		}
	}
	<-time.After(10 * time.Second) // in a bubble: no real time
	if err := s.Health(); err != nil {
		t.Fatalf("all is acknowledged, and health is %v", err)
	}
	t.Logf("%d messages; growth was taken again after %d", len(seqs), taken)
}

// TestDropSynced: with durability process a segment is given back only when what let go of its last message has been synced:
// after a power cut nothing is missing that somebody still names.
func TestDropSynced(t *testing.T) {
	for seed := range uint64(20) {
		d := faulty.New(seed)
		cfg := tiny()
		cfg.SyncInterval = time.Minute
		fs, err := disk.Open(data, disk.Process, cfg, disk.Options{System: d})
		if err != nil {
			t.Fatal(err)
		}
		s := onDisk{Store: fs}
		s.commit(t, put(1))
		for i := range 200 {
			s.commit(t, enqueue(message("t", fmt.Sprint(i, strings.Repeat("x", 500))), 1))
		}
		n := 0
		d.Slow(faulty.Match{Op: faulty.OpRename, Name: "part-checkpoint"}, func() {
			if n++; n != 3 { // the last that Compact writes
				return
			}
			for seq := uint64(1); seq <= 150; seq++ {
				s.commit(t, store.Record{Op: store.Settle, Session: 1, Seq: seq})
			}
		})
		if _, err := s.Compact(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		for d.Done(faulty.OpRename) < 40 && len(s.Status().Segments) > 8 { // files go a moment later
			runtime.Gosched()
		}
		d = d.PowerCut()
		s.Close()
		after, err := disk.Open(data, disk.Process, cfg, disk.Options{System: d})
		if err != nil {
			t.Fatal(err)
		}
		if st := after.Status(); st.Damaged > 0 {
			t.Fatalf("seed %d: %+v", seed, st.Damage)
		}
		after.Close()
	}
}

// TestCheckpointUnderLoad: with durability process a checkpoint gets its sync though there is always something to write.
func TestCheckpointUnderLoad(t *testing.T) {
	d := faulty.New(1)
	s, err := disk.Open(data, disk.Process, tiny(), disk.Options{System: d})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	(onDisk{Store: s}).commit(t, put(1))
	var ended atomic.Bool
	var done sync.WaitGroup
	for range 2 { // while one is written the other waits
		done.Add(1)
		b := &store.Batch{Records: []store.Record{{Op: store.Settle, Session: 1, Seq: 1}}}
		b.Done = func(error) {
			if ended.Load() {
				done.Done()
				return
			}
			s.Commit(b)
		}
		s.Commit(b)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	compacted := make(chan error, 1)
	go func() {
		_, err := s.Compact(ctx, nil)
		compacted <- err
	}()
	select {
	case err = <-compacted:
	case <-ctx.Done():
		err = ctx.Err()
	}
	ended.Store(true)
	done.Wait()
	if err != nil {
		t.Fatalf("Compact: %v", err)
	}
}

// TestStaleCheckpoints: checkpoints that could not be read at one start do not count at a later one, when they can.
func TestStaleCheckpoints(t *testing.T) {
	d := faulty.New(1)
	s := openFaulty(t, d)
	st := newStory(s)
	st.play(t, 0, 1)
	for range 2 { // there is nothing behind the log yet
		if _, err := s.Compact(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	d = d.Kill()
	s.Close()
	stop := d.Fail(faulty.Match{Op: faulty.OpRead, Name: "checkpoint-*"}, syscall.EIO, 0)
	s = openFaulty(t, d)
	st.s = s
	stop()
	(onDisk{Store: s}).try(put(1)) // had it been lost
	st.play(t, 1, 300)
	if _, err := s.Compact(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for slices.Contains(d.Names(), filepath.Join(data, "store", "00000009.seg")) { // what is given back goes a moment later
		runtime.Gosched()
	}
	d = d.Kill()
	s.Close()
	s = openFaulty(t, d)
	defer s.Close()
	st.check(t, s)
	if got := s.Status(); got.Damaged > 0 {
		t.Errorf("damage: %+v", got.Damage)
	}
}

// TestOlderCheckpoint: when the newest checkpoint is damaged, the one before it and the log behind that have everything, whatever was
// moved and given back.
func TestOlderCheckpoint(t *testing.T) {
	t.Parallel()
	d := faulty.New(1)
	s := openFaulty(t, d)
	st := newStory(s)
	for i := range 600 {
		if err := st.step(i); err != nil {
			t.Fatal(err)
		}
		if i%37 != 36 {
			continue
		}
		if _, err := s.Compact(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		bad := d.Clone()
		newest := ""
		for _, name := range bad.Names() {
			if strings.Contains(name, "/checkpoint-") {
				newest = max(newest, name)
			}
		}
		if err := bad.Flip(newest, fileSize(t, bad, newest)/2, 3); err != nil {
			t.Fatal(err)
		}
		after := openFaulty(t, bad)
		st.check(t, after)
		if got := after.Status(); got.Damaged != 1 {
			t.Fatalf("step %d: %+v", i, got.Damage)
		}
		if _, err := after.Compact(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		bad = bad.Kill()
		after.Close()
		after = openFaulty(t, bad)
		st.check(t, after)
		if got := after.Status(); got.Damaged != 0 {
			t.Fatalf("step %d, healed: %+v", i, got.Damage)
		}
		after.Close()
	}
	s.Close()
}

// TestBadSector: a part of the disk that cannot be read costs what lies there, is told, and keeps nothing from starting.
func TestBadSector(t *testing.T) {
	d := faulty.New(1)
	s := openFaulty(t, d)
	st := newStory(s)
	st.play(t, 0, 100)
	d = d.Kill()
	s.Close()
	s = openFaulty(t, d)
	stop := d.Fail(faulty.Match{Op: faulty.OpRead, Name: "*.seg"}, syscall.EIO, 2)
	n := 0
	err := s.Load(func(*store.Recovered) error { return nil }, func(*mqtt.Message) error { n++; return nil })
	if err != nil || n == 0 || n == 5 {
		t.Fatalf("%d retained messages of 5, %v", n, err)
	}
	if st := s.Status(); st.Damaged != 5-n || st.Health != "ok" {
		t.Fatalf("health %s, damage %+v", st.Health, st.Damage)
	}
	stop()
	d = d.Kill()
	s.Close()
	s = openFaulty(t, d) // it was passing trouble
	defer s.Close()
	st.check(t, s)
}

// TestUnreadable: what the disk fails to read is tried again, and holds up a queue for a while but not for ever.
func TestUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := faulty.New(1)
		s := onDisk{Store: openFaulty(t, d)}
		defer s.Close()
		s.commit(t, put(1))
		for i := range 100 {
			s.commit(t, enqueue(message("t", fmt.Sprint(i, strings.Repeat("x", 800))), 1))
		}
		read := func() (n int, err error) {
			for from := uint64(1); from <= 100; {
				var items []store.Queued
				items, from, err = s.Read(1, from, 100, make([]store.Queued, 0, 10), 1<<20)
				n += len(items)
				if err != nil {
					return n, err
				}
			}
			return n, nil
		}
		stop := d.Fail(faulty.Match{Op: faulty.OpRead, Name: "00000002.seg"}, syscall.EIO, 0)
		if n, err := read(); err == nil || n == 0 || n == 100 {
			t.Fatalf("%d read, %v", n, err)
		}
		stop()
		time.Sleep(2 * time.Minute)
		if n, err := read(); err != nil || n != 100 {
			t.Fatalf("after the trouble passed: %d read, %v", n, err)
		}
		d.Fail(faulty.Match{Op: faulty.OpRead, Name: "00000002.seg"}, syscall.EIO, 0)
		if _, err := read(); err == nil {
			t.Fatal("no error")
		}
		time.Sleep(2 * time.Minute)
		n, err := read()
		if st := s.Status(); err != nil || n < 50 || n == 100 || st.Damaged != 100-n {
			t.Fatalf("with a bad segment %d are read, %v; damage %d", n, err, st.Damaged)
		}
	})
}

// TestStartFails: an operation that fails once during a start, whichever, costs nothing that was acknowledged: neither when
// the store opens all the same, nor when it is opened again.
func TestStartFails(t *testing.T) {
	t.Parallel()
	d := faulty.New(1)
	s := openFaulty(t, d)
	st := newStory(s)
	for i := range 200 {
		if err := st.step(i); err != nil {
			t.Fatal(err)
		}
		if i == 100 {
			if _, err := s.Compact(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	d = d.PowerCut()
	s.Close()
	whole := d.Clone()
	openFaulty(t, whole).Close()
	total := whole.Done(^faulty.Op(0))
	refused := 0
	for n := 1; n <= total; n++ {
		d := d.Clone()
		d.Fail(faulty.Match{Nth: n}, syscall.EIO, 1)
		s, err := disk.Open(data, disk.Fsync, tiny(), disk.Options{System: d})
		if err != nil {
			refused++
		} else {
			st.check(t, s)
			_, err := s.Compact(t.Context(), nil)
			if err != nil { // it may be what fails
				_, err = s.Compact(t.Context(), nil)
			}
			if err != nil {
				t.Fatalf("operation %d failed: Compact: %v", n, err)
			}
			s.Close()
		}
		s = openFaulty(t, d.PowerCut())
		st.check(t, s)
		s.Close()
		if t.Failed() {
			t.Fatalf("operation %d failed", n)
		}
	}
	t.Logf("%d operations, of which %d kept the store from opening", total, refused)
}

// TestStrangers: files with the names of segments and checkpoints that are none, and with numbers that leave none behind them,
// cost nothing.
func TestStrangers(t *testing.T) {
	d := faulty.New(1)
	s := openFaulty(t, d)
	st := newStory(s)
	st.play(t, 0, 50)
	s.Close()
	strangers := []string{"4294967295.seg", "checkpoint-4294967295", "spare-7", "99999999999.seg", "checkpoint-x", "notes.txt"}
	for _, name := range strangers {
		f, err := d.Create(filepath.Join(data, "store", name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(bytes.Repeat([]byte("stranger"), 5000), 0); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	s = openFaulty(t, d)
	st.check(t, s)
	if err := st.s.Health(); err != nil && !strings.Contains(err.Error(), "move it away") {
		t.Fatal(err)
	}
	s.Close()
	if err := d.Remove(filepath.Join(data, "store", strangers[0])); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		st.s = openFaulty(t, d)
		st.play(t, 50, 150)
		if _, err := st.s.Compact(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		d = d.Kill()
		st.s.Close()
		s = openFaulty(t, d)
		st.check(t, s)
		s.Close()
	}
}

// TestRestoreCut: a restore that was killed at any time, or lost its power, leaves no store but can be run again.
func TestRestoreCut(t *testing.T) {
	t.Parallel()
	s := openFaulty(t, faulty.New(1))
	st := newStory(s)
	st.play(t, 0, 100)
	var backup bytes.Buffer
	if err := s.Backup(t.Context(), &backup, nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	restore := func(d *faulty.Disk) error {
		return disk.Restore(t.Context(), bytes.NewReader(backup.Bytes()), data, d, nil)
	}
	whole := faulty.New(1)
	if err := restore(whole); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= whole.Done(faulty.OpChange); n++ {
		for _, way := range []func(*faulty.Disk) *faulty.Disk{(*faulty.Disk).PowerCut, (*faulty.Disk).Kill} {
			d := faulty.New(uint64(n))
			var left *faulty.Disk
			d.Slow(faulty.Match{Op: faulty.OpChange, Nth: n}, sync.OnceFunc(func() { left = way(d) }))
			_ = restore(d)
			if left == nil {
				t.Fatalf("operation %d never came", n)
			}
			if again := left.Clone(); true {
				s, err := disk.Open(data, disk.Fsync, tiny(), disk.Options{System: again})
				if err == nil {
					if got := s.Stats(); got.Sessions == 1 {
						st.check(t, s) // it was complete
					} else if got.Messages > 0 || s.Status().Damaged > 0 {
						t.Fatalf("a cut at %d: half a store is taken for one: %+v", n, got)
					}
					complete := s.Stats().Sessions == 1
					s.Close()
					if complete {
						continue
					}
				} else if !strings.Contains(err.Error(), "run it again") {
					t.Fatalf("a cut at %d: %v", n, err)
				}
			}
			if err := restore(left); err != nil {
				t.Fatalf("a cut at %d: the second restore: %v", n, err)
			}
			s := openFaulty(t, left)
			st.check(t, s)
			s.Close()
		}
	}
}

// TestColdFails: a compaction that the disk fails once is done later, with nothing lost.
func TestColdFails(t *testing.T) {
	t.Parallel()
	for _, op := range []faulty.Op{faulty.OpWrite, faulty.OpSync, faulty.OpAllocate, faulty.OpCreate, faulty.OpRename, faulty.OpRead, faulty.OpOpen, faulty.OpSyncDir, faulty.OpRemove} {
		for nth := 1; nth < 8; nth++ {
			d := faulty.New(uint64(nth))
			s := openFaulty(t, d)
			st := newStory(s)
			st.play(t, 0, 200)
			d.Fail(faulty.Match{Op: op, Nth: nth}, syscall.EIO, 20)
			var err error
			for range 40 {
				if _, err = s.Compact(t.Context(), nil); err == nil {
					break
				}
			}
			if err != nil {
				t.Errorf("op %d, %d: it still fails: %v", op, nth, err)
			}
			if st := s.Status(); st.Damaged != 0 {
				t.Errorf("op %d, %d: taken for damage: %+v", op, nth, st.Damage)
			}
			d = d.PowerCut()
			s.Close()
			s = openFaulty(t, d)
			st.check(t, s)
			s.Close()
		}
	}
}
