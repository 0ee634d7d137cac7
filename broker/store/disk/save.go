package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
)

// chunkBytes is about how much of the index is encoded while it is locked.
const chunkBytes = 128 << 10

// save writes a checkpoint, out of the reserve if there is no other space.
func (u *upkeep) save() error {
	err := u.writeCheckpoint()
	if errors.Is(err, syscall.ENOSPC) && u.releaseReserve() {
		err = u.writeCheckpoint()
	}
	if err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	return nil
}

func (u *upkeep) writeCheckpoint() error {
	s := u.store
	number := u.number + 1
	part := filepath.Join(storeDir(s.dir), checkpointPart)
	if err := s.sys.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.sys.Create(part)
	if err != nil {
		return err
	}
	w := checkpointWriter{f: f, table: castagnoli()}
	h, bytes, err := u.snapshot(&w, number)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, ignoreMissing(s.sys.Remove(part)))
	}
	if err := s.sys.Rename(part, filepath.Join(storeDir(s.dir), h.name())); err != nil {
		return err
	}
	if err := s.sys.SyncDir(storeDir(s.dir)); err != nil {
		return err
	}
	u.size, u.number = w.at, number
	u.covered.Store(bytes)
	u.kept = append([]checkpoint{h.checkpoint}, u.kept...)
	u.saved.Store(time.Now().UnixMilli())
	u.kept = u.kept[:min(len(u.kept), 2)]
	return u.clear()
}

// clear removes the checkpoints that are not kept, those that could not be used too.
func (u *upkeep) clear() error {
	s := u.store
	numbers, err := listCheckpoints(s.sys, s.dir)
	for _, n := range numbers {
		if !slices.ContainsFunc(u.kept, func(c checkpoint) bool { return c.number == n }) {
			err = errors.Join(err, ignoreMissing(s.sys.Remove(filepath.Join(storeDir(s.dir), checkpoint{number: n}.name()))))
		}
	}
	return err
}

// snapshot writes the index, slice by slice, and tells how many bytes of log had been written before.
func (u *upkeep) snapshot(w *checkpointWriter, number uint32) (h head, bytes int64, err error) {
	s := u.store
	if h.id, err = s.id.id(); err != nil {
		return h, 0, err
	}
	s.applying.Lock()
	s.mu.Lock()
	bytes = s.begun.Replayed + int64(s.commits.bytes.Load())
	h.checkpoint = checkpoint{number, s.applied}
	h.last = max(s.index.Last(), s.past.Session)
	h.stamp = max(time.Now().UnixMilli(), s.past.Commit)
	slice := s.index.Snapshot()
	s.mu.Unlock()
	s.applying.Unlock()
	if err := w.head(&h); err != nil {
		return h, 0, err
	}
	var chunk []byte
	for more := true; more; {
		if s.ending.Err() != nil {
			return h, 0, store.ErrClosed
		}
		s.mu.Lock()
		chunk, more = slice.Next(chunk[:0], chunkBytes)
		s.mu.Unlock()
		if len(chunk) == 0 {
			continue
		}
		if err := w.frame(chunk, false); err != nil {
			return h, 0, err
		}
	}
	// What the slices hold may have been written after the checkpoint began: it has to be on disk before they count.
	if s.level == Process {
		if err := s.committer.syncNow(); err != nil {
			return h, 0, err
		}
	}
	return h, bytes, w.frame(binary.AppendUvarint(nil, uint64(w.ordinal)), true)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// The reserve is a file of the size that Config.Reserve asks for, and at least as large as a checkpoint. It is given up when a
// checkpoint or survivors have no other space, and set aside again before anything may grow. Until then the log makes no new
// file, which could take away what was given up.

// hold tells why no new file of the log is made.
func (u *upkeep) hold() error {
	if u.store.cfg.Reserve == 0 || u.reserved.Load() > 0 {
		return nil
	}
	return fmt.Errorf("%w: the reserve is not set aside", store.ErrFull)
}

// wanted is how large the reserve has to be: so many times what the configuration says that the next checkpoint goes in,
// with what came since the last one.
func (u *upkeep) wanted() int64 {
	one := int64(u.store.cfg.Reserve)
	if one == 0 {
		return 0
	}
	next := u.size + u.size/2 + u.store.tail()/2
	return max(1, (next+one-1)/one) * one
}

func (u *upkeep) reserveName() string { return filepath.Join(storeDir(u.store.dir), "reserve") }

// keepReserve sets the reserve aside, and says by Health when that cannot be done.
func (u *upkeep) keepReserve() {
	s := u.store
	err := u.makeReserve()
	if err == nil {
		if u.health.Swap(nil) != nil {
			s.log.Info("the store has its reserve again and takes everything")
		}
		return
	}
	cause := fmt.Errorf("the store's disk fails: %w", err)
	if errors.Is(err, syscall.ENOSPC) {
		cause = fmt.Errorf("%w: the reserve of %d bytes cannot be set aside: %w", store.ErrFull, u.wanted(), err)
	}
	if u.health.Swap(&cause) == nil {
		s.log.Error("the store takes nothing new", "error", cause)
	}
}

func (u *upkeep) makeReserve() error {
	s := u.store
	want, have := u.wanted(), u.reserved.Load()
	if want <= have && have <= 2*want {
		return nil
	}
	f, err := s.sys.Open(u.reserveName(), true)
	if errors.Is(err, fs.ErrNotExist) {
		free, err := s.sys.Free(storeDir(s.dir))
		if err != nil {
			return err
		}
		if free < want {
			return fmt.Errorf("%d bytes are free: %w", free, syscall.ENOSPC)
		}
		if f, err = s.sys.Create(u.reserveName()); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err = f.Allocate(want); err == nil {
		err = f.Truncate(want) // it may have been larger
	} else if have > 0 {
		err = errors.Join(err, f.Truncate(have))
	}
	if err = errors.Join(err, f.Close()); err == nil {
		u.reserved.Store(want)
	} else if have == 0 {
		err = errors.Join(err, ignoreMissing(s.sys.Remove(u.reserveName()))) // what it took already is needed elsewhere
	}
	return err
}

// releaseReserve gives the reserve up, and tells whether there was one.
func (u *upkeep) releaseReserve() bool {
	s := u.store
	had := u.reserved.Swap(0) > 0
	if err := ignoreMissing(s.sys.Remove(u.reserveName())); err != nil {
		s.log.Error("the reserve could not be given up", "error", err)
		return false
	}
	return had
}
