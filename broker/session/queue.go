package session

import "github.com/sapwood-mqtt/sapwood/mqtt"

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
	o := s.out
	bytes := 0
	for n := 0; s.greeted && !s.blocked && !s.closing; n++ {
		if len(o.front) == 0 {
			if len(o.rest) == 0 {
				return do
			}
			if h := &o.rest[0]; h.msg == nil {
				if o.fetching || o.quota == 0 {
					return do
				}
				o.fetching = true
				return append(do, Effect{Kind: Fetch, Seq: h.seq, To: h.to, ID: o.epoch})
			}
		}
		q := o.head()
		if q.seq != 0 && !q.rel && !s.maySend(o, q.seq) {
			return do
		}
		if n >= pumpMessages || bytes >= pumpBytes {
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

// resendRelease sends PUBREL for a message that the client has already [MQTT-4.3.3-6].
func (s *Session) resendRelease(q *queued, do []Effect) []Effect {
	o := s.out
	sl := o.slot(q.seq)
	if sl == nil {
		sl = o.open(q.seq)
	}
	sl.state, sl.qos = released, 2
	return append(do, Effect{Kind: Send, Type: mqtt.PUBREL, ID: packetID(q.seq)})
}

// Fetched takes what the store read for Fetch: next is the position after the last one looked at.
func (s *Session) Fetched(t Turn, epoch uint16, items []Fetched, next uint64, do []Effect) []Effect {
	o := s.out
	if o == nil || !s.connected || epoch != o.epoch || len(o.rest) == 0 || o.rest[0].msg != nil {
		return do
	}
	o.fetching = false
	h := &o.rest[0]
	o.front = o.front[:0]
	for i := range items {
		it := &items[i]
		sl := o.slot(it.Seq)
		if it.Seq < h.seq || it.Seq > h.to || sl != nil && sl.state == done {
			continue // acknowledged, and the store is about to know
		}
		if it.Denied {
			do = s.skip(&queued{msg: it.Msg, seq: it.Seq}, Denied, do)
			continue
		}
		// What was never sent on any connection is no duplicate [MQTT-3.3.1-1].
		o.front = append(o.front, queued{msg: it.Msg, seq: it.Seq, d: it.Delivery, rel: it.Released, dup: h.dup})
	}
	s.lost(h.seq, min(next, h.to+1), items)
	if next > h.to {
		o.rest = o.rest[1:]
	} else {
		h.seq = next
	}
	return s.pump(t, do)
}

// lost marks positions in flight that the store does not have (any more) as done, so that the
// window cannot hang on them.
func (s *Session) lost(from, to uint64, items []Fetched) {
	o, i := s.out, 0
	for seq := from; seq < to; seq++ {
		for i < len(items) && items[i].Seq < seq {
			i++
		}
		if i < len(items) && items[i].Seq == seq {
			continue
		}
		if sl := o.slot(seq); sl != nil && sl.state != done {
			o.count--
			o.bytes -= int64(sl.size)
			*sl = slot{}
		}
	}
	o.advance()
}

// FetchFailed tells that the store could not read: the connection ends, the queue stays.
func (s *Session) FetchFailed(epoch uint16, do []Effect) []Effect {
	if s.out == nil || epoch != s.out.epoch {
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
	o.epoch++
	o.fetching = false
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
	if len(o.slots) > 0 {
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
	return s.out.base + uint64(len(s.out.slots))
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
func (s *Session) Withdraw(seq uint64, m *mqtt.Message, do []Effect) []Effect {
	s.out.count--
	s.out.bytes -= int64(m.Bytes())
	return s.settle(seq, do)
}

// resume prepares a new connection: what the last one left unacknowledged goes first, then the
// rest of the queue. It tells whether there is anything.
func (s *Session) resume() bool {
	o := s.out
	if o == nil {
		return false
	}
	o.epoch++
	o.fetching = false
	o.quota = s.recvMax
	return len(o.rest) > 0
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

// dropOldest drops the message that has waited longest and was not sent; false if there is none.
func (s *Session) dropOldest(do *[]Effect) bool {
	o := s.out
	for i := range o.rest {
		q := &o.rest[i]
		switch {
		case q.msg != nil && q.seq == 0:
			continue
		case q.msg != nil:
			o.count--
			o.bytes -= int64(q.msg.Bytes())
			*do = append(*do, Effect{Kind: Drop, Why: QueueFull, Msg: q.msg})
			o.rest = append(o.rest[:i], o.rest[i+1:]...)
			return true
		case q.dup:
			continue // sent before: it has to be finished
		}
		// The store knows its size; the average stands for it here.
		o.bytes -= o.bytes / int64(max(o.count, 1))
		o.count--
		*do = append(s.settle(q.seq, *do), Effect{Kind: Drop, Why: QueueFull})
		if q.seq == q.to {
			o.rest = append(o.rest[:i], o.rest[i+1:]...)
		} else {
			q.seq++
			if i == 0 && o.fetching { // what is being read was asked for from an earlier position
				o.epoch++
				o.fetching = false
			}
		}
		return true
	}
	return false
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
			case q.msg == nil: // the store's: the owner looks into it before it ends the session
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
