package clients

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// message is an application message as the clients give and take it.
type message struct {
	Topic   string `json:"topic"`
	Payload string `json:"payload"`
	QoS     byte   `json:"qos"`
	Retain  bool   `json:"retain"`
	properties
}

// properties are those of MQTT 5; all zero in older versions.
type properties struct {
	User        map[string][]string `json:"user,omitempty"`
	ContentType string              `json:"contentType,omitempty"`
	Response    string              `json:"response,omitempty"`
	Correlation string              `json:"correlation,omitempty"`
	Expiry      uint32              `json:"expiry,omitempty"` // seconds, 0 for none
	Text        bool                `json:"text,omitempty"`   // payload format indicator 1
	Alias       uint16              `json:"alias,omitempty"`  // topic alias that was on the wire
}

// options are how a test wants to be connected.
type options struct {
	addr      string
	door      string // how the address is reached, "" for tcp
	id        string
	user      string
	password  string
	aliases   uint16 // topic aliases that it takes, where the client can
	keep      bool   // take the session that is there, and let it outlive the connection
	reconnect bool   // as often as the connection breaks
	will      *message
	told      func(reason byte) // the reason of the broker's DISCONNECT
	receive   func(message)     // where messages go, if not to the conn
}

// outcome is how a publication ended: with QoS 1 and 2 once it is acknowledged.
type outcome struct {
	code byte // reason code, 0 before MQTT 5
	err  error
}

// client is one connected client of any make.
type client interface {
	present() bool // the broker had a session
	subscribe(filter string, qos byte) (code byte, err error)
	unsubscribe(filter string) error
	publish(m message) <-chan outcome // in the order of the calls
	close() error                     // with DISCONNECT
}

// kind is one make of client speaking one version of the protocol.
type kind struct {
	name       string
	version    byte // 3, 4 or 5, as in CONNECT
	reconnects bool
	orderly    bool // publishes in order and QoS 2 exactly once, also when connections break
	atRelease  bool // hands on a QoS 2 message at its PUBREL, so after a QoS 1 message that was sent later
	doors      []string
	dial       func(ctx context.Context, version byte, o options) (client, error)
}

// Each has the doors that it is tried at; what a door has no part in is tried at the first one only.
//
// paho.mqtt.golang 1.5.1 does not keep its PUBRELs, so after a lost PUBCOMP it publishes once more
// what was complete; and what it repeats after a reconnection it mixes with what is new.
func kinds() []kind {
	return []kind{
		{"paho.mqtt.golang/3.1", 3, true, false, false, []string{"tcp"}, dialPaho3},
		{"paho.mqtt.golang/3.1.1", 4, true, false, false, []string{"tcp", "mqtts", "ws"}, dialPaho3},
		{"paho.golang/5", 5, false, false, false, []string{"tcp"}, dialPaho5},
		{"autopaho/5", 5, true, true, false, []string{"tcp", "wss"}, dialAutopaho},
		{"mqtt.js/3.1", 3, true, true, true, []string{"ws"}, dialJS},
		{"mqtt.js/3.1.1", 4, true, true, true, []string{"tcp", "mqtts"}, dialJS},
		{"mqtt.js/5", 5, true, true, true, []string{"tcp", "wss"}, dialJS},
	}
}

// each runs a test with every kind of client, against a broker of its own.
func each(t *testing.T, test func(t *testing.T, b *bench)) {
	eachOf(t, func(k *kind) bool { k.doors = k.doors[:1]; return true }, test)
}

// eachDoor is each through all the doors that the client is tried at.
func eachDoor(t *testing.T, test func(t *testing.T, b *bench)) {
	eachOf(t, func(*kind) bool { return true }, test)
}

// eachOf is each with the kinds that can do what the test is about.
func eachOf(t *testing.T, can func(*kind) bool, test func(t *testing.T, b *bench)) {
	for _, k := range kinds() {
		if !can(&k) {
			continue
		}
		for _, door := range k.doors {
			t.Run(k.name+" "+door, func(t *testing.T) {
				t.Parallel()
				test(t, &bench{t: t, kind: k, door: door, broker: startDoor(t, door)})
			})
		}
	}
}

// bench is one test's broker and kind of client.
type bench struct {
	t *testing.T
	kind
	door   string
	broker string
}

// conn is a client, the proxy that it goes through and what it received.
type conn struct {
	client
	kind
	t  *testing.T
	id string
	by *proxy
	in chan message
}

// dial connects, through a proxy with the planned faults.
func (b *bench) dial(o options, plan ...fault) *conn {
	b.t.Helper()
	c := &conn{kind: b.kind, t: b.t, id: o.id, by: startProxy(b.t, b.broker, behind(b.door, plan)...), in: make(chan message, 10000)}
	o.addr, o.door = c.by.addr, b.door
	if o.receive == nil {
		o.receive = func(m message) { c.in <- m }
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	if c.client, err = b.kind.dial(ctx, b.version, o); err != nil {
		b.t.Fatalf("%s does not connect: %v", o.id, err)
	}
	b.t.Cleanup(func() { c.client.close() })
	return c
}

// subscribed asks for a filter and wants it granted.
func (c *conn) subscribed(filter string, qos byte) {
	c.t.Helper()
	code, err := c.subscribe(filter, qos)
	if err != nil || code != qos {
		c.t.Fatalf("%s: subscribe to %s with QoS %d: code %d, error %v", c.id, filter, qos, code, err)
	}
}

// published waits until the messages are acknowledged.
func (c *conn) published(messages ...message) {
	c.t.Helper()
	outcomes := make([]<-chan outcome, len(messages))
	for i, m := range messages {
		outcomes[i] = c.publish(m)
	}
	for i, o := range outcomes {
		if r := c.await(o); r.err != nil || r.code >= 0x80 {
			c.t.Fatalf("%s: publish %+v: code %#x, error %v", c.id, messages[i], r.code, r.err)
		}
	}
}

func (c *conn) await(o <-chan outcome) outcome {
	c.t.Helper()
	select {
	case r := <-o:
		return r
	case <-time.After(patience):
		c.t.Fatalf("%s: a publication was never acknowledged", c.id)
		return outcome{}
	}
}

// next is the next message.
func (c *conn) next() message {
	c.t.Helper()
	select {
	case m := <-c.in:
		return m
	case <-time.After(patience):
		c.t.Fatalf("%s: no message within %v", c.id, patience)
		return message{}
	}
}

// gets wants exactly these messages next, in this order, apart from what the kind of client does to it
// and from the topic aliases.
func (c *conn) gets(want ...message) {
	c.t.Helper()
	got := make([]message, len(want))
	for i := range got {
		got[i] = c.next()
		got[i].Alias = 0
	}
	if c.atRelease {
		byQoS := func(a, b message) int { return int(a.QoS) - int(b.QoS) }
		want = slices.Clone(want)
		slices.SortStableFunc(want, byQoS)
		slices.SortStableFunc(got, byQoS)
	}
	for i := range want {
		if fmt.Sprint(got[i]) != fmt.Sprint(want[i]) {
			c.t.Fatalf("%s: message %d of %d is\n%+v, want\n%+v", c.id, i+1, len(want), got[i], want[i])
		}
	}
}

// closed ends the connection properly.
func (c *conn) closed() {
	c.t.Helper()
	if err := c.close(); err != nil {
		c.t.Fatalf("%s: close: %v", c.id, err)
	}
}

// lost ends the connection without DISCONNECT, and waits for the client to give up.
func (c *conn) lost() {
	c.by.down()
	c.close()
}

// numbered makes n messages for one topic, with their number as payload.
func numbered(topic string, n int, qos func(i int) byte) []message {
	all := make([]message, n)
	for i := range all {
		all[i] = message{Topic: topic, Payload: fmt.Sprintf("%06d %s", i, strings.Repeat("x", 20)), QoS: qos(i)}
	}
	return all
}
