package disk

import (
	"math"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/record"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/wal"
)

// maxGroup is how many bytes are written and synced at one go; a batch that is larger makes a larger group.
const maxGroup = 4 << 20

// group is a run of batches that become durable together.
type group struct {
	wal     wal.Group
	batches []outcome
	rels    []uint32 // of the records that hold a message, in their order
	records int
	grows   bool
}

// outcome is a batch with what Commit knows of its end already.
type outcome struct {
	*store.Batch
	err error
}

// Commit implements store.Store. It encodes the batch and returns; the committer writes it.
func (s *Store) Commit(b *store.Batch) { s.take(b, true) }

// take hands a batch over to the committer. give is false when its positions are given already.
func (s *Store) take(b *store.Batch, give bool) {
	err := b.Check()
	grows := err == nil && b.Grows()
	if grows {
		err = s.Health()
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		none(b)
		tell(b, store.ErrClosed)
		return
	}
	if err == nil && !grows && s.index.New(b.Records) {
		grows, err = true, s.Health()
	}
	g := s.filling()
	if err == nil {
		if give {
			s.index.Give(b.Records)
		}
		g.add(b)
		g.grows = g.grows || grows
	} else {
		none(b)
	}
	g.batches = append(g.batches, outcome{b, err})
	s.records += len(b.Records)
	wake := s.records >= s.want || len(s.queue) > 1 || len(b.Records) == 0
	s.mu.Unlock()
	if wake {
		s.rouse()
	}
}

// rouse wakes the committer.
func (s *Store) rouse() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake
	}
}

// none says that a batch that is not kept got no positions.
func none(b *store.Batch) {
	for i := range b.Records {
		for j := range b.Records[i].Targets {
			b.Records[i].Targets[j].Seq = 0
		}
	}
}

func tell(b *store.Batch, err error) {
	if b.Done != nil {
		b.Done(err)
	}
}

// filling is the group that takes the next batch.
func (s *Store) filling() *group {
	if n := len(s.queue); n > 0 && s.queue[n-1].wal.Len() < maxGroup {
		return s.queue[n-1]
	}
	g := new(group)
	if n := len(s.spare); n > 0 {
		g, s.spare = s.spare[n-1], s.spare[:n-1]
	}
	s.queue = append(s.queue, g)
	return g
}

// add encodes a batch whose positions are given.
func (g *group) add(b *store.Batch) {
	for rest := b.Records; len(rest) > 0; {
		g.wal.Begin()
		body, n := record.AppendRun(g.wal.Buf, rest)
		g.wal.Buf = body
		rel := g.wal.End(n == len(rest))
		if holds(&rest[0]) {
			g.rels = append(g.rels, rel)
		}
		rest = rest[n:]
	}
	g.records += len(b.Records)
}

// holds tells whether a record has a body that is read again later.
func holds(r *store.Record) bool { return r.Op == store.Enqueue || r.Op == store.Retain }

// commit is the committer: the one goroutine that writes the log.
func (s *Store) commit() {
	var unsynced <-chan time.Time // durability process: when what was written is to be synced
	for ending := false; !ending; {
		select {
		case <-s.wake:
		case <-unsynced:
		case asked := <-s.syncs:
			asked <- s.sync()
		case <-s.ending.Done():
			ending = true
		}
		for s.waiting() {
			s.gather()
			s.write(s.next())
			s.syncLater(ending)
			select {
			case asked := <-s.syncs: // under steady load the loop has no end
				asked <- s.sync()
			default:
			}
		}
		s.reap()
		unsynced = s.syncLater(ending)
	}
}

// reap lets go of what sessions that ended leave behind, a slice at a time.
func (s *Store) reap() {
	for more := true; more; {
		s.mu.Lock()
		more = s.index.Reap(applyStep) && len(s.queue) == 0
		s.mu.Unlock()
	}
}

// gather waits for company: for as long as the configuration says, or, by itself, for those who were told of the last
// group and are about to come again. Without that two halves of a crowd take turns, each waiting for the sync of the other.
func (s *Store) gather() {
	want, patience := math.MaxInt, s.cfg.CommitInterval
	switch since := s.commits.unsynced.Load(); {
	case patience == 0:
		if want, patience = s.crowd.awaited(); patience == 0 {
			return
		}
	case since != 0: // what is written already is to be synced in time
		patience = min(patience, s.cfg.SyncInterval-time.Since(time.Unix(0, since)))
	}
	if !s.wakeAt(want) {
		enough := time.NewTimer(patience)
		defer enough.Stop()
		for waiting := true; waiting; {
			select {
			case <-s.wake:
				waiting = !s.wakeAt(want)
			case <-enough.C:
				waiting = false
				s.crowd.vain()
			case <-s.ending.Done():
				waiting = false
			}
		}
	}
	s.wakeAt(1)
}

// wakeAt has the committer woken when so many records wait or a group is full, and tells whether that is so already.
func (s *Store) wakeAt(records int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want = records
	return s.records >= records || len(s.queue) > 1
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

// vain notes that too few came: it is tried less and less often while those who come are others each time.
func (c *crowd) vain() {
	c.vains = min(c.vains+1, 6)
	c.skip = 1<<c.vains - 2
}

// wrote learns from a group that was written while others came.
func (c *crowd) wrote(records, came int, took time.Duration) {
	if records >= c.size-c.size/8 {
		c.vains = 0
	}
	c.size = records + came
	if took < c.took || c.took == 0 {
		c.took -= (c.took - took) / 4
	} else {
		c.took += c.took/16 + time.Microsecond
	}
}

// syncLater has what was written synced when its time has come, and tells when that will be.
func (s *Store) syncLater(now bool) <-chan time.Time {
	since := s.commits.unsynced.Load()
	if since == 0 {
		return nil
	}
	if left := s.cfg.SyncInterval - time.Since(time.Unix(0, since)); left > 0 && !now {
		return time.After(left)
	}
	if err := s.sync(); err != nil {
		s.log.Error("what was written lately may not survive a power cut: the disk failed to sync it", "error", err)
	}
	return nil
}

func (s *Store) sync() error {
	s.commits.unsynced.Store(0)
	return s.wal.Sync()
}

// syncNow has the committer sync everything, and waits for it.
func (s *Store) syncNow() error {
	done := make(chan error, 1)
	select {
	case s.syncs <- done:
		return <-done
	case <-s.ending.Done():
		return store.ErrClosed
	}
}

// waiting tells whether there is something to write, or somebody to be told.
func (s *Store) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) > 0
}

// next takes the oldest group; there is one.
func (s *Store) next() *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.queue[0]
	for _, b := range g.batches {
		s.records -= len(b.Records)
	}
	copy(s.queue, s.queue[1:])
	s.queue[len(s.queue)-1] = nil
	s.queue = s.queue[:len(s.queue)-1]
	return g
}

// write makes a group durable, applies it and tells its batches.
func (s *Store) write(g *group) {
	if g.wal.Len() == 0 { // refused batches, or empty ones
		s.tell(g, nil)
		return
	}
	began := time.Now()
	base, err := s.wal.Append(&g.wal, g.grows, s.level == Fsync)
	if err != nil {
		s.fail(g, err)
		return
	}
	if s.level == Process {
		s.commits.unsynced.CompareAndSwap(0, began.UnixNano())
	}
	took := time.Since(began)
	s.commits.wrote(g, took)
	s.mu.Lock()
	came := s.records
	s.mu.Unlock()
	s.crowd.wrote(g.records, came, took)
	s.apply(g, base, s.wal.End())
	s.tell(g, nil)
}

// applyStep is after how many records others may have the lock.
const applyStep = 1024

// apply brings the index to what is durable now.
func (s *Store) apply(g *group, base, end wal.Pos) {
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
func (s *Store) fail(g *group, err error) {
	s.mu.Lock()
	failed := append([]*group{g}, s.queue...)
	s.queue, s.records = nil, 0
	for _, g := range failed {
		for _, b := range g.batches {
			if b.err == nil {
				s.index.TakeBack(b.Records)
			}
		}
	}
	s.mu.Unlock()
	for _, g := range failed {
		s.tell(g, err)
	}
}

// tell tells every batch of a group its outcome, and keeps the group's memory for the next.
func (s *Store) tell(g *group, err error) {
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
	if len(s.spare) < 2 {
		s.spare = append(s.spare, g)
	}
}
