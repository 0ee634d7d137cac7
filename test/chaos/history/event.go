// Package history keeps what clients of a broker saw, and judges it: what was acknowledged must be there, once where
// once was promised, in order, and nothing else. It is pure: it talks to no broker, and knows none.
package history

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Kind says what happened.
type Kind uint8

// What a client or the driver of a run can tell. An event that the broker may react to is recorded before the
// client writes, one that the broker caused after the client has read: so the order of a log is never stronger than
// what really happened.
const (
	// Connecting: a CONNECT goes out. Clean tells that it asks for a new session; a client whose session ends with its
	// connection always does.
	Connecting Kind = iota + 1
	// Connected: CONNACK with success came. Present is its flag, Clean what was asked for.
	Connected
	// Disconnecting: a DISCONNECT goes out, after which the client closes.
	Disconnecting
	// Closed: the connection ended otherwise, or the client let go of it.
	Closed

	// Publish: a PUBLISH goes out, the first time or again (Dup).
	Publish
	// Puback, Pubrec and Pubcomp came from the broker, with Reason. Message is what the client knows to be meant.
	Puback
	Pubrec
	Pubcomp

	// Received: a PUBLISH came from the broker. Fault tells what is wrong with its payload.
	Received
	// Acking: a PUBACK goes out.
	Acking
	// Recording: a PUBREC goes out.
	Recording
	// Released: a PUBREL came from the broker.
	Released
	// Completing: a PUBCOMP goes out.
	Completing

	// Subscribe and Unsubscribe go out; Topic is the filter, QoS what is asked for.
	Subscribe
	// Subscribed: its answer came, with Reason.
	Subscribed
	// Unsubscribe goes out.
	Unsubscribe
	// Unsubscribed: its answer came, with Reason.
	Unsubscribed

	// Pinging: a PINGREQ goes out.
	Pinging
	// Pinged: a PINGRESP came.
	Pinged

	// Reading: a client with a session of its own begins to ask for the retained message of Topic.
	Reading
	// Read: it has the answer: Message, Deleted for none. Settled tells that nobody wrote meanwhile.
	Read

	// Down: the broker's process is gone, Topic tells how. Clean tells that it ended in good order.
	Down
	// Up: it takes connections (again).
	Up
	// Faulty: its disk begins to fail, Topic tells how.
	Faulty
	// Healed: the disk is well again.
	Healed
	// End: everybody was given the time to finish. Nothing counts behind it.
	End
)

var kinds = [...]string{
	Connecting: "CONNECT", Connected: "CONNACK", Disconnecting: "DISCONNECT", Closed: "connection lost",
	Publish: "PUBLISH", Puback: "PUBACK", Pubrec: "PUBREC", Pubcomp: "PUBCOMP",
	Received: "received", Acking: "sent PUBACK", Recording: "sent PUBREC", Released: "PUBREL", Completing: "sent PUBCOMP",
	Subscribe: "SUBSCRIBE", Subscribed: "SUBACK", Unsubscribe: "UNSUBSCRIBE", Unsubscribed: "UNSUBACK",
	Pinging: "PINGREQ", Pinged: "PINGRESP", Reading: "asks for retained", Read: "retained",
	Down: "broker down", Up: "broker up", Faulty: "disk fault", Healed: "disk healed", End: "end",
}

// String is what people read.
func (k Kind) String() string { return kinds[k] }

// Message names one application message: every publisher counts its own from 1. The zero value is none, or
// one without a payload.
type Message struct {
	Publisher string
	Number    int
}

// String is publisher/number.
func (m Message) String() string {
	if m == (Message{}) {
		return "(empty)"
	}
	return fmt.Sprintf("%s/%d", m.Publisher, m.Number)
}

// Event is one thing that happened; Kind says which fields count.
type Event struct {
	Kind    Kind
	Client  string // client id; empty for what concerns the broker
	Conn    int    // the client's connections count from 1
	At      time.Duration
	ID      uint16 // packet identifier
	QoS     mqtt.QoS
	Dup     bool
	Retain  bool
	Clean   bool
	Present bool
	Deleted bool // the payload is empty: a retained message is removed
	Settled bool
	Reason  mqtt.ReasonCode
	Message Message
	Topic   string // or filter
	Fault   string
}

// String is one line for people.
func (e *Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.3fs", e.At.Seconds())
	if e.Client != "" {
		fmt.Fprintf(&b, " %s.%d", e.Client, e.Conn)
	}
	fmt.Fprintf(&b, " %s", e.Kind)
	if e.ID != 0 {
		fmt.Fprintf(&b, " #%d", e.ID)
	}
	if e.Message != (Message{}) {
		fmt.Fprintf(&b, " %s", e.Message)
	}
	if e.Topic != "" {
		fmt.Fprintf(&b, " %s", e.Topic)
	}
	switch e.Kind {
	case Publish, Received, Subscribe:
		fmt.Fprintf(&b, " QoS %d", e.QoS)
	case Connected:
		fmt.Fprintf(&b, " session present %t", e.Present)
	}
	for _, flag := range []struct {
		set  bool
		name string
	}{{e.Dup, "DUP"}, {e.Retain, "RETAIN"}, {e.Clean, "clean"}, {e.Deleted, "empty"}, {e.Settled, "settled"}, {e.Fault != "", e.Fault}} {
		if flag.set {
			b.WriteString(" " + flag.name)
		}
	}
	if e.Reason != mqtt.Success {
		fmt.Fprintf(&b, " (%s)", e.Reason)
	}
	return b.String()
}

// Log collects the events of a run, in one order for all clients. Its zero value is not usable.
type Log struct {
	began time.Time

	mu     sync.Mutex
	events []Event
}

// NewLog begins a history.
func NewLog() *Log { return &Log{began: time.Now()} }

// Add records an event, and when.
func (l *Log) Add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.At = time.Since(l.began)
	l.events = append(l.events, e)
}

// Events is the history so far. It is not to be changed.
func (l *Log) Events() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events[:len(l.events):len(l.events)]
}
