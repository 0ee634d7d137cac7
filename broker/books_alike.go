package broker

import (
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// page is a client's page of the books.
type page struct {
	tally.Client
	sent    alike
	drops   *drops // nil = it got all so far
	changed bool   // it stands in books.unasked
}

// alike are PUBLISHes that were written to a client one after the other at one time, alike but for their bytes: of one topic, QoS and
// flags. Each but the first is a comparison and three sums. What both the page and the look-back make of them is added when
// something else comes, or somebody looks: by settle.
type alike struct {
	at      int64  // ms; 0 = nothing is like the last one
	label   uint32 // of the topic
	n       uint32
	size    uint64 // of the packets
	payload uint64
	first   byte // of a packet
}

// sent notes a PUBLISH of so many bytes that was written.
func (k *books) sent(c *client, e *session.Effect, p *mqtt.Publish, size int) {
	m, sh := e.Msg, k.sh
	first, payload := firstByte(p.QoS, p.Retain, p.Dup), uint64(len(m.Payload))
	a := &k.of(c).sent
	if a.at == sh.now && a.label == m.Label && a.first == first && sh.traces.taps == nil {
		a.n++
		a.size += uint64(size)
		a.payload += payload
		k.sentAgain(m, first, payload)
		return
	}
	c.settle()
	k.sentAnother(c, e)
	sh.traces.delivered(c, m, p, first, size)
	if label := sh.traces.only(m.Label); label != 0 && !p.Dup {
		a.at, a.label, a.first = sh.now, label, first
	}
}

// settle brings what is kept of a client up to date.
func (c *client) settle() {
	if c.tally == nil {
		return
	}
	a, t := &c.tally.sent, &c.tally.Client
	if a.n > 0 {
		t.Out[a.first>>1&3] += uint64(a.n)
		t.OutBytes += a.payload
		c.trace.More(int(a.n), a.size)
		a.n, a.size, a.payload = 0, 0, 0
	}
	a.at = 0
}

// account is a client's page as it is now; nil = nothing came from it or for it.
func (c *client) account() *tally.Client {
	if c.tally == nil {
		return nil
	}
	c.settle()
	return &c.tally.Client
}

// log is a client's, to be read or written to.
func (c *client) log() *trace.Log {
	c.settle()
	return &c.trace
}
