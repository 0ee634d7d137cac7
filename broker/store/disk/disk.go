package disk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/index"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/lock"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/wal"
)

// Options are what an engine needs beside its configuration. The zero value is usable.
type Options struct {
	System file.System  // nil = the operating system's files, with a lock on the directory
	Logger *slog.Logger // nil = discard
}

// Store is a store.Store on disk, safe for concurrent use.
type Store struct {
	dir   string
	level Level
	cfg   Config
	sys   file.System
	log   *slog.Logger
	lock  *lock.Lock // nil with a System of its own
	id    marker
	past  store.Past
	begun Start

	wal *wal.Log

	applying sync.Mutex // held while a group is applied: a checkpoint begins between two

	mu      sync.Mutex // guards what follows, and the index; taken after applying
	index   *index.Index
	applied wal.Pos // the index is the state as of here
	closed  bool

	committer committer
	commits   commits
	damage    damages
	upkeep    upkeep

	ending  context.Context // of everything that Close ends
	end     context.CancelFunc
	running sync.WaitGroup
}

// Open opens the store in a data directory, and makes one where there is none. It reads what is kept there; damage is set
// aside and reported, and does not keep it from starting. An error is one line that says what to do: the directory is
// in use (*lock.HeldError), cannot be written, held data that is gone, or was written by a newer version.
func Open(dir string, level Level, cfg Config, o Options) (*Store, error) {
	began := time.Now()
	if level != Fsync && level != Process {
		return nil, fmt.Errorf("durability %q is not one that needs a disk", level)
	}
	s := &Store{
		dir: dir, level: level, cfg: cfg, sys: o.System, log: o.Logger,
	}
	s.committer = committer{store: s, wake: make(chan struct{}, 1), syncs: make(chan chan error)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ending, s.end = context.WithCancel(context.Background())
	if err := s.open(); err != nil {
		s.end()
		return nil, errors.Join(err, s.unlock())
	}
	s.begun.Took = time.Since(began)
	s.running.Go(s.committer.run)
	s.running.Go(s.upkeep.maintain)
	return s, nil
}

func (s *Store) open() error {
	if s.sys == nil {
		s.sys = file.OS()
		if err := s.sys.MakeDir(s.dir); err != nil {
			return fmt.Errorf("make the data directory: %w", err)
		}
		var err error
		if s.lock, err = lock.Acquire(s.dir); err != nil {
			return err
		}
	}
	r := reading{sys: s.sys, dir: s.dir, cfg: s.cfg, repair: true, log: s.log, hold: s.upkeep.hold}
	im, err := r.image()
	if err != nil {
		return err
	}
	s.id, s.wal, s.index, s.applied, s.past = im.marker, im.wal, im.index, im.end, im.past
	s.begun = im.begun
	s.upkeep.begins(s, im)
	for _, d := range im.damage {
		s.damage.add(s.log, d)
	}
	s.upkeep.keepReserve()
	if im.begun.Cut > 0 {
		s.log.Info("a torn tail was cut", "bytes", im.begun.Cut, "segment", im.end.Segment, "offset", im.end.Offset)
	}
	if err := s.wal.Start(); err != nil {
		return errors.Join(fmt.Errorf("start the log: %w", err), s.wal.Close())
	}
	s.upkeep.begin()
	return nil
}

// The parts of a data directory.
func storeDir(dir string) string      { return filepath.Join(dir, "store") }
func quarantineDir(dir string) string { return filepath.Join(dir, "quarantine") }

// Announce puts the address of the process' API where a second process that wants the directory finds it.
func (s *Store) Announce(http string) error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Announce(http)
}

// Past implements store.Store.
func (s *Store) Past() store.Past { return s.past }

// Health implements store.Store.
func (s *Store) Health() error {
	if err := s.upkeep.health.Load(); err != nil {
		return *err
	}
	return s.wal.Health()
}

// Stats implements store.Store.
func (s *Store) Stats() store.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.Stats()
}

// Close implements store.Store: batches handed over are written first.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.running.Wait()
	var err error
	if s.level == Process {
		err = s.wal.Sync()
	}
	return errors.Join(err, s.wal.Close(), s.unlock())
}

func (s *Store) unlock() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Release()
}
