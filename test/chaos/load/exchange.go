package load

import (
	"slices"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/test/chaos/history"
)

// firstCallID is above the identifiers of messages, which are the lowest that are free: so an identifier is used again as
// soon as it may be, and a broker that has not let go of it is found out.
const firstCallID = 1000

// publish begins a new message, if the window allows.
func (c *client) publish() {
	if len(c.out) >= c.window {
		return
	}
	f := &flight{letter: c.next(c.rng)}
	for f.id = 1; slices.ContainsFunc(c.out, func(o *flight) bool { return o.id == f.id }); f.id++ {
	}
	c.number++
	f.message = history.Message{Publisher: c.id, Number: c.number}
	c.out = append(c.out, f)
	c.send(f)
}

// send sends what a message is to go on with: PUBLISH, or PUBREL.
func (c *client) send(f *flight) {
	c.written = true
	if f.recorded {
		c.buf = (&mqtt.Ack{ID: f.id}).AppendTo(c.buf, mqtt.PUBREL, c.version, 0)
		return
	}
	p := mqtt.Publish{Topic: []byte(f.topic), ID: f.id, QoS: f.qos, Retain: f.retain, Dup: f.sent}
	if !f.erase {
		p.Payload = history.AppendPayload(nil, f.topic, f.message, f.size+c.l.o.Bulk)
	}
	c.log(history.Event{Kind: history.Publish, ID: f.id, QoS: f.qos, Retain: f.retain, Dup: f.sent, Deleted: f.erase, Topic: f.topic, Message: f.message})
	f.sent = true
	c.buf = p.AppendTo(c.buf, c.version)
}

// take deals with a packet from the broker.
func (c *client) take(p *mqtt.Packet) {
	if p.Type != mqtt.PINGRESP {
		c.heard = time.Now()
	}
	switch p.Type {
	case mqtt.PUBLISH:
		c.arrive(&p.Publish)
	case mqtt.PUBREL:
		c.log(history.Event{Kind: history.Released, ID: p.Ack.ID, Message: c.received[p.Ack.ID]})
		delete(c.received, p.Ack.ID)
		c.owe(mqtt.PUBCOMP, p.Ack.ID)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP:
		c.acknowledged(p.Type, &p.Ack)
	case mqtt.SUBACK, mqtt.UNSUBACK:
		c.called(p)
	case mqtt.PINGRESP:
		c.pinging = false
		c.log(history.Event{Kind: history.Pinged})
	}
}

func (c *client) arrive(p *mqtt.Publish) {
	topic := string(p.Topic)
	m, fault := history.ParsePayload(topic, p.Payload)
	c.log(history.Event{
		Kind: history.Received, ID: p.ID, QoS: p.QoS, Dup: p.Dup, Retain: p.Retain, Topic: topic, Message: m,
		Deleted: len(p.Payload) == 0, Fault: fault,
	})
	switch p.QoS {
	case 1:
		c.owe(mqtt.PUBACK, p.ID)
	case 2:
		c.received[p.ID] = m
		c.owe(mqtt.PUBREC, p.ID)
	}
}

// owe notes an acknowledgement; they go out in the order in which they are owed, and not at once.
func (c *client) owe(t mqtt.Type, id uint16) {
	c.owed = append(c.owed, mqtt.Packet{Type: t, Ack: mqtt.Ack{ID: id}})
}

// answer sends the acknowledgements that are owed.
func (c *client) answer() {
	for i := range c.owed {
		p := &c.owed[i]
		kind := history.Acking
		switch p.Type {
		case mqtt.PUBREC:
			kind = history.Recording
		case mqtt.PUBCOMP:
			kind = history.Completing
		}
		c.log(history.Event{Kind: kind, ID: p.Ack.ID})
		c.buf = p.Ack.AppendTo(c.buf, p.Type, c.version, 0)
		c.written = true
	}
	c.owed = c.owed[:0]
}

// acknowledged takes a PUBACK, PUBREC or PUBCOMP. One that answers nothing goes into the history as such.
func (c *client) acknowledged(t mqtt.Type, a *mqtt.Ack) {
	e := history.Event{Kind: history.Puback, ID: a.ID, Reason: a.Reason}
	switch t {
	case mqtt.PUBREC:
		e.Kind = history.Pubrec
	case mqtt.PUBCOMP:
		e.Kind = history.Pubcomp
	}
	i := slices.IndexFunc(c.out, func(f *flight) bool {
		return f.id == a.ID && (f.qos == 1) == (t == mqtt.PUBACK) && (t != mqtt.PUBCOMP || f.recorded)
	})
	if i < 0 {
		c.log(e)
		return
	}
	f := c.out[i]
	e.Message = f.message
	c.log(e)
	if t == mqtt.PUBREC && !a.Reason.Failed() {
		f.recorded = true
		c.send(f)
		return
	}
	c.out = slices.Delete(c.out, i, i+1)
}

// called takes a SUBACK or UNSUBACK.
func (c *client) called(p *mqtt.Packet) {
	call, known := c.calls[p.Suback.ID]
	delete(c.calls, p.Suback.ID)
	e := history.Event{Kind: history.Unsubscribed, ID: p.Suback.ID, Topic: call.filter}
	if p.Type == mqtt.SUBACK {
		e.Kind = history.Subscribed
	}
	if len(p.Suback.Reasons) > 0 {
		e.Reason = p.Suback.Reasons[0]
	}
	c.log(e)
	if known && !e.Reason.Failed() {
		c.has[call.filter] = call.join
	}
}
