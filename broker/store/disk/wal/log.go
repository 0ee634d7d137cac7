package wal

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// Options are how a log is kept.
type Options struct {
	SegmentSize int64 // of one file, in bytes, header included; above 8 KiB
	// MaxBytes is what all files of the directory together may take before no new segment is made; 0 = no limit.
	MaxBytes int64
	// Hold tells why no new file of the log is made at present, nil when it may be: spares are used all the same. It
	// keeps what is free for those who give back space. nil = always.
	Hold       func() error
	Store      [16]byte     // the store that the log belongs to: the files of another one are left alone
	Quarantine string       // directory for copies of damaged bytes, made when needed; "" = none are kept
	Logger     *slog.Logger // nil = silent
}

// Log is a write-ahead log. Open, Replay and Start come first, in this order and by one goroutine (Replay may be left
// out). Append, Sync and Close belong to one committer at a time; the other methods may be called from any goroutine.
type Log struct {
	*folder
	supply *supply
	tail   atomic.Uint64 // Pos: end of the last group that counts

	// Of the committer; before Start of Replay.
	current *segment // nil: the next group takes a new one
	prev    Pos      // where the log ended when the current segment was taken
	group   uint64   // number of the last group that counts
	durable uint64   // the last one synced
	stamp   int64    // of the last one
	doubt   error    // of groups that counted and could not be synced; told by the next Sync
	failed  []uint32 // segments that nothing came to count in; dropped when a later group is durable
	scanned bool     // Replay was called

	mu       sync.Mutex
	state    state
	segments map[uint32]*segment // every one but those prepared and dropped
	dropped  []dropped
	epoch    uint64 // counts drops
	readers  list   // by age
	buffers  sync.Pool
}

// dropped is a segment that nobody needs, and may still be read by readers older than epoch.
type dropped struct {
	seg   *segment
	epoch uint64
}

type state uint8

const (
	opened state = iota
	started
	closed
)

// Open reads which segments a directory has and changes nothing. A directory that does not exist is an empty log. An
// error is ErrNewer, or a directory or a file that cannot be read at all; damage is reported by Replay.
func Open(sys file.System, dir string, o Options) (*Log, error) {
	if o.SegmentSize < 2*headerSize || o.SegmentSize > maxOffset {
		return nil, fmt.Errorf("open log: segment size %d is out of range", o.SegmentSize)
	}
	l := &Log{folder: newFolder(sys, dir, o), segments: map[uint32]*segment{}}
	l.supply = newSupply(l.folder, l.due)
	infos, err := sys.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open log: %w", err)
	}
	for _, f := range infos {
		if err := l.discover(f); err != nil && !errors.Is(err, fs.ErrNotExist) { // gone since: who looks on while a log works
			return nil, fmt.Errorf("open log: %s: %w", l.path(f.Name), err)
		}
	}
	// What a group says of the segment before it is the only witness of where that ended.
	for _, s := range l.segments {
		if before := l.segments[s.first.prev.Segment]; s.grouped && before != nil && !before.cold {
			before.end.Store(int64(s.first.prev.Offset))
			before.ended = true
		}
	}
	return l, nil
}

// discover takes one file of the directory into account. Those with other names are none of its business.
func (l *Log) discover(f file.Info) error {
	if n, ok := spareNumber(f.Name); ok {
		l.supply.found(n, f)
		return nil
	}
	number, ok := segmentNumber(f.Name)
	if !ok {
		return nil
	}
	s, err := l.segment(number, f.Size)
	if err != nil {
		return err
	}
	l.supply.reach(max(number, s.head.after, s.first.prev.Segment))
	l.stamp = max(l.stamp, s.head.created, s.first.stamp)
	l.segments[number] = s
	return nil
}

// Start makes the log ready for appending, in a new segment. Lack of space or a failing disk is no error: Health tells
// it, and it heals by itself. An error is a second Start, or a log that cannot be read.
func (l *Log) Start() error {
	if !l.scanned {
		if _, err := l.Replay(Pos{}, func(Record) error { return nil }); err != nil {
			return fmt.Errorf("start log: %w", err)
		}
	}
	l.mu.Lock()
	before := l.state
	var stale []*segment // the youngest first
	if before == opened {
		l.state = started
		l.supply.sort(l.segments)
		for n, s := range l.segments {
			if s.stale {
				stale = append(stale, s)
				delete(l.segments, n)
			}
		}
	}
	l.mu.Unlock()
	if before != opened {
		return errors.New("start log: it was started before")
	}
	slices.SortFunc(stale, func(a, b *segment) int { return cmp.Compare(b.number, a.number) })
	l.supply.debt = l.unsure()
	l.supply.after = l.End().Segment
	go l.supply.keep(stale)
	if l.supply.first() {
		l.take()
	}
	return nil
}

// unsure is what Replay found at the end of the log and no group says to be durable. It may have been read from memory,
// though it never came to the disk: it has to be written once more, as it is, because a sync alone proves nothing after
// one that failed.
func (l *Log) unsure() *debt {
	tail := l.End()
	seg := l.segments[tail.Segment]
	if seg == nil || seg.foreign {
		return nil
	}
	h, err := l.files.get(tail.Segment)
	if err != nil {
		return nil // Replay has reported it
	}
	defer l.files.put(h)
	s := l.scan(seg, h, nil, &Found{})
	end := int64(tail.Offset)
	var durable uint64
	s.groups(end, func(_ int64, g groupHeader) { durable = max(durable, g.durable) })
	off := end
	s.groups(end, func(at int64, g groupHeader) {
		if g.number > durable {
			off = min(off, at)
		}
	})
	return &debt{name: l.segmentPath(tail.Segment), off: off, bytes: slices.Clone(s.at(off, int(end-off)))}
}

// End is the end of the last group that counts: a Replay from there sees only groups appended after.
func (l *Log) End() Pos { return unpack(l.tail.Load()) }

// Health tells why growing groups are refused at present, nil when they are taken. It is one atomic load. What it
// returns wraps store.ErrFull when space is all that lacks.
func (l *Log) Health() error {
	if o := l.supply.health.Load(); o != nil {
		return o.err
	}
	return nil
}

// Segments lists the segments that hold something or may do so, by number; those prepared and those dropped are not
// among them.
func (l *Log) Segments() []Segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Segment, 0, len(l.segments))
	for _, s := range l.segments {
		if !s.foreign && !s.stale {
			list = append(list, Segment{Number: s.number, Cold: s.cold, End: s.used(), Size: s.size.Load()})
		}
	}
	slices.SortFunc(list, func(a, b Segment) int { return cmp.Compare(a.Number, b.Number) })
	return list
}

// Drop gives back a segment that nobody needs any more: it is recycled or removed when nobody reads it. The one that is
// written to is refused.
func (l *Log) Drop(number uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.segments[number]
	switch {
	case l.state != started:
		return fmt.Errorf("drop segment: %w", store.ErrClosed)
	case s == nil || s.foreign:
		return fmt.Errorf("drop segment: there is no segment %d", number)
	case s.file != nil:
		return fmt.Errorf("drop segment: segment %d is being written to", number)
	}
	delete(l.segments, number)
	l.epoch++
	l.dropped = append(l.dropped, dropped{s, l.epoch})
	l.supply.nudge()
	return nil
}

// due is the next dropped segment that nobody reads any more.
func (l *Log) due() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.dropped) == 0 || !l.readers.after(l.dropped[0].epoch) {
		return nil
	}
	s := l.dropped[0].seg
	l.dropped = l.dropped[1:]
	return s
}

// Close ends the log: after it every call fails with store.ErrClosed. When groups were appended it writes an empty one
// behind them: a witness that they were whole.
func (l *Log) Close() error {
	l.mu.Lock()
	before := l.state
	l.state = closed
	l.mu.Unlock()
	if before == closed {
		return nil
	}
	var err error
	if before == started {
		l.supply.close()
		close(l.supply.stop)
		<-l.supply.done
		err = l.finish()
	}
	return errors.Join(err, l.files.close())
}

// finish writes the last, empty group and closes what the committer and the keeper have open.
func (l *Log) finish() error {
	var errs []error
	if c := l.current; c != nil {
		if c.end.Load() > headerSize && c.end.Load()+groupSize <= c.size.Load() {
			_, err := l.write(&Group{Buf: make([]byte, groupSize)}, true)
			errs = append(errs, err)
		}
		errs = append(errs, l.sync())
	}
	if l.current != nil {
		errs = append(errs, l.current.file.Close())
		l.current.file, l.current = nil, nil
	}
	for _, s := range l.supply.pool {
		errs = append(errs, s.file.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

// live tells whether the log may be written to.
func (l *Log) live() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != started {
		return store.ErrClosed
	}
	return nil
}

func pack(p Pos) uint64 { return uint64(p.Segment)<<32 | uint64(p.Offset) }

func unpack(v uint64) Pos { return Pos{uint32(v >> 32), uint32(v)} }
