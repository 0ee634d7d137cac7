package session

import (
	"slices"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Removable tells whether a message may be taken out of the queue: it waits, or it was sent with QoS 1 on a connection that is gone, and
// would be sent again. With QoS 2 the client may have it by its packet identifier, which has to be settled with the client.
func (q Queue) Removable(h *Held) bool {
	q.s.thaw()
	o, seq := q.s.out, h.Seq
	if o == nil || seq == 0 || q.s.ended || o.isDone(seq) {
		return false
	}
	if sl := o.slot(seq); sl != nil {
		return sl.state == waiting || sl.state == absent || sl.state == sent && sl.qos == 1 && !q.s.connected
	}
	if !q.s.durable {
		return o.inRest(seq) >= 0
	}
	return o.wants(seq) && (seq >= o.doubt || h.Delivery.QoS < 2)
}

// Remove takes a message that is Removable out of the queue, and drops it.
func (q Queue) Remove(h *Held, do []Effect) []Effect {
	q.Withdraw(h.Seq, h.Msg)
	return append(q.s.settle(h.Seq, do), Effect{Kind: Drop, Why: Removed, Msg: h.Msg})
}

// RemoveUnnumbered drops the QoS 0 messages that wait.
func (q Queue) RemoveUnnumbered(do []Effect) []Effect {
	o := q.s.out
	if o == nil {
		return do
	}
	o.rest = slices.DeleteFunc(o.rest, func(w queued) bool {
		if w.seq != 0 {
			return false
		}
		o.bytes -= int64(w.msg.Bytes())
		o.zeros--
		do = append(do, Effect{Kind: Drop, Why: Removed, Msg: w.msg})
		return true
	})
	return do
}

// Withdraw takes a message that is Removable out of the queue. Its owner settles it.
func (q Queue) Withdraw(seq uint64, m *mqtt.Message) {
	q.s.thaw()
	o := q.s.out
	if !q.s.durable {
		i := o.inRest(seq)
		if i == 0 {
			o.pop()
		} else {
			o.rest = slices.Delete(o.rest, i, i+1)
		}
		o.count--
		o.bytes -= int64(m.Bytes())
		return
	}
	o.withdraw(seq, int64(m.Bytes()))
}

// withdraw takes a message that was not sent on this connection out of a queue in the store.
func (o *outbound) withdraw(seq uint64, size int64) {
	switch sl, w := o.slot(seq), o.weight(seq); {
	case sl != nil:
		if sl.state == absent { // read before its publisher's loop told us
			o.account.Found++
		}
		o.free(sl)
		o.advance()
	case w != nil:
		if *w == 0 {
			o.account.Found++
		}
		o.leave(w)
	default: // in the totals alone since a restart
		if o.taken == nil {
			o.taken = make(map[uint64]struct{})
		}
		o.taken[seq] = struct{}{}
		o.count--
		o.bytes -= size
	}
	o.front = slices.DeleteFunc(o.front, func(f queued) bool { return f.seq == seq })
}

// inRest is where in rest a message stands that is not in the store, -1 = nowhere.
func (o *outbound) inRest(seq uint64) int {
	return slices.IndexFunc(o.rest, func(w queued) bool { return w.seq == seq })
}

// Unnumbered are the QoS 0 messages that wait.
func Unnumbered(s *Session) (messages int, bytes int64) {
	if s.out == nil {
		return 0, 0
	}
	for i := range s.out.rest {
		if q := &s.out.rest[i]; q.seq == 0 {
			messages++
			bytes += int64(q.msg.Bytes())
		}
	}
	return messages, bytes
}

// Last is the newest position of the queue that is known.
func Last(s *Session) uint64 {
	switch {
	case s.cold != nil:
		return s.cold.next - 1
	case s.out == nil:
		return 0
	}
	return s.out.tail
}
