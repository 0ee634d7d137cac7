package broker

import (
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// writer encodes what goes to connections.
type writer struct {
	sh      *shard
	message uint64 // number of the message being delivered
	encoded encoded
	publish mqtt.Publish // the packet being written; so are ack and suback
	ack     mqtt.Ack
	suback  mqtt.Suback
	small   []byte // a control packet's bytes
}

// nextMessage begins with another message: what is encoded of the last one is of no use.
func (w *writer) nextMessage() {
	w.message++
	e := &w.encoded
	e.msg, e.have, e.shared = nil, [4]bool{}, false
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

// deliver writes a PUBLISH to a client.
func (w *writer) deliver(c *client, e *session.Effect) {
	conn := c.conn
	if conn == nil {
		w.sh.books.unsent(c, e)
		return
	}
	m, v5 := e.Msg, c.s.Version() >= mqtt.V5
	if conn.Pending() == 0 {
		c.unsent, c.unsentB = 0, 0
	}
	c.unsent++
	p := &w.publish
	p.Topic, p.Payload, p.ID, p.QoS, p.Retain, p.Dup = m.Topic, m.Payload, e.ID, e.QoS, e.Retain, e.Dup
	alike := e.QoS == 0 && len(e.SubIDs) == 0
	if v5 { // else nobody looks at the properties of the packet before
		p.Props = mqtt.MessageProperties{}
		p.Props.Forward, p.Props.SubscriptionIDs = m.Forward, e.SubIDs
		if m.Expires != 0 { // [MQTT-3.3.2-6]
			p.Props.HasExpiry = true
			p.Props.Expiry, _ = m.Remaining(w.sh.now)
		}
		// Not at QoS 2: clients are out there that forget the alias before PUBREL (mqtt.js 5).
		if !e.Flag && e.QoS < 2 && c.s.SendsAliases() {
			alias, known := c.s.Alias(m.Topic)
			p.Props.TopicAlias = alias
			if known {
				p.Topic = nil
			}
			alike = alike && alias == 0
		}
	}
	if c.point != "" {
		if !v5 {
			p.Props = mqtt.MessageProperties{}
		}
		unmount(c.point, p)
		alike = false
	}
	size := 0
	switch {
	case alike:
		span := w.shape(m, p, c.s.Version())
		conn.Send(span)
		size = span.Len()
	case len(m.Payload) >= largePayload:
		head := p.AppendHead(conn.Reserve(p.Size(c.s.Version())-len(m.Payload)), c.s.Version())
		size = len(head) + len(m.Payload)
		conn.Commit(head)
		conn.Send(w.payload(m))
	default:
		out := p.AppendTo(conn.Reserve(p.Size(c.s.Version())), c.s.Version())
		size = len(out)
		conn.Commit(out)
	}
	c.unsentB += size
	c.told.traffic.Sent += uint64(size)
	w.sh.books.sent(c, e, p, size)
	w.sh.spans.delivered(c, e)
	if c.pace != nil {
		w.sh.paces.sent(c, size)
	}
}

// shape returns the encoded form that receivers alike share.
func (w *writer) shape(m *mqtt.Message, p *mqtt.Publish, v mqtt.Version) loop.Span {
	i := 0
	if v >= mqtt.V5 {
		i = 2
	}
	if p.Retain {
		i++
	}
	if w.encoded.msg != m {
		w.nextMessage()
		w.encoded.msg = m
	}
	if !w.encoded.have[i] {
		w.encoded.have[i] = true
		w.encoded.shapes[i] = w.sh.loop.End(p.AppendTo(w.sh.loop.Begin(p.Size(v)), v))
	}
	return w.encoded.shapes[i]
}

// payload returns the payload's bytes, shared.
func (w *writer) payload(m *mqtt.Message) loop.Span {
	if w.encoded.msg != m {
		w.nextMessage()
		w.encoded.msg = m
	}
	if !w.encoded.shared {
		w.encoded.shared = true
		w.encoded.payload = w.sh.loop.End(append(w.sh.loop.Begin(len(m.Payload)), m.Payload...))
	}
	return w.encoded.payload
}

// send writes a control packet that is neither PUBLISH nor CONNACK.
func (w *writer) send(c *client, e *session.Effect) {
	if c.conn == nil {
		return
	}
	out := w.small[:0]
	v, limit := c.s.Version(), c.s.MaximumPacketSize()
	var text []byte
	if e.Text != "" && v >= mqtt.V5 && c.s.ProblemInfo() { // [MQTT-3.1.2-29]
		text = []byte(e.Text)
	}
	switch e.Type {
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		w.ack.ID, w.ack.Reason, w.ack.Props.ReasonString = e.ID, e.Reason, text
		out = w.ack.AppendTo(out, e.Type, v, limit)
	case mqtt.SUBACK, mqtt.UNSUBACK:
		w.suback.ID, w.suback.Reasons, w.suback.Props.ReasonString = e.ID, e.Codes, text
		out = w.suback.AppendTo(out, e.Type, v, limit)
	case mqtt.PINGRESP:
		out = mqtt.AppendPing(out, mqtt.PINGRESP)
	}
	w.small = out
	w.write(c.conn, out)
}

// challenge sends an AUTH; false when it is larger than the client takes.
func (w *writer) challenge(c *client, e *session.Effect) bool {
	if c.conn == nil {
		return true
	}
	out := authPacket(e.Reason, w.sh.renewals.of[c].method, []byte(e.Text), c.s.MaximumPacketSize())
	w.write(c.conn, out)
	return len(out) > 0
}

// write queues a packet that is not a PUBLISH.
func (w *writer) write(conn *loop.Conn, packet []byte) {
	if len(packet) == 0 {
		return
	}
	w.sh.traces.out(conn, packet)
	if c, ok := conn.State.(*client); ok {
		c.told.traffic.Sent += uint64(len(packet))
		c.told.traffic.packetsOut++
	} else {
		w.sh.count.PacketsSent++
		w.sh.count.BytesSent += uint64(len(packet))
	}
	conn.Write(packet)
}

// greet sends CONNACK, with what the server settled otherwise than the client asked.
func (w *writer) greet(c *client, e *session.Effect) {
	h := c.hello
	c.hello = nil
	ack := mqtt.Connack{SessionPresent: e.Flag, Reason: e.Reason}
	if c.s.Version() >= mqtt.V5 {
		w.greetProps(c, h, &ack.Props)
	}
	w.write(c.conn, ack.AppendTo(nil, c.s.Version(), c.s.MaximumPacketSize()))
}

func (w *writer) greetProps(c *client, h *hello, p *mqtt.Properties) {
	l, req := session.InForce(&c.s), h.request
	set := func(id mqtt.PropertyID) { p.Has = p.Has.With(id) }
	if req.AuthMethod != "" { // [MQTT-4.12.0-5]
		set(mqtt.PropAuthMethod)
		p.AuthMethod = []byte(req.AuthMethod)
		if len(h.authData) > 0 {
			set(mqtt.PropAuthData)
			p.AuthData = h.authData
		}
	}
	if h.assigned {
		set(mqtt.PropAssignedClientID)
		p.AssignedClientID = []byte(req.ClientID)
	}
	if req.KeepAlive != req.AskedKeepAlive {
		set(mqtt.PropServerKeepAlive)
		p.ServerKeepAlive = req.KeepAlive
	}
	if req.Expiry != req.AskedExpiry {
		set(mqtt.PropSessionExpiry)
		p.SessionExpiry = req.Expiry
	}
	if l.ReceiveMaximum < 65535 {
		set(mqtt.PropReceiveMaximum)
		p.ReceiveMaximum = l.ReceiveMaximum
	}
	set(mqtt.PropMaximumPacketSize)
	p.MaximumPacketSize = uint32(w.sh.b.limits().MaxPacketSize)
	if l.TopicAliases > 0 {
		set(mqtt.PropTopicAliasMaximum)
		p.TopicAliasMaximum = l.TopicAliases
	}
	if l.MaximumQoS < 2 {
		set(mqtt.PropMaximumQoS)
		p.MaximumQoS = l.MaximumQoS
	}
	if !l.RetainAvailable {
		set(mqtt.PropRetainAvailable)
	}
	if !l.SharedAvailable {
		set(mqtt.PropSharedSubAvailable)
	}
	if !l.WildcardAvailable {
		set(mqtt.PropWildcardSubAvailable)
	}
	if req.WantsResponseInfo { // [MQTT-3.1.2-28]
		set(mqtt.PropResponseInfo)
		p.ResponseInfo = []byte("response/" + req.ClientID)
	}
}
