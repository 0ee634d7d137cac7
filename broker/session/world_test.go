package session

import (
	"fmt"
	"slices"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// world is what surrounds a session: a clock, a store that keeps batches, the client's next connection. It
// does what a broker does with the effects and no more.
type world struct {
	rules *Rules
	adm   *Admission
	s     *Session
	turn  Turn
	store kept
	batch map[uint64][]func(*kept) // changes that wait for their batch
	fetch []Effect                 // not yet answered
	greet int                      // CONNACKs on this connection
	shut  bool                     // a Close on this connection

	denied string // payload of messages that the client may not have
}

// kept is the session's queue and identifiers as a store has them.
type kept struct {
	exists   bool
	next     uint64
	queue    []keptMessage // in order
	received map[uint16]bool
	subs     map[string]Subscription
	expiry   uint32
	gone     int64 // when the connection ended, 0 = connected
	unsent   uint64
	will     *Will
	version  mqtt.Version
}

type keptMessage struct {
	seq      uint64
	released bool
	m        *mqtt.Message
	d        mqtt.Delivery
}

func newWorld() *world {
	r := &Rules{
		ReceiveMaximum: 10, Inflight: 10, TopicAliases: 4, SendAliases: 2, TopicBytes: 100, TopicLevels: 8,
		FiltersPerSubscribe: 4, Subscriptions: 6, QueuedMessages: 100, QueuedBytes: 1 << 20, SessionExpiry: Never,
		MaximumQoS: 2, RetainAvailable: true, SharedAvailable: true, WildcardAvailable: true, ValidateUTF8Payloads: true, AuthTime: 10_000,
	}
	w := &world{
		rules: r,
		adm:   &Admission{ClientIDBytes: 64, SessionExpiry: Never, MinimumVersion: mqtt.V31, MaximumVersion: mqtt.V5, Rules: r, WillPayloadSize: 100},
		turn:  Turn{Now: 1_000_000, Batch: 1},
		store: newKept(), batch: make(map[uint64][]func(*kept)),
	}
	w.turn.Receiver = w
	return w
}

// MayReceive implements Receiver.
func (w *world) MayReceive(m *mqtt.Message) bool {
	return w.denied == "" || string(m.Payload) != w.denied
}

func newKept() kept {
	return kept{next: 1, received: make(map[uint16]bool), subs: make(map[string]Subscription)}
}

// attach gives the session a connection, as a broker does.
func (w *world) attach(p Params, clean bool) []Effect {
	var do []Effect
	if w.s != nil && w.s.Connected() {
		do = append(do, w.did(w.s.TakenOver("elsewhere", nil))...)
		do = append(do, w.did(w.s.Closed(w.turn, nil))...)
	}
	if w.s != nil && clean && !w.s.Ended() {
		do = append(do, w.did(w.s.End(w.turn, nil))...)
	}
	fresh := w.s == nil || w.s.Ended()
	if fresh {
		w.s = New(w.rules)
		w.store, w.fetch = newKept(), nil
		w.store.exists = p.Expiry > 0
		clear(w.batch)
	}
	w.greet, w.shut = 0, false
	return append(do, w.did(w.s.Attach(w.turn, p, fresh, nil))...)
}

// did notes what effects change outside, and returns them.
func (w *world) did(do []Effect) []Effect {
	for i := range do {
		e := do[i]
		switch e.Kind {
		case Keep:
			w.keep(&e)
		case AddSubscription, RemoveSubscription:
			if !w.s.Durable() {
				break
			}
			sub, add := *e.Sub, e.Kind == AddSubscription
			w.later(func(k *kept) {
				if delete(k.subs, sub.Filter); add {
					k.subs[sub.Filter] = sub
				}
			})
		case Fetch:
			w.fetch = append(w.fetch, e)
		case SendConnack:
			w.greet++
		case Close:
			w.shut = true
		case End:
			w.store = newKept()
		}
	}
	return do
}

func (w *world) later(change func(*kept)) {
	w.batch[w.turn.Batch] = append(w.batch[w.turn.Batch], change)
}

func (w *world) keep(e *Effect) {
	seq, id, s := e.Seq, e.ID, w.s
	switch e.Change {
	case PutSession:
		expiry, will, version, gone, unsent := s.Expiry(), s.Will(), s.Version(), int64(0), uint64(0)
		if !s.Connected() {
			gone = w.turn.Now
			unsent, _ = s.Unsent()
		}
		w.later(func(k *kept) { k.expiry, k.will, k.version, k.gone, k.unsent = expiry, will, version, gone, unsent })
	case Settle:
		w.later(func(k *kept) {
			k.queue = slices.DeleteFunc(k.queue, func(q keptMessage) bool { return q.seq == seq })
		})
	case Release:
		w.later(func(k *kept) {
			for i := range k.queue {
				if k.queue[i].seq == seq {
					k.queue[i].released, k.queue[i].m = true, nil
				}
			}
		})
	case Receive:
		w.later(func(k *kept) { k.received[id] = true })
	case Complete:
		w.later(func(k *kept) { delete(k.received, id) })
	}
}

// outcome settles the present batch and begins another.
func (w *world) outcome(ok bool) []Effect {
	n := w.turn.Batch
	w.turn.Batch++
	return w.settle(n, ok)
}

func (w *world) settle(n uint64, ok bool) []Effect {
	if !ok {
		delete(w.batch, n)
		return w.did(w.s.Failed(n, mqtt.QuotaExceeded, nil))
	}
	for _, change := range w.batch[n] {
		change(&w.store)
	}
	delete(w.batch, n)
	return w.did(w.s.Stored(n, nil))
}

// enqueue puts a message into the store's queue, as a batch before it is delivered does.
func (w *world) enqueue(m *mqtt.Message, d *mqtt.Delivery) uint64 {
	seq := w.store.next
	w.store.next++
	w.store.queue = append(w.store.queue, keptMessage{seq: seq, m: m.Keep(), d: *d})
	return seq
}

// held is what is at a position of the queue, in the store or in memory.
func (w *world) held(seq uint64) Held {
	for _, q := range w.store.queue {
		if q.seq == seq && !q.released {
			return Held{seq, q.m, q.d}
		}
	}
	for _, h := range Waiting(w.s, 0, 1000) {
		if h.Seq == seq {
			return h
		}
	}
	return Held{}
}

// read answers the oldest Fetch with at most limit messages.
func (w *world) read(limit int) []Effect {
	f := w.fetch[0]
	w.fetch = w.fetch[1:]
	var items []Fetched
	next := f.To + 1
	for _, q := range w.store.queue {
		if q.seq < f.Seq || q.seq > f.To {
			continue
		}
		if len(items) == limit {
			next = items[limit-1].Seq + 1
			break
		}
		it := Fetched{Seq: q.seq, Released: q.released, Msg: q.m, Delivery: q.d}
		if q.released {
			it.Delivery = mqtt.Delivery{}
		}
		items = append(items, it)
	}
	return w.did(w.s.Fetched(w.turn, f.ID, items, next, nil))
}

// restart loses everything that is not in the store.
func (w *world) restart() {
	k := &w.store
	r := Restored{
		Version: k.version, Expiry: k.expiry, Disconnected: k.gone, Will: k.will, First: k.next, Next: k.next, Unsent: k.unsent,
	}
	if r.Disconnected == 0 {
		r.Disconnected = w.turn.Now
	}
	for _, sub := range k.subs {
		r.Subs = append(r.Subs, sub)
	}
	for id := range k.received {
		r.Received = append(r.Received, id)
	}
	for i, q := range k.queue {
		if i == 0 {
			r.First = q.seq
		}
		if !q.released {
			r.Messages++
			r.Bytes += int64(q.m.Bytes())
		}
	}
	clear(w.batch)
	w.fetch = nil
	w.s = Restore(w.rules, r)
}

// check tells which invariant of a session does not hold.
func (w *world) check() error {
	s := w.s
	if in := s.in; in != nil {
		if in.outstanding < 0 {
			return fmt.Errorf("outstanding is %d", in.outstanding)
		}
		counted := 0
		for _, r := range in.received {
			if r.counted {
				counted++
			}
		}
		if counted > in.outstanding {
			return fmt.Errorf("%d QoS 2 messages counted, %d outstanding", counted, in.outstanding)
		}
	}
	o := s.out
	if o == nil {
		return nil
	}
	charged, count, bytes := 0, 0, int64(0)
	flying, aloft, has := int32(0), int64(0), int32(0)
	for i := range o.slots {
		sl := &o.slots[i]
		if sl.charged {
			charged++
		}
		if live := sl.state == released || sl.state >= sent && sl.charged && s.connected; live != sl.live && !s.ended {
			return fmt.Errorf("slot %d: %+v", i, *sl)
		}
		if sl.has() {
			has++
		}
		if sl.live {
			flying++
			aloft += int64(sl.size)
		}
		if sl.state != done && sl.state != absent {
			count++
			bytes += int64(sl.size)
		} else if sl.state == done && *sl != (slot{}) {
			return fmt.Errorf("slot %d is done and not empty: %+v", i, *sl)
		}
	}
	if o.flying != flying || o.aloft != aloft {
		return fmt.Errorf("%d and %d bytes in flight, found %d and %d", o.flying, o.aloft, flying, aloft)
	}
	if o.released != has {
		return fmt.Errorf("%d that the client has, found %d", o.released, has)
	}
	if s.connected && int(o.quota)+charged != int(s.recvMax) {
		return fmt.Errorf("quota %d + %d charged, Receive Maximum %d", o.quota, charged, s.recvMax)
	}
	if len(o.slots) > 0 && (len(o.slots) > idSpan || o.slots[0].state == done) {
		return fmt.Errorf("window of %d positions, first %d", len(o.slots), o.slots[0].state)
	}
	for _, weight := range o.weights {
		if weight != 0 && weight != gone {
			count++
			bytes += int64(weight)
		}
	}
	for _, list := range [][]queued{o.front, o.rest} {
		for _, q := range list {
			if q.msg != nil && q.seq == 0 {
				bytes += int64(q.msg.Bytes())
			} else if q.msg != nil && !s.durable {
				count++
				bytes += int64(q.msg.Bytes())
			}
		}
	}
	// What was restored and not sent again is in the totals alone.
	if o.count < count || o.bytes < bytes || o.known == 0 && (o.count != count || o.bytes != bytes) {
		return fmt.Errorf("count %d and bytes %d, found %d and %d", o.count, o.bytes, count, bytes)
	}
	return nil
}
