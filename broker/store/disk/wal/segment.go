package wal

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// segment is one file of the log. What is not atomic is set before others see it, or under Log.mu.
type segment struct {
	number   uint32
	cold     bool
	foreign  bool   // not of this log: left alone
	stale    bool   // no part of the log: prepared and never used, or left after a failure
	poisoned bool   // a write or a sync failed: never to be written again
	wrong    string // what is wrong with its header, "" = nothing
	head     header
	grouped  bool        // it has a readable group
	first    groupHeader // the first of them
	ended    bool        // end is certain
	end      atomic.Int64
	size     atomic.Int64
	file     file.File // for writing, nil when it is not written to
}

// used is where the segment ends, as far as it is known.
func (s *segment) used() int64 {
	if end := s.end.Load(); end > 0 {
		return end
	}
	return s.size.Load()
}

func segmentName(number uint32) string { return fmt.Sprintf("%08d.seg", number) }

// segmentNumber reads a file's name; ok is false when it is not that of a segment.
func segmentNumber(name string) (number uint32, ok bool) {
	digits, ok := strings.CutSuffix(name, ".seg")
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), ok && err == nil && n > 0 && name == segmentName(uint32(n))
}

func (l *Log) path(name string) string { return filepath.Join(l.dir, name) }

// readSegment reads a segment's header and the header of its first group. An error is one that nothing else may be
// done after: damage is noted in the segment.
func (l *Log) readSegment(number uint32, size int64) (*segment, error) {
	s := &segment{number: number}
	s.size.Store(size)
	b := make([]byte, headerSize+groupSize)
	f, err := l.sys.Open(l.path(segmentName(number)), false)
	if err != nil {
		return nil, err
	}
	n, err := f.ReadAt(b, 0)
	if err := errors.Join(ignoreEOF(err), f.Close()); err != nil {
		s.wrong = "it cannot be read: " + err.Error()
		return s, nil
	}
	b = b[:n]
	h, err := parseHeader(b)
	s.first, s.grouped = parseGroup(b[min(n, headerSize):], l.seed.at(number, headerSize))
	switch {
	case errors.Is(err, ErrNewer):
		return nil, err
	case err != nil:
		s.wrong = err.Error()
	case h.store != l.o.Store:
		s.foreign, s.wrong = true, fmt.Sprintf("it belongs to another store, %x", h.store)
	case h.number != number:
		s.foreign, s.wrong = true, fmt.Sprintf("it is segment %d under another name", h.number)
	default:
		s.head = h
		s.cold = h.kind == kindCold
		if size < h.size {
			s.wrong = fmt.Sprintf("it is %d bytes shorter than it was made", h.size-size)
		}
	}
	if s.cold {
		s.end.Store(size)
		s.ended = true
	}
	return s, nil
}

// anyGroup tells whether a group's header stands anywhere in the segment, and notes the first.
func (l *Log) anyGroup(s *segment) bool {
	if s.grouped {
		return true
	}
	f, err := l.files.get(s.number)
	if err != nil {
		return false
	}
	defer l.files.put(f)
	sc := scan{log: l, seg: s, window: window{file: f.file, size: s.size.Load()}}
	s.first, _, s.grouped = sc.find(headerSize, s.size.Load())
	return s.grouped
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
