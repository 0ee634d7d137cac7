package disk

import (
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
	g := s.committer.filling()
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
	s.committer.records += len(b.Records)
	wake := s.committer.records >= s.committer.want || len(s.committer.queue) > 1 || len(b.Records) == 0
	s.mu.Unlock()
	if wake {
		s.committer.rouse()
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
