package history

import (
	"fmt"
	"slices"
	"strings"
)

// Rule names a promise.
type Rule string

// The promises.
const (
	Lost             Rule = "acknowledged message lost"
	LostSubscription Rule = "subscription lost"
	Ghost            Rule = "ghost subscription"
	Doubled          Rule = "message doubled"
	Order            Rule = "order broken"
	PacketID         Rule = "packet identifier in use given again"
	NoDup            Rule = "sent again without DUP"
	Session          Rule = "session lost"
	Content          Rule = "message that nobody published"
	Retained         Rule = "retained message wrong"
	Unanswered       Rule = "never answered"
)

// Rules lists them.
func Rules() []Rule {
	return []Rule{Lost, LostSubscription, Ghost, Doubled, Order, PacketID, NoDup, Session, Content, Retained, Unanswered}
}

// Violation is one promise broken.
type Violation struct {
	Rule     Rule
	Text     string    // one sentence
	Messages []Message // concerned
	Proof    []Event   // in their order
}

// String is the sentence and its proof, one event a line.
func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", v.Rule, v.Text)
	for i := range v.Proof {
		fmt.Fprintf(&b, "\n\t%s", &v.Proof[i])
	}
	return b.String()
}

// Check tells what of a history breaks a promise. A history that has no End is judged as if it ended with its last event.
func Check(events []Event) []Violation {
	c := &check{book: newBook(events)}
	for _, name := range c.names {
		cl := c.clients[name]
		c.sessions(cl)
		c.receive(cl)
	}
	c.strays()
	for _, name := range c.names {
		cl := c.clients[name]
		c.lost(cl)
		c.doubled(cl)
		c.order(cl)
	}
	c.groups()
	c.retained()
	c.unanswered()
	return c.found
}

// Figures are the size of a history and what it shows.
type Figures struct {
	Published    int // messages
	Acknowledged int
	Refused      int // by a reason code
	Received     int // PUBLISH packets
	Kills        int // broker ends, of any kind
	Lost         int // acknowledged messages that somebody lost
	Doubled      int // messages that somebody got once too often
	Other        int // violations of other rules
}

// Count sums up a history and its violations.
func Count(events []Event, found []Violation) Figures {
	b := newBook(events)
	f := Figures{Published: len(b.sent), Kills: len(b.downs)}
	for _, m := range b.sent {
		if m.taken != never {
			f.Acknowledged++
		}
		if m.refused != never {
			f.Refused++
		}
	}
	for i := range b.events {
		if b.events[i].Kind == Received {
			f.Received++
		}
	}
	lost, doubled := map[Message]bool{}, map[Message]bool{}
	for _, v := range found {
		switch v.Rule {
		case Lost, LostSubscription:
			for _, m := range v.Messages {
				lost[m] = true
			}
		case Doubled:
			for _, m := range v.Messages {
				doubled[m] = true
			}
		default:
			f.Other++
		}
	}
	f.Lost, f.Doubled = len(lost), len(doubled)
	return f
}

// check is a book being judged.
type check struct {
	*book
	found []Violation
}

// say notes a violation; proof are moments, those that never came are left out.
func (c *check) say(rule Rule, about []Message, proof []int, format string, args ...any) {
	v := Violation{Rule: rule, Text: fmt.Sprintf(format, args...), Messages: about}
	slices.Sort(proof)
	for _, i := range slices.Compact(proof) {
		if i >= 0 && i < len(c.events) {
			v.Proof = append(v.Proof, c.events[i])
		}
	}
	c.found = append(c.found, v)
}

// sessions: a session that was granted is there until the client asks for a new one, and not before it was asked for.
func (c *check) sessions(cl *client) {
	first, granted, calling := never, never, never
	for _, i := range cl.events {
		switch e := &c.events[i]; e.Kind {
		case Connecting:
			calling, first = i, min(first, i)
			if e.Clean { // whether it was answered or not: the old one may be gone
				granted = never
			}
		case Connected:
			switch {
			case e.Clean && e.Present:
				c.say(Session, nil, []int{calling, i}, "%s asked for a new session and got an old one", cl.id)
			case !e.Clean && !e.Present && granted != never:
				c.say(Session, nil, []int{granted, calling, i}, "%s came back to its session, and it was not there", cl.id)
			case e.Present && first == calling:
				c.say(Session, nil, []int{calling, i}, "%s had never been there and got a session that was", cl.id)
			}
			granted = i
		}
	}
}

// unanswered: given the time to finish, every message was.
func (c *check) unanswered() {
	renewed := map[string]int{} // when a publisher last found its session gone, and forgot what was under way
	for i := range c.events {
		e := &c.events[i]
		if e.Kind == Connected && !e.Present {
			renewed[e.Client] = i
		}
		if (e.Kind == Puback || e.Kind == Pubrec || e.Kind == Pubcomp) && c.messages[e.Message] == nil {
			c.say(Content, nil, []int{i}, "the broker answered %s with %s #%d what was not asked", e.Client, e.Kind, e.ID)
		}
	}
	if !c.ended {
		return
	}
	for _, m := range c.sent {
		last := m.sends[len(m.sends)-1]
		if m.qos == 0 || m.done != never || renewed[c.events[last].Client] > last {
			continue
		}
		c.say(Unanswered, []Message{m.name}, []int{m.sends[0], last, m.taken}, "%s at QoS %d was sent %d times and the exchange never came to its end", m.name, m.qos, len(m.sends))
	}
}
