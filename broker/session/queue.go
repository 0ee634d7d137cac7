package session

import (
	"slices"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Fetched is one message that Fetch asked for.
type Fetched struct {
	Seq      uint64
	Released bool
	Denied   bool          // the client may not have it (any more)
	Msg      *mqtt.Message // held
	Delivery mqtt.Delivery
}

// pump sends what waits, as far as the client's quota and the turn allow.
func (s *Session) pump(t Turn, do []Effect) []Effect {
	o, bytes := s.out, 0
	for n := 0; s.flowing() && o.waits(); n++ {
		q := o.head()
		switch {
		case q.msg == nil && !q.rel:
			return s.fetch(do)
		case q.seq != 0 && o.isDone(q.seq): // acknowledged before we came to send it again
			o.pop()
			continue
		case q.seq != 0 && (!o.fits(q.seq) || o.quota == 0 && !q.rel):
			return s.fetch(s.releaseAhead(do))
		case n >= pumpMessages || bytes >= pumpBytes:
			return append(do, Effect{Kind: More})
		}
		next := o.pop()
		if next.rel {
			do = s.resendRelease(&next, do)
			continue
		}
		if next.seq == 0 {
			o.bytes -= int64(next.msg.Bytes())
		}
		bytes += next.msg.Bytes()
		do = s.send(t, &next, do)
	}
	return do
}

// fetch asks for more of the store's queue when what was read is used up. Where PUBRELs may be it reads
// ahead: they need no quota.
func (s *Session) fetch(do []Effect) []Effect {
	o := s.out
	if o.fetching || len(o.rest) == 0 || o.rest[0].msg != nil {
		return do
	}
	h := &o.rest[0]
	ahead := h.dup && len(o.front) < int(s.rules.Inflight)
	if !ahead && (len(o.front) > 0 || o.quota == 0) {
		return do
	}
	o.fetching = true
	return append(do, Effect{Kind: Fetch, Seq: h.seq, To: h.to, ID: o.epoch})
}

// releaseAhead sends the PUBRELs that stand behind a PUBLISH for which there is no quota: those are not to
// wait for it [MQTT-3.3.4-10].
func (s *Session) releaseAhead(do []Effect) []Effect {
	o := s.out
	o.front = slices.DeleteFunc(o.front, func(q queued) bool {
		if q.rel && o.fits(q.seq) {
			do = s.resendRelease(&q, do)
			return true
		}
		return false
	})
	return do
}

// resendRelease sends PUBREL for a message that the client has already [MQTT-4.3.3-6].
func (s *Session) resendRelease(q *queued, do []Effect) []Effect {
	o := s.out
	sl := o.slot(q.seq)
	if sl == nil {
		o.count++ // what the store has counted at Restore does not include it
		sl = o.open(q.seq)
	}
	sl.state, sl.qos = released, 2
	return s.answer(Effect{Kind: Send, Type: mqtt.PUBREL, ID: packetID(q.seq)}, do)
}

// Fetched takes what the store read for Fetch: next is the position after the last one looked at.
func (s *Session) Fetched(t Turn, epoch uint16, items []Fetched, next uint64, do []Effect) []Effect {
	o := s.out
	if o == nil || !s.connected || epoch != o.epoch || !o.fetching {
		return do
	}
	o.fetching = false
	h := &o.rest[0]
	o.reckon(h.seq, min(next, h.to+1), items)
	for i := range items {
		it := &items[i]
		if it.Seq < h.seq || it.Seq > h.to || !o.wants(it.Seq) {
			continue
		}
		if it.Denied {
			do = s.skip(&queued{msg: it.Msg, seq: it.Seq}, Denied, do)
			continue
		}
		// What was never sent on any connection is no duplicate [MQTT-3.3.1-1].
		o.front = append(o.front, queued{msg: it.Msg, seq: it.Seq, d: it.Delivery, rel: it.Released, dup: h.dup})
	}
	if next > h.to {
		o.rest = o.rest[1:]
	} else {
		h.seq = next
	}
	return s.pump(t, do)
}

// wants tells whether what the store shows at a position is still to be sent: it may have been
// acknowledged or dropped, with the store about to know.
func (o *outbound) wants(seq uint64) bool {
	if o.slot(seq) != nil || seq < o.base {
		return !o.isDone(seq)
	}
	w := o.weight(seq)
	return w != nil && *w != gone || w == nil && seq < o.doubt
}

// reckon sets the accounts right with what the store really has at the positions from to to-1. What
// it does not have (any more) is done, so that the window cannot hang on it.
func (o *outbound) reckon(from, to uint64, items []Fetched) {
	i := 0
	read := func(seq uint64) *Fetched {
		for i < len(items) && items[i].Seq < seq {
			i++
		}
		if i < len(items) && items[i].Seq == seq {
			return &items[i]
		}
		return nil
	}
	for seq := max(from, o.base); seq < min(to, o.base+uint64(len(o.slots))); seq++ {
		if sl := o.slot(seq); read(seq) == nil && sl.state != done {
			o.free(sl)
		}
	}
	for seq := max(from, o.tail+1-uint64(len(o.weights))); seq < min(to, o.tail+1); seq++ {
		it, w := read(seq), o.weight(seq)
		switch {
		case it == nil:
			o.leave(w)
		case *w == 0: // read before its publisher's loop told us
			o.enter(w, uint32(it.Msg.Bytes()))
		}
	}
	o.advance()
}

// FetchFailed tells that the store could not read: the connection ends, the queue stays.
func (s *Session) FetchFailed(epoch uint16, do []Effect) []Effect {
	if s.out == nil || epoch != s.out.epoch || !s.out.fetching {
		return do
	}
	s.out.fetching = false
	return s.close(mqtt.UnspecifiedError, "the session's queue cannot be read", do)
}

// freeze puts a durable session's queue to sleep: what was not acknowledged, sent or not, is in the
// store and is read again by the next connection.
func (s *Session) freeze(do []Effect) []Effect {
	o := s.out
	if o == nil {
		return do
	}
	for _, list := range [][]queued{o.front, o.rest} {
		for i := range list {
			if list[i].seq == 0 && list[i].msg != nil {
				o.bytes -= int64(list[i].msg.Bytes())
				do = append(do, Effect{Kind: Drop, Why: Offline, Msg: list[i].msg})
			}
		}
	}
	o.front, o.rest = nil, nil
	first := s.unsent()
	if first > o.base {
		o.rest = append(o.rest, queued{seq: o.base, to: first - 1, dup: true})
	}
	if first <= o.tail {
		o.rest = append(o.rest, queued{seq: first, to: o.tail})
	}
	return do
}

// unsent is the first position of the queue that was never sent.
func (s *Session) unsent() uint64 {
	if s.out == nil {
		return 1
	}
	return max(s.out.base+uint64(len(s.out.slots)), s.out.doubt)
}

// Unsent returns the positions of the store's queue that were never sent, while the session is
// offline; from > to when there are none.
func (s *Session) Unsent() (from, to uint64) {
	if s.out == nil || !s.durable || s.connected {
		return 1, 0
	}
	return s.unsent(), s.out.tail
}

// Withdraw takes a message that was never sent out of the offline session's queue.
func (s *Session) Withdraw(seq uint64, do []Effect) []Effect {
	if w := s.out.weight(seq); w != nil {
		s.out.leave(w)
	}
	return s.settle(seq, do)
}

// attach begins anew with what belongs to one connection: what the last one left unacknowledged
// stands in rest and goes first.
func (o *outbound) attach(recvMax uint16) {
	o.epoch++
	o.fetching = false
	o.quota = recvMax
	for i := range o.slots {
		o.slots[i].charged = false
	}
}

func (o *outbound) head() *queued {
	if len(o.front) > 0 {
		return &o.front[0]
	}
	return &o.rest[0]
}

func (o *outbound) pop() queued {
	list := &o.rest
	if len(o.front) > 0 {
		list = &o.front
	}
	q := (*list)[0]
	(*list)[0] = queued{}
	*list = (*list)[1:]
	if len(*list) == 0 {
		*list = nil
	}
	return q
}

// appendRange queues the stored positions from to `to`.
func (o *outbound) appendRange(from, to uint64) {
	if n := len(o.rest); n > 0 {
		if last := &o.rest[n-1]; last.msg == nil && last.to+1 == from && !last.dup {
			last.to = to
			return
		}
	}
	o.rest = append(o.rest, queued{seq: from, to: to})
}

// gone is the weight of a position that is not to be sent: dropped, withdrawn, or not in the store.
const gone = ^uint32(0)

// weight returns what is noted of a position in the store that was not sent, or nil.
func (o *outbound) weight(seq uint64) *uint32 {
	n := uint64(len(o.weights))
	if seq > o.tail || seq+n <= o.tail {
		return nil
	}
	return &o.weights[seq+n-o.tail-1]
}

// enter counts a message whose weight was not known.
func (o *outbound) enter(w *uint32, size uint32) {
	*w = size
	o.count++
	o.bytes += int64(size)
}

// leave stops counting a message that is not to be sent.
func (o *outbound) leave(w *uint32) {
	if *w != 0 && *w != gone {
		o.count--
		o.bytes -= int64(*w)
	}
	*w = gone
}

// trim forgets the weights up to seq: it is on its way, or dropped.
func (o *outbound) trim(seq uint64) {
	if w := o.tail - uint64(len(o.weights)); seq > w {
		o.weights = o.weights[min(seq-w, uint64(len(o.weights))):]
	}
	if len(o.weights) == 0 {
		o.weights = nil
	}
}

// dropOldest drops the QoS 1 or 2 message that has waited longest and was not sent; false if there is none.
func (s *Session) dropOldest(do *[]Effect) bool {
	if s.durable {
		return s.dropStored(do)
	}
	o := s.out
	i := slices.IndexFunc(o.rest, func(q queued) bool { return q.seq != 0 })
	if i < 0 {
		return false
	}
	m := o.rest[i].msg
	o.count--
	o.bytes -= int64(m.Bytes())
	*do = append(*do, Effect{Kind: Drop, Why: QueueFull, Msg: m})
	if i == 0 {
		o.pop()
	} else {
		o.rest = slices.Delete(o.rest, i, i+1)
	}
	return true
}

// dropStored drops a message from the store's queue. It may be there for a while yet; wants knows better.
func (s *Session) dropStored(do *[]Effect) bool {
	o := s.out
	i := slices.IndexFunc(o.weights, func(w uint32) bool { return w != 0 && w != gone })
	if i < 0 {
		return false
	}
	seq := o.tail + 1 - uint64(len(o.weights)) + uint64(i)
	drop := Effect{Kind: Drop, Why: QueueFull}
	if f := slices.IndexFunc(o.front, func(q queued) bool { return q.seq == seq }); f >= 0 {
		drop.Msg = o.front[f].msg
		o.front = slices.Delete(o.front, f, f+1)
	}
	o.leave(&o.weights[i])
	if i == 0 {
		o.trim(seq)
	}
	*do = append(s.settle(seq, *do), drop)
	return true
}

// limitStored applies the policy to a queue in the store that has outgrown its limits.
func (s *Session) limitStored(do []Effect) []Effect {
	o := s.out
	for o.count > s.rules.QueuedMessages || o.bytes > s.rules.QueuedBytes {
		switch s.rules.Overflow {
		case DropOldest:
			if !s.dropOldest(&do) {
				return do
			}
		default:
			return s.overflow(do)
		}
	}
	return do
}

func (s *Session) overflow(do []Effect) []Effect {
	if s.rules.Overflow == Disconnect {
		return s.close(mqtt.QuotaExceeded, "the queue of messages for this client is full", do)
	}
	return do
}

// abandon gives up everything that waits as the session ends. Messages of a shared
// subscription go to another member (MQTT5 4.8.2), except QoS 2 in flight [MQTT-4.8.2-5].
func (s *Session) abandon(do []Effect) []Effect {
	o := s.out
	if o == nil {
		return do
	}
	for i := range o.slots {
		if q := o.slots[i].shared; q != nil && o.slots[i].state == sent {
			do = append(do, Effect{Kind: Requeue, Msg: q.msg, QoS: q.d.QoS, Text: q.d.Group})
		}
	}
	for _, list := range [][]queued{o.front, o.rest} {
		for i := range list {
			q := &list[i]
			switch {
			case q.msg == nil || q.seq != 0 && s.durable: // the store's: the owner looks into it before it ends the session
			case q.d.Group != "":
				do = append(do, Effect{Kind: Requeue, Msg: q.msg, QoS: q.d.QoS, Text: q.d.Group})
			default:
				do = append(do, Effect{Kind: Drop, Why: SessionEnded, Msg: q.msg})
			}
		}
	}
	s.out = nil
	return do
}
