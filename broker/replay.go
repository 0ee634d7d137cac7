package broker

import (
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// replays sends the retained messages of new subscriptions, a slice per turn.
type replays struct {
	sh      *shard
	waiting []*client       // that have some to get and can take them
	found   []*mqtt.Message // of one slice
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
func (p *replays) start(c *client, s *session.Subscription) {
	for i, r := range c.replays { // subscribed again: from the beginning
		if r.sub.Filter == s.Filter {
			r.cursor.Close()
			c.replays = append(c.replays[:i], c.replays[i+1:]...)
			break
		}
	}
	tree := p.sh.b.retained.tree
	if !strings.ContainsAny(s.Filter, "+#") {
		if m, ok := tree.Get([]byte(s.Filter)); ok && (m.Expires == 0 || m.Expires > p.sh.now) {
			p.deliver(c, s, m)
		}
		return
	}
	c.replays = append(c.replays, &replay{sub: *s, cursor: tree.Scan(s.Filter)})
	p.later(c)
}

// later has pump go on with c, if there is anything.
func (p *replays) later(c *client) {
	if len(c.replays) > 0 && !c.replaying {
		c.replaying = true
		p.waiting = append(p.waiting, c)
	}
}

// pump sends every client that can take some the next retained messages.
func (p *replays) pump() {
	if len(p.waiting) == 0 {
		return
	}
	again := p.waiting[:0:0]
	for _, c := range p.waiting {
		c.replaying = false
		if p.pumpOne(c) && len(c.replays) > 0 {
			c.replaying = true
			again = append(again, c)
		}
	}
	p.waiting = again
	if len(again) > 0 {
		p.sh.loop.Wake()
	}
}

// pumpOne sends c a slice of its retained messages; false when it has to read, to acknowledge or to come
// back first.
func (p *replays) pumpOne(c *client) (again bool) {
	defer p.sh.rescue(c)
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
		return false // an acknowledgement makes room, and perform asks again
	}
	room := c.s.Room()
	found := p.found[:0]
	done := r.cursor.Next(replayNodes, func(_ string, m *mqtt.Message) bool {
		if m.Expires == 0 || m.Expires > p.sh.now {
			found = append(found, m)
			if min(m.QoS, granted) > 0 {
				room--
			}
		}
		return room > 0 && len(found) < replayNodes
	})
	for _, m := range found {
		p.deliver(c, &r.sub, m)
	}
	clear(found)
	p.found = found[:0]
	if done {
		if c.replays = c.replays[1:]; len(c.replays) == 0 {
			c.replays = nil
		}
	}
	return true
}

// deliver sends one retained message because of a new subscription: with RETAIN set [MQTT-3.3.1-8].
func (p *replays) deliver(c *client, s *session.Subscription, m *mqtt.Message) {
	if !p.sh.mayReceive(c, m) {
		p.sh.drop(c, m, session.Denied)
		return
	}
	d := mqtt.Delivery{QoS: min(m.QoS, s.Options.QoS()), Retain: true}
	if s.ID != 0 {
		d.SubscriptionIDs = []uint32{s.ID}
	}
	if d.QoS == 0 || c.stored == 0 {
		p.sh.hand(c, m, &d, 0)
		return
	}
	p.sh.router.found = append(p.sh.router.found[:0], receiver{client: c, d: d, target: 1})
	p.sh.commits.keep(store.Record{Op: store.Enqueue, Message: m, Targets: []store.Target{{Session: c.stored, Delivery: d}}})
	p.sh.router.deliverLater(m, len(p.sh.commits.batch.Records)-1)
}
