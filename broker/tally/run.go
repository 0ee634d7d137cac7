package tally

// run are messages that follow each other at one time, alike but for their bytes: of one topic, one publisher, one QoS and one
// class of size. Each but the first is a few comparisons and sums in one place, and they are added
// to the topic's row at once.
type run struct {
	Run
	tag       Tag // 0 = there is none
	topic     Topic
	class     uint8
	low, span uint // of the payload's bytes: one class, and none larger than the topic has had
	copies    uint64
}

// Run are the messages of a run but its first.
type Run struct {
	QoS                      uint8
	Messages, Bytes, Unheard uint64
}

// Again counts a message of the publisher of the last one that is like it, and of the same time; false when it is not, and Published has to
// be called.
func (t *Topics) Again(tag Tag, qos uint8, size int, copies uint64) bool {
	r := &t.run
	if r.tag != tag || r.QoS != qos || uint(size)-r.low > r.span {
		return false
	}
	r.Messages++
	r.Bytes += uint64(size)
	r.copies += copies
	if copies == 0 {
		r.Unheard++
	}
	return true
}

// begin has messages like m counted together. Not those of which each payload is kept, nor those of a rest: a sketch wants
// their names.
func (t *Topics) begin(tag Tag, r *row, m *Message) {
	if r.recent() <= eachOf || t.beyond && t.names.IsRest(r.topic) {
		return
	}
	class := sizeClass(len(m.Payload))
	low, high := uint(0), uint(r.largest)
	if limits := SizeLimits(); class > 0 {
		low = uint(limits[class-1]) + 1
		if class < len(limits) {
			high = min(high, uint(limits[class]))
		}
	} else {
		high = min(high, uint(limits[0]))
	}
	t.run = run{Run: Run{QoS: m.QoS}, tag: tag, topic: r.topic, class: uint8(class), low: low, span: high - low}
}

// Settle adds what was counted together, and returns it. It comes before the time changes, and before anybody reads.
func (t *Topics) Settle() (sum Run) {
	if t.run.Messages > 0 {
		sum = t.settle()
	}
	t.run.tag = 0
	return sum
}

func (t *Topics) settle() Run {
	u := t.run
	r := t.row(u.tag)
	r.messages[u.QoS] += u.Messages
	r.bytes += u.Bytes
	r.copies += u.copies
	r.unheard += u.Unheard
	r.sizes[u.class] += uint32(u.Messages)
	t.touched.add(u.topic)
	t.run = run{}
	return u.Run
}

// total is how many messages came.
func (r *row) total() uint64 { return r.messages[0] + r.messages[1] + r.messages[2] }

// recent is how many came in the slot of the last.
func (r *row) recent() uint32 { return uint32(r.total()) - r.rate.base }
