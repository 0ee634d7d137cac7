package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"syscall"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// folder is the directory of a log, and how its files are read.
type folder struct {
	sys   file.System
	dir   string
	o     Options
	seed  seed
	log   *slog.Logger
	files handles
}

func newFolder(sys file.System, dir string, o Options) *folder {
	d := &folder{sys: sys, dir: dir, o: o, seed: newSeed(o.Store), log: o.Logger}
	d.files = handles{sys: sys, dir: dir, open: map[uint32]*handle{}}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	return d
}

func (d *folder) path(name string) string { return filepath.Join(d.dir, name) }

func (d *folder) segmentPath(number uint32) string { return d.path(segmentName(number)) }

// segment reads a segment's header and the header of its first group. An error is one that nothing else may be done
// after: damage is noted in the segment.
func (d *folder) segment(number uint32, size int64) (*segment, error) {
	s := &segment{number: number}
	s.size.Store(size)
	b := make([]byte, headerSize+groupSize)
	f, err := open(d.sys, d.segmentPath(number))
	if errors.Is(err, syscall.EIO) {
		s.wrong = "it cannot be opened: " + err.Error()
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	n := 0
	err = again(func() (err error) {
		if n, err = f.ReadAt(b, 0); errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	})
	if err := errors.Join(err, f.Close()); err != nil {
		s.wrong = "it cannot be read: " + err.Error()
		return s, nil
	}
	b = b[:n]
	h, err := parseHeader(b)
	s.first, s.grouped = parseGroup(b[min(n, headerSize):], d.seed.at(number, headerSize))
	switch {
	case errors.Is(err, ErrNewer):
		return nil, err
	case err != nil:
		s.wrong = err.Error()
	case h.store != d.o.Store:
		s.foreign, s.wrong = true, fmt.Sprintf("it belongs to another store, %x", h.store)
	case h.number != number:
		s.foreign, s.wrong = true, fmt.Sprintf("it is segment %d under another name", h.number)
	default:
		s.head = h
		s.cold = h.kind == kindCold
	}
	if s.cold {
		s.end.Store(size)
		s.ended = true
	}
	return s, nil
}

// again tries up to three times what the disk fails to do: what cannot be read at a start counts as lost from then on.
func again(do func() error) (err error) {
	for range 3 {
		if err = do(); err == nil {
			break
		}
	}
	return err
}

// open opens a file for reading.
func open(sys file.System, name string) (f file.File, err error) {
	err = again(func() error {
		f, err = sys.Open(name, false)
		return err
	})
	return f, err
}

// anyGroup tells whether a group's header stands anywhere in the segment, and notes the first.
func (d *folder) anyGroup(s *segment) bool {
	if s.grouped {
		return true
	}
	f, err := d.files.get(s.number)
	if err != nil {
		return false
	}
	defer d.files.put(f)
	sc := d.scan(s, f, nil, &Found{})
	s.first, _, s.grouped = sc.find(headerSize, s.size.Load())
	return s.grouped
}

// scan is one of a segment that is open.
func (d *folder) scan(seg *segment, h *handle, f func(Record) error, found *Found) *scan {
	s := &scan{folder: d, seg: seg, f: f, found: found}
	s.file, s.size = h.file, seg.size.Load()
	s.bad = func(off, bytes int64, err error) {
		found.Damage = append(found.Damage, Damage{File: d.segmentPath(seg.number), Offset: off, Bytes: bytes, What: "it cannot be read: " + err.Error()})
	}
	return s
}

// room tells whether size more bytes keep to the limit.
func (d *folder) room(size int64) error {
	if size == 0 {
		return nil
	}
	if d.o.Hold != nil {
		if err := d.o.Hold(); err != nil {
			return err
		}
	}
	if d.o.MaxBytes == 0 {
		return nil
	}
	infos, err := d.sys.List(d.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	total := size
	for _, f := range infos {
		total += f.Size
	}
	if total > d.o.MaxBytes {
		return fmt.Errorf("%w: one more segment makes it %d of %d bytes", errMax, total, d.o.MaxBytes)
	}
	return nil
}
