package wal

import (
	"cmp"
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
	l.mu.Lock()
	state := l.state
	l.mu.Unlock()
	if state != opened {
		return Found{}, errors.New("replay: the log was started before")
	}
	r := replay{folder: l.folder, segments: l.segments, from: from, f: f}
	r.report()
	links := r.chain()
	r.last, r.found.Stamp = r.before()
	tail := from
	for i := range links {
		var err error
		if tail, err = r.read(&links[i]); err != nil {
			return r.found, fmt.Errorf("replay: %w", err)
		}
	}
	r.found.End = tail
	l.group, l.durable, l.stamp = r.last, r.last, max(l.stamp, r.found.Stamp)
	l.supply.reach(max(from.Segment, tail.Segment))
	l.tail.Store(pack(tail))
	l.scanned = true
	return r.found, nil
}

// replay is one run of Replay.
type replay struct {
	*folder
	segments map[uint32]*segment
	from     Pos
	f        func(Record) error
	last     uint64 // number of the last group that counts
	found    Found
}

// link is one segment of the chain that the log is, and where it ends.
type link struct {
	seg   *segment
	end   int64
	known bool // a later segment says that end
	later bool // there is a later one
}

// chain follows the log from its youngest group back to from. It reports what is missing, and notes what was prepared
// and never used as stale. A segment that holds groups and that the log passes by, left by a failure, stays for Drop:
// should the disk have hidden it from an earlier start, nothing is made worse.
func (r *replay) chain() []link {
	segs := r.sorted(r.from.Segment)
	var links []link
	var want Pos // where the segment before the last link ended
	known := false
	for i := len(segs) - 1; i >= 0; i-- {
		s := segs[i]
		groups := r.anyGroup(s)
		k := link{seg: s, end: s.size.Load(), later: len(links) > 0}
		switch {
		case len(links) == 0 && !groups && (s.number != r.from.Segment || r.from.Offset <= headerSize):
			r.missing(s.head.after) // it is the witness that the one before it existed
			r.short(s, headerSize)
			r.stale(s)
			continue
		case known && s.number > want.Segment:
			if !groups {
				r.stale(s)
			}
			continue
		case known && s.number < want.Segment:
			r.missing(want.Segment)
		case known && want.Offset > 0:
			k.known, k.end = true, int64(want.Offset)
		}
		links = append(links, k)
		want, known = Pos{Segment: s.head.after}, s.head.number > 0
		if groups {
			want, known = s.first.prev, true
		}
	}
	if len(links) > 0 {
		r.missing(want.Segment)
	} else if r.from.Offset > headerSize {
		r.missing(r.from.Segment)
	}
	slices.Reverse(links)
	return links
}

// sorted are the segments from number on that the log may consist of.
func (r *replay) sorted(number uint32) []*segment {
	var segs []*segment
	for _, s := range r.segments {
		if s.number >= number && !s.cold && !s.foreign {
			segs = append(segs, s)
		}
	}
	slices.SortFunc(segs, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	return segs
}

// stale notes that a segment is no part of the log, so that Start makes a spare of it. One whose header cannot be read
// stays: nobody knows what it was.
func (r *replay) stale(s *segment) { s.stale = s.wrong == "" }

// read scans one link and returns where the log ends after it.
func (r *replay) read(k *link) (tail Pos, err error) {
	seg := k.seg
	off := int64(headerSize)
	if seg.number == r.from.Segment {
		off = max(off, int64(r.from.Offset))
	}
	h, err := r.files.get(seg.number)
	if err != nil {
		r.found.Damage = append(r.found.Damage, Damage{File: r.segmentPath(seg.number), Bytes: k.end, What: "it cannot be opened: " + err.Error()})
		return Pos{seg.number, uint32(k.end)}, nil
	}
	defer r.files.put(h)
	s := r.scan(seg, h, r.f, &r.found)
	s.limit, s.known, s.later = k.end, k.known, k.later
	// Where no group tells the number expected, it is at most the one before the first that can be read.
	s.next = max(r.last+1, seg.first.number-min(seg.first.number, 1))
	end, err := s.run(off)
	if err != nil {
		return tail, err
	}
	if !k.known {
		r.short(seg, end)
	}
	r.last = max(r.last, s.last)
	seg.end.Store(end)
	seg.ended = true
	if s.last == 0 && !k.later && off == headerSize && seg.grouped {
		// Nothing counts in it but what its torn first group says: where the log ended before.
		r.stale(seg)
		return seg.first.prev, nil
	}
	return Pos{seg.number, uint32(end)}, nil
}

// short reports a segment whose end somebody cut off, so that nobody knows what it ended with. One that ends with its
// last group is as a backup has it.
func (r *replay) short(seg *segment, end int64) {
	if size := seg.size.Load(); size < seg.head.size && (size > end || end == headerSize) {
		r.found.Damage = append(r.found.Damage, Damage{
			File: r.segmentPath(seg.number), Offset: size, Bytes: seg.head.size - size,
			What: "the file is shorter than it was made: what it ended with may be missing",
		})
	}
}

// before is the number and the stamp of the last group that ends at from or before; 0 = there is none to be found.
func (r *replay) before() (number uint64, stamp int64) {
	segs := r.sorted(0)
	for i := len(segs) - 1; i >= 0 && number == 0; i-- {
		seg := segs[i]
		limit := seg.used()
		if seg.number == r.from.Segment {
			limit = min(limit, int64(r.from.Offset))
		}
		if seg.number > r.from.Segment || limit <= headerSize {
			continue
		}
		h, err := r.files.get(seg.number)
		if err != nil {
			continue
		}
		r.scan(seg, h, nil, &Found{}).groups(limit, func(_ int64, g groupHeader) { number, stamp = g.number, g.stamp })
		r.files.put(h)
	}
	return number, stamp
}

// report tells what Open found to be wrong.
func (r *replay) report() {
	var wrong []*segment
	for _, s := range r.segments {
		if s.wrong != "" {
			wrong = append(wrong, s)
		}
	}
	slices.SortFunc(wrong, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	for _, s := range wrong {
		d := Damage{File: r.segmentPath(s.number), What: s.wrong}
		switch size := s.size.Load(); {
		case s.foreign:
			d.Bytes = size
		default:
			d.Bytes = min(size, headerSize)
			if h, err := r.files.get(s.number); err == nil {
				d.Aside = r.setAside(h.file, s.number, 0, d.Bytes)
				r.files.put(h)
			}
		}
		r.found.Damage = append(r.found.Damage, d)
	}
}

// missing reports that a segment which the log needs is not there. Those before from nobody needs for certain.
func (r *replay) missing(number uint32) {
	if number == 0 || number < r.from.Segment || r.segments[number] != nil {
		return
	}
	d := Damage{File: r.segmentPath(number), What: fmt.Sprintf("segment %d is missing", number)}
	if !slices.Contains(r.found.Damage, d) {
		r.found.Damage = append(r.found.Damage, d)
	}
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
	s := l.scan(seg, h, f, &found)
	s.limit, s.known, s.next = seg.used(), seg.ended, max(seg.first.number, 1)
	if seg.cold || !seg.ended && seg.wrong != "" && !seg.grouped {
		err = s.salvage(headerSize, s.limit)
	} else {
		_, err = s.run(headerSize)
	}
	if err != nil {
		return found.Damage, fmt.Errorf("scan: %w", err)
	}
	return found.Damage, nil
}
