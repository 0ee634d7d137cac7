package session

import (
	"unicode/utf8"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// inbound is what the client's own messages leave behind.
type inbound struct {
	// received holds the packet identifiers of QoS 2 messages taken over and not yet
	// released: a message with such an identifier is the same one [MQTT-4.3.3-10].
	received map[uint16]struct{}
	// waiting holds the answers that wait for their batch, in the order they are owed.
	waiting []reply
	// outstanding counts QoS 1 and 2 messages not yet acknowledged (PUBACK, PUBCOMP).
	outstanding int
}

type reply struct {
	batch  uint64
	effect Effect
}

func (s *Session) inbound() *inbound {
	if s.in == nil {
		s.in = &inbound{received: make(map[uint16]struct{})}
	}
	return s.in
}

// reply sends an answer once batch is stored, 0 = nothing to wait for, and never before one owed earlier.
func (s *Session) reply(batch uint64, e Effect, do []Effect) []Effect {
	if batch == 0 && (s.in == nil || len(s.in.waiting) == 0) {
		return s.answer(e, do)
	}
	in := s.inbound()
	in.waiting = append(in.waiting, reply{batch, e})
	return do
}

// answer emits e and, if it ends an exchange, returns the client's quota (MQTT5 4.9).
func (s *Session) answer(e Effect, do []Effect) []Effect {
	if e.Kind == SendConnack {
		s.greeted = true
	}
	switch e.Type {
	case mqtt.PUBACK, mqtt.PUBCOMP:
		s.inbound().outstanding--
	case mqtt.PUBREC:
		if e.Reason.Failed() {
			s.inbound().outstanding--
		}
	}
	return append(do, e)
}

// Stored tells that batch, and so every earlier one, is stored: what waited for it goes out.
func (s *Session) Stored(batch uint64, do []Effect) []Effect {
	if s.in == nil {
		return do
	}
	w := s.in.waiting
	n := 0
	for n < len(w) && w[n].batch <= batch {
		do = s.answer(w[n].effect, do)
		n++
	}
	s.in.waiting = append(w[:0], w[n:]...)
	return do
}

// Failed tells that batch could not be stored. What was to be acknowledged by it is not: a v5
// publisher is told so, everybody else loses the connection and may try again.
func (s *Session) Failed(batch uint64, do []Effect) []Effect {
	if s.in == nil {
		return do
	}
	w := s.in.waiting
	n := 0
	for n < len(w) && w[n].batch <= batch {
		e := w[n].effect
		n++
		switch {
		case w[n-1].batch < batch:
			do = s.answer(e, do)
		case s.version >= mqtt.V5 && e.Kind == Send && (e.Type == mqtt.PUBACK || e.Type == mqtt.PUBREC):
			delete(s.in.received, e.ID)
			e.Reason, e.Text = mqtt.QuotaExceeded, "the message could not be stored"
			do = s.answer(e, do)
		default:
			if e.Type == mqtt.PUBREC {
				delete(s.in.received, e.ID)
			}
			do = s.close(mqtt.ImplementationSpecificError, "the change could not be stored", do)
		}
	}
	s.in.waiting = append(w[:0], w[n:]...)
	return do
}

// Waits tells that answers wait for a batch.
func (s *Session) Waits() bool { return s.in != nil && len(s.in.waiting) > 0 }

// Packet takes a packet from the client.
func (s *Session) Packet(t Turn, p *mqtt.Packet, do []Effect) []Effect {
	s.seen = t.Now
	switch p.Type {
	case mqtt.PUBLISH:
		return s.publish(&p.Publish, do)
	case mqtt.PUBACK:
		return s.puback(t, &p.Ack, do)
	case mqtt.PUBREC:
		return s.pubrec(t, &p.Ack, do)
	case mqtt.PUBCOMP:
		return s.pubcomp(t, &p.Ack, do)
	case mqtt.PUBREL:
		return s.pubrel(t, &p.Ack, do)
	case mqtt.SUBSCRIBE:
		return s.subscribe(&p.Subscribe, do)
	case mqtt.UNSUBSCRIBE:
		return s.unsubscribe(t, &p.Unsubscribe, do)
	case mqtt.PINGREQ:
		return s.reply(0, Effect{Kind: Send, Type: mqtt.PINGRESP}, do)
	case mqtt.DISCONNECT:
		return s.disconnect(&p.Disconnect, do)
	case mqtt.CONNECT:
		return s.close(mqtt.ProtocolError, "a second CONNECT", do) // [MQTT-3.1.0-2]
	case mqtt.AUTH:
		return s.close(mqtt.ProtocolError, "AUTH on a connection without an authentication method", do)
	default:
		return s.close(mqtt.ProtocolError, p.Type.String()+" is a packet that only a server sends", do)
	}
}

func (s *Session) publish(p *mqtt.Publish, do []Effect) []Effect {
	if p.Props.TopicAlias != 0 || len(p.Topic) == 0 {
		if code, text := s.resolveAlias(p); code != 0 {
			return s.close(code, text, do)
		}
	}
	switch {
	case p.QoS > s.rules.MaximumQoS:
		return s.close(mqtt.QoSNotSupported, "a QoS above the Maximum QoS", do)
	case p.Retain && !s.rules.RetainAvailable:
		return s.close(mqtt.RetainNotSupported, "retained messages are switched off", do)
	case len(p.Props.SubscriptionIDs) > 0:
		return s.close(mqtt.ProtocolError, "a Subscription Identifier in a PUBLISH from a client", do) // [MQTT-3.3.4-6]
	}
	if p.QoS == 0 {
		if code, text := s.unfit(p); code != 0 {
			return s.close(code, text, do)
		}
		return append(do, Effect{Kind: Route})
	}
	in := s.inbound()
	if p.QoS == 2 {
		if _, again := in.received[p.ID]; again {
			if s.owes(mqtt.PUBREC, p.ID) {
				return do
			}
			return s.reply(0, Effect{Kind: Send, Type: mqtt.PUBREC, ID: p.ID}, do) // [MQTT-4.3.3-10]
		}
	}
	if s.version >= mqtt.V5 && in.outstanding >= int(s.rules.ReceiveMaximum) {
		return s.close(mqtt.ReceiveMaximumExceeded, "more QoS 1 and 2 messages in flight than the Receive Maximum", do)
	}
	in.outstanding++
	if code, text := s.unfit(p); code != 0 {
		if s.version < mqtt.V5 {
			return s.close(code, text, do)
		}
		return s.reply(0, Effect{Kind: Send, Type: ackOf(p.QoS), ID: p.ID, Reason: code, Text: text}, do)
	}
	if p.QoS == 2 {
		in.received[p.ID] = struct{}{}
	}
	return append(do, Effect{Kind: Route})
}

func ackOf(q mqtt.QoS) mqtt.Type {
	if q == 1 {
		return mqtt.PUBACK
	}
	return mqtt.PUBREC
}

func (s *Session) owes(typ mqtt.Type, id uint16) bool {
	for i := range s.in.waiting {
		if e := &s.in.waiting[i].effect; e.Kind == Send && e.Type == typ && e.ID == id {
			return true
		}
	}
	return false
}

// unfit tells why a message is not accepted for itself.
func (s *Session) unfit(p *mqtt.Publish) (mqtt.ReasonCode, string) {
	switch {
	case len(p.Topic) > s.rules.TopicBytes:
		return mqtt.TopicNameInvalid, "the topic name is too long"
	case len(p.Topic) >= s.rules.TopicLevels && topic.Levels(p.Topic) > s.rules.TopicLevels:
		return mqtt.TopicNameInvalid, "the topic name has too many levels"
	case p.Props.UTF8 && s.rules.ValidateUTF8Payloads && !utf8.Valid(p.Payload):
		return mqtt.PayloadFormatInvalid, "the payload is not the UTF-8 that its Payload Format Indicator claims"
	}
	return 0, ""
}

// Routed tells what became of the PUBLISH given last: reason is for its acknowledgement, batch
// the store batch it became part of, 0 = none.
func (s *Session) Routed(t Turn, p *mqtt.Publish, reason mqtt.ReasonCode, batch uint64, do []Effect) []Effect {
	switch p.QoS {
	case 1:
		if batch == 0 && len(s.in.waiting) == 0 { // the common case, short
			s.in.outstanding--
			return append(do, Effect{Kind: Send, Type: mqtt.PUBACK, ID: p.ID, Reason: reason})
		}
		return s.reply(batch, Effect{Kind: Send, Type: mqtt.PUBACK, ID: p.ID, Reason: reason}, do)
	case 2:
		if reason.Failed() {
			delete(s.in.received, p.ID) // [MQTT-4.3.3-9]
		} else if s.durable {
			do = append(do, Effect{Kind: Keep, Change: Receive, ID: p.ID})
			batch = t.Batch
		}
		return s.reply(batch, Effect{Kind: Send, Type: mqtt.PUBREC, ID: p.ID, Reason: reason}, do)
	}
	return do
}

func (s *Session) pubrel(t Turn, p *mqtt.Ack, do []Effect) []Effect {
	ack := Effect{Kind: Send, Type: mqtt.PUBCOMP, ID: p.ID}
	known := false
	if s.in != nil {
		_, known = s.in.received[p.ID]
	}
	if !known {
		s.inbound().outstanding++ // answer gives it back
		if s.version >= mqtt.V5 {
			ack.Reason = mqtt.PacketIDNotFound
		}
		return s.reply(0, ack, do)
	}
	delete(s.in.received, p.ID)
	if !s.durable {
		return s.reply(0, ack, do)
	}
	do = append(do, Effect{Kind: Keep, Change: Complete, ID: p.ID})
	return s.reply(t.Batch, ack, do)
}

func (s *Session) disconnect(p *mqtt.Disconnect, do []Effect) []Effect {
	if p.Props.Has.Has(mqtt.PropSessionExpiry) {
		if s.expiry == 0 && p.Props.SessionExpiry != 0 { // MQTT5 3.14.2.2.2
			return s.close(mqtt.ProtocolError, "a Session Expiry Interval in DISCONNECT after 0 in CONNECT", do)
		}
		s.expiry = min(p.Props.SessionExpiry, s.rules.SessionExpiry)
	}
	if p.Reason == mqtt.Success {
		s.will = nil // [MQTT-3.14.4-3]
	}
	return s.close(mqtt.Success, "the client disconnected with reason "+p.Reason.String(), do)
}
