package broker

import (
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// afar is a client of another shard, and why this one dropped something that was for it.
type afar struct {
	client *client
	why    session.Why
}

// maxAfar bounds the drops that are told apart before other shards learn of them; further ones are only counted elsewhere.
const maxAfar = 1024

// dropped notes that a message did not reach a client; m is nil where it was not at hand.
func (t *traces) dropped(c *client, m *mqtt.Message, why session.Why) {
	switch {
	case t.ring == nil:
	case c.shard != t.sh: // its log belongs to another loop
		if k := (afar{c, why}); len(t.afar) < maxAfar || t.afar[k] > 0 {
			t.afar[k]++
		}
	default:
		if label := droppedLabel(m, why); !c.trace.In(t.sh.now, noteDropped, 0, label) {
			t.noteDropped(c, m, why, label, t.sh.now)
		}
	}
	if t.taps != nil {
		about := ""
		if m != nil {
			about = string(m.Topic)
		}
		t.offer(c.id, c.who.Load().Peer.Address, about, func(int) trace.Packet {
			return trace.Packet{Topic: about, Text: "dropped: " + why.String()}
		})
	}
}

// droppedMore notes more of what was dropped last.
func (t *traces) droppedMore(c *client, d *drops) {
	if t.ring == nil {
		return
	}
	t.topic = t.sh.b.topics.names.Append(t.topic[:0], tally.Topic(d.label))
	m := mqtt.Message{Topic: t.topic, Label: d.label}
	t.noteDropped(c, &m, d.why, droppedLabel(&m, d.why), d.last)
	t.ring.Again(&c.trace, int(d.n)-1)
}

func (t *traces) noteDropped(c *client, m *mqtt.Message, why session.Why, label uint32, at int64) {
	t.settle(0)
	t.text = append(append(t.text[:0], "dropped, "...), why.String()...)
	if m != nil {
		t.text = append(append(t.text, ": "...), m.Topic...)
		if t.only(m.Label) == 0 {
			label = 0
		}
	}
	t.ring.Label(c.log(), at, trace.Head{First: noteDropped}, label, t.text, nil)
}

// droppedLabel stands for the text of such a note, 0 where nothing does.
func droppedLabel(m *mqtt.Message, why session.Why) uint32 {
	const whyBits = 6
	if m == nil || m.Label == 0 || m.Label >= 1<<(32-whyBits) {
		return 0
	}
	return m.Label<<whyBits | uint32(why)
}

// What a reason takes of such a label.
var _ [1<<6 - session.Whys]struct{}

// denied notes that somebody may not do what sh.asked asks, m is nil for a subscription. why is "" where a rule
// says it.
func (t *traces) denied(who *auth.Principal, m *mqtt.Message, reason mqtt.ReasonCode, why string) {
	action, about := auth.Publish, t.sh.asked.Topic
	if m != nil {
		about = m.Topic
	} else {
		action = t.sh.asked.Action
	}
	if c := t.sh.byID[who.ClientID]; c != nil && t.ring != nil {
		t.settle(0)
		t.text = append(append(append(append(t.text[:0], "denied, "...), action.String()...), ": "...), about...)
		t.ring.Record(c.log(), t.sh.now, trace.Head{First: noteDenied, Reason: uint8(reason)}, t.text, nil)
	}
	if t.taps == nil {
		return
	}
	topic := string(about)
	t.offer(who.ClientID, who.Peer.Address, topic, func(int) trace.Packet {
		text := "denied: " + action.String()
		switch {
		case why != "":
			text += ", " + why
		case m != nil && reserved(m.Topic):
			text += ", $SYS and $CONTROL are the server's own"
		case t.sh.b.opts.Authz != nil:
			text = "denied: " + t.sh.b.opts.Authz.Explain(who, &t.sh.asked).Why
		}
		return trace.Packet{Topic: topic, Text: text, Reason: reason}
	})
}

// isolated notes that a client in quarantine is refused a filter.
func (t *traces) isolated(c *client, filter []byte) {
	t.sh.asked = auth.Question{Action: auth.Subscribe, Topic: filter}
	t.denied(c.who.Load(), nil, mqtt.NotAuthorized, "the client is in quarantine")
}

// check runs once a second: other shards learn what was dropped here of theirs, and those who are long gone are forgotten.
func (t *traces) check() {
	if len(t.afar) > 0 {
		byShard := make(map[*shard]map[afar]int)
		for k, n := range t.afar {
			to := byShard[k.client.shard]
			if to == nil {
				to = make(map[afar]int)
				byShard[k.client.shard] = to
			}
			to[k] = n
		}
		clear(t.afar)
		for sh, drops := range byShard {
			sh.loop.Post(func() { sh.traces.learn(drops) })
		}
	}
	t.past.expire(t.ring, t.sh.now)
}

// learn notes what another shard dropped of this one's.
func (t *traces) learn(drops map[afar]int) {
	t.sh.tick(t.sh.loop.Now())
	for k, n := range drops {
		if t.sh.byID[k.client.id] != k.client {
			continue
		}
		l := k.client.log()
		t.note(l, noteDropped, 0, "dropped, ", k.why.String())
		t.ring.Again(l, n-1)
	}
}
