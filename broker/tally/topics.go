package tally

import "math/bits"

// Sizes is the number of size classes of payloads: up to 64, 256, 1 Ki, 4 Ki, 16 Ki, 64 Ki, 1 Mi bytes, and more.
const Sizes = 8

// SizeLimits are the upper bounds of the size classes but the last.
func SizeLimits() [Sizes - 1]int {
	return [...]int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20}
}

// row is what one event loop has received on one topic. It has no pointer: a million of them cost the garbage
// collector nothing.
type row struct {
	messages  [3]uint64 // by QoS
	bytes     uint64
	copies    uint64
	unheard   uint64
	last      int64 // ms, steady clock
	rate      Rate
	topic     Topic
	publisher Publisher
	largest   uint32
	payload   uint32 // 1 + its place in Payloads
	sizes     [Sizes]uint32
}

const rowPage = 1 << 8

// counted is how often something happened that seldom does on a topic.
type counted struct {
	n    uint64
	next uint32 // 1 + the place of something else on the topic; 0 = none
	what uint8  // a reason, or 128 + an End
}

// Tag is what the owner keeps beside a topic name it looked up, so that it is not looked up again. 0 = nothing.
type Tag uint32

// Topics are the counts of one event loop by topic.
type Topics struct {
	names   *Names
	at      []*[pageSize]Tag // by Topic
	rows    []*[rowPage]row
	n       int
	sent    []*[pageSize]uint64 // by Topic: also of those that other loops received
	anew    []*[pageSize]uint32 // by Topic: copies of what was published before
	unknown Topic               // of UnknownName; 0 = it was not needed
	first   map[Topic]uint32    // 1 + a place in counted
	counted []counted
	lately  struct { // what was counted last: drops come in rows
		topic Topic
		at    uint32 // 1 + its place in counted
	}
	large    map[Topic]*[Sizes]uint64 // of sizes, what earlier runs have counted and a row has no room for
	touched  touched
	payloads payloads
	heavy    [Weights]sketch // below rests
	beyond   bool            // there is a rest
	run      run
}

// NewTopics returns the counts of one loop. payload is how many bytes of the last message of each topic are kept, total how
// many of all topics; 0 = none.
func NewTopics(n *Names, payload, total int) *Topics {
	t := &Topics{names: n, first: make(map[Topic]uint32), touched: newTouched(n), payloads: newPayloads(payload, total)}
	t.at = make([]*[pageSize]Tag, len(n.pages))
	t.sent = make([]*[pageSize]uint64, len(n.pages))
	t.anew = make([]*[pageSize]uint32, len(n.pages))
	return t
}

func (t *Topics) row(tag Tag) *row { return &t.rows[(tag-1)/rowPage][(tag-1)%rowPage] }

// Tag returns the tag of a topic name and its number.
func (t *Topics) Tag(name []byte) (Tag, Topic) {
	topic := t.names.Number(name)
	return t.tag(topic), topic
}

// tag is the tag of a topic's row, which is made if there is none.
func (t *Topics) tag(topic Topic) Tag {
	p := t.at[topic>>pageBits]
	if p == nil {
		p = new([pageSize]Tag)
		t.at[topic>>pageBits] = p
	}
	tag := p[topic&(pageSize-1)]
	if tag == 0 {
		if t.n%rowPage == 0 {
			t.rows = append(t.rows, new([rowPage]row))
		}
		t.n++
		tag = Tag(t.n)
		t.row(tag).topic = topic
		t.beyond = t.beyond || t.names.IsRest(topic)
		p[topic&(pageSize-1)] = tag
	}
	return tag
}

// Topic is the number of the topic of a tag.
func (t *Topics) Topic(tag Tag) Topic {
	if t.run.tag == tag {
		return t.run.topic
	}
	return t.row(tag).topic
}

// Message is one that was routed.
type Message struct {
	Name      []byte
	Payload   []byte
	Publisher Publisher
	QoS       uint8
	Retain    bool
	Copies    uint64
}

// Published counts a message that was routed to its receivers, if any, and of which Again is not true. Settle came before.
func (t *Topics) Published(tag Tag, now int64, slot uint32, m *Message) {
	r := t.row(tag)
	t.touched.add(r.topic)
	size := len(m.Payload)
	if !r.rate.Counts(slot) {
		r.rate.Fold(slot, r.total())
	}
	r.messages[m.QoS]++
	r.bytes += uint64(size)
	r.copies += m.Copies
	if m.Copies == 0 {
		r.unheard++
	}
	if r.publisher != m.Publisher {
		r.publisher = m.Publisher
	}
	if uint32(size) > r.largest {
		r.largest = uint32(size)
	}
	r.sizes[sizeClass(size)]++
	before := r.last
	r.last = now
	if (r.recent() <= eachOf || now != before) && t.payloads.wants(r, now) {
		t.keep(tag, r, now, m)
	}
	if t.beyond {
		t.weigh(r, m)
	}
	t.begin(tag, r, m)
}

// sizeClass is a payload's class: each is four times as large as the one before, but the last but one.
func sizeClass(n int) int {
	switch {
	case n <= 64:
		return 0
	case n <= 64<<10:
		return (bits.Len(uint(n-1)) - 5) / 2
	case n <= 1<<20:
		return 6
	}
	return 7
}

// Sent counts copies that were written for the first time.
func (t *Topics) Sent(topic Topic, n uint64) {
	p := t.sent[topic>>pageBits]
	if p == nil {
		p = new([pageSize]uint64)
		t.sent[topic>>pageBits] = p
	}
	p[topic&(pageSize-1)] += n
	t.touched.add(topic)
}

// Number is the topic of a name for Sent and Dropped, its own or that of the rest.
func (t *Topics) Number(name []byte) Topic { return t.names.Number(name) }

// Dropped counts copies that did not reach a receiver.
func (t *Topics) Dropped(topic Topic, name []byte, reason uint8, n uint64) {
	t.count(topic, reason, n)
	if t.names.IsRest(topic) {
		t.heavy[ByDrops].add(name, n)
	}
}

// Ended counts a message that was denied or refused. It makes no topic: whoever may not publish must not fill the table. A name
// that is not known counts for its branch, without one for UnknownName.
func (t *Topics) Ended(name []byte, e End) {
	topic := t.names.Nearest(name)
	if topic == Root {
		topic = t.unknownTopic()
	}
	t.count(topic, 128+uint8(e), 1)
}

func (t *Topics) count(topic Topic, what uint8, n uint64) {
	t.touched.add(topic)
	if l := &t.lately; l.at != 0 && l.topic == topic {
		if c := &t.counted[l.at-1]; c.what == what {
			c.n += n
			return
		}
	}
	t.lately.topic = topic
	for at := t.first[topic]; at != 0; at = t.counted[at-1].next {
		if c := &t.counted[at-1]; c.what == what {
			c.n += n
			t.lately.at = at
			return
		}
	}
	t.counted = append(t.counted, counted{n, t.first[topic], what})
	t.lately.at = uint32(len(t.counted))
	t.first[topic] = t.lately.at
}

func (t *Topics) weigh(r *row, m *Message) {
	if !t.names.IsRest(r.topic) {
		return
	}
	t.heavy[ByMessages].add(m.Name, 1)
	t.heavy[ByBytes].add(m.Name, uint64(len(m.Payload)))
	t.heavy[ByCopies].add(m.Name, m.Copies)
}
