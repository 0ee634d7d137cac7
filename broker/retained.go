package broker

import (
	"bytes"
	"container/heap"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// retained are the retained messages (MQTT5 3.3.1.3), by topic name, with their limits and expiry. A change is to be
// seen at once, so that nobody who subscribes meanwhile misses it; it is taken back when its batch is not kept. In the
// end the tree shows what the store has, whichever shards changed a topic at the same moment.
type retained struct {
	tree     *topic.Retained[*mqtt.Message]
	max      atomic.Int64
	maxBytes atomic.Int64
	bytes    atomic.Int64 // of those that count against the limits
	own      atomic.Int64 // how many do not: the server's, on topics that are its alone

	// order is held while a batch with changes is given to the store: in that order they are in both. It is the one
	// lock that is held across a border; the store calls nobody back who wants it.
	order sync.Mutex

	mu      sync.Mutex // guards the rest, and makes one of a change of tree and bytes
	expires expiries
	open    map[string]*contested
	spare   []*contested
	last    uint64 // number of a ticket, or of a change in the order of the store
}

// contested is a topic with changes that have no outcome yet.
type contested struct {
	name   string
	kept   *mqtt.Message // what the store has as far as is known, nil = none
	order  uint64        // of the change that put it there
	shown  *mqtt.Message // what the tree has
	change []change      // those given to the store first, in their order
}

// change is a retained message set, or removed (nil).
type change struct {
	number uint64
	order  uint64 // in which it was given to the store, 0 = not yet
	msg    *mqtt.Message
}

// ticket stands for a change in a batch.
type ticket struct {
	topic  *contested
	number uint64
	record int // of the batch
	expiry bool
}

// expiry is when a retained message is to go.
type expiry struct {
	at   int64
	name string
}

// expiries is a heap by time. An entry counts only if the topic's message still expires then.
type expiries []expiry

func (x expiries) Len() int           { return len(x) }
func (x expiries) Less(i, j int) bool { return x[i].at < x[j].at }
func (x expiries) Swap(i, j int)      { x[i], x[j] = x[j], x[i] }
func (x *expiries) Push(v any)        { *x = append(*x, v.(expiry)) }
func (x *expiries) Pop() any {
	old := *x
	last := old[len(old)-1]
	old[len(old)-1] = expiry{}
	*x = old[:len(old)-1]
	return last
}

func newRetained(most int, mostBytes int64) *retained {
	r := &retained{tree: topic.NewRetained[*mqtt.Message](), open: make(map[string]*contested)}
	r.limit(most, mostBytes)
	return r
}

// limit says how many messages and bytes may be kept from now on.
func (r *retained) limit(most int, mostBytes int64) {
	r.max.Store(int64(most))
	r.maxBytes.Store(mostBytes)
}

// fits tells whether m may be kept besides what there is.
func (r *retained) fits(m *mqtt.Message) bool {
	if reserved(m.Topic) {
		return true
	}
	size := int64(m.Bytes())
	if int64(r.len()) < r.max.Load() && r.bytes.Load()+size <= r.maxBytes.Load() {
		return true
	}
	old, had := r.tree.Get(m.Topic)
	return had && r.bytes.Load()-int64(old.Bytes())+size <= r.maxBytes.Load()
}

// len is how many there are, but for the server's own.
func (r *retained) len() int { return r.tree.Len() - int(r.own.Load()) }

// weigh counts a message of a topic that comes (1) or goes (-1).
func (r *retained) weigh(m *mqtt.Message, times int64) {
	if reserved(m.Topic) {
		r.own.Add(times)
	} else {
		r.bytes.Add(times * int64(m.Bytes()))
	}
}

// set keeps m, which is a kept message.
func (r *retained) set(m *mqtt.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(m)
}

func (r *retained) put(m *mqtt.Message) (old *mqtt.Message) {
	name := nameOf(m)
	old, had := r.tree.Set(name, m)
	r.weigh(m, 1)
	if had {
		r.weigh(old, -1)
	}
	if m.Expires == 0 || had && old.Expires == m.Expires {
		return old
	}
	heap.Push(&r.expires, expiry{m.Expires, name})
	if len(r.expires) > 1024+2*r.tree.Len() { // topics whose expiry moves on leave entries behind
		r.expires = slices.DeleteFunc(r.expires, func(x expiry) bool {
			m, ok := r.tree.Get([]byte(x.name))
			return !ok || m.Expires != x.at
		})
		heap.Init(&r.expires)
	}
	return old
}

// nameOf is the topic of a kept message, whose bytes never change.
func nameOf(m *mqtt.Message) string { return unsafe.String(unsafe.SliceData(m.Topic), len(m.Topic)) }

// delete removes the message of a topic, if there is one.
func (r *retained) delete(name []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(name)
}

func (r *retained) remove(name []byte) (old *mqtt.Message) {
	old, had := r.tree.Delete(name)
	if had {
		r.weigh(old, -1)
	}
	return old
}

// propose shows a change whose batch is still to be kept: m, a kept message, or its topic's removal.
func (r *retained) propose(m *mqtt.Message, remove bool) ticket {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.proposed(nameOf(m), m, remove)
}

func (r *retained) proposed(name string, m *mqtt.Message, remove bool) ticket {
	var old *mqtt.Message
	if remove {
		m = nil
		old = r.remove([]byte(name))
	} else {
		old = r.put(m)
	}
	x := r.open[name]
	if x == nil {
		if n := len(r.spare); n > 0 {
			x, r.spare = r.spare[n-1], r.spare[:n-1]
		} else {
			x = new(contested)
		}
		x.name, x.kept, x.order = name, old, 0
		r.open[name] = x
	}
	r.last++
	x.shown = m
	x.change = append(x.change, change{number: r.last, msg: m})
	return ticket{topic: x, number: r.last}
}

// handIn gives the changes of a batch their place in the order of the store, which gets them next. Called with
// order held.
func (r *retained) handIn(b *batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range b.changes {
		t := &b.changes[i]
		x := t.topic
		at := slices.IndexFunc(x.change, func(c change) bool { return c.number == t.number })
		c := x.change[at]
		first := slices.IndexFunc(x.change, func(c change) bool { return c.order == 0 })
		copy(x.change[first+1:at+1], x.change[first:at])
		if now := x.given(first); t.expiry && now != nil && (now.Expires == 0 || now.Expires > b.shard.now) {
			c.msg = now // there is a new message: it is that which stays
			b.Records[t.record].Op, b.Records[t.record].Message = store.Retain, now
		}
		r.last++
		c.order = r.last
		x.change[first] = c
		r.show(x)
	}
}

// given is what the store has once all that it was given is kept: the first n changes.
func (x *contested) given(n int) *mqtt.Message {
	if n > 0 && x.change[n-1].order > x.order {
		return x.change[n-1].msg
	}
	return x.kept
}

// settle takes the outcome of a batch's changes.
func (r *retained) settle(tickets []ticket, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range tickets {
		x := tickets[i].topic
		at := slices.IndexFunc(x.change, func(c change) bool { return c.number == tickets[i].number })
		if c := x.change[at]; ok && c.order > x.order {
			x.kept, x.order = c.msg, c.order
		}
		x.change = slices.Delete(x.change, at, at+1)
		r.show(x)
		if len(x.change) > 0 {
			continue
		}
		delete(r.open, x.name)
		if *x = (contested{change: x.change}); len(r.spare) < 1024 && cap(x.change) <= 64 {
			r.spare = append(r.spare, x)
		}
	}
}

// show has the tree show the newest change, or what is kept.
func (r *retained) show(x *contested) {
	n := len(x.change)
	m := x.given(n)
	if n > 0 && x.change[n-1].order == 0 {
		m = x.change[n-1].msg
	}
	if m == x.shown {
		return
	}
	if x.shown = m; m == nil {
		r.remove([]byte(x.name))
	} else {
		r.put(m)
	}
}

// expire removes up to n messages that have expired by now and gives them to gone.
func (r *retained) expire(now int64, n int, gone func(*mqtt.Message, ticket)) (some int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.expires) > 0 && r.expires[0].at <= now && some < n {
		x := heap.Pop(&r.expires).(expiry)
		if m, ok := r.tree.Get([]byte(x.name)); ok && m.Expires == x.at {
			some++
			t := r.proposed(x.name, nil, true)
			t.expiry = true
			gone(m, t)
		}
	}
	return some
}

// isStored tells whether a retained message of a topic goes to the store: the broker's own do not.
func isStored(name []byte) bool { return !bytes.HasPrefix(name, []byte("$SYS/")) }

// retain keeps m as its topic's retained message, or removes the one there is; false when the limits
// do not allow it.
func (r *router) retain(m *mqtt.Message) bool {
	all := r.sh.b.retained
	remove := len(m.Payload) == 0 // [MQTT-3.3.1-6], [MQTT-3.3.1-7]
	if !remove && !all.fits(m) {
		r.sh.forgo(nil, m.Publisher, m, session.RetainedFull)
		return false
	}
	if m.At == 0 {
		m.At = r.sh.now
	}
	switch {
	case isStored(m.Topic): // a removal also if there is none: the batch that was to remove it may have failed
		kept := m.Keep()
		r.keepRetained(kept, remove, all.propose(kept, remove))
	case remove:
		all.delete(m.Topic)
	default:
		all.set(m.Keep())
	}
	return true
}

func (r *router) keepRetained(m *mqtt.Message, remove bool, t ticket) {
	op := store.Retain
	if remove {
		op = store.Unretain
	}
	b := r.sh.commits.batch
	t.record = len(b.Records)
	b.changes = append(b.changes, t)
	r.sh.commits.keep(nil, store.Record{Op: op, Message: m})
}

// expireRetained removes retained messages whose time has come.
func (r *router) expireRetained() {
	n := r.sh.b.retained.expire(r.sh.now, maxDue, func(m *mqtt.Message, t ticket) {
		r.sh.forgo(nil, "", m, session.Expired)
		r.keepRetained(m, true, t)
	})
	if n == maxDue { // the rest in the next turn
		r.sh.loop.Post(func() { r.sh.b.guard("expire", r.expireRetained) })
	}
}
