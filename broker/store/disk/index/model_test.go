package index_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/index"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/record"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// model is what the index stands for, in its most naive form.
type model struct {
	sessions map[store.SessionID]*modelSession
	retained map[string]*mqtt.Message
	last     store.SessionID
	enqueued int
}

type modelSession struct {
	meta     store.Session
	subs     map[string]store.Subscription
	received map[uint16]bool
	queue    map[uint64]modelItem
	last     uint64
}

type modelItem struct {
	message  *mqtt.Message // nil = released
	delivery store.Delivery
	enqueue  int
}

func newModel() *model {
	return &model{sessions: map[store.SessionID]*modelSession{}, retained: map[string]*mqtt.Message{}}
}

func (m *model) subscription(id store.SessionID, filter string) (s store.Subscription, ok bool) {
	if se := m.sessions[id]; se != nil {
		s, ok = se.subs[filter]
	}
	return s, ok
}

func (m *model) apply(r *store.Record) {
	se := m.sessions[r.Session]
	switch r.Op {
	case store.PutSession:
		if se == nil {
			se = &modelSession{subs: map[string]store.Subscription{}, received: map[uint16]bool{}, queue: map[uint64]modelItem{}}
			m.sessions[r.Session] = se
		}
		se.meta = *r.Meta
		m.last = max(m.last, r.Session)
		return
	case store.EndSession:
		delete(m.sessions, r.Session)
		return
	case store.Retain:
		m.retained[string(r.Message.Topic)] = r.Message
		return
	case store.Unretain:
		delete(m.retained, string(r.Message.Topic))
		return
	case store.Enqueue:
		m.enqueued++
		for _, t := range r.Targets {
			if se := m.sessions[t.Session]; se != nil && t.Seq > 0 {
				se.queue[t.Seq] = modelItem{r.Message, t.Delivery, m.enqueued}
				se.last = t.Seq
			}
		}
		return
	}
	if se != nil {
		se.apply(r)
	}
}

func (se *modelSession) apply(r *store.Record) {
	switch r.Op {
	case store.Subscribe:
		se.subs[r.Subscription.Filter] = r.Subscription
	case store.Unsubscribe:
		delete(se.subs, r.Subscription.Filter)
	case store.Receive:
		se.received[r.PacketID] = true
	case store.Complete:
		delete(se.received, r.PacketID)
	case store.Settle:
		delete(se.queue, r.Seq)
	case store.Release:
		if _, ok := se.queue[r.Seq]; ok {
			se.queue[r.Seq] = modelItem{}
		}
	}
}

func (m *model) stats() store.Stats {
	st := store.Stats{Sessions: len(m.sessions), Retained: len(m.retained)}
	held := map[int]bool{}
	for _, se := range m.sessions {
		st.Subscriptions += len(se.subs)
		for _, it := range se.queue {
			if it.message != nil && !held[it.enqueue] {
				held[it.enqueue] = true
				st.Messages++
				st.Bytes += int64(it.message.Bytes())
			}
		}
	}
	for _, r := range m.retained {
		st.RetainedBytes += int64(r.Bytes())
	}
	return st
}

// live is what Live tells of all segments together: about the bytes on disk, 112 fewer than a message weighs and 4 for each
// who needs it.
func (m *model) live() (live int64) {
	st := m.stats()
	live = st.Bytes + st.RetainedBytes - 112*int64(st.Messages+st.Retained) + 4*int64(st.Retained)
	for _, se := range m.sessions {
		for _, it := range se.queue {
			if it.message != nil {
				live += 4
			}
		}
	}
	return live
}

// tell writes all of it down, line by line.
func (m *model) tell() []string {
	var out []string
	for id, se := range m.sessions {
		first, messages, bytes := se.last+1, 0, 0
		for seq, it := range se.queue {
			first = min(first, seq)
			out = append(out, tellPlace(id, seq, it.message, it.delivery))
			if it.message != nil {
				messages++
				bytes += it.message.Bytes()
			}
		}
		out = append(out, tellSession(&se.meta, first, se.last+1, messages, bytes))
		for _, sub := range se.subs {
			out = append(out, fmt.Sprintf("%d sub %+v", id, sub))
		}
		for pid := range se.received {
			out = append(out, fmt.Sprintf("%d received %d", id, pid))
		}
	}
	for topic, r := range m.retained {
		out = append(out, fmt.Sprintf("retained %s %s", topic, tellMessage(r)))
	}
	slices.Sort(out)
	return out
}

func tellSession(meta *store.Session, first, next uint64, messages, bytes int) string {
	c, will := *meta, ""
	if c.Will != nil {
		will = fmt.Sprint(" will ", c.Will.Delay, " ", tellMessage(c.Will.Message))
	}
	c.Will = nil
	return fmt.Sprintf("%d session %+v%s first %d next %d messages %d bytes %d", c.ID, c, will, first, next, messages, bytes)
}

func tellMessage(m *mqtt.Message) string {
	return fmt.Sprintf("%q %q %q %q %d %d %t", m.Topic, m.Payload, m.Forward, m.Publisher, m.Expires, m.QoS, m.Retain)
}

func tellPlace(id store.SessionID, seq uint64, m *mqtt.Message, d store.Delivery) string {
	if m == nil {
		return fmt.Sprintf("%d queue %d released", id, seq)
	}
	return fmt.Sprintf("%d queue %d %s %+v", id, seq, tellMessage(m), d)
}

// written is a body and where it lies.
type written struct {
	at   index.Pos
	body []byte
}

// given is a batch on its way to the disk.
type given struct {
	records []store.Record
	bodies  [][]byte
}

// world is an index with a disk, a log and batches on their way; all of it random.
type world struct {
	*rand.Rand
	seed uint64
	t    *testing.T
	x    *index.Index
	m    *model
	disk map[index.Pos][]byte
	log  []written // in order; compaction writes to disk alone
	cold uint32    // compactions there were
	way  []given

	issued map[store.SessionID]uint64 // positions given
	next   store.SessionID
	n      int
	r      store.Record

	taking         *index.Snapshot // being written, with its chunks and the beginning of its log
	chunks, whole  [][]byte
	begin, wholeAt int
}

func newWorld(t *testing.T, seed uint64) *world {
	return &world{
		Rand: rand.New(rand.NewPCG(seed, 0)), seed: seed, t: t, x: index.New(), m: newModel(),
		disk: map[index.Pos][]byte{}, issued: map[store.SessionID]uint64{},
	}
}

// exists tells whether a session will be there behind all that is given.
func (w *world) exists(id store.SessionID, records []store.Record) bool {
	ok := w.m.sessions[id] != nil
	for _, b := range append(slices.Clone(w.way), given{records: records}) {
		for _, r := range b.records {
			if r.Session == id && r.Op == store.PutSession {
				ok = true
			}
			if r.Session == id && r.Op == store.EndSession {
				ok = false
			}
		}
	}
	return ok
}

// give gives a random batch and demands the right positions.
func (w *world) give() {
	var b given
	grows := false
	for range 1 + w.IntN(5) {
		r := w.record(b.records)
		switch r.Op {
		case store.PutSession:
			grows = grows || !w.exists(r.Session, nil)
		case store.Subscribe:
			_, kept := w.m.subscription(r.Session, r.Subscription.Filter)
			grows = grows || !w.exists(r.Session, nil) || !kept
		}
		b.records = append(b.records, r)
	}
	if got := w.x.New(b.records); got != grows {
		w.t.Fatalf("New = %t", got)
	}
	w.x.Give(b.records)
	for i, r := range b.records {
		for _, t := range r.Targets {
			want := uint64(0)
			if w.exists(t.Session, b.records[:i]) {
				w.issued[t.Session]++
				want = w.issued[t.Session]
			}
			if t.Seq != want {
				w.t.Fatalf("session %d was given %d, want %d", t.Session, t.Seq, want)
			}
		}
	}
	for rest := b.records; len(rest) > 0; {
		body, n := record.AppendRun(nil, rest)
		b.bodies = append(b.bodies, body)
		rest = rest[n:]
	}
	w.way = append(w.way, b)
}

// keep makes the oldest batch durable.
func (w *world) keep() {
	b := w.way[0]
	w.way = w.way[1:]
	for _, body := range b.bodies {
		at := index.Pos{Segment: uint32(1 + len(w.log)/10), Offset: uint32(len(w.log) % 10 * 100)}
		w.log = append(w.log, written{at, body})
		w.disk[at] = body
	}
	next := 0
	for i := range b.records {
		r := &b.records[i]
		w.m.apply(r)
		at := w.log[len(w.log)-len(b.bodies)+next].at
		w.x.Apply(r, at)
		if i+1 == len(b.records) || !small(r.Op) || !small(b.records[i+1].Op) {
			next++
		}
	}
}

func small(op store.Op) bool { return op >= store.Settle && op <= store.Complete }

// fail fails all that is on its way.
func (w *world) fail() {
	for _, b := range w.way {
		w.x.TakeBack(b.records)
	}
	w.way = nil
	for id := range w.issued {
		if w.m.sessions[id] == nil {
			delete(w.issued, id)
		}
	}
}

// slice writes the next slice of a snapshot, or begins one.
func (w *world) slice() {
	if w.taking == nil {
		w.taking, w.begin, w.chunks = w.x.Snapshot(), len(w.log), nil
		return
	}
	budget := 1 + w.IntN(1+w.IntN(400))
	chunk, more := w.taking.Next([]byte("before"), budget)
	if n := len(chunk) - len("before"); n > budget+600 {
		w.t.Fatalf("a chunk of %d bytes with a budget of %d", n, budget)
	}
	w.chunks = append(w.chunks, chunk[len("before"):])
	if !more {
		w.whole, w.wholeAt, w.taking = w.chunks, w.begin, nil
	}
}

// crash goes on with what the last whole snapshot and the log tell.
func (w *world) crash() {
	w.x, w.taking, w.way = index.New(), nil, nil
	for _, c := range w.whole {
		if err := w.x.LoadChunk(c); err != nil {
			w.t.Fatal(err)
		}
	}
	early := w.IntN(2) == 0
	if early {
		w.x.Loaded()
	}
	for _, l := range w.log[w.wholeAt:] {
		body := slices.Clone(l.body)
		if err := record.Each(body, &w.r, func(r *store.Record) error { w.x.Apply(r, l.at); return nil }); err != nil {
			w.t.Fatal(err)
		}
		clear(body) // what the index holds must not lie in it
	}
	if !early {
		w.x.Loaded()
	}
	clear(w.issued)
	for id, se := range w.m.sessions {
		w.issued[id] = se.last
	}
}

// compact moves what is needed of a segment.
func (w *world) compact() {
	segments := w.x.Segments()
	if len(segments) == 0 {
		return
	}
	from := segments[w.IntN(len(segments))]
	w.cold++
	for _, at := range slices.SortedFunc(maps.Keys(w.disk), func(a, b index.Pos) int { return int(a.Offset) - int(b.Offset) }) {
		body := w.disk[at]
		if at.Segment != from || !record.IsBody(body) {
			continue
		}
		if err := record.Decode(body, &w.r); err != nil {
			w.t.Fatal(err)
		}
		holds := w.x.Holds(&w.r, at)
		if w.r.Op == store.Enqueue {
			w.x.Trim(&w.r, at)
			if (len(w.r.Targets) > 0) != holds {
				w.t.Fatalf("Holds = %t with %d targets", holds, len(w.r.Targets))
			}
		}
		if holds {
			to := index.Pos{Segment: 1_000_000 + w.cold, Offset: at.Offset}
			w.disk[to] = record.Append(nil, &w.r)
			w.x.Move(&w.r, at, to)
		}
	}
	if w.x.Live(from) != 0 {
		w.t.Fatalf("%d bytes of segment %d are still needed", w.x.Live(from), from)
	}
}

// compare demands that the index says what the model does.
func (w *world) compare() {
	w.t.Helper()
	var out []string
	err := w.x.Sessions(func(r *store.Recovered) error {
		id := r.Session.ID
		out = append(out, tellSession(&r.Session, r.First, r.Next, r.Messages, r.Bytes))
		for _, sub := range r.Subscriptions {
			out = append(out, fmt.Sprintf("%d sub %+v", id, sub))
		}
		for _, pid := range r.Received {
			out = append(out, fmt.Sprintf("%d received %d", id, pid))
		}
		for from := uint64(0); from <= r.Next; {
			most := 1 + w.IntN(5)
			from = w.x.Places(id, from, r.Next, most, func(p index.Place) bool {
				most--
				out = append(out, w.place(id, p))
				return true
			})
			if most < 0 {
				w.t.Fatal("too many places")
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	before := index.Pos{}
	err = w.x.Retained(func(topic string, at index.Pos) error {
		if at.Segment < before.Segment || at.Segment == before.Segment && at.Offset < before.Offset {
			w.t.Fatal("retained messages are out of order")
		}
		before = at
		m, err := record.Retained(w.disk[at], topic)
		if err != nil {
			return err
		}
		out = append(out, fmt.Sprintf("retained %s %s", topic, tellMessage(m)))
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(out)
	if want := w.m.tell(); !slices.Equal(out, want) {
		less := func(lines, others []string) string {
			return strings.Join(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return slices.Contains(others, l) }), "\n")
		}
		w.t.Fatalf("seed %d: only the index has\n%s\nonly the model\n%s", w.seed, less(out, want), less(want, out))
	}
	st := w.m.stats()
	if got := w.x.Stats(); got != st {
		w.t.Fatalf("Stats = %+v, want %+v", got, st)
	}
	if w.x.Last() != w.m.last {
		w.t.Fatalf("Last = %d, want %d", w.x.Last(), w.m.last)
	}
	var live int64
	for _, s := range w.x.Segments() {
		if w.x.Live(s) <= 0 {
			w.t.Fatalf("segment %d: %d bytes", s, w.x.Live(s))
		}
		live += w.x.Live(s)
	}
	if want := w.m.live(); live != want {
		w.t.Fatalf("%d bytes live, want %d", live, want)
	}
}

func (w *world) place(id store.SessionID, p index.Place) string {
	if p.Released {
		return tellPlace(id, p.Seq, nil, store.Delivery{})
	}
	body := w.disk[p.At]
	m, err := record.Message(body)
	if err != nil {
		w.t.Fatalf("the body at %v: %v", p.At, err)
	}
	d, ok := record.Delivery(body, id, p.Seq)
	if !ok || int(p.Bytes) != m.Bytes() {
		w.t.Fatalf("session %d, place %+v: found %t in a record of %d bytes", id, p, ok, m.Bytes())
	}
	if plain := d.Group == "" && d.SubscriptionIDs == nil; plain == p.Find || plain && !reflect.DeepEqual(d, p.Delivery) {
		w.t.Fatalf("place %+v of %+v", p, d)
	}
	return tellPlace(id, p.Seq, m, d)
}

// TestModel: whatever is given, kept and failed, moved, written down in slices and loaded again, with the log
// applied again from where the snapshot began, the index says what the naive model says.
func TestModel(t *testing.T) {
	for seed := range uint64(8) {
		w := newWorld(t, seed)
		for step := range 1500 {
			switch k := w.IntN(100); {
			case k < 35:
				w.give()
			case k < 70:
				if len(w.way) > 0 {
					w.keep()
				}
			case k < 72:
				w.fail()
			case k < 94:
				w.slice()
			case k < 97:
				if w.taking == nil {
					w.compact()
				}
			case k == 97:
				w.crash()
				w.compare()
			}
			if step%20 == 0 {
				w.compare()
			}
		}
	}
}
