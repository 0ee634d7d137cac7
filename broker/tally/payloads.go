package tally

// payloads are the beginnings of the last payloads, in places of equal size that are taken in turn: the oldest goes
// first.
type payloads struct {
	size   int // of a place
	most   int // places
	chunks [][]byte
	held   []held
	next   int // the place to be taken once all are made
}

// held is what a place holds.
type held struct {
	owner  Tag // 0 = nothing
	at     int64
	length uint32 // of the whole payload
	kept   uint16
	qos    uint8
	retain bool
}

const (
	placesPerChunk = 256
	// A payload is copied if its topic has had few messages in these five seconds, or after a while: at a thousand a second
	// nobody reads each.
	eachOf    = 8
	notSooner = 250 // ms
)

func newPayloads(size, total int) payloads {
	size = min(size, 1<<15)
	if size <= 0 || total < size {
		return payloads{}
	}
	return payloads{size: size, most: total / size}
}

// wants tells whether the payload of a message that was just counted is to be kept.
func (p *payloads) wants(r *row, now int64) bool {
	if p.size == 0 {
		return false
	}
	return r.recent() <= eachOf || r.payload == 0 || now-p.held[r.payload-1].at >= notSooner
}

func (p *payloads) place(i int) []byte {
	at := i % placesPerChunk * p.size
	return p.chunks[i/placesPerChunk][at : at+p.size : at+p.size]
}

func (t *Topics) keep(tag Tag, r *row, now int64, m *Message) {
	p := &t.payloads
	i := int(r.payload) - 1
	if i < 0 {
		i = p.next
		if i == len(p.held) {
			if i%placesPerChunk == 0 {
				p.chunks = append(p.chunks, make([]byte, placesPerChunk*p.size))
			}
			p.held = append(p.held, held{})
		}
		if p.next++; p.next == p.most {
			p.next = 0
		}
		if was := p.held[i].owner; was != 0 {
			t.row(was).payload = 0
		}
		r.payload = uint32(i + 1)
	}
	p.held[i] = held{
		owner: tag, at: now, length: uint32(len(m.Payload)), kept: uint16(copy(p.place(i), m.Payload)), qos: m.QoS, retain: m.Retain,
	}
}
