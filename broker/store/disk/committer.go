package disk

import (
	"math"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/wal"
)

// committer is the one goroutine that writes the log, and the groups on their way to it. The groups and counts are
// guarded by the store's mu, the rest belongs to the goroutine.
type committer struct {
	store *Store
	wake  chan struct{}   // capacity 1: there is something to do
	syncs chan chan error // somebody wants everything synced
	crowd crowd

	queue   []*group // to be written; the last one still takes batches
	spare   []*group
	records int // in queue
	want    int // it is woken when so many are
}

// rouse wakes the committer.
func (c *committer) rouse() {
	select {
	case c.wake <- struct{}{}:
	default: // it is awake
	}
}

// filling is the group that takes the next batch.
func (c *committer) filling() *group {
	if n := len(c.queue); n > 0 && c.queue[n-1].wal.Len() < maxGroup {
		return c.queue[n-1]
	}
	g := new(group)
	if n := len(c.spare); n > 0 {
		g, c.spare = c.spare[n-1], c.spare[:n-1]
	}
	c.queue = append(c.queue, g)
	return g
}

// run is the goroutine.
func (c *committer) run() {
	s := c.store
	var unsynced <-chan time.Time // durability process: when what was written is to be synced
	for ending := false; !ending; {
		select {
		case <-c.wake:
		case <-unsynced:
		case asked := <-c.syncs:
			asked <- c.sync()
		case <-s.ending.Done():
			ending = true
		}
		for c.waiting() {
			c.gather()
			c.write(c.next())
			c.syncLater(ending)
			select {
			case asked := <-c.syncs: // under steady load the loop has no end
				asked <- c.sync()
			default:
			}
		}
		c.reap()
		unsynced = c.syncLater(ending)
	}
}

// reap lets go of what sessions that ended leave behind, a slice at a time.
func (c *committer) reap() {
	s := c.store
	for more := true; more; {
		s.mu.Lock()
		more = s.index.Reap(applyStep) && len(c.queue) == 0
		s.mu.Unlock()
	}
}

// gather waits for company: for as long as the configuration says, or, by itself, for those who were told of the last
// group and are about to come again. Without that two halves of a crowd take turns, each waiting for the sync of the other.
func (c *committer) gather() {
	s := c.store
	want, patience := math.MaxInt, s.cfg.CommitInterval
	switch since := s.commits.unsynced.Load(); {
	case patience == 0:
		if want, patience = c.crowd.awaited(); patience == 0 {
			return
		}
	case since != 0: // what is written already is to be synced in time
		patience = min(patience, s.cfg.SyncInterval-time.Since(time.Unix(0, since)))
	}
	if !c.wakeAt(want) {
		began := time.Now()
		enough := time.NewTimer(patience)
		defer enough.Stop()
		for waiting := true; waiting; {
			select {
			case <-c.wake:
				waiting = !c.wakeAt(want)
			case <-enough.C:
				waiting = false
			case <-s.ending.Done():
				waiting = false
			}
		}
		c.crowd.waited(time.Since(began) <= patience)
	}
	c.wakeAt(1)
}

// wakeAt has the committer woken when so many records wait or a group is full, and tells whether that is so already.
func (c *committer) wakeAt(records int) bool {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	c.want = records
	return c.records >= records || len(c.queue) > 1
}

// crowd is how many records come at a time, as far as that is known. It belongs to the committer.
type crowd struct {
	size  int           // of the last group, and of what came while it was written
	took  time.Duration // by a write and a sync when nothing is in their way: about the lower fifth of the last ones
	skip  int           // so many groups go without waiting
	vains int           // times in a row that waiting was in vain
}

// awaited is how many records to wait for, and for how long at most: half a sync. 0 is not at all. Waiting pays where the
// crowd is back before a sync would be over; where it takes longer, its work and the sync had better overlap.
func (c *crowd) awaited() (records int, patience time.Duration) {
	if c.skip > 0 {
		c.skip--
		return 0, 0
	}
	return c.size - c.size/8, c.took / 2
}

// waited notes whether all came in time: that is not judged by the timer, which may be a millisecond late. Where it is in vain
// it is tried less and less often.
func (c *crowd) waited(inTime bool) {
	if inTime {
		c.vains = 0
		return
	}
	c.vains = min(c.vains+1, 6)
	c.skip = 1<<c.vains - 2
}

// wrote learns from a group that was written while others came.
func (c *crowd) wrote(records, came int, took time.Duration) {
	c.size = records + came
	if took < c.took || c.took == 0 {
		c.took -= (c.took - took) / 4
	} else {
		c.took += c.took/16 + time.Microsecond
	}
}

// syncLater has what was written synced when its time has come, and tells when that will be.
func (c *committer) syncLater(now bool) <-chan time.Time {
	s := c.store
	since := s.commits.unsynced.Load()
	if since == 0 {
		return nil
	}
	if left := s.cfg.SyncInterval - time.Since(time.Unix(0, since)); left > 0 && !now {
		return time.After(left)
	}
	if err := c.sync(); err != nil {
		s.log.Error("what was written lately may not survive a power cut: the disk failed to sync it", "error", err)
	}
	return nil
}

func (c *committer) sync() error {
	s := c.store
	s.commits.unsynced.Store(0)
	return s.wal.Sync()
}

// syncNow has the committer sync everything, and waits for it.
func (c *committer) syncNow() error {
	s := c.store
	done := make(chan error, 1)
	select {
	case c.syncs <- done:
		return <-done
	case <-s.ending.Done():
		return store.ErrClosed
	}
}

// waiting tells whether there is something to write, or somebody to be told.
func (c *committer) waiting() bool {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(c.queue) > 0
}

// next takes the oldest group; there is one.
func (c *committer) next() *group {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	g := c.queue[0]
	for _, b := range g.batches {
		c.records -= len(b.Records)
	}
	copy(c.queue, c.queue[1:])
	c.queue[len(c.queue)-1] = nil
	c.queue = c.queue[:len(c.queue)-1]
	return g
}

// write makes a group durable, applies it and tells its batches.
func (c *committer) write(g *group) {
	s := c.store
	if g.wal.Len() == 0 { // refused batches, or empty ones
		c.tell(g, nil)
		return
	}
	began := time.Now()
	base, err := s.wal.Append(&g.wal, g.grows, s.level == Fsync)
	if err != nil {
		c.fail(g, err)
		return
	}
	if s.level == Process {
		s.commits.unsynced.CompareAndSwap(0, began.UnixNano())
	}
	took := time.Since(began)
	s.commits.wrote(g, took)
	s.mu.Lock()
	came := c.records
	s.mu.Unlock()
	c.crowd.wrote(g.records, came, took)
	c.apply(g, base, s.wal.End())
	c.tell(g, nil)
}

// applyStep is after how many records others may have the lock.
const applyStep = 1024

// apply brings the index to what is durable now.
func (c *committer) apply(g *group, base, end wal.Pos) {
	s := c.store
	s.applying.Lock()
	defer s.applying.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	rels, done := g.rels, 0
	for _, b := range g.batches {
		if b.err != nil {
			continue
		}
		for i := range b.Records {
			r := &b.Records[i]
			var at wal.Pos
			if holds(r) {
				at = wal.Pos{Segment: base.Segment, Offset: base.Offset + rels[0]}
				rels = rels[1:]
			}
			s.index.Apply(r, at)
		}
		if done += len(b.Records); done > applyStep {
			done = 0
			s.mu.Unlock()
			s.mu.Lock()
		}
	}
	s.index.Reap(applyStep)
	s.applied = end
}

// fail ends a group that could not be written, and with it all that was handed over since: its positions and its
// sessions build on this one.
func (c *committer) fail(g *group, err error) {
	s := c.store
	s.mu.Lock()
	failed := append([]*group{g}, c.queue...)
	c.queue, c.records = nil, 0
	for _, g := range failed {
		for _, b := range g.batches {
			if b.err == nil {
				s.index.TakeBack(b.Records)
			}
		}
	}
	s.mu.Unlock()
	for _, g := range failed {
		c.tell(g, err)
	}
}

// tell tells every batch of a group its outcome, and keeps the group's memory for the next.
func (c *committer) tell(g *group, err error) {
	s := c.store
	for _, b := range g.batches {
		switch {
		case b.err != nil:
			tell(b.Batch, b.err)
		default:
			tell(b.Batch, err)
		}
	}
	if err != nil {
		s.commits.failed.Add(uint64(len(g.batches)))
	}
	clear(g.batches)
	g.batches, g.rels, g.records, g.grows = g.batches[:0], g.rels[:0], 0, false
	if cap(g.wal.Buf) > 2*maxGroup {
		return
	}
	g.wal.Reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(c.spare) < 2 {
		c.spare = append(c.spare, g)
	}
}
