package broker

import (
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// take does what the packet at hand, of so many bytes that begin with first, asks for.
func (c *client) take(first byte, size int) {
	sh := c.shard
	p := &sh.packet
	if p.Type == mqtt.PUBLISH && p.Publish.QoS == 0 && c.s.Routes(sh.now, &p.Publish) {
		sh.traces.in(c, p, first, size)
		if do := c.route(&p.Publish, nil); len(do) > 0 {
			sh.perform(c, p, do)
		}
	} else {
		do := c.s.Packet(c.turn(), p, sh.take())
		sh.traces.in(c, p, first, size)
		sh.perform(c, p, do)
	}
	sh.traces.settle(0)
}

// route has what a client publishes go its way, and tells the session what became of it.
func (c *client) route(p *mqtt.Publish, do []session.Effect) []session.Effect {
	sh := c.shard
	if sh.paces.refused != 0 || c.barred.Load() {
		return sh.paces.turnDown(c, p, do)
	}
	m := sh.router.viewOf(c, p)
	sh.books.Received++
	sh.spans.begin(c, m)
	v := sh.router.publish(c, m)
	sh.spans.routed(m, v)
	switch {
	case v.why != "":
		return c.s.Refused(p, v.reason, v.why, do)
	case p.QoS == 0:
		return do
	}
	return c.s.Routed(sh.turn(), p, v.reason, v.batch, do)
}
