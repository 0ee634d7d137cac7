package wal

import (
	"errors"
	"fmt"
	"slices"
)

// Found is what a Replay found.
type Found struct {
	End     Pos   // where what counts ends
	Stamp   int64 // of the last group, Unix ms; 0 = there was none
	Groups  int64 // that counted at least in part
	Records int64 // handed over
	Bytes   int64 // of the groups
	Cut     int64 // bytes of a torn tail, as far as its groups tell: never acknowledged as synced
	Damage  []Damage
}

// Replay hands over the records of all groups from from on: the zero Pos is the beginning, or else it was an End. What
// f gets is whole batches in their order; only around damage it gets whatever records are whole. It changes nothing
// but makes quarantine files. It ends with the error of f; damage is none. It must come before Start.
func (l *Log) Replay(from Pos, f func(Record) error) (Found, error) {
	var found Found
	l.mu.Lock()
	first := l.state == opened
	l.mu.Unlock()
	if !first {
		return found, errors.New("replay: the log was started before")
	}
	l.report(&found)
	links := l.chain(from, &found)
	tail := from
	l.group, found.Stamp = l.before(from)
	for i := range links {
		k := &links[i]
		off := int64(headerSize)
		if k.seg.number == from.Segment {
			off = max(off, int64(from.Offset))
		}
		last, end, err := l.read(k, off, f, &found)
		if err != nil {
			return found, fmt.Errorf("replay: %w", err)
		}
		k.seg.end.Store(end)
		k.seg.ended = true
		l.group = max(l.group, last)
		tail = Pos{k.seg.number, uint32(end)}
		if last == 0 && !k.later && off == headerSize {
			// Nothing counts in it but what its torn first group says: where the log ended before.
			tail = k.seg.first.prev
			l.setStale(k.seg)
		}
	}
	slices.Sort(l.stale)
	l.stamp = max(l.stamp, found.Stamp)
	l.durable = l.group
	l.scanned = true
	l.number = max(l.number, from.Segment, tail.Segment)
	l.tail.Store(pack(tail))
	found.End = tail
	return found, nil
}

// read scans one segment of the chain from off on; last is the number of the last group that counts in it, 0 = none.
func (l *Log) read(k *link, off int64, f func(Record) error, found *Found) (last uint64, end int64, err error) {
	h, err := l.files.get(k.seg.number)
	if err != nil {
		found.Damage = append(found.Damage, Damage{File: l.path(segmentName(k.seg.number)), Bytes: k.end, What: "it cannot be opened: " + err.Error()})
		return 0, k.end, nil
	}
	defer l.files.put(h)
	s := l.newScan(k.seg, h, f, found)
	s.limit, s.known, s.later = k.end, k.known, k.later
	// Where nothing tells the number, it is at most that before the first group that can be read.
	s.next = max(l.group, max(k.seg.first.number, 2)-2) + 1
	end, err = s.run(off)
	return s.last, end, err
}

// before is the number and the stamp of the last group that ends at from or before; 0 = there is none to be found.
func (l *Log) before(from Pos) (number uint64, stamp int64) {
	segs := l.logSegments(0)
	for i := len(segs) - 1; i >= 0 && number == 0; i-- {
		seg := segs[i]
		limit := seg.used()
		if seg.number == from.Segment {
			limit = min(limit, int64(from.Offset))
		}
		if seg.number > from.Segment || limit <= headerSize {
			continue
		}
		h, err := l.files.get(seg.number)
		if err != nil {
			continue
		}
		s := l.newScan(seg, h, nil, &Found{})
		for off := int64(headerSize); off < limit; {
			g, at, ok := s.find(off, limit)
			if !ok {
				break
			}
			number, stamp = g.number, g.stamp
			off = at + groupSize + int64(g.bytes)
		}
		l.files.put(h)
	}
	return number, stamp
}

// link is one segment of the chain that the log is, and where it ends.
type link struct {
	seg   *segment
	end   int64
	known bool
	later bool // there is a later one
}

// chain follows the log from its youngest group back to from. What is in no link is stale. It reports what is missing.
func (l *Log) chain(from Pos, found *Found) []link {
	segs := l.logSegments(from.Segment)
	var links []link
	var want Pos // where the segment before the last link ended
	for i := len(segs) - 1; i >= 0; i-- {
		s := segs[i]
		k := link{seg: s, end: s.size.Load(), later: len(links) > 0}
		switch {
		case len(links) == 0:
			if !l.anyGroup(s) && (s.number != from.Segment || from.Offset <= headerSize) {
				// Prepared and never used: the witness that the one before it existed.
				l.missing(from, s.head.after, found)
				l.setStale(s)
				continue
			}
		case s.number > want.Segment:
			l.setStale(s)
			continue
		case s.number < want.Segment:
			l.missing(from, want.Segment, found)
		case want.Offset > 0:
			k.known, k.end = true, int64(want.Offset)
		}
		links = append(links, k)
		want = Pos{Segment: s.head.after}
		if l.anyGroup(s) {
			want = s.first.prev
		}
	}
	if len(links) > 0 {
		l.missing(from, want.Segment, found)
	} else if from.Offset > headerSize {
		l.missing(from, from.Segment, found)
	}
	slices.Reverse(links)
	return links
}

// setStale notes that a segment is no part of the log, so that Start makes a spare of it. One whose header cannot be
// read stays: nobody knows what it was.
func (l *Log) setStale(s *segment) {
	if s.wrong == "" {
		s.stale = true
		l.stale = append(l.stale, s.number)
	}
}

// logSegments are the segments from number on that the log may consist of, by number.
func (l *Log) logSegments(number uint32) []*segment {
	var segs []*segment
	for _, s := range l.segments {
		if s.number >= number && !s.cold && !s.foreign {
			segs = append(segs, s)
		}
	}
	slices.SortFunc(segs, func(a, b *segment) int { return Compare(Pos{Segment: a.number}, Pos{Segment: b.number}) })
	return segs
}

// Scan hands over every record of one segment that is whole, in the order in which they stand, of batches that are not
// whole too. Damage is reported, and set aside as by Replay. It ends with the error of f.
func (l *Log) Scan(number uint32, f func(Record) error) ([]Damage, error) {
	r := l.NewReader() // so that it is not recycled meanwhile
	defer r.Close()
	l.mu.Lock()
	seg := l.segments[number]
	l.mu.Unlock()
	if seg == nil {
		return nil, fmt.Errorf("scan: there is no segment %d", number)
	}
	h, err := l.files.get(number)
	if err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	defer l.files.put(h)
	var found Found
	s := l.newScan(seg, h, f, &found)
	s.limit, s.known, s.next = seg.used(), seg.ended, max(seg.first.number, 1)
	if seg.cold || !seg.ended && !l.anyGroup(seg) {
		err = s.salvage(headerSize, s.limit)
	} else {
		_, err = s.run(headerSize)
	}
	if err != nil {
		return found.Damage, fmt.Errorf("scan: %w", err)
	}
	return found.Damage, nil
}

func (l *Log) newScan(seg *segment, h *handle, f func(Record) error, found *Found) *scan {
	s := &scan{log: l, seg: seg, f: f, found: found}
	s.file, s.size = h.file, seg.size.Load()
	s.bad = func(off, bytes int64, err error) {
		found.Damage = append(found.Damage, Damage{File: l.path(segmentName(seg.number)), Offset: off, Bytes: bytes, What: "it cannot be read: " + err.Error()})
	}
	return s
}
