package wal

import (
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
	MaxBytes   int64
	Store      [16]byte     // the store that the log belongs to: the files of another one are left alone
	Quarantine string       // directory for copies of damaged bytes, made when needed; "" = none are kept
	Logger     *slog.Logger // nil = silent
}

// Log is a write-ahead log. Open, Replay and Start come first, in this order and by one goroutine (Replay may be left
// out). Append, Sync and Close belong to one committer at a time; the other methods may be called from any goroutine.
type Log struct {
	sys   file.System
	dir   string
	o     Options
	seed  seed
	log   *slog.Logger
	files handles

	// Of the committer, and before Start of Replay.
	current *segment // nil: the next group takes a new one
	prev    Pos      // where the log ended when the current segment was taken
	group   uint64   // number of the last group that counts
	durable uint64   // the last one synced
	stamp   int64    // of the last one
	doubt   error    // of groups that counted and could not be synced; told by the next Sync
	failed  []uint32 // segments that nothing came to count in; dropped when a later group is durable
	stale   []uint32 // found by Replay: no part of the log
	scanned bool     // Replay was called

	tail   atomic.Uint64          // Pos: end of the last group that counts
	health atomic.Pointer[outage] // nil = well

	mu       sync.Mutex
	state    state
	segments map[uint32]*segment // every one but those prepared and dropped
	number   uint32              // the highest ever used
	dropped  []dropped
	epoch    uint64 // counts drops
	readers  list   // by age
	buffers  sync.Pool

	supply
}

// outage is why growing groups are refused.
type outage struct{ err error }

type state uint8

const (
	opened state = iota
	started
	closed
)

// Segment is one file of the log.
type Segment struct {
	Number uint32
	Cold   bool
	End    int64 // bytes used, header included; Size where it is not known
	Size   int64 // bytes of the file
}

// Open reads which segments a directory has and changes nothing. A directory that does not exist is an empty log. An
// error is ErrNewer, or a directory or a file that cannot be read at all; damage is reported by Replay.
func Open(sys file.System, dir string, o Options) (*Log, error) {
	if o.SegmentSize < 2*headerSize || o.SegmentSize > maxOffset {
		return nil, fmt.Errorf("open log: segment size %d is out of range", o.SegmentSize)
	}
	l := &Log{
		sys: sys, dir: dir, o: o, seed: newSeed(o.Store), log: o.Logger,
		files:    handles{sys: sys, dir: dir, open: map[uint32]*handle{}},
		segments: map[uint32]*segment{},
		supply:   supply{wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})},
	}
	l.ready.L = &l.mu
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	infos, err := sys.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open log: %w", err)
	}
	for _, f := range infos {
		if err := l.discover(f); err != nil {
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
		l.readSpare(n, f)
		return nil
	}
	number, ok := segmentNumber(f.Name)
	if !ok {
		return nil
	}
	s, err := l.readSegment(number, f.Size)
	if err != nil {
		return err
	}
	l.number = max(l.number, number, s.head.number, s.head.after, s.first.prev.Segment)
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
	l.settle()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != opened {
		return errors.New("start log: it was started before")
	}
	l.state = started
	l.after = unpack(l.tail.Load()).Segment
	go l.keep()
	for len(l.pool) == 0 && l.failing == nil {
		l.wait()
	}
	if len(l.pool) > 0 {
		l.take()
	}
	l.nudge()
	l.judge()
	return nil
}

// settle syncs the segment that the log ended in: what Replay read may have been in memory only, and counts from now on.
func (l *Log) settle() {
	name := segmentName(l.End().Segment)
	f, err := l.sys.Open(l.path(name), true)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		l.log.Warn("the end of the log could not be synced", "file", name, "error", err)
	}
}

// End is the end of the last group that counts: a Replay from there sees only groups appended after.
func (l *Log) End() Pos { return unpack(l.tail.Load()) }

// Health tells why growing groups are refused at present, nil when they are taken. It is one atomic load. What it
// returns wraps store.ErrFull when space is all that lacks.
func (l *Log) Health() error {
	if o := l.health.Load(); o != nil {
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
	slices.SortFunc(list, func(a, b Segment) int { return int(int64(a.Number) - int64(b.Number)) })
	return list
}

// Close ends the log: after it every call fails with store.ErrClosed. When groups were appended it writes an empty one
// behind them: a witness that they were whole.
func (l *Log) Close() error {
	l.mu.Lock()
	before := l.state
	l.state = closed
	l.ready.Broadcast()
	l.mu.Unlock()
	if before == closed {
		return nil
	}
	var err error
	if before == started {
		close(l.stop)
		<-l.done
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
	for _, s := range l.pool {
		errs = append(errs, s.file.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

// live tells whether the log may be used.
func (l *Log) live() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == closed {
		return store.ErrClosed
	}
	return nil
}

func pack(p Pos) uint64 { return uint64(p.Segment)<<32 | uint64(p.Offset) }

func unpack(v uint64) Pos { return Pos{uint32(v >> 32), uint32(v)} }
