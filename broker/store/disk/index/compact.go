package index

import "github.com/sapwood-mqtt/sapwood/broker/store"

// Live is how many bytes of a segment are needed, about: what the records of its messages take, with those targets that
// still wait. It is 0 when nothing is.
func (x *Index) Live(segment uint32) int64 { return x.bodies.live.of(segment) }

// Segments lists those of which something is needed, in ascending order.
func (x *Index) Segments() []uint32 { return x.bodies.live.some() }

// holder returns the message of a position if its body is the one that lies at a place.
func (x *Index) holder(id store.SessionID, seq uint64, at Pos) (handle uint32, ok bool) {
	se := x.sessions[id]
	if se == nil {
		return 0, false
	}
	s := se.queue.Find(seq)
	if s == nil || *s&slotReleased != 0 {
		return 0, false
	}
	e := x.bodies.at(s.handle())
	return s.handle(), e.pos == at && e.bytes != 0
}

// retainedAt returns the retained message of a record's topic if its body is the one that lies at a place.
func (x *Index) retainedAt(r *store.Record, at Pos) (handle uint32, ok bool) {
	h, ok := x.retained[view(r.Message.Topic)]
	if !ok {
		return 0, false
	}
	return h, x.bodies.at(h).pos == at
}

// Holds tells whether anybody still needs the body of an Enqueue or a Retain that lies at from.
func (x *Index) Holds(r *store.Record, from Pos) bool {
	if r.Op == store.Retain {
		_, ok := x.retainedAt(r, from)
		return ok
	}
	for i := range r.Targets {
		if _, ok := x.holder(r.Targets[i].Session, r.Targets[i].Seq, from); ok {
			return true
		}
	}
	return false
}

// Trim leaves only those targets of an Enqueue that lies at from that still need it.
func (x *Index) Trim(r *store.Record, from Pos) {
	n := 0
	for i := range r.Targets {
		if _, ok := x.holder(r.Targets[i].Session, r.Targets[i].Seq, from); ok {
			// Swapped and not copied: record.Decode uses the memory of each of them again.
			r.Targets[n], r.Targets[i] = r.Targets[i], r.Targets[n]
			n++
		}
	}
	r.Targets = r.Targets[:n]
}

// Move notes that the body of an Enqueue or a Retain that lies at from is to be read at to from now on, by
// those who still need it. It must not be called while a Snapshot is taken.
func (x *Index) Move(r *store.Record, from, to Pos) {
	if r.Op == store.Retain {
		if h, ok := x.retainedAt(r, from); ok {
			x.bodies.put(h, to, x.bodies.at(h).bytes)
		}
		return
	}
	for i := range r.Targets { // those behind the first find it moved already
		if h, ok := x.holder(r.Targets[i].Session, r.Targets[i].Seq, from); ok {
			x.bodies.put(h, to, x.bodies.at(h).bytes)
		}
	}
}

// Forget gives up the bodies that are still in a segment, which cannot be read: nothing of it is live any more. The
// retained messages are lost at once, the queued ones as Places comes by them (Place.Lost). It tells how many there were.
func (x *Index) Forget(segment uint32) (queued, retained int) {
	var topics []string
	for name, h := range x.retained {
		if x.bodies.at(h).pos.Segment == segment {
			topics = append(topics, name)
		}
	}
	for _, name := range topics {
		x.unretain(name)
	}
	x.lost += len(topics)
	return x.bodies.forget(segment), len(topics)
}
