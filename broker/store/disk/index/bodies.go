package index

import (
	"maps"
	"slices"
)

// bodies are the messages that somebody needs, and what they weigh where they lie.
type bodies struct {
	slab
	live     live
	messages int   // for queues
	bytes    int64 // of those
}

// What a record takes on disk beside topic, properties and payload, about: mqtt.Message.Bytes has a fixed share instead
// that is far more.
const (
	recordShare = 16 // frame, lengths and flags
	targetShare = 4  // each target
	valueShare  = 128
)

// weight is about how many bytes the record of an entry takes on disk, as far as it is needed.
func (e *entry) weight() int64 {
	if e.bytes == 0 {
		return 0
	}
	return int64(max(e.bytes, valueShare)) - valueShare + recordShare + targetShare*int64(e.refs)
}

// hold makes the entry of a message for queues, which nothing refers to yet.
func (b *bodies) hold(at Pos, bytes uint32) (handle uint32) {
	b.messages++
	b.bytes += int64(bytes)
	e := entry{pos: at, bytes: bytes}
	b.live.add(at.Segment, e.weight())
	return b.take(e)
}

// refer notes that one more position refers to a message.
func (b *bodies) refer(handle uint32) {
	e := b.at(handle)
	before := e.weight()
	e.refs++
	b.live.add(e.pos.Segment, e.weight()-before)
}

// letGo takes back the reference of a queue's position.
func (b *bodies) letGo(s slot) {
	if s&slotTaken == 0 || s&slotReleased != 0 {
		return
	}
	h := s.handle()
	e := b.at(h)
	before := e.weight()
	e.refs--
	if e.refs > 0 {
		b.live.add(e.pos.Segment, e.weight()-before)
		return
	}
	b.messages--
	b.bytes -= int64(e.bytes)
	b.live.add(e.pos.Segment, -before)
	b.free(h)
}

// put notes that a body lies at a place.
func (b *bodies) put(handle uint32, at Pos, bytes uint32) {
	e := b.at(handle)
	b.live.add(e.pos.Segment, -e.weight())
	e.pos, e.bytes = at, bytes
	b.live.add(at.Segment, e.weight())
}

// forget drops the bodies that lie in a segment, and tells how many they were. The entries stay, lost.
func (b *bodies) forget(segment uint32) (n int) {
	for i := range b.blocks {
		if b.blocks[i].used == 0 {
			continue
		}
		for j := range b.blocks[i].entries {
			if e := &b.blocks[i].entries[j]; e.refs > 0 && e.pos.Segment == segment && e.bytes > 0 {
				b.live.add(segment, -e.weight())
				b.bytes -= int64(e.bytes)
				e.bytes = 0
				n++
			}
		}
	}
	return n
}

// live counts bytes by segment.
type live struct {
	segments map[uint32]*int64 // also some of which nothing is left
	newest   uint32            // the one counted last
	bytes    *int64            // its count
}

func (l *live) add(segment uint32, bytes int64) {
	if bytes == 0 {
		return
	}
	if l.bytes == nil || l.newest != segment {
		n := l.segments[segment]
		if n == nil {
			n = new(int64)
			l.segments[segment] = n
		}
		l.newest, l.bytes = segment, n
	}
	*l.bytes += bytes
}

func (l *live) of(segment uint32) int64 {
	if n := l.segments[segment]; n != nil {
		return *n
	}
	return 0
}

// some lists the segments with bytes, and drops the others.
func (l *live) some() []uint32 {
	l.bytes = nil
	maps.DeleteFunc(l.segments, func(_ uint32, n *int64) bool { return *n == 0 })
	return slices.Sorted(maps.Keys(l.segments))
}
