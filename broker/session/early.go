package session

import (
	"slices"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// mostEarly is how many messages may wait for an earlier position; with more, the wait is given up.
const mostEarly = 4096

// early are messages that came before one that the store put in front of them: it comes from another loop
// and is on its way. If they went on, what is read from the store to fill the gap would overtake the
// QoS 0 messages that its publisher sent before it.
type early []queued

// holds tells whether a positioned message of the publisher is among the first n.
func (e early) holds(publisher string, n int) bool {
	return slices.ContainsFunc(e[:n], func(q queued) bool { return q.seq != 0 && q.msg != nil && q.msg.Publisher == publisher })
}

// hold keeps a message back until what is in front of it has come. A nil message is a hole: nothing is
// at its position.
func (o *outbound) hold(l *Line, t Turn, m *mqtt.Message, d *mqtt.Delivery, seq uint64, do []Effect) []Effect {
	q := queued{seq: seq, d: *d}
	if m != nil {
		q.msg = m.Keep()
	}
	o.early = append(o.early, q)
	if len(o.early) > mostEarly {
		return o.flush(l, t, do)
	}
	return do
}

// release goes on with what waits for nothing any more.
func (o *outbound) release(l *Line, t Turn, do []Effect) []Effect {
	for i := 0; i < len(o.early); {
		q := o.early[i]
		if q.seq > o.tail+1 || q.seq == 0 && o.early.holds(q.msg.Publisher, i) {
			i++
			continue
		}
		o.early = slices.Delete(o.early, i, i+1)
		do = o.goOn(l, t, &q, do)
		i = 0
	}
	if len(o.early) == 0 {
		o.early = nil
	}
	return do
}

// flush goes on with everything, in the order of the store; what it has of the gaps is read with it.
func (o *outbound) flush(l *Line, t Turn, do []Effect) []Effect {
	all := o.early
	o.early = nil
	slices.SortStableFunc(all, func(a, b queued) int {
		switch {
		case a.seq == 0 || b.seq == 0 || a.seq == b.seq:
			return 0
		case a.seq < b.seq:
			return -1
		}
		return 1
	})
	for i := range all {
		do = o.goOn(l, t, &all[i], do)
	}
	return do
}

func (o *outbound) goOn(l *Line, t Turn, q *queued, do []Effect) []Effect {
	switch {
	case q.seq == 0:
		return o.queue0(l, t, q.msg, &q.d, do)
	case q.msg == nil:
		o.hole(q.seq)
		return do
	}
	return o.takeStored(l, t, q.msg, &q.d, q.seq, do)
}

// hole notes that nothing is at a position: the batch it was given in was not kept.
func (o *outbound) hole(seq uint64) {
	if seq == o.tail+1 {
		o.tail++
		if o.weights != nil {
			o.weights = append(o.weights, gone)
		}
	} else if w := o.weight(seq); w != nil {
		o.leave(w)
	}
}
