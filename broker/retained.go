package broker

import (
	"container/heap"
	"sync"
	"sync/atomic"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
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

	mu      sync.Mutex
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
	old, had := r.tree.Get(m.Topic)
	if had {
		return r.bytes.Load()-int64(old.Bytes())+size <= r.maxBytes
	}
	return r.tree.Len() < r.max && r.bytes.Load()+size <= r.maxBytes
}

func (r *retained) set(m *mqtt.Message) {
	name := string(m.Topic)
	old, had := r.tree.Set(name, m)
	delta := int64(m.Bytes())
	if had {
		delta -= int64(old.Bytes())
	}
	r.bytes.Add(delta)
	if m.Expires != 0 {
		r.mu.Lock()
		heap.Push(&r.expires, expiry{m.Expires, name})
		r.mu.Unlock()
	}
}

func (r *retained) restore(m *mqtt.Message) { r.set(m) }

func (r *retained) delete(name []byte) bool {
	old, had := r.tree.Delete(name)
	if had {
		r.bytes.Add(-int64(old.Bytes()))
	}
	return had
}

// due returns up to n names whose message has expired by now.
func (r *retained) due(now int64, n int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for len(r.expires) > 0 && r.expires[0].at <= now && len(names) < n {
		x := heap.Pop(&r.expires).(expiry)
		if m, ok := r.tree.Get([]byte(x.name)); ok && m.Expires == x.at {
			names = append(names, x.name)
		}
	}
	return names
}

// retain keeps m as its topic's retained message, or removes the one there is; false when the limits
// do not allow it. The broker's own topics are retained, but not stored.
func (sh *shard) retain(m *mqtt.Message) bool {
	r := sh.b.retained
	if len(m.Payload) == 0 { // [MQTT-3.3.1-6], [MQTT-3.3.1-7]
		if r.delete(m.Topic) {
			sh.keepRetained(store.Unretain, m)
		}
		return true
	}
	if !r.fits(m) {
		sh.count.Dropped[session.RetainedFull]++
		return false
	}
	kept := m.Keep()
	r.set(kept)
	sh.keepRetained(store.Retain, kept)
	return true
}

func (sh *shard) keepRetained(op store.Op, m *mqtt.Message) {
	if m.Publisher != "" {
		sh.keep(store.Record{Op: op, Message: m.Keep()})
	}
}

// expireRetained removes retained messages whose time has come.
func (sh *shard) expireRetained() {
	for _, name := range sh.b.retained.due(sh.now, maxDue) {
		sh.b.retained.delete([]byte(name))
		sh.count.Dropped[session.Expired]++
		sh.keep(store.Record{Op: store.Unretain, Message: (&mqtt.Message{Topic: []byte(name)}).Keep()})
	}
}

// replay is the retained messages of one new subscription on their way to its client.
type replay struct {
	sub    session.Subscription
	cursor *topic.Cursor[*mqtt.Message]
}

// How much of the retained tree is walked for one client per turn, and how many bytes may wait in its
// output meanwhile: the client's own reading sets the pace, and live messages go between.
const (
	replayNodes  = 256
	replayOutput = 64 << 10
)

// replay starts sending the retained messages that match a new subscription. All of them: no
// limit cuts them short.
func (sh *shard) replay(c *client, s *session.Subscription) {
	for i, r := range c.replays { // subscribed again: from the beginning
		if r.sub.Filter == s.Filter {
			r.cursor.Close()
			c.replays = append(c.replays[:i], c.replays[i+1:]...)
			break
		}
	}
	c.replays = append(c.replays, &replay{sub: *s, cursor: sh.b.retained.tree.Scan(s.Filter)})
	sh.replayLater(c)
}

// replayLater has pumpReplays go on with c, if there is anything.
func (sh *shard) replayLater(c *client) {
	if len(c.replays) > 0 && !c.replaying {
		c.replaying = true
		sh.replays = append(sh.replays, c)
	}
}

// pumpReplays sends every client that can take some the next retained messages.
func (sh *shard) pumpReplays() {
	if len(sh.replays) == 0 {
		return
	}
	again := sh.replays[:0:0]
	for _, c := range sh.replays {
		c.replaying = false
		if sh.pumpReplay(c) && len(c.replays) > 0 {
			c.replaying = true
			again = append(again, c)
		}
	}
	sh.replays = again
	if len(again) > 0 {
		sh.loop.Wake()
	}
}

// pumpReplay sends c a slice of its retained messages; false when it has to read, to acknowledge or to come
// back first.
func (sh *shard) pumpReplay(c *client) bool {
	if c.conn == nil || !c.s.Greeted() || c.s.Closing() {
		return false
	}
	if c.conn.Pending() > replayOutput {
		c.conn.WaitDrain()
		return false
	}
	r := c.replays[0]
	granted := r.sub.Options.QoS()
	if granted > 0 && !c.s.Ready() {
		return true // an acknowledgement makes room; until then one look per turn
	}
	room := c.s.Room()
	var found []*mqtt.Message
	done := r.cursor.Next(replayNodes, func(_ string, m *mqtt.Message) bool {
		if m.Expires == 0 || m.Expires > sh.now {
			found = append(found, m)
			if min(m.QoS, granted) > 0 {
				room--
			}
		}
		return room > 0 && len(found) < replayNodes
	})
	for _, m := range found {
		sh.sendRetained(c, &r.sub, m)
	}
	if done {
		c.replays = c.replays[1:]
	}
	return true
}

// sendRetained delivers one retained message because of a new subscription: with RETAIN set [MQTT-3.3.1-8].
func (sh *shard) sendRetained(c *client, s *session.Subscription, m *mqtt.Message) {
	if sh.b.opts.Authz != nil && !sh.b.opts.Authz.Authorize(c.identity, c.id, auth.Receive, m.Topic) {
		sh.drop(c, m, session.Denied)
		return
	}
	d := mqtt.Delivery{QoS: min(m.QoS, s.Options.QoS()), Retain: true}
	if s.ID != 0 {
		d.SubscriptionIDs = []uint32{s.ID}
	}
	if d.QoS == 0 || c.stored == 0 {
		sh.hand(c, m, &d, 0)
		return
	}
	sh.found = append(sh.found[:0], receiver{client: c, d: d, target: 1})
	sh.keep(store.Record{Op: store.Enqueue, Message: m, Targets: []store.Target{{Session: c.stored, Delivery: d}}})
	sh.deliverLater(m, len(sh.batch.Records)-1)
}
