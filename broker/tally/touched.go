package tally

import "math/bits"

// touched are the topics of which a loop has counted something that no view has been told of: a bit for each.
type touched []uint64

func newTouched(n *Names) touched { return make(touched, n.most()/64+1) }

func (t touched) add(topic Topic) { t[topic>>6] |= 1 << (topic & 63) }

// move moves the topics below a number to another set.
func (t touched) move(to touched, below Topic) {
	last := int(below >> 6)
	for i, w := range t[:last] {
		if w != 0 {
			to[i] |= w
			t[i] = 0
		}
	}
	if some := t[last] & (1<<(below&63) - 1); some != 0 {
		to[last] |= some
		t[last] &^= some
	}
}

// list appends the topics to a list, in order, and empties the set.
func (t touched) list(list []Topic) []Topic {
	for i, w := range t {
		for ; w != 0; w &= w - 1 {
			list = append(list, Topic(i<<6+bits.TrailingZeros64(w)))
		}
		t[i] = 0
	}
	return list
}

// Touched gives a view that has begun an update the topics of which something was counted since this was last called. It is called on the loop.
func (t *Topics) Touched(v *View) { t.touched.move(v.fresh, v.end) }

// Read adds what the loop has counted of topics to their sums, as View.Changed asks for it. It is called on the loop.
func (t *Topics) Read(slot uint32, topics []Topic, sums []Sum) {
	for i, topic := range topics {
		t.read(topic, slot, &sums[i])
	}
}

func (t *Topics) read(topic Topic, slot uint32, s *Sum) {
	place := topic & (pageSize - 1)
	if p := t.at[topic>>pageBits]; p != nil && p[place] != 0 {
		t.row(p[place]).read(s, slot)
	}
	if p := t.sent[topic>>pageBits]; p != nil {
		s.Sent += p[place]
	}
	if p := t.anew[topic>>pageBits]; p != nil {
		s.Copies += uint64(int32(p[place]))
	}
	if len(t.counted) > 0 {
		for at := t.first[topic]; at != 0; at = t.counted[at-1].next {
			t.counted[at-1].read(s)
		}
	}
}

func (c *counted) read(s *Sum) {
	switch {
	case c.what < 128:
		s.Dropped += c.n
	case End(c.what - 128).Denied():
		s.Denied += uint32(c.n)
	default:
		s.Refused += uint32(c.n)
	}
}

func (r *row) read(s *Sum, slot uint32) {
	n := r.total()
	if n == 0 {
		return
	}
	s.Topics = 1
	s.Messages += n
	s.Assured[0] += r.messages[1]
	s.Assured[1] += r.messages[2]
	s.Bytes += r.bytes
	s.Copies += r.copies
	s.Unheard += r.unheard
	s.Last = max(s.Last, r.last)
	s.Largest = max(s.Largest, r.largest)
	s.Rates.add(r.rate.At(slot, n))
}
