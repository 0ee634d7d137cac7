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

// retained are the retained messages (MQTT5 3.3.1.3), by topic name, with their limits and expiry.
type retained struct {
	tree     *topic.Retained[*mqtt.Message]
	max      int
	maxBytes int64
	bytes    atomic.Int64

	mu      sync.Mutex // guards expires, and makes one of a change of tree and bytes
	expires expiries
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
	return &retained{tree: topic.NewRetained[*mqtt.Message](), max: most, maxBytes: mostBytes}
}

// fits tells whether m may be kept besides what there is.
func (r *retained) fits(m *mqtt.Message) bool {
	size := int64(m.Bytes())
	if r.tree.Len() < r.max && r.bytes.Load()+size <= r.maxBytes {
		return true
	}
	old, had := r.tree.Get(m.Topic)
	return had && r.bytes.Load()-int64(old.Bytes())+size <= r.maxBytes
}

// set keeps m, which is a kept message.
func (r *retained) set(m *mqtt.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := unsafe.String(unsafe.SliceData(m.Topic), len(m.Topic)) // m is kept: its bytes never change
	old, had := r.tree.Set(name, m)
	delta := int64(m.Bytes())
	if had {
		delta -= int64(old.Bytes())
	}
	r.bytes.Add(delta)
	if m.Expires == 0 || had && old.Expires == m.Expires {
		return
	}
	heap.Push(&r.expires, expiry{m.Expires, name})
	if len(r.expires) > 1024+2*r.tree.Len() { // topics whose expiry moves on leave entries behind
		r.expires = slices.DeleteFunc(r.expires, func(x expiry) bool {
			m, ok := r.tree.Get([]byte(x.name))
			return !ok || m.Expires != x.at
		})
		heap.Init(&r.expires)
	}
}

// delete removes the message of a topic, if there is one.
func (r *retained) delete(name []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(name)
}

func (r *retained) remove(name []byte) {
	old, had := r.tree.Delete(name)
	if had {
		r.bytes.Add(-int64(old.Bytes()))
	}
}

// expire removes up to n messages that have expired by now and returns their names.
func (r *retained) expire(now int64, n int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for len(r.expires) > 0 && r.expires[0].at <= now && len(names) < n {
		x := heap.Pop(&r.expires).(expiry)
		if m, ok := r.tree.Get([]byte(x.name)); ok && m.Expires == x.at {
			names = append(names, x.name)
			r.remove([]byte(x.name))
		}
	}
	return names
}

// retain keeps m as its topic's retained message, or removes the one there is; false when the limits
// do not allow it. The broker's own topics are retained, but not stored.
func (r *router) retain(m *mqtt.Message) bool {
	all := r.sh.b.retained
	if len(m.Payload) == 0 { // [MQTT-3.3.1-6], [MQTT-3.3.1-7]
		all.delete(m.Topic)
		r.keepRetained(store.Unretain, m) // also if there is none: the batch that was to remove it may have failed
		return true
	}
	if !all.fits(m) {
		r.sh.count.Dropped[session.RetainedFull]++
		return false
	}
	kept := m.Keep()
	all.set(kept)
	r.keepRetained(store.Retain, kept)
	return true
}

func (r *router) keepRetained(op store.Op, m *mqtt.Message) {
	if !bytes.HasPrefix(m.Topic, []byte("$SYS/")) {
		r.sh.commits.keep(store.Record{Op: op, Message: m.Keep()})
	}
}

// expireRetained removes retained messages whose time has come.
func (r *router) expireRetained() {
	names := r.sh.b.retained.expire(r.sh.now, maxDue)
	for _, name := range names {
		r.sh.count.Dropped[session.Expired]++
		r.sh.commits.keep(store.Record{Op: store.Unretain, Message: (&mqtt.Message{Topic: []byte(name)}).Keep()})
	}
	if len(names) == maxDue { // the rest in the next turn
		r.sh.loop.Post(func() { r.sh.b.guard("expire", r.expireRetained) })
	}
}
