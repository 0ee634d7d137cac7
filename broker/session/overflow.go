package session

import (
	"slices"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

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
func (o *outbound) dropOldest(l *Line, do *[]Effect) bool {
	if l.durable {
		return o.dropStored(l, do)
	}
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
func (o *outbound) dropStored(l *Line, do *[]Effect) bool {
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
	*do = append(l.settle(seq, *do), drop)
	return true
}

// exceededBy tells that so much more than what waits would be more than may wait. What is in flight is bounded by the client's Receive
// Maximum and does not count; what a client that is away has not acknowledged waits.
func (r *Rules) exceededBy(o *outbound, messages int, bytes int64) bool {
	return o.count-int(o.flying)+messages > r.QueuedMessages || o.bytes-o.aloft+bytes > r.QueuedBytes
}

func (l *Line) overflow(do []Effect) []Effect {
	if l.rules.Overflow == Disconnect {
		return l.close(mqtt.QuotaExceeded, "the queue of messages for this client is full", do)
	}
	return do
}

// Waiting is the part of Session.Queued that the limits of the queue are about: what is not in flight. While the client is away, that is all
// that it has not said it has.
func (q Queue) Waiting() (messages int, bytes int64) {
	s := q.s
	messages, bytes = s.Queued()
	if s.cold == nil && messages > 0 {
		messages, bytes = messages-int(s.out.flying), bytes-s.out.aloft
	}
	return messages, bytes
}

// Full tells that the queue is at its limit (of bytes: that no more of the usual size fit) and that further QoS 1
// and 2 messages are to be refused. Where the policy is Disconnect that is so once the client is gone.
func (s *Session) Full() bool {
	refuse := s.rules.Overflow == RefuseNewest || s.rules.Overflow == Disconnect && !s.connected
	count, bytes := s.Queue().Waiting()
	if !refuse || count == 0 {
		return false
	}
	return count >= s.rules.QueuedMessages || bytes+bytes/int64(count) > s.rules.QueuedBytes
}
