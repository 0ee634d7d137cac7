package session

import (
	"slices"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

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
	window
	tail  uint64              // the highest position known
	doubt uint64              // positions below it may have been sent before a crash
	known uint64              // positions below it were in the store at a restart: they have no weights
	taken map[uint64]struct{} // of those, the ones that were withdrawn

	front []queued // read from the store; goes first
	rest  []queued // everything behind, in order
	// weights are what the messages at the last positions up to tail weigh, those in the
	// store that are not yet sent; 0 = not yet delivered to us, gone = not to be sent.
	weights []uint32

	quota    uint16 // PUBLISH packets that may be sent (MQTT5 4.9): recvMax less the slots charged
	epoch    uint16 // tells a Fetch of this connection from one of an earlier one
	fetching bool
	count    int   // QoS 1 and 2 messages queued or in flight
	zeros    int32 // QoS 0 messages that wait

	account Account // since it was last asked for
	bytes   int64   // of those messages, and of the QoS 0 ones between them
}

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
		s.out = &outbound{window: window{base: 1}, quota: s.recvMax}
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
		return s.out.deliver0(&s.Line, t, m, d, do)
	case s.durable:
		s.thaw()
		return s.outbound().deliverStored(&s.Line, t, m, d, seq, do)
	}
	return s.outbound().deliver(&s.Line, t, m, d, do)
}

// Passes tells that Deliver of m at QoS 0 would have one effect, SendPublish: an owner in a hurry may carry
// it out without asking for the list.
func (s *Session) Passes(m *mqtt.Message) bool {
	return s.flowing() && s.maxPacket == 0 && m.Expires == 0 && (s.out == nil || !s.out.waits())
}

// deliver takes a message that is not stored.
func (o *outbound) deliver(l *Line, t Turn, m *mqtt.Message, d *mqtt.Delivery, do []Effect) []Effect {
	size := int64(m.Bytes())
	passes := !o.waits() && o.maySend(l, o.tail+1)
	for !passes && l.rules.exceededBy(o, 1, size) {
		if l.rules.Overflow != DropOldest || size > l.rules.QueuedBytes || !o.dropOldest(l, &do) {
			do = append(do, Effect{Kind: Drop, Why: QueueFull, Msg: m})
			return l.overflow(do)
		}
	}
	o.tail++
	o.count++
	o.bytes += size
	if !o.waits() && o.maySend(l, o.tail) { // what was dropped may have been all that waited
		return o.send(l, t, &queued{msg: m, seq: o.tail, d: *d}, do)
	}
	o.rest = append(o.rest, queued{msg: m.Keep(), seq: o.tail, d: *d})
	return do
}

// deliverStored takes a message that is in the store, and so is not held here if it has to wait. Messages that
// different shards stored may come in another order than that of their positions. They are sent
// in the order in which they come: that is the order of each publisher, QoS 0 included.
func (o *outbound) deliverStored(l *Line, t Turn, m *mqtt.Message, d *mqtt.Delivery, seq uint64, do []Effect) []Effect {
	size := uint32(m.Bytes())
	if seq > o.tail {
		for ; o.tail+1 < seq; o.tail++ {
			o.weights = append(o.weights, 0)
		}
		o.tail = seq
		if len(o.weights) > 0 || o.waits() || !o.maySend(l, seq) {
			o.weights = append(o.weights, size)
		}
		o.count++
		o.bytes += int64(size)
	} else if !o.arrive(seq, size) {
		o.account.Found--
		return do // read from the store and sent already
	}
	if !o.waits() && o.maySend(l, seq) {
		return o.send(l, t, &queued{msg: m, seq: seq, d: *d}, do)
	}
	if l.rules.Overflow != DropOldest && l.rules.exceededBy(o, 0, 0) {
		o.withdraw(seq, int64(size))
		return l.overflow(append(l.settle(seq, do), Effect{Kind: Drop, Why: QueueFull, Msg: m}))
	}
	o.appendRange(seq, seq, false)
	for l.rules.exceededBy(o, 0, 0) && o.dropOldest(l, &do) {
	}
	if len(o.front) == 0 {
		do = o.pump(l, t, do)
	}
	return do
}

// arrive notes a message that a later position has overtaken; false if it is not awaited (any more).
func (o *outbound) arrive(seq uint64, size uint32) bool {
	if sl := o.slot(seq); sl != nil {
		if sl.state != absent {
			return false
		}
		*sl = slot{state: waiting, size: size}
		o.count++
		o.bytes += int64(size)
		return true
	}
	w := o.weight(seq)
	if w == nil || *w != 0 {
		return false
	}
	o.enter(w, size)
	return true
}

// Lost tells that the position seq, given for a message to this session, was not stored: nothing will come.
func (s *Session) Lost(t Turn, seq uint64, do []Effect) []Effect {
	s.thaw()
	o := s.out
	if o == nil || !s.durable {
		return do
	}
	if seq > o.tail { // so that no later position waits for it
		for ; o.tail < seq; o.tail++ {
			o.weights = append(o.weights, 0)
		}
	}
	if sl := o.slot(seq); sl != nil && sl.state == absent {
		*sl = slot{}
		o.advance()
	} else if w := o.weight(seq); w != nil && *w == 0 {
		*w = gone
	}
	if o.waits() {
		do = o.pump(&s.Line, t, do)
	}
	return do
}

// deliver0 sends a QoS 0 message, behind what waits. It is the first to be dropped: when the
// client does not read, or when half of the queue's limit is in use. o is nil when nothing went out that had to be
// acknowledged.
func (o *outbound) deliver0(l *Line, t Turn, m *mqtt.Message, d *mqtt.Delivery, do []Effect) []Effect {
	switch {
	case !l.greeted || l.closing:
		return append(do, Effect{Kind: Drop, Why: Offline, Msg: m})
	case l.blocked:
		return append(do, Effect{Kind: Drop, Why: SlowConsumer, Msg: m})
	case o == nil || !o.waits():
		return o.send(l, t, &queued{msg: m, d: *d}, do)
	case len(o.front)+len(o.rest) >= l.rules.QueuedMessages/2, o.bytes-o.aloft >= l.rules.QueuedBytes/2:
		return append(do, Effect{Kind: Drop, Why: QueueFull, Msg: m})
	}
	o.bytes += int64(m.Bytes())
	o.zeros++
	o.rest = append(o.rest, queued{msg: m.Keep(), d: *d})
	return do
}

func (o *outbound) maySend(l *Line, seq uint64) bool {
	return l.flowing() && o.quota > 0 && o.fits(seq)
}

// send emits the PUBLISH, unless the message expired meanwhile or is too large for the client.
func (o *outbound) send(l *Line, t Turn, q *queued, do []Effect) []Effect {
	m := q.msg
	// What was sent does not expire any more [MQTT-4.3.3-7]; of what is in doubt we do not know, and old
	// news after a crash does more harm.
	if m.Expires != 0 && t.Now >= m.Expires && (q.seq == 0 || !o.wasSent(q.seq)) { // [MQTT-3.3.2-5]
		return o.skip(l, q, Expired, do)
	}
	e := Effect{Kind: SendPublish, Msg: m, QoS: q.d.QoS, Retain: q.d.Retain, Dup: q.dup, SubIDs: q.d.SubscriptionIDs}
	if l.maxPacket != 0 {
		size := l.size(m, &q.d)
		if size > int(l.maxPacket) { // [MQTT-3.1.2-25]
			return o.skip(l, q, TooLarge, do)
		}
		e.Flag = size+aliasBytes > int(l.maxPacket)
	}
	if q.seq != 0 {
		e.ID = packetID(q.seq)
		sl := o.open(q.seq)
		if sl.state == absent {
			o.account.Found++
			o.count++
			o.bytes += int64(m.Bytes())
		}
		state := sent
		if sl.has() { // PUBREC came, and the store did not keep it
			state = resent
		}
		o.land(sl)
		*sl = slot{state: state, qos: q.d.QoS, charged: true, size: uint32(m.Bytes()), at: t.Now}
		if q.d.Group != "" && q.d.QoS == 1 && !l.durable {
			held := *q
			held.msg = m.Keep()
			sl.shared = &held
		}
		o.quota--
		o.launch(sl)
	}
	return append(do, e)
}

// aliasBytes is by how much a topic alias may lengthen a PUBLISH: the property, and a longer Property
// Length and Remaining Length.
const aliasBytes = 3 + 1 + 1

// size is an upper bound of the PUBLISH on the wire, without a topic alias.
func (l *Line) size(m *mqtt.Message, d *mqtt.Delivery) int {
	p := mqtt.Publish{Topic: m.Topic, Payload: m.Payload, QoS: d.QoS, ID: 1}
	if l.version >= mqtt.V5 {
		p.Props = mqtt.MessageProperties{Forward: m.Forward, HasExpiry: m.Expires != 0, SubscriptionIDs: d.SubscriptionIDs}
	}
	return p.Size(l.version)
}

// skip lets go of a message that is not to be sent, as if it had been.
func (o *outbound) skip(l *Line, q *queued, why Why, do []Effect) []Effect {
	if q.seq == 0 {
		return append(do, Effect{Kind: Drop, Why: why, Msg: q.msg})
	}
	sl := o.open(q.seq)
	if !sl.has() {
		do = append(do, Effect{Kind: Drop, Why: why, Msg: q.msg})
	}
	switch sl.state {
	case done: // it had a weight, which open has forgotten
		*sl = slot{state: waiting, size: uint32(q.msg.Bytes())}
	case absent:
		o.account.Found++
	}
	o.free(sl)
	o.advance()
	return l.settle(q.seq, do)
}

// withhold lets go of a message that the client may not have any more. One of a shared subscription goes to another
// member, unless it is of QoS 2 and may have been sent [MQTT-4.8.2-5].
func (o *outbound) withhold(l *Line, q *queued, do []Effect) []Effect {
	at := len(do)
	do = o.skip(l, q, Denied, do) // of one that the client has, which is of QoS 2, nothing is dropped
	if q.d.Group != "" && !(q.dup && q.d.QoS == 2) {
		do[at] = Effect{Kind: Requeue, Why: Denied, Msg: q.msg, QoS: q.d.QoS, Text: q.d.Group}
	}
	return do
}

func (l *Line) settle(seq uint64, do []Effect) []Effect {
	if l.durable {
		do = append(do, Effect{Kind: Keep, Change: Settle, Seq: seq})
	}
	return do
}

// open extends the window up to seq, if it is not in it. Positions before seq that are not to be sent are
// done; the others keep their place.
func (o *outbound) open(seq uint64) *slot {
	if sl := o.slot(seq); sl != nil {
		return sl
	}
	if len(o.slots) == 0 {
		o.base = seq
		for p := o.tail + 1 - uint64(len(o.weights)); p < seq; p++ {
			if *o.weight(p) != gone {
				o.base = p
				break
			}
		}
	}
	for next := o.base + uint64(len(o.slots)); next <= seq; next++ {
		sl := slot{}
		if next < seq {
			sl = o.unsentSlot(next)
		}
		o.slots = o.grow()
		o.slots = append(o.slots, sl)
	}
	o.trim(seq)
	return &o.slots[seq-o.base]
}

// unsentSlot is the slot of a position that a later one overtakes.
func (o *outbound) unsentSlot(seq uint64) slot {
	if w := o.weight(seq); w != nil {
		switch *w {
		case gone:
			return slot{}
		case 0:
			return slot{state: absent}
		}
		return slot{state: waiting, size: *w}
	}
	if i := slices.IndexFunc(o.front, func(q queued) bool { return q.seq == seq }); i >= 0 && o.front[i].msg != nil {
		return slot{state: waiting, size: uint32(o.front[i].msg.Bytes())} // restored, so without a weight
	}
	return slot{}
}

// free ends a position in flight.
func (o *outbound) free(sl *slot) {
	if sl.state != absent {
		o.count--
		o.bytes -= int64(sl.size)
	}
	if sl.charged {
		o.quota++
	}
	o.land(sl)
	if sl.has() {
		o.released--
	}
	*sl = slot{}
}

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
	return s.out.pump(&s.Line, t, do)
}

// Ready tells that a QoS 1 or 2 message given now would be sent at once.
func (s *Session) Ready() bool {
	o := s.out
	if o == nil {
		return s.flowing()
	}
	return !o.waits() && o.maySend(&s.Line, o.tail+1)
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
	switch {
	case s.cold != nil:
		return int(s.cold.count), s.cold.bytes
	case s.out == nil || s.ended:
		return 0, 0
	}
	return s.out.count, s.out.bytes
}
