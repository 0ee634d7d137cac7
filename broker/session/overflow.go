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

// limitStored applies the policy to a queue in the store that has outgrown its limits.
func (o *outbound) limitStored(l *Line, do []Effect) []Effect {
	for o.count > l.rules.QueuedMessages || o.bytes > l.rules.QueuedBytes {
		switch l.rules.Overflow {
		case DropOldest:
			if !o.dropOldest(l, &do) {
				return do
			}
		default:
			return l.overflow(do)
		}
	}
	return do
}

func (l *Line) overflow(do []Effect) []Effect {
	if l.rules.Overflow == Disconnect {
		return l.close(mqtt.QuotaExceeded, "the queue of messages for this client is full", do)
	}
	return do
}
