// Package index is what the disk engine keeps in memory: which sessions, queue positions and retained messages are
// alive, and where their bodies lie. It is rebuilt from a snapshot and the log behind it. It may not do I/O, lock
// or wait, and holds no body: large parts of it have no pointers.
package index

import (
	"math"
	"slices"
	"strings"
	"unsafe"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/wal"
	"github.com/sapwood-mqtt/sapwood/broker/store/positions"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Pos is where a record lies: a segment of the log, and the offset in it.
type Pos = wal.Pos

// Index is what is alive. It is not safe for concurrent use; the engine's mutex guards it.
//
// It has two sides. What was given (Give, TakeBack) is the future as the batches on their way to the disk make it; what
// was applied (Apply) is durable, and all else speaks of that alone.
type Index struct {
	sessions map[store.SessionID]*session
	retained map[string]uint32 // topic -> handle in slab
	bodies   bodies
	stats    store.Stats // Subscriptions and RetainedBytes
	last     store.SessionID
	lost     int
	ending   []ended
	spare    positions.Spare[slot]
	epoch    uint32 // how many snapshots were begun

	promised map[store.SessionID]promise // sessions that given batches make or end
	shared   map[Pos]uint32              // while a snapshot is loaded: messages of several positions
}

// session is what is kept of one session.
type session struct {
	meta     store.Session
	given    uint64               // the position given last; that applied last is queue.Last
	subs     []store.Subscription // by filter
	received []uint16             // ascending
	queue    positions.Queue[slot]
	// before is what queue.Last was when the newest snapshot began, if something was queued in its epoch;
	// none if the session came in it.
	before uint64
	epoch  uint32
}

// none is the value of session.before of a session that was not there.
const none = math.MaxUint64

// changed is called before something is queued for a session.
func (se *session) changed(epoch uint32) {
	if se.epoch != epoch {
		se.epoch, se.before = epoch, se.queue.Last()
	}
}

// began is the position applied last when a snapshot began in this epoch, none if the session was not there.
func (se *session) began(epoch uint32) uint64 {
	if se.epoch != epoch {
		return se.queue.Last()
	}
	return se.before
}

// promise is what batches that are given and neither applied nor taken back make of a session.
type promise struct {
	given       uint64 // the position given last, while the session is not there
	outstanding int32  // records that make or end it
	exists      bool   // behind the last of them
}

// ended is the queue of a session that ended, whose messages are let go from next on.
type ended struct {
	queue *positions.Queue[slot]
	next  uint64
}

// New returns an empty index.
func New() *Index {
	return &Index{
		sessions: make(map[store.SessionID]*session),
		retained: make(map[string]uint32),
		bodies:   bodies{live: live{segments: make(map[uint32]*int64)}},
		promised: make(map[store.SessionID]promise),
	}
}

// Give gives the positions of a batch that is on its way to the disk: it fills in the Seq of every target, 0 when
// its session does not exist at that point of the order, after what was given before.
func (x *Index) Give(records []store.Record) {
	for i := range records {
		r := &records[i]
		switch r.Op {
		case store.PutSession, store.EndSession:
			p := x.promised[r.Session]
			p.exists = r.Op == store.PutSession
			p.outstanding++
			x.promised[r.Session] = p
		case store.Enqueue:
			for j := range r.Targets {
				r.Targets[j].Seq = x.give(r.Targets[j].Session)
			}
		}
	}
}

func (x *Index) give(id store.SessionID) uint64 {
	se := x.sessions[id]
	if len(x.promised) > 0 {
		if p, ok := x.promised[id]; ok {
			if !p.exists {
				return 0
			}
			if se == nil {
				p.given++
				x.promised[id] = p
				return p.given
			}
		}
	}
	if se == nil {
		return 0
	}
	se.given++
	return se.given
}

// New tells whether a PutSession or a Subscribe in a batch that is not given yet makes a session or a subscription that is
// not kept already.
func (x *Index) New(records []store.Record) bool {
	for i := range records {
		r := &records[i]
		if r.Op != store.PutSession && r.Op != store.Subscribe {
			continue
		}
		se := x.sessions[r.Session]
		if p, ok := x.promised[r.Session]; ok && !p.exists || !ok && se == nil {
			return true
		}
		if r.Op == store.Subscribe {
			if se == nil {
				return true
			}
			if _, had := se.find(r.Subscription.Filter); !had {
				return true
			}
		}
	}
	return false
}

// TakeBack undoes the Give of a batch that failed; all that are given and not applied must be taken back with
// it. Positions stay given; only those of a session that never came to be begin anew if it is made again.
func (x *Index) TakeBack(records []store.Record) {
	for i := range records {
		if r := &records[i]; r.Op == store.PutSession || r.Op == store.EndSession {
			x.fulfil(r.Session)
		}
	}
}

// fulfil ends one of the promises about a session and returns the position they gave last.
func (x *Index) fulfil(id store.SessionID) (given uint64) {
	p, ok := x.promised[id]
	if !ok { // nobody gave it: it comes from the log, after a restart
		return 0
	}
	if p.outstanding--; p.outstanding == 0 {
		delete(x.promised, id)
	} else {
		x.promised[id] = p
	}
	return p.given
}

// Apply makes a durable change; at is where the body of an Enqueue or a Retain lies. What it keeps of r is
// a copy, but for strings, a will's message, and the topic of a kept message.
//
// After a snapshot was loaded, all changes since its beginning are applied again, in order; some of them it
// has already (see Snapshot).
func (x *Index) Apply(r *store.Record, at Pos) {
	switch r.Op {
	case store.PutSession:
		x.putSession(r)
	case store.EndSession:
		x.endSession(r.Session)
	case store.Enqueue:
		x.enqueue(r, at)
	case store.Retain:
		x.retain(r.Message, at)
	case store.Unretain:
		x.unretain(view(r.Message.Topic))
	case store.Subscribe, store.Unsubscribe, store.Settle, store.Release, store.Receive, store.Complete:
		if se := x.sessions[r.Session]; se != nil {
			x.change(se, r)
		}
	}
}

// change makes a change within one session.
func (x *Index) change(se *session, r *store.Record) {
	switch r.Op {
	case store.Settle:
		x.bodies.letGo(se.queue.Remove(r.Seq, &x.spare))
	case store.Release:
		if it := se.queue.Find(r.Seq); it != nil {
			x.bodies.letGo(*it)
			*it = slotTaken | slotReleased
		}
	case store.Subscribe:
		x.subscribe(se, r.Subscription)
	case store.Unsubscribe:
		if i, found := se.find(r.Subscription.Filter); found {
			se.subs = slices.Delete(se.subs, i, i+1)
			x.stats.Subscriptions--
		}
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

func (x *Index) putSession(r *store.Record) {
	given := x.fulfil(r.Session)
	se := x.sessions[r.Session]
	if se == nil {
		se = &session{given: given, epoch: x.epoch, before: none}
		x.sessions[r.Session] = se
	}
	x.last = max(x.last, r.Session)
	se.meta = *r.Meta
	se.meta.Will = clone(r.Meta.Will)
}

func clone(w *store.Will) *store.Will {
	if w == nil {
		return nil
	}
	c := *w
	return &c
}

// find returns where a filter is in subs, or belongs.
func (se *session) find(filter string) (int, bool) {
	return slices.BinarySearchFunc(se.subs, filter, func(sub store.Subscription, filter string) int {
		return strings.Compare(sub.Filter, filter)
	})
}

func (x *Index) subscribe(se *session, sub store.Subscription) {
	i, found := se.find(sub.Filter)
	if found {
		se.subs[i] = sub
		return
	}
	se.subs = slices.Insert(se.subs, i, sub)
	x.stats.Subscriptions++
}

// perEnd is how many positions of a session that ends are let go at once.
const perEnd = 4096

func (x *Index) endSession(id store.SessionID) {
	x.fulfil(id)
	se := x.sessions[id]
	if se == nil {
		return
	}
	delete(x.sessions, id)
	x.stats.Subscriptions -= len(se.subs)
	if se.queue.Len() > 0 {
		x.ending = append(x.ending, ended{queue: &se.queue})
		x.Reap(perEnd)
	}
}

// Reap lets go of up to n messages of sessions that ended with long queues, which Apply leaves so as not to
// take long. more tells that there are others; until then they count in Stats and Live.
func (x *Index) Reap(n int) (more bool) {
	for len(x.ending) > 0 {
		e := &x.ending[len(x.ending)-1]
		for seq, it := range e.queue.All(e.next, e.queue.Last()) {
			if n == 0 {
				e.next = seq
				return true
			}
			n--
			x.bodies.letGo(*it)
		}
		*e = ended{}
		x.ending = x.ending[:len(x.ending)-1]
	}
	x.ending = nil
	return false
}

func (x *Index) enqueue(r *store.Record, at Pos) {
	handle, held := uint32(0), false
	for i := range r.Targets {
		t := &r.Targets[i]
		se := x.sessions[t.Session]
		if se == nil || t.Seq <= se.queue.Last() { // not given, or applied before
			continue
		}
		if !held {
			handle, held = x.bodies.hold(at, uint32(r.Message.Bytes())), true
		}
		x.bodies.refer(handle)
		se.changed(x.epoch)
		se.queue.Skip(t.Seq - 1)
		se.queue.Push(newSlot(handle, &t.Delivery), &x.spare)
		se.given = max(se.given, t.Seq)
	}
}

func (x *Index) retain(m *mqtt.Message, at Pos) {
	name := view(m.Topic)
	x.keep(name, m.Kept(), at, uint32(m.Bytes()))
	if m.Kept() { // the key is replaced too, though it is equal: the message before need not be held for it
		h := x.retained[name]
		x.retained[name] = h
	}
}

// keep makes the message that lies at a place the retained one of its topic, whose name may be held or not.
func (x *Index) keep(topic string, held bool, at Pos, bytes uint32) {
	h, found := x.retained[topic]
	if !found {
		if !held {
			topic = strings.Clone(topic)
		}
		h = x.bodies.take(entry{refs: 1})
		x.retained[topic] = h
	}
	x.stats.RetainedBytes += int64(bytes) - int64(x.bodies.at(h).bytes)
	x.bodies.put(h, at, bytes)
}

func (x *Index) unretain(topic string) {
	h, found := x.retained[topic]
	if !found {
		return
	}
	delete(x.retained, topic)
	x.stats.RetainedBytes -= int64(x.bodies.at(h).bytes)
	x.bodies.put(h, Pos{}, 0)
	x.bodies.free(h)
}

// view is b as a string that shares its memory.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
