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
	t.Account(topic, p, d)
	r := t.rowOf(topic)
	if r == nil {
		return
	}
	d.Sum.Rates.add(r.rate.At(slot, r.total()))
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
