// Package mem is the store engine of durability "memory": it keeps everything
// in this process and nothing beyond it. It may not touch a disk or start a
// goroutine, and a Commit never waits for anything but other callers.
package mem

import (
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/positions"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Store is a store.Store in memory, safe for concurrent use. Done is called
// before Commit returns, by the same goroutine and with no lock held.
type Store struct {
	mu       sync.Mutex
	closed   bool
	sessions map[store.SessionID]*session
	retained map[string]*mqtt.Message
	stats    store.Stats // all but Sessions and Retained, which the maps know
	last     store.SessionID
	past     store.Past
	chunks   positions.Spare[item]
	spare    spare
	// plain are the deliveries without group and identifiers, by QoS and Retain:
	// nearly all positions share these.
	plain [3][2]store.Delivery
}

// session is what is kept of one session.
type session struct {
	meta     store.Session
	subs     []store.Subscription // by filter
	received []uint16             // ascending
	// recent are the last few deliveries that are not plain, to be shared.
	recent []*store.Delivery
	queue  positions.Queue[item]
}

// maxRecent bounds session.recent, which is searched from end to end.
const maxRecent = 8

// New returns an empty store.
func New() *Store {
	return open(make(map[store.SessionID]*session), make(map[string]*mqtt.Message), store.Stats{}, store.Past{})
}

func open(sessions map[store.SessionID]*session, retained map[string]*mqtt.Message, stats store.Stats, past store.Past) *Store {
	s := &Store{sessions: sessions, retained: retained, stats: stats, past: past, last: past.Session}
	for q := range s.plain {
		s.plain[q] = [2]store.Delivery{{QoS: mqtt.QoS(q)}, {QoS: mqtt.QoS(q), Retain: true}}
	}
	return s
}

// Reopen closes s and returns a new store with what it kept, to be loaded: a
// restart within one process, for a broker that is replaced by another, and for
// tests. No call may be under way, and s must not be reopened twice.
func (s *Store) Reopen() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return open(s.sessions, s.retained, s.stats, store.Past{Session: s.last})
}

// Past implements store.Store. It knows no time: all of it is one process.
func (s *Store) Past() store.Past { return s.past }

// Load implements store.Store. A new store has nothing; a reopened one has all.
func (s *Store) Load(session func(*store.Recovered) error, retained func(*mqtt.Message) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	for _, se := range s.sessions {
		if err := session(se.recovered()); err != nil {
			return err
		}
	}
	for _, m := range s.retained {
		if err := retained(m); err != nil {
			return err
		}
	}
	return nil
}

func (se *session) recovered() *store.Recovered {
	r := &store.Recovered{
		Session:       se.meta,
		Subscriptions: slices.Clone(se.subs),
		Received:      slices.Clone(se.received),
		First:         se.queue.Last() + 1,
		Next:          se.queue.Last() + 1,
	}
	r.Session.Will = clone(se.meta.Will)
	for seq, it := range se.queue.All(1, se.queue.Last()) {
		r.First = min(r.First, seq)
		if it.msg != nil {
			r.Messages++
			r.Bytes += it.msg.msg.Bytes()
		}
	}
	return r
}

func clone(w *store.Will) *store.Will {
	if w == nil {
		return nil
	}
	c := *w
	return &c
}

// Commit implements store.Store. It fails only after Close, or when the batch
// does not pass its Check.
func (s *Store) Commit(b *store.Batch) {
	err := b.Check()
	if err == nil {
		var ended []*session
		ended, err = s.apply(b.Records)
		for _, se := range ended {
			s.empty(&se.queue)
		}
	}
	if b.Done != nil {
		b.Done(err)
	}
}

// apply makes the changes in one go, but for the queues of the sessions that
// ended: these are no longer reachable, and still to be emptied.
func (s *Store) apply(records []store.Record) (ended []*session, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, store.ErrClosed
	}
	for i := range records {
		r := &records[i]
		switch r.Op {
		case store.Enqueue:
			s.enqueue(r)
			continue
		case store.PutSession:
			s.putSession(r)
			continue
		case store.Retain, store.Unretain:
			s.retain(r)
			continue
		}
		se := s.sessions[r.Session]
		if se == nil {
			continue
		}
		if r.Op == store.EndSession {
			delete(s.sessions, r.Session)
			s.stats.Subscriptions -= len(se.subs)
			ended = append(ended, se)
			continue
		}
		s.change(se, r)
	}
	return ended, nil
}

// change makes a change within one session.
func (s *Store) change(se *session, r *store.Record) {
	switch r.Op {
	case store.Settle:
		s.letGo(se.queue.Remove(r.Seq, &s.chunks).msg)
	case store.Release:
		if it := se.queue.Find(r.Seq); it != nil {
			s.letGo(it.msg)
			it.msg = nil
		}
	case store.Subscribe, store.Unsubscribe:
		s.subscribe(se, r)
	case store.Receive:
		if i, found := slices.BinarySearch(se.received, r.PacketID); !found {
			se.received = slices.Insert(se.received, i, r.PacketID)
		}
	case store.Complete:
		if i, found := slices.BinarySearch(se.received, r.PacketID); found {
			se.received = slices.Delete(se.received, i, i+1)
		}
	}
}

func (s *Store) putSession(r *store.Record) {
	se := s.sessions[r.Session]
	if se == nil {
		se = new(session)
		s.sessions[r.Session] = se
	}
	s.last = max(s.last, r.Session)
	se.meta = *r.Meta
	se.meta.Will = clone(r.Meta.Will)
}

func (s *Store) subscribe(se *session, r *store.Record) {
	i, found := slices.BinarySearchFunc(se.subs, r.Subscription.Filter, func(sub store.Subscription, filter string) int {
		return strings.Compare(sub.Filter, filter)
	})
	switch {
	case r.Op == store.Unsubscribe:
		if found {
			se.subs = slices.Delete(se.subs, i, i+1)
			s.stats.Subscriptions--
		}
	case found:
		se.subs[i] = r.Subscription
	default:
		se.subs = slices.Insert(se.subs, i, r.Subscription)
		s.stats.Subscriptions++
	}
}

func (s *Store) retain(r *store.Record) {
	// The message is held and never changes, so the map may use its bytes as the key.
	name := unsafe.String(unsafe.SliceData(r.Message.Topic), len(r.Message.Topic))
	if old := s.retained[name]; old != nil {
		s.stats.RetainedBytes -= int64(old.Bytes())
	}
	if r.Op == store.Unretain {
		delete(s.retained, name)
		return
	}
	s.retained[name] = r.Message
	s.stats.RetainedBytes += int64(r.Message.Bytes())
}

func (s *Store) enqueue(r *store.Record) {
	var h *held
	for i := range r.Targets {
		t := &r.Targets[i]
		t.Seq = 0
		se := s.sessions[t.Session]
		if se == nil {
			continue
		}
		if h == nil {
			h = s.spare.held(r.Message)
			s.stats.Messages++
			s.stats.Bytes += int64(r.Message.Bytes())
		}
		h.refs++
		t.Seq = se.queue.Push(item{h, s.delivery(se, &t.Delivery)}, &s.chunks)
	}
}

// delivery returns a shared value that equals d.
func (s *Store) delivery(se *session, d *store.Delivery) *store.Delivery {
	if d.Group == "" && len(d.SubscriptionIDs) == 0 && int(d.QoS) < len(s.plain) {
		if d.Retain {
			return &s.plain[d.QoS][1]
		}
		return &s.plain[d.QoS][0]
	}
	for _, r := range se.recent {
		if r.QoS == d.QoS && r.Retain == d.Retain && r.Group == d.Group && slices.Equal(r.SubscriptionIDs, d.SubscriptionIDs) {
			return r
		}
	}
	kept := *d
	kept.SubscriptionIDs = slices.Clone(d.SubscriptionIDs)
	if len(se.recent) < maxRecent {
		se.recent = append(se.recent, &kept)
	} else {
		se.recent[se.queue.Last()%maxRecent] = &kept
	}
	return &kept
}

// letGo takes back one reference to a message.
func (s *Store) letGo(h *held) {
	if h == nil {
		return
	}
	h.refs--
	if h.refs == 0 {
		s.stats.Messages--
		s.stats.Bytes -= int64(h.msg.Bytes())
		s.spare.putHeld(h)
	}
}

// empty lets go of all messages of a queue that nobody else can reach. It
// leaves the lock now and then, so that the end of a long queue holds up nobody.
func (s *Store) empty(q *positions.Queue[item]) {
	const perTurn = 4096
	for from := uint64(1); from <= q.Last(); {
		s.mu.Lock()
		n, next := 0, q.Last()+1
		for seq, it := range q.All(from, q.Last()) {
			if n == perTurn {
				next = seq
				break
			}
			s.letGo(it.msg)
			n++
		}
		s.mu.Unlock()
		from = next
	}
}

// Read implements store.Store. It waits for nothing.
func (s *Store) Read(id store.SessionID, from, to uint64, dst []store.Queued, maxBytes int) ([]store.Queued, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return dst, from, store.ErrClosed
	}
	done := max(from, to+1)
	se := s.sessions[id]
	if se == nil {
		return dst, done, nil
	}
	start, bytes := len(dst), 0
	for seq, it := range se.queue.All(from, to) {
		if len(dst) == cap(dst) {
			return dst, seq, nil
		}
		if it.msg == nil {
			dst = append(dst, store.Queued{Seq: seq, Released: true})
			continue
		}
		m := it.msg.msg
		bytes += m.Bytes()
		if bytes > maxBytes && len(dst) > start {
			return dst, seq, nil
		}
		dst = append(dst, store.Queued{Seq: seq, Message: m, Delivery: *it.how})
	}
	return dst, done, nil
}

// Health implements store.Store: memory takes what comes, its bounds are the broker's.
func (s *Store) Health() error { return nil }

// Stats implements store.Store.
func (s *Store) Stats() store.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Sessions, st.Retained = len(s.sessions), len(s.retained)
	return st
}

// Close implements store.Store. What was kept is gone with the last reference
// to the store, unless it is reopened.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
