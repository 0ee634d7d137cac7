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
