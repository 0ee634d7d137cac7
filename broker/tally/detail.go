package tally

// Detail is what the loops know of one topic.
type Detail struct {
	Sum       Sum
	Sizes     [Sizes]uint64
	Dropped   [Reasons]uint64
	Ended     [Ends]uint64
	Last      int64 // ms; of Publisher
	Publisher string
	Payload   *Payload // nil = none is kept
}

// Payload is the beginning of the last payload, or of one a little before it where many come.
type Payload struct {
	At     int64 // ms
	Size   int   // of the whole
	Kept   []byte
	QoS    uint8
	Retain bool
}

// Detail adds what one loop knows of a topic, on that loop, in the five seconds slot; p are its publishers.
func (t *Topics) Detail(topic Topic, slot uint32, p *Publishers, d *Detail) {
	t.read(topic, slot, &d.Sum)
	for at := t.first[topic]; at != 0; at = t.counted[at-1].next {
		c := &t.counted[at-1]
		if c.what < 128 {
			d.Dropped[c.what] += c.n
		} else {
			d.Ended[c.what-128] += c.n
		}
	}
	page := t.at[topic>>pageBits]
	if page == nil || page[topic&(pageSize-1)] == 0 {
		return
	}
	r := t.row(page[topic&(pageSize-1)])
	for i, n := range r.sizes {
		d.Sizes[i] += uint64(n)
	}
	if r.last > d.Last {
		d.Last, d.Publisher = r.last, p.ID(r.publisher)
	}
	if r.payload == 0 {
		return
	}
	h := &t.payloads.held[r.payload-1]
	if d.Payload == nil || h.at > d.Payload.At {
		d.Payload = &Payload{
			At: h.at, Size: int(h.length), QoS: h.qos, Retain: h.retain,
			Kept: append([]byte(nil), t.payloads.place(int(r.payload - 1))[:h.kept]...),
		}
	}
}
