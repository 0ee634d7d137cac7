package disk

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/wal"
)

// upkeep keeps the store's files in order: it is a goroutine of its own, maintain, and what that knows. The atomics
// are for everybody.
type upkeep struct {
	store *Store
	asks  chan ask

	kept   []checkpoint // the newest first, two at most
	number uint32       // the highest of one that was ever written, as far as it is known
	size   int64        // of the newest, bytes
	floor  uint32       // no segment goes while a checkpoint before this one is kept
	// moved tells from which checkpoint on a segment is not needed whose survivors were moved.
	moved map[uint32]uint32
	// packed tells what was alive in a cold segment when it was full of survivors; 0 = not looked at yet.
	packed map[uint32]int64
	// torn tells since when a part of a segment cannot be read. It may be the disk's passing trouble: what is alive there is given
	// up when it cannot be read a while later either.
	torn   map[uint32]time.Time
	cold   *wal.Cold // takes survivors; nil = none is open
	tidied time.Time // zero = not by this process: it begins with what those before it left

	reserved atomic.Int64 // bytes of the reserve; 0 = it is not set aside

	health  atomic.Pointer[error] // why nothing may grow for want of the reserve; nil = it may
	saved   atomic.Int64          // when the newest checkpoint was written, Unix ms; 0 = by an earlier process
	covered atomic.Int64          // how much of what was replayed and written since is before it, bytes
}

// begins takes over what the files told.
func (u *upkeep) begins(s *Store, im *image) {
	u.store, u.asks = s, make(chan ask)
	u.moved, u.packed, u.torn = map[uint32]uint32{}, map[uint32]int64{}, map[uint32]time.Time{}
	u.kept, u.size, u.number = im.kept, im.size, im.number
	if len(im.kept) > 0 { // who knows what was moved before it
		u.floor = im.kept[0].number
	}
}

// ask is work that somebody waits for, done by the maintenance goroutine: nothing is moved or dropped meanwhile.
type ask struct {
	do   func() error
	done chan error // capacity 1
}

// When maintenance looks around, and after how much log a checkpoint is due.
const (
	lookEvery   = time.Second
	tidyEvery   = time.Minute
	tailAtLeast = 64 << 20
)

// maintain is the goroutine that writes checkpoints, moves survivors out of segments that are nearly dead and gives
// back what nobody needs. It holds the lock for slices of work only.
func (u *upkeep) maintain() {
	s := u.store
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-s.ending.Done():
			return
		case a := <-u.asks:
			a.done <- a.do()
		case <-look.C:
			if err := u.look(); err != nil && s.ending.Err() == nil {
				s.log.Warn("the store could not tidy up and will try again", "error", err)
			}
		}
	}
}

// maintaining has do run by the maintenance goroutine and waits for it.
func (u *upkeep) maintaining(ctx context.Context, do func() error) error {
	s := u.store
	a := ask{do, make(chan error, 1)}
	select {
	case u.asks <- a:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.ending.Done():
		return store.ErrClosed
	}
	return <-a.done // once begun it ends by itself: do watches what it has to
}

// look does what is due.
func (u *upkeep) look() error {
	s := u.store
	u.begin()
	u.keepReserve()
	due := s.tail() >= max(tailAtLeast, 2*u.size)
	if !due {
		much, full := u.wasteful()
		due = full || much && time.Since(u.tidied) >= tidyEvery
	}
	if !due {
		return nil
	}
	err := u.tidy(s.ending, nil)
	u.tidied = time.Now()
	return err
}

// wasteful tells whether much of what is on disk can be given back: more than is worth the work, or anything when
// there is no room.
func (u *upkeep) wasteful() (much, full bool) {
	s := u.store
	s.mu.Lock()
	applied := s.applied
	s.mu.Unlock()
	if n := len(u.kept); n == 2 && u.kept[n-1].from == applied && len(u.moved) == 0 {
		return false, false // a checkpoint would bring nothing nearer to its end
	}
	var waste, kept int64
	for _, g := range s.wal.Segments() {
		if g.Number == applied.Segment || u.cold != nil && g.Number == u.cold.Number() {
			continue // it goes on being written
		}
		switch live := u.live(g.Number); {
		case live == 0:
			waste += g.Size
		case u.leavable(g, live):
			waste += g.Size - live
			kept += live
		default:
			kept += live
		}
	}
	full = waste > 0 && errors.Is(s.Health(), store.ErrFull)
	return full || waste > max(2*int64(s.cfg.SegmentSize), kept/2), full
}

// live is about how many bytes of a segment are needed.
func (u *upkeep) live(number uint32) int64 {
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	return u.store.index.Live(number)
}

// use tells how many bytes lie in segments, and about how many of them are needed.
func (u *upkeep) use() (used, live int64) {
	s := u.store
	segments := s.wal.Segments()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range segments {
		used += g.End
		live += s.index.Live(g.Number)
	}
	return used, live
}

// tidy moves survivors, writes a checkpoint and gives back what neither of the two kept needs.
func (u *upkeep) tidy(ctx context.Context, progress func(done, total int64)) error {
	if err := u.compact(ctx, progress); err != nil {
		return err
	}
	if err := u.save(); err != nil {
		return err
	}
	return u.drop()
}

// drop gives back the segments that nobody needs: no message is alive there, the log is not applied from there any
// more, and no kept checkpoint names a place in them that was moved since.
func (u *upkeep) drop() error {
	s := u.store
	if len(u.kept) < 2 {
		return nil
	}
	oldest := u.kept[len(u.kept)-1]
	if oldest.number < u.floor {
		return nil
	}
	var dead []uint32
	for _, g := range s.wal.Segments() {
		if !g.Cold && g.Number >= oldest.from.Segment || u.cold != nil && g.Number == u.cold.Number() {
			continue
		}
		if u.live(g.Number) == 0 && oldest.number >= u.moved[g.Number] {
			dead = append(dead, g.Number)
		}
	}
	if len(dead) > 0 && s.level == Process {
		if err := s.committer.syncNow(); err != nil { // what let go of the last message there has to last first
			return err
		}
	}
	var errs []error
	for _, number := range dead {
		delete(u.moved, number)
		delete(u.packed, number)
		delete(u.torn, number)
		errs = append(errs, s.wal.Drop(number))
	}
	return errors.Join(errs...)
}

// Compact does all the tidying that can be done now: every segment with dead messages in it gives up its survivors.
// progress, which may be nil, is told bytes.
func (s *Store) Compact(ctx context.Context, progress func(done, total int64)) (Compacted, error) {
	var c Compacted
	err := s.upkeep.maintaining(ctx, func() (err error) {
		c.Before, _ = s.upkeep.use()
		moved := s.commits.moved.Load()
		defer func() {
			c.After, _ = s.upkeep.use()
			c.Moved = int64(s.commits.moved.Load() - moved)
		}()
		if err := s.upkeep.save(); err != nil { // only what is behind a checkpoint is moved
			return err
		}
		if err := s.upkeep.tidy(ctx, progress); err != nil {
			return err
		}
		return s.upkeep.tidy(ctx, nil) // now both checkpoints know the new places
	})
	return c, err
}

// Compacted is what Compact brought, in bytes.
type Compacted struct {
	Before int64 `json:"before_bytes"`
	After  int64 `json:"after_bytes"`
	Moved  int64 `json:"moved_bytes"`
}
