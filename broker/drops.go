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
	listed bool   // its client stands in shard.losing
}

// drop counts a message that did not reach a client, with the reason.
func (sh *shard) drop(c *client, m *mqtt.Message, why session.Why) {
	if m == nil || c.shard != sh {
		sh.dropAnother(c, m, why)
		return
	}
	d := sh.books.of(c).drops
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
	sh.settleDropsOf(c)
	l := sh.dropAnother(c, m, why)
	if label := sh.traces.only(m.Label); label != 0 && !mayBeIncoming(why) {
		d.why, d.label, d.loss = why, label, l
		if !d.listed {
			d.listed = true
			if sh.losing = append(sh.losing, c); len(sh.losing) == maxUnasked {
				sh.settleDrops()
			}
		}
	}
}

// dropAnother is drop of what is not like the last one.
func (sh *shard) dropAnother(c *client, m *mqtt.Message, why session.Why) *loss {
	sh.traces.dropped(c, m, why)
	sh.spans.dropped(c, m, why)
	sh.books.dropped(c, m, why)
	return sh.dropFor(c, c.id, m, why)
}

// settleDrops tells of all that was dropped.
func (sh *shard) settleDrops() {
	for _, c := range sh.losing {
		sh.settleDropsOf(c)
		c.tally.drops.listed = false
	}
	clear(sh.losing)
	sh.losing = sh.losing[:0]
}

func (sh *shard) settleDropsOf(c *client) {
	if c.tally == nil || c.tally.drops == nil {
		return
	}
	d := c.tally.drops
	if d.n > 0 {
		k := &sh.books
		k.Dropped[d.why] += d.n
		k.topics.Dropped(tally.Topic(d.label), nil, uint8(d.why), d.n)
		c.tally.Seldom().Dropped[d.why] += d.n
		sh.count.Dropped[d.why] += d.n
		if x := d.loss; x != nil {
			x.count, x.size, x.last = x.count+d.n, x.size+d.bytes, d.last
		}
		sh.traces.droppedMore(c, d)
	}
	*d = drops{listed: d.listed}
}
