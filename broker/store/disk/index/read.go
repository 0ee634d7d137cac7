package index

import (
	"cmp"
	"slices"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Place is a queue position and where its message lies.
type Place struct {
	Seq      uint64
	Released bool // there is no message, and nothing below counts
	Lost     bool // Forget dropped the body: settle it with Lose
	At       Pos
	Bytes    uint32         // mqtt.Message.Bytes
	Delivery store.Delivery // QoS and Retain
	Find     bool           // there is more to the delivery: record.Delivery finds it in the body
}

// Places calls f for the positions of a session from from to to, both included, in order and without those that are
// settled, until most have been taken or f refuses one by false. next is where to go on: the first one not taken, or greater
// than to when the range is done. to is below the greatest uint64.
func (x *Index) Places(id store.SessionID, from, to uint64, most int, f func(Place) bool) (next uint64) {
	if se := x.sessions[id]; se != nil {
		for seq, s := range se.queue.All(from, to) {
			if most == 0 || !f(x.place(seq, *s)) {
				return seq
			}
			most--
		}
	}
	return max(from, to+1)
}

func (x *Index) place(seq uint64, s slot) Place {
	if s&slotReleased != 0 {
		return Place{Seq: seq, Released: true}
	}
	e := x.bodies.at(s.handle())
	return Place{
		Seq: seq, Lost: e.bytes == 0, At: e.pos, Bytes: e.bytes, Find: s&slotFind != 0,
		Delivery: store.Delivery{QoS: mqtt.QoS(s & slotQoS), Retain: s&slotRetain != 0},
	}
}

// Lose settles a position whose body is damaged, and counts it. A position that is not there is ignored.
func (x *Index) Lose(id store.SessionID, seq uint64) {
	se := x.sessions[id]
	if se == nil {
		return
	}
	if s := se.queue.Remove(seq, &x.spare); s != 0 {
		x.bodies.letGo(s)
		x.lost++
	}
}

// LoseRetained removes the retained message of a topic whose body at a place is damaged, and counts it.
func (x *Index) LoseRetained(topic string, at Pos) {
	if h, found := x.retained[topic]; found && x.bodies.at(h).pos == at {
		x.unretain(topic)
		x.lost++
	}
}

// Lost is how many positions and retained messages were lost.
func (x *Index) Lost() int { return x.lost }

// Sessions calls f for every session, in no particular order, until it returns an error. What f gets is its own.
func (x *Index) Sessions(f func(*store.Recovered) error) error {
	for _, se := range x.sessions {
		if err := f(x.recovered(se)); err != nil {
			return err
		}
	}
	return nil
}

func (x *Index) recovered(se *session) *store.Recovered {
	next := se.queue.Last() + 1
	r := &store.Recovered{
		Session: se.meta, Subscriptions: slices.Clone(se.subs), Received: slices.Clone(se.received), First: next, Next: next,
	}
	r.Session.Will = clone(se.meta.Will)
	for seq, s := range se.queue.All(1, se.queue.Last()) {
		r.First = min(r.First, seq)
		if *s&slotReleased == 0 {
			r.Messages++
			r.Bytes += int(x.bodies.at(s.handle()).bytes)
		}
	}
	return r
}

// Topic is a retained message.
type Topic struct {
	Name  string
	At    Pos
	Bytes uint32 // mqtt.Message.Bytes
}

// RetainedByPos lists the retained messages in the order in which they lie.
func (x *Index) RetainedByPos() []Topic {
	list := make([]Topic, 0, len(x.retained))
	for name, h := range x.retained {
		e := x.bodies.at(h)
		list = append(list, Topic{name, e.pos, e.bytes})
	}
	slices.SortFunc(list, func(a, b Topic) int {
		return cmp.Or(cmp.Compare(a.At.Segment, b.At.Segment), cmp.Compare(a.At.Offset, b.At.Offset))
	})
	return list
}

// Retained calls f for every retained message, in the order in which they lie, until it returns an error.
func (x *Index) Retained(f func(topic string, at Pos) error) error {
	for _, t := range x.RetainedByPos() {
		if err := f(t.Name, t.At); err != nil {
			return err
		}
	}
	return nil
}

// Stats are the figures of what is durable.
func (x *Index) Stats() store.Stats {
	st := x.stats
	st.Sessions, st.Retained = len(x.sessions), len(x.retained)
	st.Messages, st.Bytes = x.bodies.messages, x.bodies.bytes
	return st
}

// Last is the highest number that a session ever had, of those that ended too.
func (x *Index) Last() store.SessionID { return x.last }
