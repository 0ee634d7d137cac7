package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// How the keeper works.
const (
	prepare   = 2 // segments that stand ready: the next one and the reserve
	maxSpares = 4
	fillStep  = 1 << 20
	retryMin  = 100 * time.Millisecond
	retryMax  = 2 * time.Second
)

// supply is what the keeper prepares; Log.mu guards it.
type supply struct {
	after   uint32     // the log segment prepared last
	pool    []*segment // prepared, in the order of their numbers
	spares  []spare
	named   int       // the highest number of a spare's name
	failing error     // why the last preparation failed, nil when it did not
	refused bool      // a growing group found only the reserve
	waiting int       // how many wait for a segment
	ready   sync.Cond // pool or failing changed

	wake chan struct{} // something for the keeper to do
	stop chan struct{}
	done chan struct{} // closed when the keeper has ended
}

// spare is a file without meaning, to become a segment. Its bytes are those of its last life.
type spare struct {
	name   string
	usable bool // of the right size, and known not to hold what would parse again
}

// dropped is a segment that nobody needs, and may still be read by readers older than epoch.
type dropped struct {
	seg   *segment
	epoch uint64
}

// errMax is why no file is made though the disk has room.
var errMax = errors.New("the limit of the store's size is reached")

func spareNumber(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "spare-")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n > 0 && name == spareName(n)
}

func spareName(n int) string { return "spare-" + strconv.Itoa(n) }

// readSpare learns which segment a spare was: that number must not come again, because under it the old bytes would
// parse. One that does not tell is of no use.
func (l *Log) readSpare(n int, info file.Info) {
	l.named = max(l.named, n)
	b := make([]byte, headerUsed)
	f, err := l.sys.Open(l.path(info.Name), false)
	if err == nil {
		_, err = f.ReadAt(b, 0)
		err = errors.Join(err, f.Close())
	}
	var h header
	if err == nil {
		h, err = parseHeader(b)
	}
	l.number = max(l.number, h.number)
	l.spares = append(l.spares, spare{info.Name, err == nil && info.Size == l.o.SegmentSize})
}

// keep is the goroutine that prepares segments and recycles dropped ones, from Start to Close.
func (l *Log) keep() {
	defer close(l.done)
	l.sweep()
	pause := retryMin
	for {
		l.recycle()
		err := l.fill()
		var again <-chan time.Time
		if err != nil {
			again = time.After(pause)
			pause = min(2*pause, retryMax)
		} else {
			pause = retryMin
		}
		select {
		case <-l.stop:
			l.recycle()
			return
		case <-l.wake:
		case <-again:
		}
	}
}

// nudge tells the keeper that there is something to do.
func (l *Log) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// sweep frees what Replay found to be no part of the log: segments prepared and never used, or left after a failure.
// The youngest goes first, and for good before the next: each is the witness that the one before it existed.
func (l *Log) sweep() {
	for i := len(l.stale) - 1; i >= 0; i-- {
		l.mu.Lock()
		s := l.segments[l.stale[i]]
		delete(l.segments, l.stale[i])
		l.mu.Unlock()
		l.release(s)
	}
	l.stale = nil
	l.mu.Lock()
	spares := l.spares
	l.spares = nil
	for _, s := range spares {
		if s.usable && len(l.spares) < maxSpares {
			l.spares = append(l.spares, s)
		} else if err := l.sys.Remove(l.path(s.name)); err != nil {
			l.log.Warn("a spare file that is of no use stays", "file", s.name, "error", err)
		}
	}
	l.mu.Unlock()
}

// recycle frees the dropped segments that nobody reads any more.
func (l *Log) recycle() {
	for {
		l.mu.Lock()
		if len(l.dropped) == 0 || !l.readers.after(l.dropped[0].epoch) {
			l.mu.Unlock()
			return
		}
		s := l.dropped[0].seg
		l.dropped = l.dropped[1:]
		l.mu.Unlock()
		l.release(s)
	}
}

// release makes a segment a spare, or removes it. What fails leaves a file that nobody needs, to be found again by the
// next start.
func (l *Log) release(s *segment) {
	l.files.forget(s.number)
	l.mu.Lock()
	keep := len(l.spares) < maxSpares && !s.poisoned && s.wrong == "" && s.size.Load() == l.o.SegmentSize
	l.named++
	name := spareName(l.named)
	l.mu.Unlock()
	var err error
	if keep {
		err = l.sys.Rename(l.path(segmentName(s.number)), l.path(name))
	} else {
		err = l.sys.Remove(l.path(segmentName(s.number)))
	}
	// Before the bytes change the old name must be gone: a segment found with another's header is damage.
	if err == nil {
		err = l.sys.SyncDir(l.dir)
	}
	if err != nil {
		l.log.Warn("a segment that is not needed stays", "file", segmentName(s.number), "error", err)
		return
	}
	if keep {
		l.mu.Lock()
		l.spares = append(l.spares, spare{name, true})
		l.mu.Unlock()
	}
}

// fill prepares segments until enough stand ready.
func (l *Log) fill() error {
	for {
		l.mu.Lock()
		if len(l.pool) >= prepare || l.state == closed {
			l.mu.Unlock()
			return nil
		}
		l.number++
		h := header{kind: kindLog, number: l.number, after: l.after, store: l.o.Store, size: l.o.SegmentSize}
		l.mu.Unlock()
		s, err := l.makeSegment(h)

		l.mu.Lock()
		if err != nil {
			err = full(fmt.Errorf("prepare segment: %w", err))
			if l.failing == nil {
				l.log.Warn("no segment can be prepared", "error", err)
			}
		} else {
			l.after = h.number
			l.pool = append(l.pool, s)
			if len(l.pool) >= prepare {
				l.refused = false
			}
		}
		l.failing = err
		l.judge()
		l.ready.Broadcast()
		l.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// full marks an error that lack of space caused with store.ErrFull.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, errMax) {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

// judge settles what Health says; mu is held. Without the hope of more, growing groups are refused from the first one
// that found only the reserve, and where not even that stands ready.
func (l *Log) judge() {
	n := len(l.pool)
	sick := l.failing != nil && (n == 0 || n < prepare && (l.refused || l.current == nil))
	switch before := l.health.Load(); {
	case !sick && before != nil:
		l.health.Store(nil)
		l.log.Info("the log takes everything again")
	case sick && (before == nil || before.err != l.failing):
		l.health.Store(&outage{l.failing})
	}
}

// makeSegment makes a file with a header, a log segment out of a spare if there is one, and gives it its name for good.
func (l *Log) makeSegment(h header) (*segment, error) {
	h.created = time.Now().UnixMilli()
	name, f, err := l.blank(&h)
	if err != nil {
		return nil, err
	}
	s := &segment{number: h.number, cold: h.kind == kindCold, head: h, file: f, ended: true}
	s.end.Store(headerSize)
	s.size.Store(max(h.size, headerSize))
	if err = f.Sync(); err == nil {
		err = l.sys.Rename(l.path(name), l.path(segmentName(h.number)))
	}
	if err == nil {
		name = segmentName(h.number)
		err = l.sys.SyncDir(l.dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), l.sys.Remove(l.path(name)))
	}
	return s, nil
}

// blank is a file with nothing but a header, under a name without meaning.
func (l *Log) blank(h *header) (name string, f file.File, err error) {
	name, reused := l.takeSpare(h.kind)
	if reused {
		f, err = l.sys.Open(l.path(name), true)
	} else if err = l.room(h.size); err == nil {
		if err = l.sys.MakeDir(l.dir); err == nil {
			f, err = l.sys.Create(l.path(name))
		}
	}
	if err != nil {
		return "", nil, err
	}
	err = f.Allocate(max(h.size, headerSize))
	if err == nil {
		b := make([]byte, headerSize)
		h.put(b)
		_, err = f.WriteAt(b, 0)
	}
	if err == nil && !reused {
		err = l.zero(f, h.size)
	}
	if err != nil {
		return "", nil, errors.Join(err, f.Close(), l.sys.Remove(l.path(name)))
	}
	return name, f, nil
}

// takeSpare is the name of a spare to be used again, or a new name.
func (l *Log) takeSpare(kind uint32) (name string, reused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.spares); n > 0 && kind == kindLog {
		name = l.spares[n-1].name
		l.spares = l.spares[:n-1]
		return name, true
	}
	l.named++
	return spareName(l.named), false
}

// zero writes a new file full, because syncing into written blocks is faster than into allocated ones. It stops
// when somebody waits for the segment.
func (l *Log) zero(f file.File, size int64) error {
	b := make([]byte, min(fillStep, size))
	for off := int64(headerSize); off < size; off += fillStep {
		l.mu.Lock()
		hurry := l.waiting > 0 || l.state == closed
		l.mu.Unlock()
		if hurry {
			return nil
		}
		if _, err := f.WriteAt(b[:min(fillStep, size-off)], off); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// room tells whether size more bytes keep to the limit.
func (l *Log) room(size int64) error {
	if l.o.MaxBytes == 0 || size == 0 {
		return nil
	}
	infos, err := l.sys.List(l.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	total := size
	for _, f := range infos {
		total += f.Size
	}
	if total > l.o.MaxBytes {
		return fmt.Errorf("%w: one more segment makes it %d of %d bytes", errMax, total, l.o.MaxBytes)
	}
	return nil
}
