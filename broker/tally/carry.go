package tally

import (
	"container/heap"
	"hash/maphash"
)

// Child returns the number of a level right below a branch, which gets one if it has none: it is Number for names that are given from the
// top down. Below a rest there is nothing but the rest.
func (n *Names) Child(branch Topic, level []byte) Topic {
	if n.IsRest(branch) {
		return branch
	}
	name := level
	if branch != Root {
		name = append(append(n.Append(make([]byte, 0, 128), branch), '/'), level...)
	}
	hash := maphash.Bytes(n.seed, name)
	if t := n.find(hash, name); t != 0 {
		return t
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.find(hash, name); t != 0 {
		return t
	}
	if int(n.n.Load()) >= n.limit {
		return n.restOf(branch)
	}
	t := n.add(branch, level, false)
	n.index[hash>>58].insert(uint32(hash), t)
	return t
}

// Rest returns the number of what stands for the names below a branch that have none of their own.
func (n *Names) Rest(branch Topic) Topic {
	if n.IsRest(branch) {
		return branch
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.restOf(branch)
}

// Account adds what one loop has counted of a topic, but for its rates and its payload, on that loop; p are its publishers.
func (t *Topics) Account(topic Topic, p *Publishers, d *Detail) {
	rates := d.Sum.Rates
	t.read(topic, 0, &d.Sum)
	d.Sum.Rates = rates
	for at := t.first[topic]; at != 0; at = t.counted[at-1].next {
		c := &t.counted[at-1]
		if c.what < 128 {
			d.Dropped[c.what] += c.n
		} else {
			d.Ended[c.what-128] += c.n
		}
	}
	r := t.rowOf(topic)
	if r == nil {
		return
	}
	if large := t.large[topic]; large != nil {
		for i, n := range large {
			d.Sizes[i] += n
		}
	}
	for i, n := range r.sizes {
		d.Sizes[i] += uint64(n)
	}
	if r.last > d.Last {
		d.Last, d.Publisher = r.last, p.ID(r.publisher)
	}
}

// rowOf is the row of a topic, nil if it has none.
func (t *Topics) rowOf(topic Topic) *row {
	page := t.at[topic>>pageBits]
	if page == nil || page[topic&(pageSize-1)] == 0 {
		return nil
	}
	return t.row(page[topic&(pageSize-1)])
}

// Carry adds what was counted of a topic before, as Account told it, to what this loop counts; p are its publishers. Rates know nothing of it.
func (t *Topics) Carry(topic Topic, p *Publishers, d *Detail) {
	s := &d.Sum
	switch {
	case s.Messages > 0:
		r := t.row(t.tag(topic))
		r.rate.shift(s.Messages)
		for i, n := range s.QoS() {
			r.messages[i] += n
		}
		r.bytes += s.Bytes
		r.copies += s.Copies
		r.unheard += s.Unheard
		r.largest = max(r.largest, s.Largest)
		if d.Last > r.last {
			r.last, r.publisher = d.Last, 0
			if d.Publisher != "" {
				r.publisher = p.Number(d.Publisher, 0)
			}
		}
		t.carrySizes(topic, r, &d.Sizes)
	case s.Copies != 0:
		t.Anew(topic, int(s.Copies))
	}
	if s.Sent > 0 {
		t.Sent(topic, s.Sent)
	}
	for reason, n := range d.Dropped {
		if n > 0 {
			t.count(topic, uint8(reason), n)
		}
	}
	for e, n := range d.Ended {
		if n > 0 {
			t.count(topic, 128+uint8(e), n)
		}
	}
	t.touched.add(topic)
}

// carrySizes adds to a row's sizes. What could fill a 32-bit count within one run more stands beside the rows.
func (t *Topics) carrySizes(topic Topic, r *row, sizes *[Sizes]uint64) {
	for i, n := range sizes {
		if n += uint64(r.sizes[i]); n < 1<<31 {
			r.sizes[i] = uint32(n)
			continue
		}
		if t.large == nil {
			t.large = make(map[Topic]*[Sizes]uint64)
		}
		if t.large[topic] == nil {
			t.large[topic] = new([Sizes]uint64)
		}
		r.sizes[i] = 0
		t.large[topic][i] += n
	}
}

// CarryHeavy adds names that were found heavy before, the heaviest first, as far as there is room.
func (t *Topics) CarryHeavy(by Weight, names []Heavy) {
	s := &t.heavy[by]
	for _, x := range names {
		if h := s.by[x.Name]; h != nil {
			h.weight += x.Weight
			h.error += x.Error
			heap.Fix(&s.heap, h.at)
		} else if len(s.heap) < sketchSize {
			s.put(x)
		}
	}
}

// Carry adds what was counted of a client before. What was queued then and is not now left it at a stop, clean, or in a crash.
func (c *Client) Carry(before *Client, clean bool) {
	n := *before
	gap := int64(n.Queued) - int64(c.Start)
	if gap != 0 {
		r := c.Seldom()
		if clean {
			r.Stopped += gap
		} else {
			r.Crashed += gap
		}
	}
	c.Start = n.Start
	c.InRate.shift(n.Received())
	c.OutRate.shift(n.Sent())
	for i := range c.In {
		c.In[i] += n.In[i]
		c.Out[i] += n.Out[i]
	}
	c.InBytes += n.InBytes
	c.OutBytes += n.OutBytes
	c.Found += n.Found
	c.Meant += n.Meant
	c.Acknowledged += n.Acknowledged
	c.Resent += n.Resent
	c.Requeued += n.Requeued
	if n.Rare != nil {
		r := c.Seldom()
		for i, x := range n.Rare.Dropped {
			r.Dropped[i] += x
		}
		for i, x := range n.Rare.Ended {
			r.Ended[i] += x
		}
		r.Unacknowledged += n.Rare.Unacknowledged
		r.Crashed += n.Rare.Crashed
		r.Stopped += n.Rare.Stopped
	}
}

// shift has a total be greater without having grown.
func (r *Rate) shift(n uint64) {
	if r.slot != 0 {
		r.base += uint32(n)
	}
}
