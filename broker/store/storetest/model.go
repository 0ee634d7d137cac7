package storetest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// seedVariable is the environment variable that repeats a run of the random test.
const seedVariable = "STORETEST_SEED"

// model is the contract in its most naive form. What it holds is never shared
// with the engine under test, but for the messages.
type model struct {
	sessions map[store.SessionID]*modelSession
	retained map[string]*mqtt.Message
	enqueued int
}

type modelSession struct {
	meta     store.Session
	subs     map[string]store.Subscription
	received map[uint16]bool
	queue    []modelItem // by Seq
	next     uint64
}

type modelItem struct {
	store.Queued
	enqueue int // the number of the Enqueue that it came by
}

func newModel() *model {
	return &model{sessions: map[store.SessionID]*modelSession{}, retained: map[string]*mqtt.Message{}}
}

// apply does what a record says and returns the positions of its targets.
func (m *model) apply(r store.Record) (seqs []uint64) {
	switch r.Op {
	case store.Enqueue:
		m.enqueued++
		for _, t := range r.Targets {
			seqs = append(seqs, m.enqueue(r.Message, t))
		}
	case store.Retain:
		m.retained[string(r.Message.Topic)] = r.Message
	case store.Unretain:
		delete(m.retained, string(r.Message.Topic))
	case store.PutSession:
		if m.sessions[r.Session] == nil {
			m.sessions[r.Session] = &modelSession{subs: map[string]store.Subscription{}, received: map[uint16]bool{}, next: 1}
		}
		m.sessions[r.Session].meta = *r.Meta
	case store.EndSession:
		delete(m.sessions, r.Session)
	default:
		if s := m.sessions[r.Session]; s != nil {
			s.apply(r)
		}
	}
	return seqs
}

func (m *model) enqueue(msg *mqtt.Message, t store.Target) uint64 {
	s := m.sessions[t.Session]
	if s == nil {
		return 0
	}
	d := t.Delivery
	d.SubscriptionIDs = slices.Clone(d.SubscriptionIDs)
	s.queue = append(s.queue, modelItem{store.Queued{Seq: s.next, Message: msg, Delivery: d}, m.enqueued})
	s.next++
	return s.next - 1
}

func (s *modelSession) apply(r store.Record) {
	at := slices.IndexFunc(s.queue, func(it modelItem) bool { return it.Seq == r.Seq })
	switch r.Op {
	case store.Subscribe:
		s.subs[r.Subscription.Filter] = r.Subscription
	case store.Unsubscribe:
		delete(s.subs, r.Subscription.Filter)
	case store.Receive:
		s.received[r.PacketID] = true
	case store.Complete:
		delete(s.received, r.PacketID)
	case store.Settle:
		if at >= 0 {
			s.queue = slices.Delete(s.queue, at, at+1)
		}
	case store.Release:
		if at >= 0 {
			s.queue[at] = modelItem{store.Queued{Seq: r.Seq, Released: true}, 0}
		}
	}
}

// read is what one Read must give; rest tells that there is more in the range.
func (m *model) read(id store.SessionID, from, to uint64, room, maxBytes int) (items []store.Queued, rest bool) {
	s := m.sessions[id]
	if s == nil {
		return nil, false
	}
	bytes := 0
	for _, it := range s.queue {
		if it.Seq < from || it.Seq > to {
			continue
		}
		if it.Message != nil {
			bytes += it.Message.Bytes()
		}
		heavy := it.Message != nil && bytes > maxBytes && len(items) > 0
		if heavy || len(items) == room {
			return items, true
		}
		items = append(items, it.Queued)
	}
	return items, false
}

func (m *model) stats() store.Stats {
	st := store.Stats{Sessions: len(m.sessions), Retained: len(m.retained)}
	held := map[int]bool{}
	for _, s := range m.sessions {
		st.Subscriptions += len(s.subs)
		for _, it := range s.queue {
			if it.Message != nil && !held[it.enqueue] {
				held[it.enqueue] = true
				st.Messages++
				st.Bytes += int64(it.Message.Bytes())
			}
		}
	}
	for _, r := range m.retained {
		st.RetainedBytes += int64(r.Bytes())
	}
	return st
}

func (m *model) dump() dump {
	var d dump
	for _, s := range m.sessions {
		r := store.Recovered{Session: s.meta, First: s.next, Next: s.next}
		for _, sub := range s.subs {
			r.Subscriptions = append(r.Subscriptions, sub)
		}
		for id := range s.received {
			r.Received = append(r.Received, id)
		}
		for _, it := range s.queue {
			r.First = min(r.First, it.Seq)
			if it.Message != nil {
				r.Messages++
				r.Bytes += it.Message.Bytes()
			}
		}
		d.sessions = append(d.sessions, r)
	}
	for _, r := range m.retained {
		d.retained = append(d.retained, *r)
	}
	d.sort()
	return d
}

// chance writes random batches that mean something to the model's present state.
type chance struct {
	*rand.Rand
	m    *model
	next store.SessionID
	n    int
}

// batch returns a batch that the model has done already, and its positions.
func (c *chance) batch() (records []store.Record, seqs []uint64) {
	for range 1 + c.IntN(6) {
		r := c.record()
		records = append(records, r)
		seqs = append(seqs, c.m.apply(r)...)
	}
	return records, seqs
}

// session is one of the last few, mostly there, sometimes ended or to come.
func (c *chance) session() store.SessionID {
	return c.next + 1 - min(c.next, store.SessionID(c.IntN(7)))
}

// seq is a position of a session, mostly near the oldest, sometimes anywhere.
func (c *chance) seq(id store.SessionID) uint64 {
	s := c.m.sessions[id]
	if s == nil || len(s.queue) == 0 || c.IntN(10) == 0 {
		return c.Uint64N(40)
	}
	if c.IntN(3) == 0 {
		return s.queue[c.IntN(len(s.queue))].Seq
	}
	return s.queue[min(c.IntN(4), len(s.queue)-1)].Seq
}

func (c *chance) message() *mqtt.Message {
	c.n++
	m := message(fmt.Sprint("t/", c.IntN(5)), fmt.Sprint(c.n))
	m.Payload = append(m.Payload, make([]byte, c.IntN(200))...)
	m.QoS, m.Retain, m.Expires = mqtt.QoS(c.IntN(3)), c.IntN(2) == 0, c.Int64N(3)*1000
	if c.IntN(4) == 0 {
		m.Forward = []byte{1, byte(c.IntN(2))}
	}
	return m
}

func (c *chance) record() store.Record {
	id := c.session()
	switch c.IntN(24) {
	case 0:
		if c.IntN(2) == 0 {
			c.next++
			id = c.next
		} else if c.m.sessions[id] == nil { // a number is never used twice
			return store.Record{Op: store.Subscribe, Session: id, Subscription: store.Subscription{Filter: "none"}}
		}
		r := put(id)
		r.Meta.Expiry = c.Uint32()
		if c.IntN(3) == 0 {
			r.Meta.Will = &store.Will{Message: c.message(), Delay: c.Uint32()}
		}
		return r
	case 1:
		if c.IntN(4) == 0 {
			return end(id)
		}
		return release(id, c.seq(id))
	case 2, 3:
		r := subscribe(id, fmt.Sprint("f/", c.IntN(6)), mqtt.SubOptions(c.IntN(3)))
		r.Subscription.ID = c.Uint32N(3)
		return r
	case 4:
		return unsubscribe(id, fmt.Sprint("f/", c.IntN(6)))
	case 5:
		return retain(c.message())
	case 6:
		return unretain(fmt.Sprint("t/", c.IntN(5)))
	case 7:
		return receive(id, uint16(c.IntN(8)))
	case 8:
		return complete(id, uint16(c.IntN(8)))
	case 9, 10, 11, 12, 13, 14, 15:
		return settle(id, c.seq(id))
	case 16:
		return release(id, c.seq(id))
	default:
		r := store.Record{Op: store.Enqueue, Message: c.message()}
		for range c.IntN(4) {
			r.Targets = append(r.Targets, store.Target{Session: c.session(), Seq: c.Uint64(), Delivery: c.delivery()})
		}
		return r
	}
}

func (c *chance) delivery() store.Delivery {
	d := store.Delivery{QoS: mqtt.QoS(c.IntN(3)), Retain: c.IntN(2) == 0}
	if c.IntN(3) == 0 {
		d.Group = fmt.Sprint("$share/g/f/", c.IntN(6))
	}
	for range c.IntN(3) {
		d.SubscriptionIDs = append(d.SubscriptionIDs, c.Uint32N(6))
	}
	return d
}

// testModel does random batches to the engine and to the model, several in
// flight, and compares all that can be seen, also across restarts.
func testModel(e *engine) {
	seed, err := strconv.ParseUint(os.Getenv(seedVariable), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	e.t.Logf("to repeat: %s=%d", seedVariable, seed)
	m := newModel()
	c := &chance{Rand: rand.New(rand.NewPCG(seed, 0)), m: m}
	for step := range 2000 {
		var outs []<-chan error
		for range 1 + c.IntN(3) {
			records, want := c.batch()
			outs = append(outs, e.start(records...))
			var got []uint64
			for _, r := range records {
				for _, t := range r.Targets {
					got = append(got, t.Seq)
				}
			}
			if !slices.Equal(got, want) {
				e.t.Fatalf("step %d: Seq = %v, want %v", step, got, want)
			}
		}
		for _, out := range outs {
			if err := <-out; err != nil {
				e.t.Fatalf("step %d: Commit: %v", step, err)
			}
		}
		if got, want := e.Stats(), m.stats(); got != want {
			e.t.Fatalf("step %d: Stats = %+v, want %+v", step, got, want)
		}
		e.compareRead(m, c)
		if c.IntN(100) == 0 {
			e.reopen(m.dump())
		}
	}
	for id := range c.next + 1 {
		s := m.sessions[id]
		if got := e.read(id, 0, math.MaxInt64, 7, 1000); s != nil && len(got) != len(s.queue) || s == nil && len(got) > 0 {
			e.t.Fatalf("queue of %d has %d messages", id, len(got))
		}
	}
}

func (e *engine) compareRead(m *model, c *chance) {
	id, room, maxBytes := c.session(), 1+c.IntN(10), c.IntN(4000)
	from := c.Uint64N(100)
	if s := m.sessions[id]; s != nil && c.IntN(2) == 0 {
		from = s.next - min(s.next, c.Uint64N(40))
	}
	to := from + c.Uint64N(60)
	want, rest := m.read(id, from, to, room, maxBytes)
	got, next, err := e.Read(id, from, to, make([]store.Queued, 0, room), maxBytes)
	if err != nil {
		e.t.Fatalf("Read: %v", err)
	}
	lowest := from
	for i := range got {
		lowest = got[i].Seq + 1
	}
	if !slices.EqualFunc(got, want, sameQueued) {
		e.t.Fatalf("Read(%d, %d, %d) into %d, %d bytes:\n%+v\nwant\n%+v", id, from, to, room, maxBytes, got, want)
	}
	// A page that is just full may be told to go on once more.
	if full := len(want) == room; next < lowest || rest && next > to || !rest && !full && next <= to {
		e.t.Fatalf("Read(%d, %d, %d): next = %d behind %d", id, from, to, next, lowest-1)
	}
}

func sameQueued(a, b store.Queued) bool {
	if a.Seq != b.Seq || a.Released != b.Released || (a.Message == nil) != (b.Message == nil) {
		return false
	}
	a.Delivery.SubscriptionIDs, b.Delivery.SubscriptionIDs = nilIfEmpty(a.Delivery.SubscriptionIDs), nilIfEmpty(b.Delivery.SubscriptionIDs)
	return reflect.DeepEqual(a.Delivery, b.Delivery) && (a.Message == nil || reflect.DeepEqual(plain(a.Message), plain(b.Message)))
}
