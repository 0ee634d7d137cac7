package session

import (
	"slices"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Fetched is one message that Fetch asked for.
type Fetched struct {
	Seq      uint64
	Released bool
	Msg      *mqtt.Message // held
	Delivery mqtt.Delivery
}

// pump sends what waits, as far as the client's quota and the turn allow.
func (o *outbound) pump(l *Line, t Turn, do []Effect) []Effect {
	bytes := 0
	for n := 0; l.flowing() && o.waits(); n++ {
		q := o.head()
		switch {
		case q.msg == nil && !q.rel:
			return o.fetch(l, do)
		case q.seq != 0 && o.isDone(q.seq): // acknowledged before we came to send it again
			o.pop()
			continue
		case q.seq != 0 && (!o.fits(q.seq) || o.quota == 0 && !q.rel):
			return o.fetch(l, o.releaseAhead(l, do))
		case n >= pumpMessages || bytes >= pumpBytes || l.single && n > 0:
			return append(do, Effect{Kind: More})
		}
		next := o.pop()
		if next.rel {
			do = o.resendRelease(l, &next, do)
			continue
		}
		if next.seq == 0 {
			o.bytes -= int64(next.msg.Bytes())
			o.zeros--
		}
		bytes += next.msg.Bytes()
		if t.Receiver != nil && !t.Receiver.MayReceive(next.msg) {
			do = o.withhold(l, &next, do)
			continue
		}
		do = o.send(l, t, &next, do)
	}
	return do
}

// fetch asks for more of the store's queue when what was read is used up. Where PUBRELs may be it reads
// ahead: they need no quota.
func (o *outbound) fetch(l *Line, do []Effect) []Effect {
	if o.fetching || len(o.rest) == 0 || o.rest[0].msg != nil {
		return do
	}
	h := &o.rest[0]
	ahead := h.dup && len(o.front) < int(l.rules.Inflight)
	if !ahead && (len(o.front) > 0 || o.quota == 0) {
		return do
	}
	o.fetching = true
	return append(do, Effect{Kind: Fetch, Seq: h.seq, To: h.to, ID: o.epoch})
}

// releaseAhead sends the PUBRELs that stand behind a PUBLISH for which there is no quota: those are not to
// wait for it [MQTT-3.3.4-10].
func (o *outbound) releaseAhead(l *Line, do []Effect) []Effect {
	o.front = slices.DeleteFunc(o.front, func(q queued) bool {
		if q.rel && o.fits(q.seq) {
			do = o.resendRelease(l, &q, do)
			return true
		}
		return false
	})
	return do
}

// resendRelease sends PUBREL for a message that the client has already [MQTT-4.3.3-6].
func (o *outbound) resendRelease(l *Line, q *queued, do []Effect) []Effect {
	sl := o.slot(q.seq)
	switch {
	case sl == nil:
		o.count++ // what the store has counted at Restore does not include it
		o.released++
		sl = o.open(q.seq)
		sl.state = released
		o.launch(sl)
	case sl.state >= sent:
		o.release(sl)
	}
	sl.state, sl.qos = released, 2
	return l.answer(&Effect{Kind: Send, Type: mqtt.PUBREL, ID: packetID(q.seq)}, do)
}

// Fetched takes what the store read for Fetch: next is the position after the last one looked at.
func (s *Session) Fetched(t Turn, epoch uint16, items []Fetched, next uint64, do []Effect) []Effect {
	o := s.out
	if o == nil || !s.connected || epoch != o.epoch || !o.fetching {
		return do
	}
	o.fetching = false
	h := &o.rest[0]
	for range o.reckon(h.seq, min(next, h.to+1), items) {
		do = append(do, Effect{Kind: Drop, Why: StoreFailed})
	}
	for i := range items {
		it := &items[i]
		if it.Seq < h.seq || it.Seq > h.to || !o.wants(it.Seq) {
			continue
		}
		// What was never sent on any connection is no duplicate [MQTT-3.3.1-1].
		o.front = append(o.front, queued{msg: it.Msg, seq: it.Seq, d: it.Delivery, rel: it.Released, dup: h.dup && o.doubtful(it.Seq)})
	}
	if next > h.to {
		o.rest = o.rest[1:]
	} else {
		h.seq = next
	}
	return o.pump(&s.Line, t, do)
}

// wants tells whether what the store shows at a position is still to be sent: it may have been
// acknowledged or dropped, with the store about to know.
func (o *outbound) wants(seq uint64) bool {
	if o.slot(seq) != nil || seq < o.base {
		return !o.isDone(seq)
	}
	w := o.weight(seq)
	_, taken := o.taken[seq]
	return w != nil && *w != gone || w == nil && seq < o.known && !taken
}

// doubtful tells that a position of a range sent before was, or may have been, sent itself.
func (o *outbound) doubtful(seq uint64) bool { return o.slot(seq) == nil || o.wasSent(seq) }

// reckon sets the accounts right with what the store really has at the positions from to to-1. What
// it does not have (any more) is done, so that the window cannot hang on it. missing are those of them that were counted.
func (o *outbound) reckon(from, to uint64, items []Fetched) (missing int) {
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
			if sl.state == waiting || sl.state == sent {
				missing++
			}
			o.free(sl)
		}
	}
	for seq := max(from, o.tail+1-uint64(len(o.weights))); seq < min(to, o.tail+1); seq++ {
		it, w := read(seq), o.weight(seq)
		switch {
		case it == nil:
			if *w != 0 && *w != gone {
				missing++
			}
			o.leave(w)
		case *w == 0: // read before its publisher's loop told us
			o.account.Found++
			o.enter(w, uint32(it.Msg.Bytes()))
		}
	}
	o.advance()
	return missing
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
func (o *outbound) freeze(do []Effect) []Effect {
	if o == nil {
		return do
	}
	for _, list := range [][]queued{o.front, o.rest} {
		for i := range list {
			if list[i].seq == 0 && list[i].msg != nil {
				o.bytes -= int64(list[i].msg.Bytes())
				o.zeros--
				do = append(do, Effect{Kind: Drop, Why: Offline, Msg: list[i].msg})
			}
		}
	}
	o.front, o.rest = nil, nil
	for i := range o.slots {
		if sl := &o.slots[i]; sl.state != released {
			o.land(sl)
		}
	}
	o.shrink()
	first := o.unsent()
	for seq := o.base; seq <= o.tail; seq++ { // what is still on its way comes by itself
		sl, w := o.slot(seq), o.weight(seq)
		if sl != nil && sl.state != absent || sl == nil && (w == nil || *w != 0) {
			o.appendRange(seq, seq, seq < first)
		}
	}
	return do
}

// cold is a queue in the store of which nothing is known but what the store said at a restart: the small form for
// the many sessions that stay away.
type cold struct {
	first, next uint64 // positions
	bytes       int64
	count       int32
	doubt       uint32 // positions from first on that may have been sent: no more than the window held
}

// unsent is the first position that was certainly never sent.
func (c *cold) unsent() uint64 { return c.first + uint64(c.doubt) }

// thaw makes of what a restart found a queue to work with.
func (s *Session) thaw() {
	c := s.cold
	if c == nil {
		return
	}
	s.cold = nil
	o := s.outbound()
	o.tail, o.base, o.known, o.doubt = c.next-1, c.first, c.next, c.unsent()
	o.count, o.bytes = int(c.count), c.bytes
	fresh := o.doubt
	if fresh > c.first {
		o.appendRange(c.first, fresh-1, true)
	}
	if c.next > fresh {
		o.appendRange(fresh, c.next-1, false)
	}
}

// unsent is the first position of the queue that was never sent.
func (o *outbound) unsent() uint64 {
	if o == nil {
		return 1
	}
	return max(o.base+uint64(len(o.slots)), o.doubt)
}

// Unsent returns the positions of the store's queue that were never sent, while the session is
// offline; from > to when there are none.
func (s *Session) Unsent() (from, to uint64) {
	if c := s.cold; c != nil {
		return c.unsent(), c.next - 1
	}
	if s.out == nil || !s.durable || s.connected {
		return 1, 0
	}
	return s.out.unsent(), s.out.tail
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

// appendRange queues the stored positions from to `to`; dup tells that they may have been sent before.
func (o *outbound) appendRange(from, to uint64, dup bool) {
	if n := len(o.rest); n > 0 {
		if last := &o.rest[n-1]; last.msg == nil && last.to+1 == from && last.dup == dup {
			last.to = to
			return
		}
	}
	o.rest = append(o.rest, queued{seq: from, to: to, dup: dup})
}

// abandon gives up everything that waits as the session ends. Messages of a shared
// subscription go to another member (MQTT5 4.8.2), except QoS 2 in flight [MQTT-4.8.2-5].
func (o *outbound) abandon(l *Line, do []Effect) []Effect {
	if o == nil {
		return do
	}
	for i := range o.slots {
		if o.slots[i].state != sent {
			continue
		}
		if q := o.slots[i].shared; q != nil {
			do = append(do, Effect{Kind: Requeue, Why: SessionEnded, Msg: q.msg, QoS: q.d.QoS, Text: q.d.Group})
		} else if !l.durable {
			o.account.Unacknowledged++
		}
	}
	for _, list := range [][]queued{o.front, o.rest} {
		for i := range list {
			q := &list[i]
			switch {
			case q.msg == nil || q.seq != 0 && l.durable: // the store's: the owner looks into it before it ends the session
			case q.d.Group != "":
				do = append(do, Effect{Kind: Requeue, Why: SessionEnded, Msg: q.msg, QoS: q.d.QoS, Text: q.d.Group})
			default:
				do = append(do, Effect{Kind: Drop, Why: SessionEnded, Msg: q.msg})
			}
		}
	}
	return do
}
