package disk

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/record"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/wal"
)

// moveStep is how many bytes of survivors are copied before they are synced and change places.
const moveStep = 1 << 20

// compact moves the survivors of segments of which less than half is alive into a cold segment. The places of
// the originals stay valid for the checkpoints that name them.
func (u *upkeep) compact(ctx context.Context, progress func(done, total int64)) error {
	segments := u.sparse()
	for i, g := range segments {
		if progress != nil {
			progress(int64(i), int64(len(segments)))
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		err := u.evacuate(ctx, g)
		if errors.Is(err, syscall.ENOSPC) {
			if u.releaseReserve() {
				err = u.evacuate(ctx, g)
			}
			if err == nil || errors.Is(err, syscall.ENOSPC) {
				return nil // the rest of the reserve is for the checkpoint, which gives back what it can
			}
		}
		if err != nil {
			return err
		}
	}
	if progress != nil {
		progress(int64(len(segments)), int64(len(segments)))
	}
	return nil
}

// sparse lists the segments that are worth leaving, those with the fewest survivors first. What the newest checkpoint
// does not cover stays where it is: applying the log again would put it there.
func (u *upkeep) sparse() []wal.Segment {
	s := u.store
	if len(u.kept) == 0 {
		return nil
	}
	var list []wal.Segment
	share := map[uint32]float64{}
	for _, g := range s.wal.Segments() {
		if !g.Cold && g.Number >= u.kept[0].from.Segment || u.cold != nil && g.Number == u.cold.Number() || g.End == 0 {
			continue
		}
		if live := u.live(g.Number); u.leavable(g, live) {
			share[g.Number] = float64(live) / float64(g.Size)
			list = append(list, g)
		}
	}
	slices.SortFunc(list, func(a, b wal.Segment) int { return cmp.Compare(share[a.Number], share[b.Number]) })
	return list
}

// leavable tells whether less than half of a segment is alive. What is alive is known about only: survivors that were put together
// are left in peace until half of them are gone, whatever that says.
func (u *upkeep) leavable(g wal.Segment, live int64) bool {
	full := g.Size
	if packed, ok := u.packed[g.Number]; ok {
		if packed == 0 {
			packed = live
			u.packed[g.Number] = live
		}
		full = min(full, packed)
	}
	return live > 0 && 2*live < full
}

// mover copies survivors, a step at a time.
type mover struct {
	s      *Store
	bodies []byte
	places []moved
	rec    store.Record
}

// moved is one copied record: its body ends at end of mover.bodies.
type moved struct {
	from, to wal.Pos
	end      int
}

// evacuate moves what is alive in a segment.
func (u *upkeep) evacuate(ctx context.Context, g wal.Segment) error {
	s := u.store
	m := mover{s: s}
	damage, err := s.wal.Scan(g.Number, func(r wal.Record) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		return m.look(r)
	})
	if err == nil {
		err = m.change()
	}
	if err != nil && ctx.Err() == nil {
		err = errors.Join(err, u.seal()) // it says the same
	}
	if err != nil {
		return err
	}
	if len(damage) > 0 && u.passing(g.Number) {
		return nil
	}
	if len(damage) > 0 { // what is still alive there cannot be read
		for _, d := range damage {
			s.damage.add(s.log, found(d))
		}
		s.mu.Lock()
		s.index.Forget(g.Number)
		s.mu.Unlock()
	}
	u.moved[g.Number] = u.number + 1
	return nil
}

// passing tells whether a part of a segment that cannot be read is to be tried again later.
func (u *upkeep) passing(number uint32) bool {
	since, ok := u.torn[number]
	if !ok {
		u.torn[number] = time.Now()
	}
	return !ok || time.Since(since) < tidyEvery
}

// look copies one record if somebody needs it.
func (m *mover) look(r wal.Record) error {
	if !record.IsBody(r.Body) {
		return nil
	}
	if record.Decode(r.Body, &m.rec) != nil {
		return nil // the start said so when it left it out
	}
	m.s.mu.Lock()
	alive := m.s.index.Holds(&m.rec, r.At)
	if alive {
		m.s.index.Trim(&m.rec, r.At)
	}
	m.s.mu.Unlock()
	if !alive {
		return nil
	}
	begin := len(m.bodies)
	m.bodies = record.Append(m.bodies, &m.rec)
	to, err := m.s.upkeep.settle(m.bodies[begin:])
	if err != nil {
		return err
	}
	m.places = append(m.places, moved{r.At, to, len(m.bodies)})
	if len(m.bodies) >= moveStep {
		return m.change()
	}
	return nil
}

// change makes the copies the ones that are read, once they are durable.
func (m *mover) change() error {
	if len(m.places) == 0 {
		return nil
	}
	if err := m.s.upkeep.cold.Sync(); err != nil {
		return err
	}
	m.s.mu.Lock()
	begin := 0
	for _, p := range m.places {
		if err := record.Decode(m.bodies[begin:p.end], &m.rec); err != nil {
			m.s.mu.Unlock()
			return err
		}
		m.s.index.Move(&m.rec, p.from, p.to)
		begin = p.end
	}
	m.s.mu.Unlock()
	m.s.commits.moved.Add(uint64(len(m.bodies)))
	m.bodies, m.places = m.bodies[:0], m.places[:0]
	return nil
}

// seal ends the open cold segment. After an error it is not written any more either: what moved there was synced before,
// and the rest stays where it was.
func (u *upkeep) seal() error {
	if u.cold == nil {
		return nil
	}
	c := u.cold
	u.cold = nil
	u.packed[c.Number()] = 0
	return c.Close()
}

// settle appends a body to the open cold segment, and opens one if there is none or it is full.
func (u *upkeep) settle(body []byte) (wal.Pos, error) {
	s := u.store
	if u.cold != nil && u.cold.Len() >= int64(s.cfg.SegmentSize) {
		if err := u.seal(); err != nil {
			return wal.Pos{}, err
		}
	}
	if u.cold == nil {
		var err error
		if u.cold, err = s.wal.NewCold(); err != nil {
			return wal.Pos{}, err
		}
	}
	return u.cold.Append(body)
}
