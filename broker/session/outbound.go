package session

import "github.com/sapwood-mqtt/sapwood/mqtt"

// How much one call sends at most, so that a turn stays short; More asks for the next.
const (
	pumpMessages = 512
	pumpBytes    = 256 << 10
)

// idSpan is the number of packet identifiers. Position seq of the queue is sent under
// the identifier (seq-1) mod idSpan + 1: an identifier is unused again before it is
// given anew [MQTT-2.2.1-4], and after a crash every message still has its own.
const idSpan = 65535

func packetID(seq uint64) uint16 { return uint16((seq-1)%idSpan) + 1 }

// outbound is what is on its way to the client. Every QoS 1 and 2 message has a position
// in the session's queue, given by the store or, where the session ends with its
// connection, counted here. Positions below the window (base) are done, those in slots
// are in flight, and those above wait in front and rest.
type outbound struct {
	base  uint64 // position of slots[0]
	slots []slot // contiguous; a position that needs no (more) acknowledgement is done
	tail  uint64 // the highest position known

	front []queued // read from the store or to be sent again; goes first
	rest  []queued // everything behind, in order

	quota    uint16 // PUBLISH packets that may be sent (MQTT5 4.9)
	epoch    uint16 // tells a Fetch of this connection from one of an earlier one
	fetching bool
	count    int   // QoS 1 and 2 messages queued or in flight
	bytes    int64 // of those messages
}

// slot is one position in flight.
type slot struct {
	state slotState
	qos   mqtt.QoS
	size  uint32
	// shared is the message, held only where it may have to go to another member.
	shared *queued
}

type slotState uint8

const (
	done     slotState = iota
	sent               // PUBLISH sent; PUBACK or PUBREC is awaited
	released           // PUBREL sent or about to be; PUBCOMP is awaited
)

// queued is a message that waits, or (msg nil) the positions seq to `to` of the store's queue.
type queued struct {
	msg *mqtt.Message
	seq uint64 // 0 = QoS 0
	to  uint64
	d   mqtt.Delivery
	dup bool
	rel bool // PUBREC came: only PUBREL is to be sent
}

func (s *Session) outbound() *outbound {
	if s.out == nil {
		s.out = &outbound{base: 1, quota: s.recvMax}
	}
	return s.out
}

// Deliver takes a message for the client: at once if it is its turn, else it is queued. seq is the
// position that the store gave it, 0 if it is not stored. m may be a view.
func (s *Session) Deliver(t Turn, m *mqtt.Message, d *mqtt.Delivery, seq uint64, do []Effect) []Effect {
	if d.QoS == 0 {
		return s.deliver0(t, m, d, do)
	}
	o := s.outbound()
	size := int64(m.Bytes())
	if !s.durable {
		if o.count >= s.rules.QueuedMessages || o.bytes+size > s.rules.QueuedBytes {
			if s.rules.Overflow != DropOldest || !s.dropOldest(&do) {
				do = append(do, Effect{Kind: Drop, Why: QueueFull, Msg: m})
				return s.overflow(do)
			}
		}
		seq = o.tail + 1
	}
	o.count++
	o.bytes += size
	if seq <= o.tail { // already covered: the store showed it before its publisher's loop did
		return do
	}
	next := seq == o.tail+1
	from := o.tail + 1
	o.tail = seq
	if next && len(o.front) == 0 && len(o.rest) == 0 && s.maySend(o, seq) {
		return s.send(t, &queued{msg: m, seq: seq, d: *d}, do)
	}
	switch {
	case !s.durable:
		o.rest = append(o.rest, queued{msg: m.Keep(), seq: seq, d: *d})
	default:
		o.appendRange(from, seq)
		do = s.limitStored(do)
		if len(o.front) == 0 {
			do = s.pump(t, do)
		}
	}
	return do
}

// deliver0 sends a QoS 0 message, behind what waits. It is the first to be dropped: when the
// client does not read, or when half of the queue's limit is in use.
func (s *Session) deliver0(t Turn, m *mqtt.Message, d *mqtt.Delivery, do []Effect) []Effect {
	o := s.out
	switch {
	case !s.greeted:
		return append(do, Effect{Kind: Drop, Why: Offline, Msg: m})
	case s.blocked:
		return append(do, Effect{Kind: Drop, Why: SlowConsumer, Msg: m})
	case o == nil || len(o.front) == 0 && len(o.rest) == 0:
		return s.send(t, &queued{msg: m, d: *d}, do)
	case len(o.front)+len(o.rest) >= s.rules.QueuedMessages/2, o.bytes >= s.rules.QueuedBytes/2:
		return append(do, Effect{Kind: Drop, Why: QueueFull, Msg: m})
	}
	o.bytes += int64(m.Bytes())
	o.rest = append(o.rest, queued{msg: m.Keep(), d: *d})
	return do
}

func (s *Session) maySend(o *outbound, seq uint64) bool {
	return s.greeted && !s.blocked && o.quota > 0 && (len(o.slots) == 0 || seq-o.base < idSpan)
}

// send emits the PUBLISH, unless the message expired meanwhile or is too large for the client.
func (s *Session) send(t Turn, q *queued, do []Effect) []Effect {
	m := q.msg
	if !q.dup && m.Expires != 0 && t.Now >= m.Expires { // [MQTT-3.3.2-5], [MQTT-4.3.3-7]
		return s.skip(q, Expired, do)
	}
	if s.maxPacket != 0 && s.size(m, &q.d) > int(s.maxPacket) { // [MQTT-3.1.2-25]
		return s.skip(q, TooLarge, do)
	}
	e := Effect{Kind: SendPublish, Msg: m, QoS: q.d.QoS, Retain: q.d.Retain, Dup: q.dup, SubIDs: q.d.SubscriptionIDs}
	if q.seq != 0 {
		e.ID = packetID(q.seq)
		o := s.out
		sl := o.slot(q.seq)
		if sl == nil {
			sl = o.open(q.seq)
		}
		*sl = slot{state: sent, qos: q.d.QoS, size: uint32(m.Bytes())}
		if q.d.Group != "" && q.d.QoS == 1 && !s.durable {
			held := *q
			held.msg = m.Keep()
			sl.shared = &held
		}
		o.quota--
	}
	return append(do, e)
}

// size is an upper bound of the PUBLISH on the wire.
func (s *Session) size(m *mqtt.Message, d *mqtt.Delivery) int {
	p := mqtt.Publish{Topic: m.Topic, Payload: m.Payload, QoS: d.QoS, ID: 1}
	if s.version >= mqtt.V5 {
		p.Props = mqtt.MessageProperties{Forward: m.Forward, HasExpiry: m.Expires != 0, SubscriptionIDs: d.SubscriptionIDs}
	}
	return p.Size(s.version)
}

// skip lets go of a message that is not to be sent, as if it had been.
func (s *Session) skip(q *queued, why Why, do []Effect) []Effect {
	do = append(do, Effect{Kind: Drop, Why: why, Msg: q.msg})
	if q.seq == 0 {
		return do
	}
	o := s.out
	o.count--
	o.bytes -= int64(q.msg.Bytes())
	if sl := o.slot(q.seq); sl != nil {
		*sl = slot{}
		o.advance()
	}
	return s.settle(q.seq, do)
}

func (s *Session) settle(seq uint64, do []Effect) []Effect {
	if s.durable {
		do = append(do, Effect{Kind: Keep, Change: Settle, Seq: seq})
	}
	return do
}

// slot returns the slot of a position in the window, or nil.
func (o *outbound) slot(seq uint64) *slot {
	if seq < o.base || seq-o.base >= uint64(len(o.slots)) {
		return nil
	}
	return &o.slots[seq-o.base]
}

// open extends the window up to seq; positions in between were never sent and count as done.
func (o *outbound) open(seq uint64) *slot {
	if len(o.slots) == 0 {
		o.base = seq
	}
	for o.base+uint64(len(o.slots)) <= seq {
		o.slots = append(o.slots, slot{})
	}
	return &o.slots[seq-o.base]
}

// advance moves the window past what is done.
func (o *outbound) advance() {
	n := 0
	for n < len(o.slots) && o.slots[n].state == done {
		n++
	}
	if n == 0 {
		return
	}
	o.base += uint64(n)
	if n == len(o.slots) {
		o.slots = o.slots[:0]
		if cap(o.slots) > 1024 {
			o.slots = nil
		}
		return
	}
	o.slots = o.slots[n:]
}

// find returns the position in flight under a packet identifier, or 0.
func (o *outbound) find(id uint16) uint64 {
	if o == nil || len(o.slots) == 0 || id == 0 {
		return 0
	}
	ahead := (uint64(id) + idSpan - uint64(packetID(o.base))) % idSpan
	if ahead >= uint64(len(o.slots)) || o.slots[ahead].state == done {
		return 0
	}
	return o.base + ahead
}

// finish ends a position in flight and sends what it made room for.
func (s *Session) finish(t Turn, seq uint64, do []Effect) []Effect {
	o := s.out
	sl := o.slot(seq)
	o.count--
	o.bytes -= int64(sl.size)
	*sl = slot{}
	o.advance()
	o.quota = min(o.quota+1, s.recvMax)
	do = s.settle(seq, do)
	if len(o.front) > 0 || len(o.rest) > 0 {
		do = s.pump(t, do)
	}
	return do
}

func (s *Session) puback(t Turn, p *mqtt.Ack, do []Effect) []Effect {
	seq := s.out.find(p.ID)
	if seq == 0 {
		return do
	}
	if sl := s.out.slot(seq); sl.qos != 1 {
		return s.close(mqtt.ProtocolError, "PUBACK for a QoS 2 message", do)
	}
	return s.finish(t, seq, do)
}

func (s *Session) pubrec(t Turn, p *mqtt.Ack, do []Effect) []Effect {
	rel := Effect{Kind: Send, Type: mqtt.PUBREL, ID: p.ID}
	seq := s.out.find(p.ID)
	if seq == 0 {
		if s.version < mqtt.V5 || p.Reason.Failed() {
			return do
		}
		rel.Reason = mqtt.PacketIDNotFound
		return append(do, rel)
	}
	sl := s.out.slot(seq)
	switch {
	case sl.qos != 2:
		return s.close(mqtt.ProtocolError, "PUBREC for a QoS 1 message", do)
	case sl.state == released:
		return append(do, rel)
	case p.Reason.Failed():
		return s.finish(t, seq, do) // [MQTT-4.4.0-2]
	}
	sl.state = released
	if !s.durable {
		return append(do, rel)
	}
	do = append(do, Effect{Kind: Keep, Change: Release, Seq: seq})
	return s.reply(t.Batch, rel, do)
}

func (s *Session) pubcomp(t Turn, p *mqtt.Ack, do []Effect) []Effect {
	seq := s.out.find(p.ID)
	if seq == 0 {
		return do
	}
	sl := s.out.slot(seq)
	if sl.qos != 2 || sl.state != released {
		return s.close(mqtt.ProtocolError, "PUBCOMP without PUBREC", do)
	}
	return s.finish(t, seq, do)
}

// Blocked tells that the owner's output for this client is at its cap; Drained ends it.
func (s *Session) Blocked() { s.blocked = true }

// Drained tells that the client has read, or that a turn has passed after More: sends what waits.
func (s *Session) Drained(t Turn, do []Effect) []Effect {
	s.blocked = false
	if s.out == nil {
		return do
	}
	return s.pump(t, do)
}

// Ready tells that a QoS 1 or 2 message given now would be sent at once.
func (s *Session) Ready() bool {
	if !s.greeted || s.blocked || s.closing {
		return false
	}
	o := s.out
	return o == nil || len(o.front) == 0 && len(o.rest) == 0 && s.maySend(o, o.tail+1)
}

// Room is how many QoS 1 and 2 messages the client would take now.
func (s *Session) Room() int {
	if s.out == nil {
		return int(s.recvMax)
	}
	return int(s.out.quota)
}

// Queued is the number and weight of the QoS 1 and 2 messages waiting or in flight.
func (s *Session) Queued() (messages int, bytes int64) {
	if s.out == nil {
		return 0, 0
	}
	return s.out.count, s.out.bytes
}

// Full tells that the queue is at its limit: further QoS 1 and 2 messages are to be refused.
func (s *Session) Full() bool {
	o := s.out
	return o != nil && s.rules.Overflow != DropOldest && (o.count >= s.rules.QueuedMessages || o.bytes >= s.rules.QueuedBytes)
}
