package history

import (
	"slices"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// story writes a history by hand.
type story struct {
	events []Event
	conn   map[string]int
	topics map[Message]string
}

func (s *story) add(e Event) {
	e.Conn = s.conn[e.Client]
	s.events = append(s.events, e)
}

// connect is a whole handshake.
func (s *story) connect(client string, clean, present bool) {
	s.conn[client]++
	s.add(Event{Kind: Connecting, Client: client, Clean: clean})
	s.add(Event{Kind: Connected, Client: client, Clean: clean, Present: present})
}

// back comes back to a session after the connection was lost.
func (s *story) back(client string) {
	s.add(Event{Kind: Closed, Client: client})
	s.connect(client, false, true)
}

func (s *story) subscribe(client, filter string, qos mqtt.QoS) {
	s.add(Event{Kind: Subscribe, Client: client, ID: 9, Topic: filter, QoS: qos})
	s.add(Event{Kind: Subscribed, Client: client, ID: 9, Topic: filter, QoS: qos})
}

func (s *story) unsubscribe(client, filter string) {
	s.add(Event{Kind: Unsubscribe, Client: client, ID: 9, Topic: filter})
	s.add(Event{Kind: Unsubscribed, Client: client, ID: 9, Topic: filter})
}

// send is a PUBLISH of p without an answer. The packet identifier is the message's number.
func (s *story) send(n int, topic string, qos mqtt.QoS) {
	m := Message{"p", n}
	_, again := s.topics[m]
	s.topics[m] = topic
	s.add(Event{Kind: Publish, Client: "p", ID: uint16(n), QoS: qos, Topic: topic, Message: m, Dup: again, Retain: strings.HasPrefix(topic, "r/")})
}

func (s *story) puback(n int, reason mqtt.ReasonCode) {
	s.add(Event{Kind: Puback, Client: "p", ID: uint16(n), Message: Message{"p", n}, Reason: reason})
}

func (s *story) pubrec(n int) {
	s.add(Event{Kind: Pubrec, Client: "p", ID: uint16(n), Message: Message{"p", n}})
}

func (s *story) pubcomp(n int) {
	s.add(Event{Kind: Pubcomp, Client: "p", ID: uint16(n), Message: Message{"p", n}})
}

// publish is a whole exchange.
func (s *story) publish(n int, topic string, qos mqtt.QoS) {
	s.send(n, topic, qos)
	if qos == 1 {
		s.puback(n, 0)
		return
	}
	s.pubrec(n)
	s.pubcomp(n)
}

// remove deletes a retained message.
func (s *story) remove(n int, topic string) {
	m := Message{"p", n}
	s.add(Event{Kind: Publish, Client: "p", ID: uint16(n), QoS: 1, Topic: topic, Message: m, Retain: true, Deleted: true})
	s.puback(n, 0)
}

// get is a PUBLISH that comes.
func (s *story) get(client string, n int, id uint16, qos mqtt.QoS, dup bool) {
	m := Message{"p", n}
	s.add(Event{Kind: Received, Client: client, ID: id, QoS: qos, Dup: dup, Topic: s.topics[m], Message: m})
}

func (s *story) ack(client string, id uint16) { s.add(Event{Kind: Acking, Client: client, ID: id}) }

// finish is the rest of a QoS 2 exchange.
func (s *story) finish(client string, id uint16) {
	s.add(Event{Kind: Recording, Client: client, ID: id})
	s.add(Event{Kind: Released, Client: client, ID: id})
	s.add(Event{Kind: Completing, Client: client, ID: id})
}

func (s *story) ping(client string) {
	s.add(Event{Kind: Pinging, Client: client})
	s.add(Event{Kind: Pinged, Client: client})
}

// read is a settled look at a retained message; n 0 finds none.
func (s *story) read(topic string, n int) { s.look(topic, n, true) }

func (s *story) look(topic string, n int, settled bool) {
	s.add(Event{Kind: Reading, Client: "r", Topic: topic})
	e := Event{Kind: Read, Client: "r", Topic: topic, Settled: settled}
	if n > 0 {
		e.Message = Message{"p", n}
	}
	s.add(e)
}

func (s *story) kill() {
	s.add(Event{Kind: Down, Topic: "KILL"})
	s.add(Event{Kind: Up})
}

// TestCheck tells stories, good ones and one for every way to break a promise: a checker that cannot fail proves
// nothing.
func TestCheck(t *testing.T) {
	f := func(name string, want Rule, tell func(*story)) {
		t.Helper()
		s := &story{conn: map[string]int{}, topics: map[Message]string{}}
		s.connect("p", false, false)
		s.connect("s", false, false)
		tell(s)
		s.add(Event{Kind: End})
		found := Check(s.events)
		switch {
		case want == "" && len(found) > 0:
			t.Errorf("%s: found %v", name, found)
		case want != "" && len(found) != 1:
			t.Errorf("%s: found %v, want one: %s", name, found, want)
		case want != "" && (found[0].Rule != want || found[0].Text == "" || len(found[0].Proof) == 0):
			t.Errorf("%s: found %v, want %s with proof", name, found, want)
		}
	}

	f("delivered", "", func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 1)
		s.publish(2, "m/a", 2)
		s.get("s", 1, 1, 1, false)
		s.ack("s", 1)
		s.get("s", 2, 2, 2, false)
		s.finish("s", 2)
	})
	f("never delivered", Lost, func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 1)
		s.publish(2, "m/a", 2)
		s.get("s", 1, 1, 1, false)
	})
	f("refused, so not owed", "", func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.send(1, "m/a", 1)
		s.puback(1, mqtt.QuotaExceeded)
	})
	f("published before SUBACK", "", func(s *story) {
		s.add(Event{Kind: Subscribe, Client: "s", Topic: "m/#", QoS: 1})
		s.send(1, "m/a", 1)
		s.add(Event{Kind: Subscribed, Client: "s", Topic: "m/#", QoS: 1})
		s.puback(1, 0)
	})
	f("lost with the session", LostSubscription, func(s *story) {
		s.subscribe("s", "m/#", 1)
		s.kill()
		for n := range 3 {
			s.publish(n+1, "m/a", 1)
		}
	})
	f("unsubscribed", "", func(s *story) {
		s.subscribe("s", "m/#", 1)
		s.unsubscribe("s", "m/#")
		s.publish(1, "m/a", 1)
	})
	f("a new session forgets", "", func(s *story) {
		s.subscribe("s", "m/#", 1)
		s.connect("s", true, false)
		s.publish(1, "m/a", 1)
	})
	f("came after UNSUBACK", Ghost, func(s *story) {
		s.subscribe("s", "m/#", 1)
		s.unsubscribe("s", "m/#")
		s.publish(1, "m/a", 1)
		s.get("s", 1, 1, 1, false)
	})
	f("was queued before UNSUBACK", "", func(s *story) {
		s.subscribe("s", "m/#", 1)
		s.publish(1, "m/a", 1)
		s.unsubscribe("s", "m/#")
		s.get("s", 1, 1, 1, false)
	})
	f("UNSUBSCRIBE without an answer", "", func(s *story) {
		s.subscribe("s", "m/#", 1)
		s.add(Event{Kind: Unsubscribe, Client: "s", Topic: "m/#"})
		s.kill()
		s.publish(1, "m/a", 1)
		s.get("s", 1, 1, 1, false)
	})
	f("refused, but granted before", "", func(s *story) {
		s.add(Event{Kind: Subscribe, Client: "s", Topic: "m/#", QoS: 1})
		s.back("s")
		s.add(Event{Kind: Subscribe, Client: "s", Topic: "m/#", QoS: 1})
		s.add(Event{Kind: Subscribed, Client: "s", Topic: "m/#", Reason: mqtt.QuotaExceeded})
		s.publish(1, "m/a", 1)
		s.get("s", 1, 1, 1, false)
	})
	f("refused", Ghost, func(s *story) {
		s.add(Event{Kind: Subscribe, Client: "s", Topic: "m/#", QoS: 1})
		s.add(Event{Kind: Subscribed, Client: "s", Topic: "m/#", Reason: mqtt.QuotaExceeded})
		s.publish(1, "m/a", 1)
		s.get("s", 1, 1, 1, false)
	})
	f("came from the old session", Ghost, func(s *story) {
		s.subscribe("s", "m/#", 1)
		s.connect("s", true, false)
		s.publish(1, "m/a", 1)
		s.get("s", 1, 1, 1, false)
	})

	f("QoS 2 resent before PUBREL", "", func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 2)
		s.get("s", 1, 1, 2, false)
		s.kill()
		s.back("s")
		s.get("s", 1, 1, 2, true)
		s.finish("s", 1)
	})
	f("QoS 2 resent as if new", NoDup, func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 2)
		s.get("s", 1, 1, 2, false)
		s.back("s")
		s.get("s", 1, 1, 2, false)
	})
	f("QoS 2 resent after PUBREL", Doubled, func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 2)
		s.get("s", 1, 1, 2, false)
		s.finish("s", 1)
		s.kill()
		s.back("s")
		s.get("s", 1, 1, 2, true)
	})
	f("QoS 2 under two identifiers", Doubled, func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 2)
		s.get("s", 1, 1, 2, false)
		s.get("s", 1, 2, 2, false)
	})
	f("QoS 2 taken twice from its publisher", Doubled, func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.send(1, "m/a", 2)
		s.kill()
		s.back("p")
		s.publish(1, "m/a", 2)
		s.get("s", 1, 1, 2, false)
		s.finish("s", 1)
		s.get("s", 1, 2, 2, false)
	})
	f("QoS 1 taken twice from its publisher", "", func(s *story) {
		s.subscribe("s", "m/#", 1)
		s.send(1, "m/a", 1)
		s.kill()
		s.back("p")
		s.publish(1, "m/a", 1)
		s.get("s", 1, 1, 1, false)
		s.ack("s", 1)
		s.get("s", 1, 2, 1, false)
	})
	f("QoS 1 unacknowledged comes again", "", func(s *story) {
		s.subscribe("s", "m/#", 1)
		s.publish(1, "m/a", 1)
		s.get("s", 1, 1, 1, false)
		s.back("s")
		s.get("s", 1, 1, 1, true)
		s.ack("s", 1)
		s.kill()
		s.back("s")
		s.get("s", 1, 1, 1, true)
	})
	f("QoS 1 twice on one connection", Doubled, func(s *story) {
		s.subscribe("s", "m/#", 1)
		s.publish(1, "m/a", 1)
		s.get("s", 1, 1, 1, false)
		s.ack("s", 1)
		s.get("s", 1, 2, 1, false)
	})
	f("QoS 1 twice before it was answered", Doubled, func(s *story) {
		s.subscribe("s", "m/#", 1)
		s.publish(1, "m/a", 1)
		s.get("s", 1, 1, 1, false)
		s.get("s", 1, 1, 1, true)
	})
	f("QoS 1 again though the broker knew", Doubled, func(s *story) {
		s.subscribe("s", "m/#", 1)
		s.publish(1, "m/a", 1)
		s.get("s", 1, 1, 1, false)
		s.ack("s", 1)
		s.ping("s")
		s.back("s")
		s.get("s", 1, 1, 1, true)
	})
	f("QoS 1 again: the broker knew, but was killed", "", func(s *story) {
		s.subscribe("s", "m/#", 1)
		s.publish(1, "m/a", 1)
		s.get("s", 1, 1, 1, false)
		s.ack("s", 1)
		s.ping("s")
		s.kill()
		s.back("s")
		s.get("s", 1, 1, 1, true)
	})
	f("QoS 1 again though it was on disk", Doubled, func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 1)
		s.publish(2, "m/a", 2)
		s.get("s", 1, 1, 1, false)
		s.get("s", 2, 2, 2, false)
		s.ack("s", 1)
		s.finish("s", 2)
		s.kill()
		s.back("s")
		s.get("s", 1, 1, 1, true)
	})
	f("QoS 1 again: the disk failed as it was acknowledged", "", func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 1)
		s.publish(2, "m/a", 2)
		s.get("s", 1, 1, 1, false)
		s.get("s", 2, 2, 2, false)
		s.add(Event{Kind: Faulty, Topic: "EIO"})
		s.ack("s", 1)
		s.add(Event{Kind: Healed})
		s.finish("s", 2)
		s.kill()
		s.back("s")
		s.get("s", 1, 1, 1, true)
	})
	f("two subscriptions, two copies", "", func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.subscribe("s", "+/a", 2)
		s.publish(1, "m/a", 2)
		s.get("s", 1, 1, 2, false)
		s.get("s", 1, 2, 2, false)
	})

	f("later first", Order, func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 1)
		s.publish(2, "m/a", 2)
		s.get("s", 2, 1, 2, false)
		s.get("s", 1, 2, 1, false)
	})
	f("another topic may come first", "", func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 1)
		s.publish(2, "m/b", 2)
		s.get("s", 2, 1, 2, false)
		s.get("s", 1, 2, 1, false)
	})
	f("resent out of order", Order, func(s *story) {
		s.subscribe("s", "m/#", 1)
		s.publish(1, "m/a", 1)
		s.publish(2, "m/a", 1)
		s.get("s", 1, 1, 1, false)
		s.get("s", 2, 2, 1, false)
		s.back("s")
		s.get("s", 2, 2, 1, true)
		s.get("s", 1, 1, 1, true)
	})
	refusedOnce := func(fault bool) func(s *story) {
		return func(s *story) {
			s.subscribe("s", "m/#", 1)
			if fault {
				s.add(Event{Kind: Faulty, Topic: "full"})
			}
			s.send(1, "m/a", 1)
			s.send(2, "m/a", 1)
			s.back("p")
			s.publish(1, "m/a", 1)
			s.publish(2, "m/a", 1)
			s.get("s", 2, 1, 1, false)
			s.get("s", 1, 2, 1, false)
			s.get("s", 2, 3, 1, false)
		}
	}
	f("sent again by its publisher, and subscribed to in between", "", func(s *story) {
		s.send(1, "m/a", 1)
		s.subscribe("s", "m/#", 1)
		s.send(2, "m/a", 1)
		s.get("s", 2, 1, 1, false)
		s.back("p")
		s.publish(1, "m/a", 1)
		s.publish(2, "m/a", 1)
		s.get("s", 1, 2, 1, false)
		s.get("s", 2, 3, 1, false)
	})
	f("sent again by its publisher: no excuse", Order, refusedOnce(false))
	f("sent again by its publisher, for the disk was full", "", refusedOnce(true))

	f("identifier given again", PacketID, func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 2)
		s.publish(2, "m/a", 2)
		s.get("s", 1, 1, 2, false)
		s.back("s")
		s.get("s", 2, 1, 2, false)
	})
	f("identifier given again between PUBREL and PUBCOMP", PacketID, func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 2)
		s.publish(2, "m/a", 2)
		s.get("s", 1, 1, 2, false)
		s.add(Event{Kind: Recording, Client: "s", ID: 1})
		s.add(Event{Kind: Released, Client: "s", ID: 1})
		s.get("s", 2, 1, 2, false)
	})
	givenUp := func(s *story) { // for a new session, and no answer comes
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 2)
		s.get("s", 1, 1, 2, false)
		s.conn["s"]++
		s.add(Event{Kind: Connecting, Client: "s", Clean: true})
		s.kill()
		s.back("s")
	}
	f("the session that was given up is still there", "", func(s *story) {
		givenUp(s)
		s.get("s", 1, 1, 2, true)
		s.finish("s", 1)
	})
	f("the session that was given up is another", "", func(s *story) {
		givenUp(s)
		s.subscribe("s", "m/#", 2)
		s.publish(2, "m/a", 2)
		s.get("s", 2, 1, 2, false)
		s.finish("s", 1)
	})
	f("identifier free again", "", func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 2)
		s.publish(2, "m/a", 2)
		s.get("s", 1, 1, 2, false)
		s.finish("s", 1)
		s.get("s", 2, 1, 2, false)
	})

	f("session gone", Session, func(s *story) {
		s.kill()
		s.connect("s", false, false)
	})
	f("session there", "", func(s *story) {
		s.kill()
		s.connect("s", false, true)
		s.connect("s", true, false)
	})
	f("a new session was asked for, without an answer", "", func(s *story) {
		s.add(Event{Kind: Connecting, Client: "s", Clean: true})
		s.connect("s", false, false)
	})
	f("session that should be new", Session, func(s *story) { s.connect("s", true, true) })
	f("session from nowhere", Session, func(s *story) { s.connect("t", false, true) })
	f("CONNACK lost", "", func(s *story) {
		s.add(Event{Kind: Connecting, Client: "t"})
		s.connect("t", false, true)
	})

	f("nobody's message", Content, func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.add(Event{Kind: Received, Client: "s", ID: 1, QoS: 1, Topic: "m/a", Message: Message{"p", 7}})
	})
	f("another topic", Content, func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 1)
		s.add(Event{Kind: Received, Client: "s", ID: 1, QoS: 1, Topic: "m/b", Message: Message{"p", 1}})
	})
	f("corrupted", Content, func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.add(Event{Kind: Received, Client: "s", ID: 1, QoS: 1, Topic: "m/b", Fault: "fails its checksum"})
	})
	f("higher QoS", Content, func(s *story) {
		s.subscribe("s", "m/#", 2)
		s.publish(1, "m/a", 1)
		s.get("s", 1, 1, 2, false)
	})
	f("answer to nothing", Content, func(s *story) { s.add(Event{Kind: Puback, Client: "p", ID: 3}) })

	f("exchange left open", Unanswered, func(s *story) {
		s.send(1, "m/a", 2)
		s.pubrec(1)
	})
	f("exchange forgotten with a lost session", Session, func(s *story) {
		s.send(1, "m/a", 2)
		s.connect("p", false, false)
	})

	f("group member gets it", "", func(s *story) {
		s.subscribe("s", "$share/g/m/#", 2)
		s.connect("t", false, false)
		s.subscribe("t", "$share/g/m/#", 2)
		s.publish(1, "m/a", 2)
		s.publish(2, "m/a", 2)
		s.get("t", 2, 1, 2, false)
		s.get("s", 1, 1, 2, false)
	})
	f("no group member gets it", Lost, func(s *story) {
		s.subscribe("s", "$share/g/m/#", 2)
		s.publish(1, "m/a", 2)
	})
	f("both group members get it", Doubled, func(s *story) {
		s.subscribe("s", "$share/g/m/#", 2)
		s.connect("t", false, false)
		s.subscribe("t", "$share/g/m/#", 2)
		s.publish(1, "m/a", 2)
		s.get("s", 1, 1, 2, false)
		s.get("t", 1, 1, 2, false)
	})

	f("retained", "", func(s *story) {
		s.read("r/1", 0)
		s.publish(1, "r/1", 1)
		s.read("r/1", 1)
		s.publish(2, "r/1", 2)
		s.kill()
		s.read("r/1", 2)
		s.remove(3, "r/1")
		s.read("r/1", 0)
	})
	f("retained lost", Retained, func(s *story) {
		s.publish(1, "r/1", 1)
		s.look("r/1", 0, false)
	})
	f("retained old", Retained, func(s *story) {
		s.publish(1, "r/1", 1)
		s.publish(2, "r/1", 1)
		s.look("r/1", 1, false)
	})
	f("retained and corrupted", Retained, func(s *story) {
		s.add(Event{Kind: Read, Client: "r", Topic: "r/1", Fault: "fails its checksum"})
	})
	f("retained deletion forgotten", Retained, func(s *story) {
		s.publish(1, "r/1", 1)
		s.remove(2, "r/1")
		s.kill()
		s.look("r/1", 1, false)
	})
	f("retained: either of two at once, or the unacknowledged", "", func(s *story) {
		s.send(1, "r/1", 1)
		s.send(2, "r/1", 1)
		s.puback(2, 0)
		s.puback(1, 0)
		s.read("r/1", 1)
		s.send(3, "r/1", 1)
		s.kill()
		s.read("r/1", 3)
		s.back("p")
		s.publish(3, "r/1", 1)
	})
	f("retained: first one, then the other of two at once", Retained, func(s *story) {
		s.send(1, "r/1", 1)
		s.send(2, "r/1", 1)
		s.puback(2, 0)
		s.puback(1, 0)
		s.read("r/1", 1)
		s.kill()
		s.read("r/1", 2)
	})
	f("retained: unacknowledged before the kill, replaced after it", Retained, func(s *story) {
		s.send(1, "r/1", 1)
		s.kill()
		s.connect("p", false, false) // forgets
		s.publish(2, "r/1", 1)
		s.look("r/1", 1, false)
		s.events = slices.DeleteFunc(s.events, func(e Event) bool { return e.Kind == Connected && e.Client == "p" && e.Conn == 1 })
	})
}

// TestCount: a message that two subscribers lost is one message.
func TestCount(t *testing.T) {
	s := &story{conn: map[string]int{}, topics: map[Message]string{}}
	for _, client := range []string{"p", "s", "t"} {
		s.connect(client, false, false)
		s.subscribe(client, "m/#", 1)
	}
	s.publish(1, "m/a", 1)
	s.kill()
	s.get("s", 1, 1, 1, false)
	s.send(2, "m/a", 1)
	s.add(Event{Kind: End})
	got := Count(s.events, Check(s.events))
	if want := (Figures{Published: 2, Acknowledged: 1, Received: 1, Kills: 1, Lost: 1, Other: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestPayload: every changed byte is seen, and so is another topic.
func TestPayload(t *testing.T) {
	for _, size := range []int{0, 100, 5000} {
		want := Message{"pub-1", 42}
		b := AppendPayload(nil, "m/a", want, size)
		if m, fault := ParsePayload("m/a", b); m != want || fault != "" || size > 0 && len(b) != size {
			t.Errorf("size %d: got %v, %q, %d bytes", size, m, fault, len(b))
		}
		if _, fault := ParsePayload("m/b", b); fault == "" {
			t.Error("another topic is not seen")
		}
		for i := range b {
			b[i] ^= 1
			if _, fault := ParsePayload("m/a", b); fault == "" {
				t.Errorf("a change of byte %d of %d is not seen", i, len(b))
			}
			b[i] ^= 1
		}
	}
	if m, fault := ParsePayload("m/a", nil); m != (Message{}) || fault != "" {
		t.Errorf("empty: %v, %q", m, fault)
	}
}

// TestEventText: what proves a violation can be read.
func TestEventText(t *testing.T) {
	e := Event{Kind: Received, Client: "s", Conn: 2, ID: 7, QoS: 1, Dup: true, Topic: "m/a", Message: Message{"p", 1}}
	if got, want := e.String(), "0.000s s.2 received #7 p/1 m/a QoS 1 DUP"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
