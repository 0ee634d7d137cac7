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
	doubt uint64 // positions below it may have been sent before a crash

	front []queued // read from the store; goes first
	rest  []queued // everything behind, in order
	// weights are what the messages at the last positions up to tail weigh, those in the
	// store that are not yet sent; 0 = not yet delivered to us, gone = not to be sent.
	weights []uint32

	quota    uint16 // PUBLISH packets that may be sent (MQTT5 4.9): recvMax less the slots charged
	epoch    uint16 // tells a Fetch of this connection from one of an earlier one
	fetching bool
	count    int   // QoS 1 and 2 messages queued or in flight
	bytes    int64 // of those messages, and of the QoS 0 ones between them
}

// slot is one position in flight.
type slot struct {
	state   slotState
	qos     mqtt.QoS
	charged bool // it has spent quota on this connection
	size    uint32
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
	dup bool // sent before, or in doubt
	rel bool // PUBREC came: only PUBREL is to be sent
}

func (s *Session) outbound() *outbound {
	if s.out == nil {
		s.out = &outbound{base: 1, quota: s.recvMax}
	}
	return s.out
}

// waits tells that something waits to be sent.
func (o *outbound) waits() bool { return len(o.front) > 0 || len(o.rest) > 0 }

// Deliver takes a message for the client: at once if it is its turn, else it is queued. seq is the
// position that the store gave it, 0 if it is not stored. m may be a view.
func (s *Session) Deliver(t Turn, m *mqtt.Message, d *mqtt.Delivery, seq uint64, do []Effect) []Effect {
	switch {
	case d.QoS == 0:
		return s.deliver0(t, m, d, do)
	case s.durable:
		return s.deliverStored(t, m, d, seq, do)
	}
	o := s.outbound()
	size := int64(m.Bytes())
	for o.count >= s.rules.QueuedMessages || o.bytes+size > s.rules.QueuedBytes {
		if s.rules.Overflow != DropOldest || size > s.rules.QueuedBytes || !s.dropOldest(&do) {
			do = append(do, Effect{Kind: Drop, Why: QueueFull, Msg: m})
			return s.overflow(do)
		}
	}
	o.tail++
	o.count++
	o.bytes += size
	if !o.waits() && s.maySend(o, o.tail) {
		return s.send(t, &queued{msg: m, seq: o.tail, d: *d}, do)
	}
	o.rest = append(o.rest, queued{msg: m.Keep(), seq: o.tail, d: *d})
	return do
}

// deliverStored takes a message that is in the store, and so is not held here if it has to wait.
func (s *Session) deliverStored(t Turn, m *mqtt.Message, d *mqtt.Delivery, seq uint64, do []Effect) []Effect {
	o := s.outbound()
	size := uint32(m.Bytes())
	if seq <= o.tail { // another shard was faster: the position is known, or even read from the store and sent
		if w := o.weight(seq); w != nil && *w == 0 {
			o.enter(w, size)
		}
		return do
	}
	if seq == o.tail+1 && !o.waits() && s.maySend(o, seq) {
		o.tail, o.weights = seq, nil
		o.count++
		o.bytes += int64(size)
		return s.send(t, &queued{msg: m, seq: seq, d: *d}, do)
	}
	o.appendRange(o.tail+1, seq)
	for ; o.tail < seq; o.tail++ {
		o.weights = append(o.weights, 0)
	}
	o.enter(o.weight(seq), size)
	do = s.limitStored(do)
	if len(o.front) == 0 {
		do = s.pump(t, do)
	}
	return do
}

// deliver0 sends a QoS 0 message, behind what waits. It is the first to be dropped: when the
// client does not read, or when half of the queue's limit is in use.
func (s *Session) deliver0(t Turn, m *mqtt.Message, d *mqtt.Delivery, do []Effect) []Effect {
	o := s.out
	switch {
	case !s.greeted || s.closing:
		return append(do, Effect{Kind: Drop, Why: Offline, Msg: m})
	case s.blocked:
		return append(do, Effect{Kind: Drop, Why: SlowConsumer, Msg: m})
	case o == nil || !o.waits():
		return s.send(t, &queued{msg: m, d: *d}, do)
	case len(o.front)+len(o.rest) >= s.rules.QueuedMessages/2, o.bytes >= s.rules.QueuedBytes/2:
		return append(do, Effect{Kind: Drop, Why: QueueFull, Msg: m})
	}
	o.bytes += int64(m.Bytes())
	o.rest = append(o.rest, queued{msg: m.Keep(), d: *d})
	return do
}

// flowing tells that packets may go to the client now.
func (s *Session) flowing() bool { return s.greeted && !s.blocked && !s.closing }

func (s *Session) maySend(o *outbound, seq uint64) bool {
	return s.flowing() && o.quota > 0 && o.fits(seq)
}

// fits tells that the packet identifier of seq is unused.
func (o *outbound) fits(seq uint64) bool { return len(o.slots) == 0 || seq-o.base < idSpan }

// send emits the PUBLISH, unless the message expired meanwhile or is too large for the client.
func (s *Session) send(t Turn, q *queued, do []Effect) []Effect {
	m := q.msg
	// What was sent does not expire any more [MQTT-4.3.3-7]; of what is in doubt we do not know, and old
	// news after a crash does more harm.
	if m.Expires != 0 && t.Now >= m.Expires && (q.seq == 0 || s.out.slot(q.seq) == nil) { // [MQTT-3.3.2-5]
		return s.skip(q, Expired, do)
	}
	e := Effect{Kind: SendPublish, Msg: m, QoS: q.d.QoS, Retain: q.d.Retain, Dup: q.dup, SubIDs: q.d.SubscriptionIDs}
	if s.maxPacket != 0 {
		size := s.size(m, &q.d)
		if size > int(s.maxPacket) { // [MQTT-3.1.2-25]
			return s.skip(q, TooLarge, do)
		}
		e.Flag = size+aliasBytes > int(s.maxPacket)
	}
	if q.seq != 0 {
		e.ID = packetID(q.seq)
		o := s.out
		sl := o.open(q.seq)
		*sl = slot{state: sent, qos: q.d.QoS, charged: true, size: uint32(m.Bytes())}
		if q.d.Group != "" && q.d.QoS == 1 && !s.durable {
			held := *q
			held.msg = m.Keep()
			sl.shared = &held
		}
		o.quota--
	}
	return append(do, e)
}

// aliasBytes is by how much a topic alias may lengthen a PUBLISH: the property, and a longer Property
// Length and Remaining Length.
const aliasBytes = 3 + 1 + 1

// size is an upper bound of the PUBLISH on the wire, without a topic alias.
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
	if sl := o.slot(q.seq); sl != nil {
		o.free(sl)
		o.advance()
	} else {
		o.count--
		o.bytes -= int64(q.msg.Bytes())
		o.trim(q.seq)
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

// isDone tells that a position needs nothing any more.
func (o *outbound) isDone(seq uint64) bool {
	sl := o.slot(seq)
	return seq < o.base || sl != nil && sl.state == done
}

// open extends the window up to seq, if it is not in it; positions in between were never sent and count
// as done.
func (o *outbound) open(seq uint64) *slot {
	if sl := o.slot(seq); sl != nil {
		return sl
	}
	o.trim(seq)
	if len(o.slots) == 0 {
		o.base = seq
	}
	for o.base+uint64(len(o.slots)) <= seq {
		o.slots = append(o.slots, slot{})
	}
	return &o.slots[seq-o.base]
}

// free ends a position in flight.
func (o *outbound) free(sl *slot) {
	o.count--
	o.bytes -= int64(sl.size)
	if sl.charged {
		o.quota++
	}
	*sl = slot{}
}

// slotsCap is how many slots an idle session keeps room for.
const slotsCap = 64

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
		if cap(o.slots) > slotsCap {
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
	o.free(o.slot(seq))
	o.advance()
	do = s.settle(seq, do)
	if o.waits() {
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
		return s.reply(0, rel, do)
	}
	sl := s.out.slot(seq)
	switch {
	case sl.qos != 2:
		return s.close(mqtt.ProtocolError, "PUBREC for a QoS 1 message", do)
	case sl.state == sent && p.Reason.Failed():
		return s.finish(t, seq, do) // [MQTT-4.4.0-2]
	}
	sl.state = released
	if !s.durable {
		return s.reply(0, rel, do)
	}
	// Also when it comes again: the batch of the first may have failed.
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

// Drained tells that the client has read: sends what waits.
func (s *Session) Drained(t Turn, do []Effect) []Effect {
	s.blocked = false
	return s.Continue(t, do)
}

// Continue sends more of what waits, in the turn after More.
func (s *Session) Continue(t Turn, do []Effect) []Effect {
	if s.out == nil {
		return do
	}
	return s.pump(t, do)
}

// Ready tells that a QoS 1 or 2 message given now would be sent at once.
func (s *Session) Ready() bool {
	o := s.out
	if o == nil {
		return s.flowing()
	}
	return !o.waits() && s.maySend(o, o.tail+1)
}

// Room is how many QoS 1 and 2 messages the client would take now.
func (s *Session) Room() int {
	if s.out == nil {
		return int(s.recvMax)
	}
	return int(s.out.quota)
}

// Queued is the number of QoS 1 and 2 messages waiting or in flight, and the weight of all that waits or is
// in flight.
func (s *Session) Queued() (messages int, bytes int64) {
	if s.out == nil {
		return 0, 0
	}
	return s.out.count, s.out.bytes
}

// Full tells that the queue is at its limit and that further QoS 1 and 2 messages are to be refused. Where the
// policy is Disconnect that is so once the client is gone.
func (s *Session) Full() bool {
	o := s.out
	refuse := s.rules.Overflow == RefuseNewest || s.rules.Overflow == Disconnect && !s.connected
	return o != nil && refuse && (o.count >= s.rules.QueuedMessages || o.bytes >= s.rules.QueuedBytes)
}
