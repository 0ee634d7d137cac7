package main

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// standIn is as much of a broker as the scripts of pub and sub need: it retains,
// fans out, and refuses what is named for it. It forgets every session.
type standIn struct {
	address string
	mu      sync.Mutex
	turn    *sync.Cond // something happened
	clients map[*standInClient]bool
	kept    map[string]mqtt.Publish
}

type standInClient struct {
	conn    net.Conn
	v       mqtt.Version
	filters []mqtt.Subscription
	lastID  uint16

	published, taken int // messages from it; QoS 2 messages it has answered
}

func newStandIn(t testing.TB, listener net.Listener) *standIn {
	b := &standIn{
		address: listener.Addr().String(),
		clients: map[*standInClient]bool{}, kept: map[string]mqtt.Publish{},
	}
	b.turn = sync.NewCond(&b.mu)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			go b.serve(&standInClient{conn: conn})
		}
	}()
	return b
}

func (b *standIn) serve(c *standInClient) {
	defer func() {
		c.conn.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.clients, c)
	}()
	var in []byte
	for {
		buf := make([]byte, 4096)
		n, err := c.conn.Read(buf)
		if err != nil {
			return
		}
		for in = append(in, buf[:n]...); ; {
			h, n, err := mqtt.ParseHeader(in)
			if err != nil {
				return
			}
			if n == 0 || len(in) < n+h.Length {
				break
			}
			var p mqtt.Packet
			if p.Decode(c.v, h, in[n:n+h.Length], mqtt.Limits{}) != nil || !b.packet(c, &p) {
				return
			}
			in = in[n+h.Length:]
		}
	}
}

func refusedTopic(topic []byte) mqtt.ReasonCode {
	if strings.HasPrefix(string(topic), "forbidden") {
		return mqtt.NotAuthorized
	}
	return mqtt.Success
}

// packet handles one packet; false closes the connection.
func (b *standIn) packet(c *standInClient, p *mqtt.Packet) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.turn.Broadcast()
	var out []byte
	switch p.Type {
	case mqtt.CONNECT:
		c.v = p.Connect.Version
		ack := mqtt.Connack{}
		if string(p.Connect.Username) == "mallory" {
			ack.Reason = mqtt.NotAuthorized
			ack.Props.Has = ack.Props.Has.With(mqtt.PropReasonString)
			ack.Props.ReasonString = []byte("not you")
		}
		out = ack.AppendTo(nil, c.v, 0)
		b.clients[c] = true
	case mqtt.SUBSCRIBE:
		ack := mqtt.Suback{ID: p.Subscribe.ID}
		for _, f := range p.Subscribe.Filters {
			reason := refusedTopic(f.Filter)
			if reason == mqtt.Success {
				f.Filter = append([]byte(nil), f.Filter...)
				c.filters = append(c.filters, f)
				reason = mqtt.ReasonCode(f.Options.QoS())
			}
			ack.Reasons = append(ack.Reasons, reason)
		}
		out = ack.AppendTo(nil, mqtt.SUBACK, c.v, 0)
		for _, m := range b.kept {
			out = append(out, c.encode(m)...)
		}
	case mqtt.PUBLISH:
		c.published++
		out = b.publish(c, &p.Publish)
	case mqtt.PUBREC:
		c.taken++
		out = (&mqtt.Ack{ID: p.Ack.ID}).AppendTo(nil, mqtt.PUBREL, c.v, 0)
	case mqtt.PUBREL:
		out = (&mqtt.Ack{ID: p.Ack.ID}).AppendTo(nil, mqtt.PUBCOMP, c.v, 0)
	case mqtt.PINGREQ:
		out = mqtt.AppendPing(nil, mqtt.PINGRESP)
	case mqtt.DISCONNECT:
		return false
	}
	_, err := c.conn.Write(out)
	return err == nil
}

func (b *standIn) publish(c *standInClient, p *mqtt.Publish) (ack []byte) {
	reason := refusedTopic(p.Topic)
	if p.QoS > 0 {
		t := mqtt.PUBACK + mqtt.Type(p.QoS-1)
		ack = (&mqtt.Ack{ID: p.ID, Reason: reason}).AppendTo(nil, t, c.v, 0)
	}
	if reason.Failed() {
		return ack
	}
	m := *p
	m.Topic, m.Payload = append([]byte(nil), p.Topic...), append([]byte(nil), p.Payload...)
	m.Props.Forward = append([]byte(nil), p.Props.Forward...)
	m.Props.TopicAlias = 0
	if p.Retain {
		b.kept[string(p.Topic)] = m
	}
	m.Retain = false
	for to := range b.clients {
		if out := to.encode(m); out != nil {
			_, _ = to.conn.Write(out)
		}
	}
	return ack
}

// encode is m as this client gets it, nothing if it did not subscribe.
func (c *standInClient) encode(m mqtt.Publish) []byte {
	for _, f := range c.filters {
		if topic.Match(f.Filter, m.Topic) {
			m.QoS = min(m.QoS, f.Options.QoS())
			if m.ID = 0; m.QoS > 0 {
				c.lastID++
				m.ID = c.lastID
			}
			return m.AppendTo(nil, c.v)
		}
	}
	return nil
}
