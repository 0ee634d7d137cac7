package disk

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/wal"
)

// maxDamage is how many damages are remembered.
const maxDamage = 100

// same tells whether d and o are about one place.
func (d Damage) same(o Damage) bool { return d.File == o.File && d.Offset == o.Offset }

// damages are what was found wrong.
type damages struct {
	mu    sync.Mutex
	list  []Damage
	total int
	// unread tells of a segment which place could not be read first, for now, and when.
	unread map[uint32]unread
	some   atomic.Bool // there is something in unread
}

type unread struct {
	at    wal.Pos
	since time.Time
}

// failed notes that a place cannot be read, and returns the first of its segment.
func (d *damages) failed(at wal.Pos) unread {
	d.mu.Lock()
	defer d.mu.Unlock()
	first, ok := d.unread[at.Segment]
	if !ok {
		first = unread{at, time.Now()}
		if d.unread == nil {
			d.unread = map[uint32]unread{}
		}
		d.unread[at.Segment] = first
		d.some.Store(true)
	}
	return first
}

// passed notes that a place was read: if it was the first that could not be, the trouble is over.
func (d *damages) passed(at wal.Pos) {
	if !d.some.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unread[at.Segment].at == at {
		delete(d.unread, at.Segment)
		d.some.Store(len(d.unread) > 0)
	}
}

// giveUp tells, of a place that the disk fails to read, whether that is more than passing trouble: what was tried first in its
// segment cannot be read a while later either, though the disk takes what is written. Else a bad sector held up for ever all
// that waits behind it.
func (s *Store) giveUp(read *wal.Reader, at wal.Pos, err error) bool {
	first := s.damage.failed(at)
	if time.Since(first.since) < tidyEvery || s.Health() != nil {
		return false
	}
	if _, err := read.Read(first.at, 0); err == nil {
		s.damage.passed(first.at)
		return false
	}
	if _, err := read.Read(at, 0); err == nil || errors.Is(err, store.ErrClosed) {
		return false
	}
	what := fmt.Sprintf("a message cannot be read and is given up: %v", err)
	s.damage.add(s.log, Damage{File: segmentFile(at.Segment), Offset: int64(at.Offset), What: what, Found: time.Now()})
	return true
}

// add remembers a damage and says it in the log, each place once.
func (d *damages) add(log *slog.Logger, found Damage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.ContainsFunc(d.list, found.same) {
		return
	}
	d.total++
	if len(d.list) == maxDamage {
		d.list = d.list[1:]
	}
	d.list = append(d.list, found)
	log.Error("the store is damaged", "what", found.What, "file", found.File, "offset", found.Offset,
		"bytes", found.Bytes, "quarantine", found.Aside)
}

func (d *damages) all() ([]Damage, int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.list), d.total
}
