package wal

import (
	"fmt"
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
	wrong    string // what is wrong with the file, "" = nothing
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

// Segment is one file of the log.
type Segment struct {
	Number uint32
	Cold   bool
	End    int64 // bytes used, header included; Size where it is not known
	Size   int64 // bytes of the file
}

func segmentName(number uint32) string { return fmt.Sprintf("%08d.seg", number) }

// segmentNumber reads a file's name; ok is false when it is not that of a segment.
func segmentNumber(name string) (number uint32, ok bool) {
	digits, ok := strings.CutSuffix(name, ".seg")
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), ok && err == nil && n > 0 && name == segmentName(uint32(n))
}

// spareNumber reads a file's name; ok is false when it is not that of a spare.
func spareNumber(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "spare-")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n > 0 && name == spareName(n)
}

func spareName(n int) string { return "spare-" + strconv.Itoa(n) }
