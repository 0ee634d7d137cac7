package tally

// Sum is what all loops have counted of one topic, or of a branch with all that is below it. It has no pointer.
type Sum struct {
	Messages uint64
	Assured  [2]uint64 // those of them with QoS 1 and 2
	Bytes    uint64
	Copies   uint64
	Sent     uint64 // copies written for the first time
	Dropped  uint64 // copies
	Unheard  uint64
	Last     int64 // ms, steady clock; 0 = none
	Rates    Rates
	Denied   uint32 // messages
	Refused  uint32
	Largest  uint32
	Topics   uint32 // published to, in a branch
}

// QoS are the messages by QoS.
func (s *Sum) QoS() [3]uint64 {
	return [3]uint64{s.Messages - s.Assured[0] - s.Assured[1], s.Assured[0], s.Assured[1]}
}

// Fed tells that there was a message.
func (s *Sum) Fed() bool { return s.Messages > 0 }

func (s *Sum) add(o *Sum) {
	s.Messages += o.Messages
	s.Assured[0] += o.Assured[0]
	s.Assured[1] += o.Assured[1]
	s.Bytes += o.Bytes
	s.Copies += o.Copies
	s.Sent += o.Sent
	s.Dropped += o.Dropped
	s.Unheard += o.Unheard
	s.Last = max(s.Last, o.Last)
	s.Rates.add(o.Rates)
	s.Denied += o.Denied
	s.Refused += o.Refused
	s.Largest = max(s.Largest, o.Largest)
	s.Topics += o.Topics
}

// View is what all loops have counted by topic, read once. It is written loop by loop by Topics.Read and then not changed.
type View struct {
	Names *Names
	Own   []Sum // by Topic: of the name itself
	Slot  uint32
	Heavy [Weights][]Heavy
	// Misses is how heavy a name may be, at most, that has no number of its own and is not in Heavy.
	Misses [Weights]uint64
}

// NewView returns an empty view of what there is in the five seconds slot.
func NewView(n *Names, slot uint32) *View {
	return &View{Names: n, Own: make([]Sum, n.Len()), Slot: slot}
}

// Read adds what one loop has counted, from a place on, about n rows at a time: it is called on that loop. It returns where to go
// on, 0 when everything is read.
func (t *Topics) Read(v *View, from, n int) (next int) {
	if from < t.n {
		end := min(from+n, t.n)
		for i := from; i < end; i++ {
			t.rows[i/rowPage][i%rowPage].read(v)
		}
		return end
	}
	if at := from - t.n; at < len(t.sent) {
		for end := min(at+max(n/pageSize, 1), len(t.sent)); at < end; at++ {
			t.readSent(v, at)
			t.readAnew(v, at)
		}
		return t.n + at
	}
	at := from - t.n - len(t.sent)
	end := min(at+n, len(t.counted))
	for _, c := range t.counted[at:end] {
		c.read(v)
	}
	if end == len(t.counted) {
		return 0
	}
	return t.n + len(t.sent) + end
}

func (t *Topics) readSent(v *View, page int) {
	p := t.sent[page]
	if p == nil {
		return
	}
	first := page << pageBits
	for j := range min(max(len(v.Own)-first, 0), pageSize) {
		v.Own[first+j].Sent += p[j]
	}
}

func (c *counted) read(v *View) {
	if int(c.topic) >= len(v.Own) {
		return
	}
	switch s := &v.Own[c.topic]; {
	case c.what < 128:
		s.Dropped += c.n
	case End(c.what - 128).Denied():
		s.Denied += uint32(c.n)
	default:
		s.Refused += uint32(c.n)
	}
}

func (r *row) read(v *View) {
	if int(r.topic) >= len(v.Own) {
		return // it came meanwhile
	}
	s := &v.Own[r.topic]
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
	if rates := r.rate.At(v.Slot, n); rates.Average != [3]float32{} || rates.Now != 0 {
		s.Rates.add(rates)
	}
}

// Branches are the sums of all branches, each with what is below it and its own, by Topic.
func (v *View) Branches() []Sum {
	all := make([]Sum, len(v.Own))
	copy(all, v.Own)
	for t := Topic(len(all) - 1); t > Root; t-- { // a branch has a smaller number than what is below it
		all[v.Names.Parent(t)].add(&all[t])
	}
	return all
}

// Detail is what the loops know of one topic beside its Sum.
type Detail struct {
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

// Detail adds what one loop knows of a topic, on that loop; p are its publishers.
func (t *Topics) Detail(topic Topic, p *Publishers, d *Detail) {
	for i := range d.Dropped {
		d.Dropped[i] += t.seldom(rare{topic, uint8(i)})
	}
	for i := range d.Ended {
		d.Ended[i] += t.seldom(rare{topic, 128 + uint8(i)})
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

// By is the sum's weight.
func (s *Sum) By(w Weight) uint64 {
	return [Weights]uint64{s.Messages, s.Bytes, s.Copies, s.Dropped}[w]
}
