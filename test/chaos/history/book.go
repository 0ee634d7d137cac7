package history

import (
	"math"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// never is the index of an event that did not happen.
const never = math.MaxInt

// book is a history put in order: who published what, who was subscribed when, and who got what. Moments are indices
// of events.
type book struct {
	events    []Event
	messages  map[Message]*message
	sent      []*message // in the order of their first PUBLISH
	clients   map[string]*client
	names     []string       // of clients, in the order of their appearance
	downs     []int          // Down events
	faults    []window       // while the disk was faulty
	deletions map[string]int // by topic: the first
	ended     bool           // it has an End
}

// window is a stretch of a history, both ends included.
type window struct{ from, to int }

func (w window) overlaps(from, to int) bool { return w.from <= to && from <= w.to }

// message is one application message and what became of it at its publisher's.
type message struct {
	name    Message
	topic   string
	qos     mqtt.QoS
	retain  bool
	deleted bool
	sends   []int // PUBLISH events
	taken   int   // PUBACK or PUBREC with success
	refused int   // PUBACK or PUBREC with a failure
	done    int   // PUBACK, PUBCOMP or a refusal: nothing more to come
	answer  mqtt.Type
}

// client is what one client id went through.
type client struct {
	id       string
	spans    []*span
	receipts []receipt
	events   []int // all of its events
}

// span is one subscription: a filter, from its SUBSCRIBE to its end. It was certainly in force from sure to before
// ending, and possibly from calling to over.
type span struct {
	filter  string
	plain   string // without $share
	group   string // the filter, of a shared subscription
	qos     mqtt.QoS
	calling int // SUBSCRIBE, the first
	calls   int // how many
	sure    int // SUBACK
	ending  int // UNSUBSCRIBE, or a CONNECT for a new session
	over    int // UNSUBACK, or the CONNACK of the new session
}

// mayMatch tells whether a message of the topic, routed at some time of w, may have come by this subscription.
func (s *span) mayMatch(name string, w window) bool {
	return w.overlaps(s.calling, s.over) && s.plainly(name)
}

// plainly tells whether the filter, without $share, matches.
func (s *span) plainly(name string) bool { return topic.Match(s.plain, name) }

// holds tells whether the subscription was in force from moment from, and not given up again.
func (s *span) holds(from int) bool { return s.sure < from && s.ending == never }

// receipt is a PUBLISH that came.
type receipt struct {
	at    int
	fresh bool // not one that the client could tell to be a resend
}

// routed is when the broker can have routed the message.
func (m *message) routed() window {
	if m.answer != 0 {
		return window{m.sends[0], min(m.taken, m.refused)}
	}
	return window{m.sends[0], never}
}

// newBook reads a history up to its End.
func newBook(events []Event) *book {
	b := &book{events: events, messages: map[Message]*message{}, clients: map[string]*client{}, deletions: map[string]int{}}
	for i := range events {
		e := &events[i]
		if e.Kind == End {
			b.ended, b.events = true, events[:i]
			break
		}
		b.enter(i, e)
	}
	return b
}

func (b *book) enter(i int, e *Event) {
	var c *client
	if e.Client != "" {
		c = b.client(e.Client)
		c.events = append(c.events, i)
	}
	switch e.Kind {
	case Publish:
		b.publish(i, e)
	case Puback, Pubrec, Pubcomp:
		b.answered(i, e)
	case Connecting:
		if e.Clean {
			c.finish(func(s *span) { s.ending = min(s.ending, i) })
		}
	case Connected:
		if e.Clean {
			c.finish(func(s *span) { s.over = min(s.over, i) })
		}
	case Subscribe, Subscribed, Unsubscribe, Unsubscribed:
		c.subscription(i, e)
	case Down:
		b.downs = append(b.downs, i)
	case Faulty:
		b.faults = append(b.faults, window{i, never})
	case Healed:
		for j := range b.faults {
			b.faults[j].to = min(b.faults[j].to, i)
		}
	}
}

func (b *book) client(id string) *client {
	c := b.clients[id]
	if c == nil {
		c = &client{id: id}
		b.clients[id] = c
		b.names = append(b.names, id)
	}
	return c
}

func (b *book) publish(i int, e *Event) {
	m := b.messages[e.Message]
	if m == nil {
		m = &message{name: e.Message, topic: e.Topic, qos: e.QoS, retain: e.Retain, deleted: e.Deleted, taken: never, refused: never, done: never}
		b.messages[e.Message] = m
		b.sent = append(b.sent, m)
	}
	if _, known := b.deletions[e.Topic]; e.Deleted && !known {
		b.deletions[e.Topic] = i
	}
	m.sends = append(m.sends, i)
}

func (b *book) answered(i int, e *Event) {
	m := b.messages[e.Message]
	if m == nil {
		return // an answer to nothing, which check tells
	}
	switch {
	case e.Kind == Pubcomp:
		m.done = min(m.done, i)
		return
	case e.Kind == Puback:
		m.answer = mqtt.PUBACK
	default:
		m.answer = mqtt.PUBREC
	}
	if e.Reason.Failed() {
		m.refused, m.done = min(m.refused, i), min(m.done, i)
		return
	}
	m.taken = min(m.taken, i)
	if e.Kind == Puback {
		m.done = min(m.done, i)
	}
}

// finish tells all of a client's subscriptions that a new session takes the place of theirs. That the broker does not
// find a session ends none: it should be there.
func (c *client) finish(end func(*span)) {
	for _, s := range c.spans {
		end(s)
	}
}

func (c *client) subscription(i int, e *Event) {
	switch e.Kind {
	case Subscribe:
		for _, s := range c.spans {
			if s.filter == e.Topic && s.ending == never { // asked for again: the same subscription
				s.calls++
				return
			}
		}
		s := &span{filter: e.Topic, plain: e.Topic, qos: e.QoS, calling: i, calls: 1, sure: never, ending: never, over: never}
		if _, plain, shared, err := topic.ParseShared(e.Topic); shared && err == nil {
			s.group, s.plain = e.Topic, plain
		}
		c.spans = append(c.spans, s)
	case Subscribed:
		for _, s := range c.spans {
			switch {
			case s.filter != e.Topic || s.ending != never:
			case e.Reason.Failed():
				if s.calls == 1 { // otherwise the one before, the answer to which was lost, may have been granted
					s.ending, s.over = i, i
				}
			default:
				s.sure = min(s.sure, i)
			}
		}
	case Unsubscribe:
		for _, s := range c.spans {
			if s.filter == e.Topic {
				s.ending = min(s.ending, i)
			}
		}
	case Unsubscribed:
		for _, s := range c.spans {
			if s.filter == e.Topic && s.ending < i && !e.Reason.Failed() {
				s.over = min(s.over, i)
			}
		}
	}
}

// down tells whether the broker was killed between two moments.
func (b *book) down(from, to int) bool {
	for _, d := range b.downs {
		if from < d && d < to && !b.events[d].Clean {
			return true
		}
	}
	return false
}

// faulty tells whether the disk failed at some time between two moments.
func (b *book) faulty(from, to int) bool {
	for _, w := range b.faults {
		if w.overlaps(from, to) {
			return true
		}
	}
	return false
}
