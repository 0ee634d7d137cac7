package index

import (
	"encoding/binary"
	"math"
	"reflect"
	"slices"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/record"
)

// The kinds of items that a chunk is made of: its first byte.
const (
	itemLast     = 1 + iota // uvarint: Last
	itemSession             // uvarint last position; string: body of its PutSession
	itemSubs                // uvarint session, subscriptions, 0
	itemReceived            // uvarint session, packet identifiers, 0
	itemQueue               // uvarint session, positions, 0
	itemRetained            // string topic, uvarint segment, offset, bytes
)

// Snapshot writes down an index in slices, between which it may change. It is fuzzy: what comes of loading
// it is right once all changes since its beginning have been applied again. For
//
//   - what is there all the time and does not change is written;
//   - sessions and positions that came after the beginning are not written: what is applied again finds them
//     as it did the first time, missing;
//   - any other change since the beginning leaves the same behind when it is applied again, in order, whether
//     what is written has it or not;
//   - a position is marked as shared when others refer to its message at the time. Two that outlive what is
//     applied again were there all the time, so both are marked, and refer to one message when they are loaded.
//
// Only the newest one of an index can be written.
type Snapshot struct {
	x    *Index
	part func(s *Snapshot, dst []byte, end int) []byte // writes what is next, or sets what is next; nil = all is written

	// Iterators of maps, in form of values, because a map may change while they pause: what is there all the
	// time comes once.
	ids, topics *reflect.MapIter

	id      store.SessionID // whose parts are being written
	limit   uint64          // its last position when the snapshot began
	filter  string          // of its subscription written last
	packet  int             // its packet identifier written last, -1 = none
	seq     uint64          // its position written last
	topic   string
	scratch []byte
}

// Snapshot begins to write the index down. The log from here on must be applied again when it is loaded.
func (x *Index) Snapshot() *Snapshot {
	x.epoch++
	return &Snapshot{
		x: x, part: (*Snapshot).lastSession,
		ids: reflect.ValueOf(x.sessions).MapRange(), topics: reflect.ValueOf(x.retained).MapRange(),
	}
}

// Next appends about budget bytes, to be given to LoadChunk, and tells if there are more. It takes time for no more
// than that, so they can be fewer, or none, where sessions ended or came anew. The chunks are loaded in their order.
func (s *Snapshot) Next(dst []byte, budget int) (chunk []byte, more bool) {
	end := len(dst) + budget
	for steps := budget; steps > 0 && s.part != nil && len(dst) < end; steps-- {
		dst = s.part(s, dst, end)
	}
	return dst, s.part != nil
}

func (s *Snapshot) lastSession(dst []byte, _ int) []byte {
	s.part = (*Snapshot).session
	return binary.AppendUvarint(append(dst, itemLast), uint64(s.x.last))
}

func (s *Snapshot) session(dst []byte, _ int) []byte {
	if !s.ids.Next() {
		s.part = (*Snapshot).retained
		return dst
	}
	reflect.ValueOf(&s.id).Elem().SetIterKey(s.ids)
	se := s.x.sessions[s.id]
	s.limit, s.packet, s.seq = se.began(s.x.epoch), -1, 0
	if s.limit == none {
		return dst
	}
	s.scratch = record.Append(s.scratch[:0], &store.Record{Op: store.PutSession, Session: s.id, Meta: &se.meta})
	dst = binary.AppendUvarint(append(dst, itemSession), s.limit)
	dst = binary.AppendUvarint(dst, uint64(len(s.scratch)))
	dst = append(dst, s.scratch...)
	s.part = (*Snapshot).firstSubs
	return dst
}

func (s *Snapshot) firstSubs(dst []byte, end int) []byte {
	if se := s.x.sessions[s.id]; se != nil {
		return s.subs(dst, end, se, 0)
	}
	s.part = (*Snapshot).session
	return dst
}

func (s *Snapshot) moreSubs(dst []byte, end int) []byte {
	se := s.x.sessions[s.id]
	if se == nil {
		s.part = (*Snapshot).session
		return dst
	}
	i, found := se.find(s.filter)
	if found {
		i++
	}
	return s.subs(dst, end, se, i)
}

func (s *Snapshot) subs(dst []byte, end int, se *session, from int) []byte {
	s.part = (*Snapshot).received
	if from == len(se.subs) {
		return dst
	}
	dst = s.begin(dst, itemSubs)
	for i, sub := range se.subs[from:] {
		if i > 0 && len(dst) >= end {
			s.part = (*Snapshot).moreSubs
			break
		}
		dst = binary.AppendUvarint(dst, uint64(len(sub.Filter))+1)
		dst = append(dst, sub.Filter...)
		dst = append(dst, byte(sub.Options))
		dst = binary.AppendUvarint(dst, uint64(sub.ID))
		s.filter = sub.Filter
	}
	return append(dst, 0)
}

// begin begins an item of the session's.
func (s *Snapshot) begin(dst []byte, kind byte) []byte {
	return binary.AppendUvarint(append(dst, kind), uint64(s.id))
}

func (s *Snapshot) received(dst []byte, end int) []byte {
	s.part = (*Snapshot).queue
	se := s.x.sessions[s.id]
	if se == nil || s.packet == math.MaxUint16 {
		return dst
	}
	i, _ := slices.BinarySearch(se.received, uint16(s.packet+1))
	if i == len(se.received) {
		return dst
	}
	dst = s.begin(dst, itemReceived)
	before := -1
	for j, id := range se.received[i:] {
		if j > 0 && len(dst) >= end {
			s.part = (*Snapshot).received
			break
		}
		dst = binary.AppendUvarint(dst, uint64(int(id)-before))
		before, s.packet = int(id), int(id)
	}
	return append(dst, 0)
}

func (s *Snapshot) queue(dst []byte, end int) []byte {
	s.part = (*Snapshot).session
	se := s.x.sessions[s.id]
	if se == nil || se.queue.Len() == 0 {
		return dst
	}
	begun := false
	var seq uint64
	var at Pos
	for q, it := range se.queue.All(s.seq+1, s.limit) {
		if !begun {
			dst, begun = s.begin(dst, itemQueue), true
		} else if len(dst) >= end {
			s.part = (*Snapshot).queue
			break
		}
		dst = binary.AppendUvarint(dst, q-seq)
		seq, s.seq = q, q
		how := byte(*it)
		if *it&slotReleased != 0 {
			dst = append(dst, how)
			continue
		}
		e := s.x.bodies.at(it.handle())
		if e.refs > 1 {
			how |= byte(slotShared)
		}
		dst = appendPos(append(dst, how), at, e.pos)
		dst = binary.AppendUvarint(dst, uint64(e.bytes))
		at = e.pos
	}
	if begun {
		dst = append(dst, 0)
	}
	return dst
}

// appendPos appends a place as its distance from another.
func appendPos(dst []byte, from, at Pos) []byte {
	dst = binary.AppendVarint(dst, int64(at.Segment)-int64(from.Segment))
	return binary.AppendVarint(dst, int64(at.Offset)-int64(from.Offset))
}

func (s *Snapshot) retained(dst []byte, _ int) []byte {
	if !s.topics.Next() {
		*s = Snapshot{}
		return dst
	}
	reflect.ValueOf(&s.topic).Elem().SetIterKey(s.topics)
	e := s.x.bodies.at(s.x.retained[s.topic])
	dst = record.AppendString(append(dst, itemRetained), s.topic)
	dst = appendPos(dst, Pos{}, e.pos)
	return binary.AppendUvarint(dst, uint64(e.bytes))
}
