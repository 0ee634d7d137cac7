package broker

import (
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Bookkeeping is how much the books may hold.
type Bookkeeping struct {
	Topics        int `yaml:"topics" unit:"topics" reload:"restart" doc:"Topics and branches that are counted each by itself, at about 300 bytes." exceeded:"what is beyond is counted with its branch, and a sketch finds the heaviest there"`
	PayloadBytes  int `yaml:"payload_bytes" unit:"bytes" reload:"restart" doc:"How much of the last message of each topic is kept to be shown, at most 32768; 0 = nothing."`
	TotalPayloads int `yaml:"total_payload_bytes" unit:"bytes" reload:"restart" doc:"How much of last messages is kept altogether." exceeded:"those of the topics that got theirs first are forgotten"`
	// Save is for who saves the books; the broker does not.
	Save time.Duration `yaml:"save" reload:"restart" doc:"How often the counts are saved, besides at a stop; those by topic and by client less often where that would cost too much."`
}

// DefaultBookkeeping returns the defaults.
func DefaultBookkeeping() Bookkeeping {
	return Bookkeeping{Topics: 1_000_000, PayloadBytes: 256, TotalPayloads: 32 << 20, Save: time.Minute}
}

// books are a shard's part of the books: package tally says by which law. The functions here are called where the thing
// happens, and nowhere else.
type books struct {
	sh *shard
	tally.Lines
	topics     *tally.Topics
	publishers tally.Publishers
	unasked    []*client // whose sessions may have changed
	losing     []*client // of whose drops not all are told yet
	slot       uint32    // the five seconds of now, for rates
	run        *client   // whose messages are counted together, see tally.Topics.Again; nil = nobody's
	written    uint64    // PUBLISHes
	inside     inside    // clients that are the process's own
	again      struct {  // copies of one topic that were sent one after the other
		topic tally.Topic
		n     uint64
	}
}

// denial tells by the answer to its publisher who denied a message.
func denial(r mqtt.ReasonCode) tally.End {
	if r == mqtt.NotAuthorized {
		return tally.DeniedByRule
	}
	return tally.DeniedByGate
}

// What a shard remembers of reasons has to fit.
var _ [tally.Reasons - session.Whys]struct{}

func newBooks(sh *shard) books {
	o := sh.b.topics.options
	return books{sh: sh, topics: tally.NewTopics(sh.b.topics.names, o.PayloadBytes, o.TotalPayloads)}
}

// of is a client's own page. Who only waits has none.
func (k *books) of(c *client) *page {
	if c.tally == nil {
		c.tally = new(page)
	}
	return c.tally
}

// came tells a PUBLISH of a client, which route and turnDown have counted as received, from wills and the server's own.
func (k *books) came(m *mqtt.Message) bool { return m == &k.sh.router.view }

// received: what is known of a PUBLISH of a client besides that it came.
func (k *books) received(c *client, m *mqtt.Message) {
	k.BytesIn += uint64(len(m.Payload))
	t := k.of(c)
	if !t.InRate.Counts(k.slot) {
		t.InRate.Fold(k.slot, t.Received())
	}
	t.In[m.QoS]++
	t.InBytes += uint64(len(m.Payload))
}

// ended: a message is routed to nobody, as it is not to be. from is nil for the server's own and those of its API.
func (k *books) ended(from *client, m *mqtt.Message, e tally.End) {
	if k.came(m) {
		k.received(from, m)
	}
	k.Ended[e]++
	k.topics.Ended(m.Topic, e)
	if from != nil {
		k.of(from).Seldom().Ended[e]++
	}
}

// label gives a message the number of its topic.
func (k *books) label(m *mqtt.Message) {
	_, topic := k.topics.Tag(m.Topic)
	m.Label = uint32(topic)
}

// row finds the place of a message's topic, by the note that stands beside its receivers if there is one.
func (k *books) row(note *uint32, m *mqtt.Message) tally.Tag {
	var tag tally.Tag
	var topic tally.Topic
	if note != nil && *note != 0 {
		tag = tally.Tag(*note)
		topic = k.topics.Topic(tag)
	} else {
		tag, topic = k.topics.Tag(m.Topic)
		if note != nil {
			*note = uint32(tag)
		}
	}
	if m.Label != uint32(topic) { // else it may be shared already
		m.Label = uint32(topic)
	}
	return tag
}

// routed: a message went its way to some receivers, besides those that were missed since Copies was before.
func (k *books) routed(from *client, m *mqtt.Message, row tally.Tag, before uint64, receivers int) {
	k.Copies += uint64(receivers)
	copies := k.Copies - before
	came := k.came(m)
	if came && from == k.run && k.topics.Again(row, uint8(m.QoS), len(m.Payload), copies) {
		return
	}
	k.settleReceived()
	if came {
		k.run = from
		k.received(from, m)
	}
	if copies == 0 {
		k.Unheard++
	} else {
		k.Routed++
	}
	publisher := tally.Publisher(0)
	if from != nil {
		publisher = k.publishers.Number(from.id, k.of(from).Publisher)
		from.tally.Publisher = publisher
	}
	k.topics.Published(row, k.sh.now, k.slot, &tally.Message{
		Name: m.Topic, Payload: m.Payload, Publisher: publisher, QoS: uint8(m.QoS), Retain: m.Retain, Copies: copies,
	})
}

// settle adds what was counted together. It comes before the time changes, and before anybody reads.
func (k *books) settle() {
	k.settleReceived()
	k.settleSent()
}

// settleAll brings all that was counted together to where it belongs, before somebody looks.
func (k *books) settleAll() {
	k.settle()
	k.ask()
	k.settleDrops()
}

func (k *books) settleReceived() {
	u := k.topics.Settle()
	if u.Messages > 0 {
		t := k.of(k.run)
		t.In[u.QoS] += u.Messages
		t.InBytes += u.Bytes
		k.BytesIn += u.Bytes
		k.Unheard += u.Unheard
		k.Routed += u.Messages - u.Unheard
	}
	k.run = nil
}

func (k *books) settleSent() {
	if k.again.n > 0 {
		k.topics.Sent(k.again.topic, k.again.n)
		k.again.n = 0
	}
}

// meant: a copy came for a client. Of a client of another shard that is told with what became of it.
func (k *books) meant(c *client) {
	if c.shard == k.sh {
		k.of(c).Meant++
	}
}

// sentAnother: a PUBLISH was written that is not like the last one to its client.
func (k *books) sentAnother(c *client, e *session.Effect) {
	size := uint64(len(e.Msg.Payload))
	k.written++
	k.BytesOut += size
	t := k.of(c)
	if !t.OutRate.Counts(k.slot) {
		t.OutRate.Fold(k.slot, t.Sent())
	}
	t.Out[e.QoS]++
	t.OutBytes += size
	if e.QoS == 0 {
		k.Sent0++
	} else if e.Dup {
		t.Resent++
		k.Resent++
		return
	}
	if label := e.Msg.Label; label == 0 || label != uint32(k.again.topic) {
		k.settleSent()
		k.again.topic = k.topicOf(e.Msg)
	}
	k.again.n++
}

// sentAgain: a PUBLISH was written that is like the last one to its client, which has it on its page already.
func (k *books) sentAgain(m *mqtt.Message, first byte, size uint64) {
	k.written++
	k.BytesOut += size
	if first&(3<<1) == 0 {
		k.Sent0++
	}
	if m.Label != uint32(k.again.topic) {
		k.settleSent()
		k.again.topic = tally.Topic(m.Label)
	}
	k.again.n++
}

// topicOf is the number of a message's topic. What was read from the store has none with it.
func (k *books) topicOf(m *mqtt.Message) tally.Topic {
	if m.Label != 0 {
		return tally.Topic(m.Label)
	}
	return k.topics.Number(m.Topic)
}

// unsent: a PUBLISH should have been written to a client that is not connected any more. Of QoS 1 and 2 it stays in flight.
func (k *books) unsent(c *client, e *session.Effect) {
	if e.QoS == 0 {
		k.sh.drop(c, e.Msg, session.Offline)
	}
}

// dropped: a copy does not reach its receiver.
func (k *books) dropped(c *client, m *mqtt.Message, why session.Why) {
	k.Dropped[why]++
	if m != nil {
		k.topics.Dropped(k.topicOf(m), m.Topic, uint8(why), 1)
	} else {
		k.topics.Unknown(uint8(why), 1)
	}
	if c.shard == k.sh {
		k.of(c).Seldom().Dropped[why]++
		return
	}
	ml := k.sh.mail.outgoing(c.shard)
	if n := len(ml.notes); n > 0 && ml.notes[n-1].client == c && ml.notes[n-1].why == why {
		ml.notes[n-1].n++
		return
	}
	ml.notes = append(ml.notes, note{client: c, why: why, n: 1})
}

// note tells another shard what did not reach a client of it.
type note struct {
	client *client
	why    session.Why
	n      uint64
}

func (k *books) read(notes []note) {
	for _, n := range notes {
		t := k.of(n.client)
		t.Meant += n.n
		t.Seldom().Dropped[n.why] += n.n
	}
}

// miss drops a copy for a receiver that was found and at once found not to get it.
func (k *books) miss(c *client, m *mqtt.Message, why session.Why) {
	k.Copies++
	k.meant(c)
	k.sh.drop(c, m, why)
}

// changed: what a client's session holds may be something else now. It is asked when somebody looks.
func (k *books) changed(c *client) {
	t := c.tally
	switch {
	case t == nil: // nothing came for it: it gets no page for that
		k.measure(c)
		return
	case t.changed:
		return
	}
	t.changed = true
	if k.unasked = append(k.unasked, c); len(k.unasked) == maxUnasked {
		k.ask()
	}
}

// maxUnasked bounds what is done at once when somebody looks.
const maxUnasked = 1000

// ask asks the sessions that may have changed.
func (k *books) ask() {
	for _, c := range k.unasked {
		c.tally.changed = false
		k.measure(c)
	}
	clear(k.unasked)
	k.unasked = k.unasked[:0]
}

// measure asks a client's session what it holds and what was acknowledged.
func (k *books) measure(c *client) {
	k.hold(c, int32(c.s.Queue().Held()))
	a, some := c.s.Queue().Account()
	if !some {
		return
	}
	t := k.of(c)
	t.Acknowledged += uint64(a.Acknowledged)
	t.Found += a.Found
	k.Acknowledged += uint64(a.Acknowledged)
	k.Found += int64(a.Found)
	k.unacknowledged(c, uint64(a.Unacknowledged))
}

func (k *books) hold(c *client, held int32) {
	t := c.tally
	switch {
	case t == nil && held == 0:
		return
	case t == nil:
		t = k.of(c)
	case t.Queued == held:
		return
	}
	k.Queued += int64(held - t.Queued)
	t.Queued = held
}

// started: a session was there as the broker started.
func (k *books) started(c *client) {
	if t := c.tally; t != nil {
		t.Start = uint64(t.Queued)
		k.Start += t.Start
	}
}

// gone: a client is, with all that its session holds; what becomes of that is told by left, ending and the session's effects.
func (k *books) gone(c *client) { k.hold(c, 0) }

// left: nothing of an ended session's queue in the store goes to anybody; dropped is how much of it was told.
func (k *books) left(c *client, dropped uint64) {
	k.unacknowledged(c, uint64(c.s.Queue().Left())-dropped)
}

// ending: an ended session's queue in the store is looked through now.
func (k *books) ending(c *client) int64 {
	n := int64(c.s.Queue().Left())
	k.Ending += n
	return n
}

func (k *books) unacknowledged(c *client, n uint64) {
	if n != 0 {
		k.Unacknowledged += n
		k.of(c).Seldom().Unacknowledged += n
	}
}

// requeued: a copy left a's queue, and so many new ones go on.
func (k *books) requeued(a *again, n int) {
	k.anew(a.msg, n)
	k.leave(a)
}

func (k *books) leave(a *again) {
	if !a.left {
		a.left = true
		k.Requeued++
		k.of(a.from).Requeued++
	}
}

// heldBack: a copy left its queue and waits until it can go on.
func (k *books) heldBack(a *again) {
	if a.group != "" {
		k.leave(a)
	}
}

// lost drops what nobody takes. If it had left its queue it counts as one copy more that was meant for whom it came from.
func (r *router) lost(a *again, why session.Why) {
	if a.left {
		r.sh.books.missAnew(a.from, a.msg, why)
		return
	}
	r.sh.drop(a.from, a.msg, why)
}

// withdrawn: the store did not keep a message that was to be delivered. If it is tried again its copies begin anew.
func (k *books) withdrawn(r *routed) {
	n := r.end - r.from
	k.Waiting -= int64(n)
	if r.again {
		k.TakenBack += uint64(n)
		k.topics.Anew(k.topicOf(r.msg), -int(n))
	}
}
