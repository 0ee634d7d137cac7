package broker

import (
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// mail is what one shard has for another at the end of a turn. Messages are copied into it, once for
// all receivers on that shard.
type mail struct {
	from  *shard
	bytes []byte
	msgs  []mqtt.Message // views of bytes, or kept messages
	items []letter
	ids   []uint32
	last  uint64 // shard.message of the message added last
}

type letter struct {
	client *client
	msg    int // in mail.msgs
	seq    uint64
	d      mqtt.Delivery
}

// deliver hands a message to one receiver, on its own shard.
func (sh *shard) deliver(r *receiver, m *mqtt.Message, seq uint64) {
	if r.client.shard == sh {
		sh.hand(r.client, m, &r.d, seq)
		return
	}
	sh.outgoing(r.client.shard).add(sh.message, m, r, seq)
}

// hand gives a message to a client of this shard.
func (sh *shard) hand(c *client, m *mqtt.Message, d *mqtt.Delivery, seq uint64) {
	if c.s.Ended() {
		sh.drop(c, m, session.SessionEnded)
		return
	}
	sh.perform(c, nil, c.s.Deliver(sh.turn(), m, d, seq, sh.take()))
}

func (sh *shard) outgoing(to *shard) *mail {
	if m := sh.outbox[to.index]; m != nil {
		return m
	}
	sh.mu.Lock()
	var m *mail
	if n := len(sh.free); n > 0 {
		m = sh.free[n-1]
		sh.free = sh.free[:n-1]
	}
	sh.mu.Unlock()
	if m == nil {
		m = &mail{from: sh}
	}
	sh.outbox[to.index] = m
	return m
}

// add puts a message for one receiver in. Receivers of the same message, told by its number, follow
// each other.
func (ml *mail) add(number uint64, m *mqtt.Message, r *receiver, seq uint64) {
	if len(ml.msgs) == 0 || ml.last != number {
		ml.msgs = append(ml.msgs, ml.copyOf(m))
		ml.last = number
	}
	d := r.d
	if len(d.SubscriptionIDs) > 0 {
		from := len(ml.ids)
		ml.ids = append(ml.ids, d.SubscriptionIDs...)
		d.SubscriptionIDs = ml.ids[from:len(ml.ids):len(ml.ids)]
	}
	ml.items = append(ml.items, letter{client: r.client, msg: len(ml.msgs) - 1, seq: seq, d: d})
}

// copyOf returns m with its bytes in the mail, unless m is kept anyhow.
func (ml *mail) copyOf(m *mqtt.Message) mqtt.Message {
	if m.Kept() {
		return *m
	}
	v := mqtt.Message{Publisher: m.Publisher, Expires: m.Expires, QoS: m.QoS, Retain: m.Retain}
	put := func(b []byte) []byte {
		from := len(ml.bytes)
		ml.bytes = append(ml.bytes, b...)
		return ml.bytes[from:len(ml.bytes):len(ml.bytes)]
	}
	v.Topic, v.Forward, v.Payload = put(m.Topic), put(m.Forward), put(m.Payload)
	return v
}

// post sends this turn's mail.
func (sh *shard) post() {
	for i, m := range sh.outbox {
		if m == nil {
			continue
		}
		sh.outbox[i] = nil
		to := sh.b.shards[i]
		to.mu.Lock()
		to.inbox = append(to.inbox, m)
		to.mu.Unlock()
		to.loop.Wake()
	}
}

// mailBytes is how large a mail's buffer may grow and still be used again.
const mailBytes = 1 << 20

// collect delivers the mail of other shards and gives the empty envelopes back.
func (sh *shard) collect() {
	sh.mu.Lock()
	inbox := sh.inbox
	sh.inbox = nil
	sh.mu.Unlock()
	for _, ml := range inbox {
		at := -1
		for i := range ml.items {
			l := &ml.items[i]
			if l.msg != at {
				at = l.msg
				sh.nextMessage()
			}
			sh.hand(l.client, &ml.msgs[l.msg], &l.d, l.seq)
		}
		from := ml.from
		clear(ml.items)
		clear(ml.msgs)
		ml.items, ml.msgs, ml.ids, ml.bytes, ml.last = ml.items[:0], ml.msgs[:0], ml.ids[:0], ml.bytes[:0], 0
		if cap(ml.bytes) > mailBytes {
			ml.bytes = nil
		}
		from.mu.Lock()
		if len(from.free) < 8 {
			from.free = append(from.free, ml)
		}
		from.mu.Unlock()
	}
}

// nextMessage begins with another message: what is encoded of the last one is of no use.
func (sh *shard) nextMessage() {
	sh.message++
	sh.encoded = encoded{}
}

// encoded is the message being delivered as it goes out, once per shape: receivers of the same
// version, flags and so on share the bytes.
type encoded struct {
	msg     *mqtt.Message
	shapes  [4]loop.Span // by version (5 or not) and RETAIN
	have    [4]bool
	payload loop.Span // alone, for large ones
	shared  bool      // payload is there
}

// largePayload is the size from which receivers share a payload's bytes although their headers differ.
const largePayload = 1024

// sendPublish writes a PUBLISH to a client.
func (sh *shard) sendPublish(c *client, e *session.Effect) {
	conn := c.conn
	if conn == nil {
		return
	}
	m, v5 := e.Msg, c.s.Version() >= mqtt.V5
	if conn.Pending() == 0 {
		c.unsent = 0
	}
	c.unsent++
	p := &sh.outgoingPublish
	*p = mqtt.Publish{Topic: m.Topic, Payload: m.Payload, ID: e.ID, QoS: e.QoS, Retain: e.Retain, Dup: e.Dup}
	alike := e.QoS == 0 && len(e.SubIDs) == 0
	if v5 {
		p.Props.Forward, p.Props.SubscriptionIDs = m.Forward, e.SubIDs
		if m.Expires != 0 { // [MQTT-3.3.2-6]
			p.Props.HasExpiry = true
			p.Props.Expiry, _ = m.Remaining(sh.now)
		}
		if !e.Flag && c.s.SendsAliases() {
			alias, known := c.s.Alias(m.Topic)
			p.Props.TopicAlias = alias
			if known {
				p.Topic = nil
			}
			alike = alike && alias == 0
		}
	}
	size := 0
	switch {
	case alike:
		span := sh.shape(m, p, c.s.Version())
		conn.Send(span)
		size = span.Len()
	case len(m.Payload) >= largePayload:
		head := p.AppendHead(conn.Reserve(p.Size(c.s.Version())-len(m.Payload)), c.s.Version())
		size = len(head) + len(m.Payload)
		conn.Commit(head)
		conn.Send(sh.payload(m))
	default:
		out := p.AppendTo(conn.Reserve(p.Size(c.s.Version())), c.s.Version())
		size = len(out)
		conn.Commit(out)
	}
	sh.count.PacketsSent++
	sh.count.PublishSent++
	sh.count.BytesSent += uint64(size)
	sh.count.PublishBytesSent += uint64(len(m.Payload))
}

// shape returns the encoded form that receivers alike share.
func (sh *shard) shape(m *mqtt.Message, p *mqtt.Publish, v mqtt.Version) loop.Span {
	i := 0
	if v >= mqtt.V5 {
		i = 2
	}
	if p.Retain {
		i++
	}
	if sh.encoded.msg != m {
		sh.nextMessage()
		sh.encoded.msg = m
	}
	if !sh.encoded.have[i] {
		sh.encoded.have[i] = true
		sh.encoded.shapes[i] = sh.loop.End(p.AppendTo(sh.loop.Begin(p.Size(v)), v))
	}
	return sh.encoded.shapes[i]
}

// payload returns the payload's bytes, shared.
func (sh *shard) payload(m *mqtt.Message) loop.Span {
	if sh.encoded.msg != m {
		sh.nextMessage()
		sh.encoded.msg = m
	}
	if !sh.encoded.shared {
		sh.encoded.shared = true
		sh.encoded.payload = sh.loop.End(append(sh.loop.Begin(len(m.Payload)), m.Payload...))
	}
	return sh.encoded.payload
}
