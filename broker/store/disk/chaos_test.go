package disk_test

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file/faulty"
)

// TestChaos mixes everything: faults of any kind, a disk that fills up and empties, compaction at any time, cuts at any operation,
// several times in a row on one disk. SAPWOOD_CHAOS is for how many seeds.
func TestChaos(t *testing.T) {
	t.Parallel()
	seeds := 10
	if n, err := strconv.Atoi(os.Getenv("SAPWOOD_CHAOS")); err == nil {
		seeds = n
	}
	for seed := range uint64(seeds) {
		chaos(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func chaos(t *testing.T, seed uint64) {
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	r := rand.New(rand.NewPCG(seed, 1))
	d := faulty.New(seed)
	d.Journal(seed%2 == 0)
	d.FailedSyncDrops(seed%3 != 0)
	ways := []func(*faulty.Disk) *faulty.Disk{(*faulty.Disk).PowerCut, (*faulty.Disk).Kill}
	level := disk.Fsync
	if seed%4 == 3 { // what it promises is less
		level, ways = disk.Process, ways[1:]
		d.FailedSyncDrops(false)
	}
	st := newStory(nil)
	step := 0
	for range 4 {
		s, err := disk.Open(data, level, tiny(), disk.Options{System: d})
		if err != nil {
			t.Fatalf("Open: %v", err)
		}
		if st.s != nil {
			st.check(t, s)
		}
		st.s = s
		var left *faulty.Disk
		way := ways[r.IntN(len(ways))]
		d.Slow(faulty.Match{Op: faulty.OpChange, Nth: 1 + r.IntN(600)}, sync.OnceFunc(func() { left = way(d) }))
		ctx, cancel := context.WithCancel(t.Context())
		var tidying sync.WaitGroup
		tidying.Go(func() {
			for ctx.Err() == nil {
				_, _ = s.Compact(ctx, nil)
			}
		})
		for range 120 {
			switch r.IntN(30) {
			case 0:
				d.Fail(faulty.Match{Op: []faulty.Op{faulty.OpWrite, faulty.OpSync, faulty.OpAllocate, faulty.OpRename, faulty.OpSyncDir, faulty.OpRemove, faulty.OpCreate}[r.IntN(7)], Nth: 1 + r.IntN(5)}, syscall.EIO, 1+r.IntN(3))
			case 1:
				d.SetFree(int64(r.IntN(100 << 10)))
			case 2, 3:
				d.SetFree(1 << 40)
			}
			_ = st.step(step)
			step++
		}
		cancel()
		tidying.Wait()
		if left == nil {
			left = way(d)
		}
		s.Close()
		d = left
		d.SetFree(1 << 40)
	}
	s := openFaulty(t, d)
	st.check(t, s)
	if got := s.Status(); got.Damaged > 0 {
		t.Errorf("taken for damage: %+v", got.Damage)
	}
	s.Close()
}
