package wal

import (
	"bytes"
	"fmt"
)

// Record is one record as it stands in the log.
type Record struct {
	At    Pos
	Body  []byte // valid during the call
	Last  bool   // of its batch
	Stamp int64  // of its group, Unix ms; 0 in a cold segment
}

// scan reads the groups of one segment.
type scan struct {
	*folder
	window
	seg   *segment
	limit int64  // nothing that counts is behind it
	known bool   // everything up to limit counted once
	later bool   // the log went on in another segment, though it is not known where this one ended
	next  uint64 // number expected of the next group
	last  uint64 // of the last one that counted, 0 = none
	f     func(Record) error
	found *Found
	// The header behind the last hole that says most: everything up to group sure was synced when it was written.
	sure   uint64
	sureAt int64
	behind int64 // end of the last group that witness found
}

// run reads the groups from off on, and returns where what counts ends.
func (s *scan) run(off int64) (end int64, err error) {
	for off < s.limit {
		h, ok := s.header(off)
		switch {
		case ok:
			var more bool
			if off, more, err = s.group(off, h); err != nil || !more {
				return off, err
			}
		case s.known || s.witness(off+1, s.next):
			// A hole, up to the next group or the end.
			_, at, found := s.find(off+1, s.limit)
			if !found {
				at = s.limit
			}
			if err := s.salvage(off, at); err != nil {
				return off, err
			}
			off = at
		default:
			s.found.Cut += max(0, s.behind-off)
			return off, nil
		}
	}
	return off, nil
}

// header reads a group's header.
func (s *scan) header(off int64) (groupHeader, bool) {
	return parseGroup(s.at(off, groupSize), s.seedAt(off))
}

// group reads the group at off and returns where to go on; more is false at a torn tail, where off is its end.
func (s *scan) group(off int64, h groupHeader) (next int64, more bool, err error) {
	end := off + groupSize + int64(h.bytes)
	if s.known {
		end = min(end, s.limit) // the rest was cut at a start before this one
	}
	stop := min(end, s.size)
	b := s.from(off, int(stop-off))[:stop-off]
	whole, batches := s.check(b, off)
	s.found.Groups++
	s.found.Stamp = max(s.found.Stamp, h.stamp)
	before := s.last
	s.last, s.next = h.number, h.number+1
	if off+int64(whole) == end {
		s.found.Bytes += end - off
		return end, true, s.deliver(b, off, h.stamp)
	}
	if s.known || s.later || s.witness(end, h.number) {
		s.found.Bytes += end - off
		return end, true, s.salvage(off+groupSize, end)
	}
	if batches == groupSize {
		s.found.Groups--
		s.last, batches = before, 0
	}
	cut := off + int64(batches)
	s.found.Bytes += int64(batches)
	s.found.Cut += max(stop, s.behind) - cut
	return cut, false, s.deliver(b[:batches], off, h.stamp)
}

// check verifies the frames of the group b: the bytes that are whole from its beginning, and those of whole batches.
func (s *scan) check(b []byte, off int64) (whole, batches int) {
	at := groupSize
	batches = at
	for at < len(b) {
		body, last, ok := parseFrame(b[at:], s.seedAt(off+int64(at)))
		if !ok {
			break
		}
		at += frameSize + len(body)
		if last {
			batches = at
		}
	}
	return at, batches
}

func (s *scan) seedAt(off int64) uint32 { return s.seed.at(s.seg.number, uint32(off)) }

// deliver hands over the records of b, a group whose frames are whole.
func (s *scan) deliver(b []byte, off, stamp int64) error {
	for at := groupSize; at < len(b); {
		n := int(frameLength(b[at:], int64(len(b)-at)))
		last := order.Uint32(b[at+4:])&lastBit != 0
		if err := s.record(off+int64(at), b[at+frameSize:at+n:at+n], last, stamp); err != nil {
			return err
		}
		at += n
	}
	return nil
}

func (s *scan) record(off int64, body []byte, last bool, stamp int64) error {
	s.found.Records++
	return s.f(Record{At: Pos{s.seg.number, uint32(off)}, Body: body, Last: last, Stamp: stamp})
}

// salvage hands over every whole record in [off, end) and reports what is between them.
func (s *scan) salvage(off, end int64) error {
	hole := int64(-1)
	stop := min(end, s.size)
	effort := 256*(stop-off) + chunk // checksums over what bytes claim to be lengths must not take for ever
	for at := off; at < stop; {
		body, last, n, ok := s.frame(at, stop)
		if ok {
			if hole >= 0 {
				s.damaged(hole, at)
			}
			hole = -1
			if err := s.record(at, body, last, s.found.Stamp); err != nil {
				return err
			}
			at += n
			continue
		}
		if hole < 0 {
			if s.seg.cold && s.blank(at, end) {
				return nil // no need to try every byte
			}
			hole = at
		}
		effort -= n
		if at++; effort < 0 {
			at = s.guess(hole, at, stop)
		}
	}
	if hole < 0 && stop < end {
		hole = stop
	}
	if hole >= 0 {
		s.damaged(hole, end)
	}
	return nil
}

// frame reads the frame at off; n is its length, or what it cost to see that it is none.
func (s *scan) frame(off, end int64) (body []byte, last bool, n int64, ok bool) {
	n = frameLength(s.at(off, frameSize), end-off)
	if n == 0 {
		return nil, false, 1, false
	}
	body, last, ok = parseFrame(s.at(off, int(n)), s.seedAt(off))
	return body, last, n, ok
}

// guess is where the next record is when the length of the broken one is whole; end when nothing is there.
func (s *scan) guess(hole, at, end int64) int64 {
	if n := frameLength(s.at(hole, frameSize), end-hole); n > 0 && hole+n >= at {
		if _, _, _, ok := s.frame(hole+n, end); ok {
			return hole + n
		}
	}
	return end
}

// find looks for a group's header that begins in [off, end).
func (s *scan) find(off, end int64) (h groupHeader, at int64, ok bool) {
	var mark [4]byte
	order.PutUint32(mark[:], marker)
	for off+groupSize <= end {
		b := s.from(off, groupSize)
		if len(b) < groupSize {
			break
		}
		i := bytes.Index(b[4:], mark[:])
		if i < 0 {
			off += int64(len(b) - 7)
			continue
		}
		at = off + int64(i)
		if at >= end {
			break
		}
		if h, ok := s.header(at); ok {
			return h, at, true
		}
		off = at + 1
	}
	return h, 0, false
}

// groups visits the headers of the groups that begin before limit.
func (s *scan) groups(limit int64, visit func(off int64, h groupHeader)) {
	for off := int64(headerSize); ; {
		h, at, ok := s.find(off, limit)
		if !ok {
			return
		}
		visit(at, h)
		off = at + groupSize + int64(h.bytes)
	}
}

// witness tells whether a group behind off was written when group n was already synced. Were none, what stands there
// came out of order before a crash and was never acknowledged as synced.
func (s *scan) witness(off int64, n uint64) bool {
	if s.sureAt >= off && s.sure >= n {
		return true
	}
	for s.behind = 0; ; {
		h, at, ok := s.find(off, s.size)
		if !ok {
			return false
		}
		if h.durable >= n {
			s.sure, s.sureAt = h.durable, at
			return true
		}
		off = at + groupSize
		s.behind = min(off+int64(h.bytes), s.size)
	}
}

// damaged reports bytes that are not what was written, and sets a copy aside.
func (s *scan) damaged(off, end int64) {
	if s.seg.cold && s.blank(off, end) {
		return
	}
	d := Damage{File: s.segmentPath(s.seg.number), Offset: off, Bytes: end - off}
	d.What = fmt.Sprintf("%d bytes fail their checksum; the whole records around them are kept", d.Bytes)
	d.Aside = s.setAside(s.window.file, s.seg.number, off, min(end, s.size))
	s.found.Damage = append(s.found.Damage, d)
}

// blank tells whether nothing was ever written to [off, end), at the end of the file: room that a cold segment did not
// come to use.
func (s *scan) blank(off, end int64) bool {
	for end == s.size && off < end {
		b := s.from(off, 1)
		for _, c := range b {
			if c != 0 {
				return false
			}
		}
		off += int64(len(b))
	}
	return off == end
}
