package session

import "github.com/sapwood-mqtt/sapwood/mqtt"

// inFlight returns the position in flight under a packet identifier, or 0.
func (o *outbound) inFlight(id uint16) uint64 {
	if o == nil {
		return 0
	}
	return o.find(id)
}

// finish ends a position in flight and sends what it made room for.
func (o *outbound) finish(l *Line, t Turn, seq uint64, do []Effect) []Effect {
	sl := o.slot(seq)
	if !sl.has() {
		o.account.Acknowledged++
	}
	o.free(sl)
	o.advance()
	do = l.settle(seq, do)
	if o.waits() {
		do = o.pump(l, t, do)
	}
	return do
}

func (o *outbound) puback(l *Line, t Turn, p *mqtt.Ack, do []Effect) []Effect {
	seq := o.inFlight(p.ID)
	if seq == 0 {
		return do
	}
	if sl := o.slot(seq); sl.qos != 1 {
		return l.close(mqtt.ProtocolError, "PUBACK for a QoS 2 message", do)
	}
	return o.finish(l, t, seq, do)
}

func (o *outbound) pubrec(l *Line, t Turn, p *mqtt.Ack, do []Effect) []Effect {
	rel := &Effect{Kind: Send, Type: mqtt.PUBREL, ID: p.ID}
	seq := o.inFlight(p.ID)
	if seq == 0 {
		if l.version < mqtt.V5 || p.Reason.Failed() {
			return do
		}
		rel.Reason = mqtt.PacketIDNotFound
		return l.reply(0, rel, do)
	}
	sl := o.slot(seq)
	switch {
	case sl.qos != 2:
		return l.close(mqtt.ProtocolError, "PUBREC for a QoS 1 message", do)
	case sl.state != released && p.Reason.Failed():
		return o.finish(l, t, seq, do) // [MQTT-4.4.0-2]
	}
	o.release(sl)
	sl.at = t.Now
	if !l.durable {
		return l.reply(0, rel, do)
	}
	// Also when it comes again: the batch of the first may have failed.
	do = append(do, Effect{Kind: Keep, Change: Release, Seq: seq})
	return l.reply(t.Batch, rel, do)
}

// release notes that the client has a message: what follows is only about its packet identifier.
func (o *outbound) release(sl *slot) {
	if !sl.has() {
		o.account.Acknowledged++
		o.released++
	}
	o.launch(sl)
	sl.state = released
}

func (o *outbound) pubcomp(l *Line, t Turn, p *mqtt.Ack, do []Effect) []Effect {
	seq := o.inFlight(p.ID)
	if seq == 0 {
		return do
	}
	sl := o.slot(seq)
	if sl.qos != 2 || sl.state != released {
		return l.close(mqtt.ProtocolError, "PUBCOMP without PUBREC", do)
	}
	return o.finish(l, t, seq, do)
}
