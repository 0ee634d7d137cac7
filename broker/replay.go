package broker

import (
	"slices"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// replays sends the retained messages of new subscriptions, a slice per turn.
type replays struct {
	sh      *shard
	waiting []*client       // that have some to get and may be able to take them
	spare   []*client       // the other half of waiting
	found   []*mqtt.Message // of one slice
}

// replay is the retained messages of one new subscription on their way to its client.
type replay struct {
	sub    session.Subscription
	cursor *topic.Cursor[*mqtt.Message]
}

// How much of the retained tree is walked for one client per turn, and how many bytes make a slice or may wait in
// its output before the next: the client's own reading sets the pace, and live messages go between.
const (
	replayNodes  = 256
	replayOutput = 64 << 10
)

// start begins sending the retained messages that match a new subscription. All of them: no
// limit cuts them short.
func (p *replays) start(c *client, s *session.Subscription) {
	p.stop(c, s.Filter) // subscribed again: from the beginning
	tree := p.sh.b.retained.tree
	if !strings.ContainsAny(s.Filter, "+#") {
		m, ok := tree.Get([]byte(s.Filter))
		if !ok {
			return
		}
		if len(c.replays) == 0 && p.takes(c) {
			p.deliver(c, s, m)
			return
		}
	}
	c.replays = append(c.replays, &replay{sub: *s, cursor: tree.Scan(s.Filter)})
	p.later(c)
}

// stop ends what is under way for a subscription [MQTT-3.10.4-2].
func (p *replays) stop(c *client, filter string) {
	c.replays = slices.DeleteFunc(c.replays, func(r *replay) bool {
		if r.sub.Filter == filter {
			r.cursor.Close()
		}
		return r.sub.Filter == filter
	})
	if len(c.replays) == 0 {
		c.replays = nil
	}
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
	clients := p.waiting
	p.waiting, p.spare = p.spare, nil
	for _, c := range clients {
		c.replaying = false
		if p.pumpOne(c) {
			p.later(c)
		}
	}
	clear(clients)
	p.spare = clients[:0]
	if len(p.waiting) > 0 {
		p.sh.loop.Wake()
	}
}

// takes tells whether c can take a slice of retained messages now. If not it has to read, to acknowledge or to
// come back first, and whatever does that calls later.
func (p *replays) takes(c *client) bool {
	switch {
	case c.conn == nil || !c.s.Greeted() || c.s.Closing():
		return false
	case c.conn.Pending() > replayOutput:
		c.conn.WaitDrain()
		return false
	case c.stored != 0 && p.sh.health.why() != nil:
		return false
	}
	return c.s.Ready() && c.replayed <= p.sh.commits.done
}

// pumpOne sends c a slice of its retained messages, if it can take them.
func (p *replays) pumpOne(c *client) (again bool) {
	defer p.sh.rescue(c)
	if len(c.replays) == 0 || !p.takes(c) {
		return false
	}
	r := c.replays[0]
	granted := r.sub.Options.QoS()
	room, bytes := c.s.Room(), 0
	found := p.found[:0]
	done := r.cursor.Next(replayNodes, func(_ string, m *mqtt.Message) bool {
		found = append(found, m)
		bytes += m.Bytes()
		if min(m.QoS, granted) > 0 {
			room--
		}
		return room > 0 && bytes < replayOutput && !c.pace.delivers()
	})
	for _, m := range found {
		p.deliver(c, &r.sub, m)
	}
	clear(found)
	p.found = found[:0]
	if done {
		p.stop(c, r.sub.Filter)
	}
	return true
}

// deliver sends one retained message because of a new subscription: with RETAIN set [MQTT-3.3.1-8].
func (p *replays) deliver(c *client, s *session.Subscription, m *mqtt.Message) {
	if m.Expires != 0 && m.Expires <= p.sh.now || s.Options.NoLocal() && m.Publisher == c.id {
		return
	}
	if !p.sh.router.mayReceive(c, m) {
		p.sh.books.missAnew(c, m, session.Denied)
		return
	}
	d := mqtt.Delivery{QoS: min(m.QoS, s.Options.QoS()), Retain: true}
	if s.ID != 0 {
		d.SubscriptionIDs = []uint32{s.ID}
	}
	p.sh.books.anew(m, 1)
	if d.QoS == 0 || c.stored == 0 {
		p.sh.hand(c, m, &d, 0)
		return
	}
	c.replayed = p.sh.commits.batch.number
	p.sh.router.found = append(p.sh.router.found[:0], receiver{client: c, d: d, target: 1})
	p.sh.commits.keep(nil, store.Record{Op: store.Enqueue, Message: m, Targets: []store.Target{{Session: c.stored, Delivery: d}}})
	p.sh.router.deliverLater(m, len(p.sh.commits.batch.Records)-1)
}
