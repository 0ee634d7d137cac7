package broker

import (
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// drops are copies that a client did not get, one after the other and alike: of one topic, for one reason. Each but the first is a
// comparison and two sums; books, look-back and events are told of them together, within a second and before somebody looks.
type drops struct {
	why    session.Why // 0 = nothing is like the last one
	label  uint32      // of the topic
	n      uint64
	bytes  uint64 // payloads
	last   int64  // ms
	loss   *loss  // what events have of it; nil = nobody listens
	listed bool   // its client stands in books.losing
}

// drop counts a message that did not reach a client, with the reason.
func (sh *shard) drop(c *client, m *mqtt.Message, why session.Why) {
	k := &sh.books
	if m == nil || c.shard != sh {
		k.dropAnother(c, m, why)
		return
	}
	d := k.of(c).drops
	if d == nil {
		d = new(drops)
		c.tally.drops = d
	}
	if d.why == why && d.label == m.Label && m.Span == nil && sh.traces.taps == nil {
		d.n++
		d.bytes += uint64(len(m.Payload))
		d.last = sh.now
		return
	}
	k.settleDropsOf(c)
	l := k.dropAnother(c, m, why)
	if label := sh.traces.only(m.Label); label != 0 && !mayBeIncoming(why) {
		d.why, d.label, d.loss = why, label, l
		k.loses(c)
	}
}

// dropAnother is drop of what is not like the last one.
func (k *books) dropAnother(c *client, m *mqtt.Message, why session.Why) *loss {
	sh := k.sh
	sh.traces.dropped(c, m, why)
	sh.spans.dropped(c, m, why)
	k.dropped(c, m, why)
	return sh.dropFor(c, c.id, m, why)
}

// loses notes that a client has drops to be told of.
func (k *books) loses(c *client) {
	if d := c.tally.drops; !d.listed {
		d.listed = true
		if k.losing = append(k.losing, c); len(k.losing) == maxUnasked {
			k.settleDrops()
		}
	}
}

// settleDrops tells of all that was dropped.
func (k *books) settleDrops() {
	for _, c := range k.losing {
		k.settleDropsOf(c)
		c.tally.drops.listed = false
	}
	clear(k.losing)
	k.losing = k.losing[:0]
}

func (k *books) settleDropsOf(c *client) {
	if c.tally == nil || c.tally.drops == nil {
		return
	}
	d := c.tally.drops
	if d.n > 0 {
		k.Dropped[d.why] += d.n
		k.topics.Dropped(tally.Topic(d.label), nil, uint8(d.why), d.n)
		c.tally.Seldom().Dropped[d.why] += d.n
		k.sh.count.Dropped[d.why] += d.n
		if x := d.loss; x != nil {
			x.count, x.size, x.last = x.count+d.n, x.size+d.bytes, d.last
		}
		k.sh.traces.droppedMore(c, d)
	}
	*d = drops{listed: d.listed}
}
