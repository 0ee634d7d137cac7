package index

import (
	"math"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/record"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// LoadChunk takes what Snapshot.Next wrote; all chunks in order, before anything is applied. When a damaged one is left out,
// what the others say of the sessions in it is ignored. It fails with record.ErrMalformed on what Next never writes; the index is
// of no use then.
func (x *Index) LoadChunk(chunk []byte) error {
	if x.shared == nil {
		x.shared = make(map[Pos]uint32)
	}
	l := loader{Reader: record.NewReader(chunk), x: x}
	for l.Len() > 0 {
		switch l.Byte() {
		case itemLast:
			x.last = max(x.last, store.SessionID(l.Uvarint()))
		case itemSession:
			l.session()
		case itemSubs:
			l.subs(l.owner())
		case itemReceived:
			l.received(l.owner())
		case itemQueue:
			l.queue(l.owner())
		case itemRetained:
			l.retained()
		default:
			l.Fail()
		}
	}
	return l.End()
}

// Loaded tells that all chunks are in. It comes before the first Give; what of the log is to be applied again may come
// before or after it.
func (x *Index) Loaded() {
	x.shared = nil
	for _, se := range x.sessions {
		se.queue.Skip(se.given)
	}
}

// loader reads one chunk.
type loader struct {
	record.Reader
	x *Index
}

// owner reads the session that an item is of; nil when its own item, which comes before, is missing.
func (l *loader) owner() *session { return l.x.sessions[store.SessionID(l.Uvarint())] }

func (l *loader) session() {
	last := l.Uvarint()
	var r store.Record
	if err := record.Decode(l.Bytes(), &r); err != nil || r.Op != store.PutSession {
		l.Fail()
		return
	}
	l.x.putSession(&r)
	l.x.sessions[r.Session].given = last
}

func (l *loader) subs(se *session) {
	for n := l.Uvarint(); n > 0; n = l.Uvarint() {
		sub := store.Subscription{Filter: string(l.Take(n - 1)), Options: mqtt.SubOptions(l.Byte()), ID: l.Uint32()}
		if se != nil && l.OK() {
			l.x.subscribe(se, sub)
		}
	}
}

func (l *loader) received(se *session) {
	id := uint64(math.MaxUint64)
	for n := l.Uvarint(); n > 0; n = l.Uvarint() {
		if id += n; id > math.MaxUint16 {
			l.Fail()
			return
		}
		if se != nil {
			l.x.change(se, &store.Record{Op: store.Receive, PacketID: uint16(id)})
		}
	}
}

func (l *loader) queue(se *session) {
	var seq uint64
	var at Pos
	for n := l.Uvarint(); n > 0; n = l.Uvarint() {
		seq += n
		s, bytes := slot(l.Byte()), uint32(0)
		if s&slotReleased == 0 {
			at = l.pos(at)
			bytes = l.Uint32()
		}
		if se == nil {
			continue
		}
		if !l.OK() || seq <= se.queue.Last() || seq > se.given || s&slotTaken == 0 {
			l.Fail()
			return
		}
		if s&slotReleased == 0 {
			h := l.message(at, bytes, s&slotShared != 0)
			l.x.bodies.refer(h)
			s = slot(h)<<8 | s&^slotShared
		}
		se.queue.Skip(seq - 1)
		se.queue.Push(s, &l.x.spare)
	}
}

// message returns the handle of the message that lies at a place: one for all positions that share it.
func (l *loader) message(at Pos, bytes uint32, shared bool) uint32 {
	if !shared {
		return l.x.bodies.hold(at, bytes)
	}
	h, ok := l.x.shared[at]
	if !ok {
		h = l.x.bodies.hold(at, bytes)
		l.x.shared[at] = h
	}
	return h
}

// pos reads a place as its distance from another.
func (l *loader) pos(from Pos) Pos {
	segment, offset := int64(from.Segment)+l.Varint(), int64(from.Offset)+l.Varint()
	if segment < 0 || segment > math.MaxUint32 || offset < 0 || offset > math.MaxUint32 {
		l.Fail()
		return Pos{}
	}
	return Pos{Segment: uint32(segment), Offset: uint32(offset)}
}

func (l *loader) retained() {
	topic := l.Bytes()
	at := l.pos(Pos{})
	bytes := l.Uint32()
	if l.OK() {
		l.x.keep(view(topic), false, at, bytes)
	}
}
