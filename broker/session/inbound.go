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
	received map[uint16]receipt
	// waiting holds the answers that wait for their batch, in the order they are owed.
	waiting []reply
	// outstanding counts the QoS 1 and 2 messages that came on this connection and are not yet
	// acknowledged: what the client's quota has spent (MQTT5 4.9).
	outstanding int
	// settled is the last batch whose outcome was told.
	settled uint64
}

// receipt is what is known of a QoS 2 message taken over.
type receipt struct {
	batch   uint64 // the store batch it became part of, 0 = none
	counted bool   // in outstanding
	at      int64  // ms, when it came; 0 = before a restart
}

// reply is an answer that waits. Most are acknowledgements and there may be many, so it is small.
type reply struct {
	batch  uint64
	other  *Effect // if it is more than Type, ID and Reason
	id     uint16
	typ    mqtt.Type
	reason mqtt.ReasonCode
}

func (r *reply) effect() *Effect {
	if r.other != nil {
		return r.other
	}
	return &Effect{Kind: Send, Type: r.typ, ID: r.id, Reason: r.reason}
}

func (l *Line) inbound() *inbound {
	if l.in == nil {
		l.in = &inbound{}
	}
	return l.in
}

// attach begins anew with what belongs to one connection. The client's quota is whole again, whatever
// it has still to release (MQTT5 4.9).
func (in *inbound) attach() {
	in.waiting, in.outstanding = nil, 0
	for id, r := range in.received {
		if r.counted {
			r.counted = false
			in.received[id] = r
		}
	}
}

func (in *inbound) receive(id uint16, r receipt) {
	if in.received == nil {
		in.received = make(map[uint16]receipt)
	}
	in.received[id] = r
}

// release forgets a packet identifier of QoS 2 and tells whether it was known.
func (in *inbound) release(id uint16) bool {
	r, known := in.received[id]
	if known {
		delete(in.received, id)
		if r.counted {
			in.outstanding--
		}
	}
	return known
}

// reply sends an answer once batch is stored, 0 = nothing to wait for, and never before one owed earlier.
func (l *Line) reply(batch uint64, e *Effect, do []Effect) []Effect {
	if batch == 0 && (l.in == nil || len(l.in.waiting) == 0) {
		return l.answer(e, do)
	}
	r := reply{batch: batch, id: e.ID, typ: e.Type, reason: e.Reason}
	if e.Kind != Send || e.Codes != nil || e.Text != "" {
		other := *e
		r.other = &other
	}
	in := l.inbound()
	in.waiting = append(in.waiting, r)
	return do
}

// answer emits e, unless the connection is about to be closed: nothing follows a
// DISCONNECT [MQTT-3.14.4-1].
func (l *Line) answer(e *Effect, do []Effect) []Effect {
	if l.closing {
		return do
	}
	do = append(do, *e)
	switch {
	case e.Type == mqtt.PUBACK:
		l.in.outstanding--
	case e.Kind == SendConnack:
		l.greeted = true
	}
	return do
}

// waitingCap is how many answers an idle session keeps room for.
const waitingCap = 16

// due takes out the answers that wait for batch or for an earlier one.
func (in *inbound) due(batch uint64, do func(*reply)) {
	in.settled = max(in.settled, batch)
	w, n := in.waiting, 0
	for n < len(w) && w[n].batch <= batch {
		do(&w[n])
		n++
	}
	rest := copy(w, w[n:])
	clear(w[rest:])
	in.waiting = w[:rest]
	if rest == 0 && cap(w) > waitingCap {
		in.waiting = nil
	}
}

func (l *Line) stored(batch uint64, do []Effect) []Effect {
	if l.in != nil {
		l.in.due(batch, func(r *reply) { do = l.answer(r.effect(), do) })
	}
	return do
}

func (l *Line) failed(batch uint64, reason mqtt.ReasonCode, do []Effect) []Effect {
	if l.in == nil {
		return do
	}
	for id, r := range l.in.received {
		if r.batch == batch { // its message went nowhere: it is a new one when it comes again
			l.in.release(id)
		}
	}
	for i := range l.in.waiting {
		if l.in.waiting[i].batch == batch {
			do = l.refuse(&l.in.waiting[i], reason, do)
		}
	}
	return l.stored(batch, do)
}

// refuse makes of an answer what it is when its batch is not stored.
func (l *Line) refuse(r *reply, reason mqtt.ReasonCode, do []Effect) []Effect {
	e := r.effect()
	if l.version >= mqtt.V5 && e.Kind == Send && (e.Type == mqtt.PUBACK || e.Type == mqtt.PUBREC) {
		e.Reason, e.Text = reason, "the message could not be stored"
		r.other = e
		return do
	}
	if e.Kind == SendConnack && !e.Flag { // there is no such session to come back to
		l.expiry = 0
	}
	text := "the change could not be stored"
	if e.Type == mqtt.PUBACK || e.Type == mqtt.PUBREC {
		text = "the message could not be stored"
	}
	if reason == mqtt.QuotaExceeded {
		text += ": the store is full"
	}
	return l.close(mqtt.ImplementationSpecificError, text, do)
}

// Receives tells that a QoS 2 message with a packet identifier was taken over and is not completed.
func (l *Line) Receives(id uint16) bool {
	if l.in == nil {
		return false
	}
	_, had := l.in.received[id]
	return had
}

// Waits tells that answers wait for a batch.
func (l *Line) Waits() bool { return l.in != nil && len(l.in.waiting) > 0 }

// Packet takes a packet from the client. Once the connection is to be closed, nothing is listened to.
func (s *Session) Packet(t Turn, p *mqtt.Packet, do []Effect) []Effect {
	if !s.connected || s.closing {
		return do
	}
	s.seen = t.Now
	switch p.Type {
	case mqtt.PUBLISH:
		return s.publish(&p.Publish, do)
	case mqtt.PUBACK:
		return s.out.puback(&s.Line, t, &p.Ack, do)
	case mqtt.PUBREC:
		return s.out.pubrec(&s.Line, t, &p.Ack, do)
	case mqtt.PUBCOMP:
		return s.out.pubcomp(&s.Line, t, &p.Ack, do)
	case mqtt.PUBREL:
		return s.pubrel(t, &p.Ack, do)
	case mqtt.SUBSCRIBE:
		return s.subscribe(&p.Subscribe, do)
	case mqtt.UNSUBSCRIBE:
		return s.unsubscribe(t, &p.Unsubscribe, do)
	case mqtt.PINGREQ:
		return s.ping(do)
	case mqtt.DISCONNECT:
		return s.disconnect(&p.Disconnect, do)
	case mqtt.CONNECT:
		return s.close(mqtt.ProtocolError, "a second CONNECT", do) // [MQTT-3.1.0-2]
	case mqtt.AUTH:
		return s.renewal.take(&s.Line, t, &p.Auth, do)
	default:
		return s.close(mqtt.ProtocolError, p.Type.String()+" is a packet that only a server sends", do)
	}
}

func (l *Line) publish(p *mqtt.Publish, do []Effect) []Effect {
	if p.Props.TopicAlias != 0 || len(p.Topic) == 0 {
		if code, text := l.resolveAlias(p); code != 0 {
			return l.close(code, text, do)
		}
	}
	switch {
	case p.QoS > l.rules.MaximumQoS:
		return l.close(mqtt.QoSNotSupported, "a QoS above the Maximum QoS", do)
	case p.Retain && !l.rules.RetainAvailable:
		return l.close(mqtt.RetainNotSupported, "retained messages are switched off", do)
	case len(p.Props.SubscriptionIDs) > 0:
		return l.close(mqtt.ProtocolError, "a Subscription Identifier in a PUBLISH from a client", do) // [MQTT-3.3.4-6]
	}
	if p.QoS == 0 {
		if code, text := l.unfit(p); code != 0 {
			return l.close(code, text, do)
		}
		return append(do, Effect{Kind: Route})
	}
	in := l.inbound()
	var had receipt
	again := false
	if p.QoS == 2 {
		had, again = in.received[p.ID]
	}
	if l.version >= mqtt.V5 && !had.counted && in.outstanding >= int(l.rules.ReceiveMaximum) {
		return l.close(mqtt.ReceiveMaximumExceeded, "more QoS 1 and 2 messages in flight than the Receive Maximum", do)
	}
	if again {
		return l.publishAgain(p.ID, had, do)
	}
	if code, text := l.unfit(p); code != 0 {
		if l.version < mqtt.V5 {
			return l.close(code, text, do)
		}
		if p.QoS == 1 {
			in.outstanding++
		}
		return l.reply(0, &Effect{Kind: Send, Type: ackOf(p.QoS), ID: p.ID, Reason: code, Text: text}, do)
	}
	in.outstanding++
	if p.QoS == 2 {
		in.receive(p.ID, receipt{counted: true})
	}
	return append(do, Effect{Kind: Route})
}

// publishAgain acknowledges a QoS 2 message that was taken over before [MQTT-4.3.3-10], not earlier than it
// is stored.
func (l *Line) publishAgain(id uint16, had receipt, do []Effect) []Effect {
	in := l.in
	if !had.counted {
		in.outstanding++
		had.counted = true
		in.receive(id, had)
	}
	if l.owes(mqtt.PUBREC, id) {
		return do
	}
	batch := had.batch
	if batch <= in.settled {
		batch = 0
	}
	return l.reply(batch, &Effect{Kind: Send, Type: mqtt.PUBREC, ID: id}, do)
}

// ping is answered at once, even while the store takes its time: the client shall know that we live.
func (l *Line) ping(do []Effect) []Effect {
	pong := &Effect{Kind: Send, Type: mqtt.PINGRESP}
	if l.greeted {
		return l.answer(pong, do)
	}
	return l.reply(0, pong, do)
}

func ackOf(q mqtt.QoS) mqtt.Type {
	if q == 1 {
		return mqtt.PUBACK
	}
	return mqtt.PUBREC
}

func (l *Line) owes(typ mqtt.Type, id uint16) bool {
	for i := range l.in.waiting {
		if r := &l.in.waiting[i]; r.typ == typ && r.id == id {
			return true
		}
	}
	return false
}

// unfit tells why a message is not accepted for itself.
func (l *Line) unfit(p *mqtt.Publish) (mqtt.ReasonCode, string) {
	switch {
	case len(p.Topic) > l.rules.TopicBytes:
		return mqtt.TopicNameInvalid, "the topic name is too long"
	case len(p.Topic) >= l.rules.TopicLevels && topic.Levels(p.Topic) > l.rules.TopicLevels:
		return mqtt.TopicNameInvalid, "the topic name has too many levels"
	case p.Props.UTF8 && l.rules.ValidateUTF8Payloads && !utf8.Valid(p.Payload):
		return mqtt.PayloadFormatInvalid, "the payload is not the UTF-8 that its Payload Format Indicator claims"
	}
	return 0, ""
}

// Routed tells what became of the PUBLISH given last: reason is for its acknowledgement, batch
// the store batch it became part of, 0 = none.
func (l *Line) Routed(t Turn, p *mqtt.Publish, reason mqtt.ReasonCode, batch uint64, do []Effect) []Effect {
	if l.in == nil {
		return do
	}
	switch p.QoS {
	case 1:
		return l.reply(batch, &Effect{Kind: Send, Type: mqtt.PUBACK, ID: p.ID, Reason: reason}, do)
	case 2:
		if reason.Failed() {
			l.in.release(p.ID) // [MQTT-4.3.3-9]
			return l.reply(batch, &Effect{Kind: Send, Type: mqtt.PUBREC, ID: p.ID, Reason: reason}, do)
		}
		if l.durable {
			do = append(do, Effect{Kind: Keep, Change: Receive, ID: p.ID})
			batch = t.Batch
		}
		l.in.receive(p.ID, receipt{batch, true, t.Now})
		return l.reply(batch, &Effect{Kind: Send, Type: mqtt.PUBREC, ID: p.ID, Reason: reason}, do)
	}
	return do
}

// Refused tells that the PUBLISH given last was refused and nothing of it happened: reason and, for people, why. A client
// before MQTT 5 cannot be told but by the end of its connection: it gets no acknowledgement [MQTT311 MQTT-3.3.5-2].
func (l *Line) Refused(p *mqtt.Publish, reason mqtt.ReasonCode, why string, do []Effect) []Effect {
	if p.QoS == 2 {
		l.in.release(p.ID) // [MQTT-4.3.3-9]
	}
	if l.version < mqtt.V5 {
		return l.close(reason, why, do)
	}
	if p.QoS == 0 {
		return do
	}
	return l.reply(0, &Effect{Kind: Send, Type: ackOf(p.QoS), ID: p.ID, Reason: reason, Text: why}, do)
}

func (l *Line) pubrel(t Turn, p *mqtt.Ack, do []Effect) []Effect {
	ack := &Effect{Kind: Send, Type: mqtt.PUBCOMP, ID: p.ID}
	if (l.in == nil || !l.in.release(p.ID)) && l.version >= mqtt.V5 {
		ack.Reason = mqtt.PacketIDNotFound
	}
	if !l.durable {
		return l.reply(0, ack, do)
	}
	// Also for an unknown one: the batch that was to forget it may have failed.
	do = append(do, Effect{Kind: Keep, Change: Complete, ID: p.ID})
	return l.reply(t.Batch, ack, do)
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
	text := "the client disconnected"
	if p.Reason != mqtt.Success {
		text += " with reason " + p.Reason.String()
	}
	return s.close(mqtt.Success, text, do)
}
