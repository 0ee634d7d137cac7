package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// Damage is a part of the log that is missing or not what was written.
type Damage struct {
	File   string // its path
	Offset int64
	Bytes  int64
	What   string // a sentence about it
	Aside  string // the path of the copy in quarantine; "" = there is none
}

// String says what and where.
func (d Damage) String() string {
	return fmt.Sprintf("%s: %d bytes at %d: %s", d.File, d.Bytes, d.Offset, d.What)
}

// DamageError is why a record cannot be read: it is not what was written, or not there.
type DamageError struct{ Damage }

// Error says what and where.
func (e *DamageError) Error() string { return "read record: " + e.Damage.String() }

// report tells what Open found to be wrong.
func (l *Log) report(found *Found) {
	l.mu.Lock()
	var wrong []*segment
	for _, s := range l.segments {
		if s.wrong != "" {
			wrong = append(wrong, s)
		}
	}
	l.mu.Unlock()
	slices.SortFunc(wrong, func(a, b *segment) int { return Compare(Pos{Segment: a.number}, Pos{Segment: b.number}) })
	for _, s := range wrong {
		d := Damage{File: l.path(segmentName(s.number)), What: s.wrong}
		switch size := s.size.Load(); {
		case s.foreign:
			d.Bytes = size
		case s.head.number != 0:
			d.Offset, d.Bytes = size, s.head.size-size
		default:
			d.Bytes = min(size, headerSize)
			if h, err := l.files.get(s.number); err == nil {
				d.Aside = l.setAside(h.file, s.number, 0, d.Bytes)
				l.files.put(h)
			}
		}
		found.Damage = append(found.Damage, d)
	}
}

// missing reports that a segment which the log needs is not there. Those before from nobody needs for certain.
func (l *Log) missing(from Pos, number uint32, found *Found) {
	if number == 0 || number < from.Segment || l.segments[number] != nil {
		return
	}
	d := Damage{File: l.path(segmentName(number)), What: fmt.Sprintf("segment %d is missing", number)}
	if !slices.Contains(found.Damage, d) {
		found.Damage = append(found.Damage, d)
	}
}

// setAside copies damaged bytes into the quarantine and returns the path of the copy. When that fails ("") the damage
// is reported all the same: a start must not fail for a disk that is full.
func (l *Log) setAside(from file.File, number uint32, off, end int64) string {
	if l.o.Quarantine == "" || off >= end {
		return ""
	}
	name := filepath.Join(l.o.Quarantine, fmt.Sprintf("%08d-%d.bin", number, off))
	err := l.sys.MakeDir(l.o.Quarantine)
	var to file.File
	if err == nil {
		to, err = l.sys.Create(name)
	}
	switch {
	case errors.Is(err, fs.ErrExist): // by a start before this one
		return name
	case err == nil:
		err = errors.Join(copyBytes(to, from, off, end), to.Close(), l.sys.SyncDir(l.o.Quarantine))
		if err != nil {
			err = errors.Join(err, l.sys.Remove(name))
		}
	}
	if err != nil {
		l.log.Warn("damaged bytes could not be set aside", "file", segmentName(number), "offset", off, "bytes", end-off, "error", err)
		return ""
	}
	return name
}

func copyBytes(to, from file.File, off, end int64) error {
	w := window{file: from, size: end}
	for at := off; at < end; {
		b := w.from(at, 1)
		if _, err := to.WriteAt(b, at-off); err != nil {
			return err
		}
		at += int64(len(b))
	}
	return to.Sync()
}
