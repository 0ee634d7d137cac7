package index_test

import (
	"fmt"
	"slices"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// id is one of the last few sessions, mostly there, sometimes ended or to come.
func (w *world) id() store.SessionID {
	return w.next + 1 - min(w.next, store.SessionID(w.IntN(9)))
}

// seq is a position of a session, mostly one that is there.
func (w *world) seq(id store.SessionID) uint64 {
	se := w.m.sessions[id]
	if se == nil || len(se.queue) == 0 || w.IntN(12) == 0 {
		return w.Uint64N(w.issued[id] + 2)
	}
	var seqs []uint64
	for seq := range se.queue {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	if w.IntN(3) == 0 {
		return seqs[w.IntN(len(seqs))]
	}
	return seqs[0]
}

func (w *world) message() *mqtt.Message {
	w.n++
	m := &mqtt.Message{
		Topic: []byte(fmt.Sprint("t/", w.IntN(12))), Payload: []byte(fmt.Sprint(w.n)),
		QoS: mqtt.QoS(w.IntN(3)), Retain: w.IntN(2) == 0, Expires: w.Int64N(3) * 1000,
	}
	m.Payload = append(m.Payload, make([]byte, w.IntN(50))...)
	if w.IntN(3) == 0 {
		m.Publisher, m.Forward = "publisher", []byte{1, 0}
	}
	if w.IntN(2) == 0 {
		return m.Keep()
	}
	return m
}

// record is a random change that means something mostly; before are those of the same batch.
func (w *world) record(before []store.Record) store.Record {
	r := store.Record{Session: w.id(), PacketID: uint16(w.IntN(10) * w.IntN(7000))}
	r.Subscription = store.Subscription{Filter: fmt.Sprint("f/", w.IntN(30)), Options: mqtt.SubOptions(w.IntN(8)), ID: w.Uint32N(3)}
	switch w.IntN(32) {
	case 0, 1:
		r.Op = store.PutSession
		if w.IntN(2) == 0 {
			w.next++
			r.Session = w.next
		} else if !w.exists(r.Session, before) { // a number is never used twice
			r.Op = store.Subscribe
			break
		}
		r.Meta = &store.Session{ID: r.Session, ClientID: fmt.Sprint("c", r.Session), Owner: "owner", Version: 5, Expiry: w.Uint32(), Unsent: w.Uint64N(9), Disconnected: w.Int64N(5)}
		if w.IntN(3) == 0 {
			r.Meta.Will = &store.Will{Message: w.message(), Delay: w.Uint32()}
		}
	case 2:
		r.Op = store.Release
		if w.IntN(3) == 0 {
			r.Op = store.EndSession
		}
		r.Seq = w.seq(r.Session)
	case 3, 4, 5, 6:
		r.Op = store.Subscribe
	case 7, 8:
		r.Op = store.Unsubscribe
	case 9, 10:
		r.Op, r.Message = store.Retain, w.message()
	case 11:
		r.Op, r.Message = store.Unretain, w.message()
	case 12, 13:
		r.Op = store.Receive
	case 14, 15:
		r.Op = store.Complete
	case 16, 17, 18, 19, 20, 21, 22, 23:
		r.Op, r.Seq = store.Settle, w.seq(r.Session)
	case 24:
		r.Op, r.Seq = store.Release, w.seq(r.Session)
	default:
		r.Op, r.Session, r.Message = store.Enqueue, 0, w.message()
		for range w.IntN(5) {
			r.Targets = append(r.Targets, store.Target{Session: w.id(), Seq: w.Uint64(), Delivery: w.delivery()})
		}
	}
	return r
}

func (w *world) delivery() store.Delivery {
	d := store.Delivery{QoS: mqtt.QoS(w.IntN(3)), Retain: w.IntN(2) == 0}
	if w.IntN(4) == 0 {
		d.Group = fmt.Sprint("$share/g/f/", w.IntN(6))
	}
	if w.IntN(4) == 0 {
		d.SubscriptionIDs = []uint32{w.Uint32N(6), w.Uint32N(6)}
	}
	return d
}
