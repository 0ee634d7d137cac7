package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/test/chaos/history"
)

// client plays a role: it holds the client's half of a session, over as many connections as it takes. All of it
// belongs to its goroutine but state.
type client struct {
	role
	l   *Load
	rng *rand.Rand

	// The session.
	out      []*flight                  // messages under way, in the order in which they went out first
	number   int                        // of the last message
	received map[uint16]history.Message // QoS 2 messages that came and are not released
	has      map[string]bool            // subscriptions that were acknowledged
	asked    map[string]bool            // toggles: what was asked for last; absent = nothing ever

	// The connection.
	conn    net.Conn
	conns   int // so far
	buf     []byte
	owed    []mqtt.Packet // acknowledgements to be sent
	calls   map[uint16]call
	nextID  uint16 // of calls: above those of messages
	heard   time.Time
	written bool // something went out since the last PINGREQ
	pinging bool

	round uint64 // of Settle that it has heard of on this connection
	state atomic.Pointer[state]
}

// state is what a client says of itself.
type state struct {
	round uint64
	why   string // it is busy; "" = it is not
}

// flight is a message on its way to the broker.
type flight struct {
	letter
	id       uint16
	message  history.Message
	recorded bool // PUBREC came: only PUBREL is to be sent
	sent     bool // before, so that it is a DUP
}

// call is a SUBSCRIBE or UNSUBSCRIBE without an answer.
type call struct {
	filter string
	join   bool
}

func newClient(l *Load, r role, rng *rand.Rand) *client {
	c := &client{role: r, l: l, rng: rng}
	c.forget()
	c.tell("has not connected yet")
	return c
}

// forget begins a session.
func (c *client) forget() {
	c.out, c.received, c.has, c.asked = nil, map[uint16]history.Message{}, map[string]bool{}, map[string]bool{}
}

func (c *client) tell(why string) { c.state.Store(&state{c.round, why}) }

// busy tells why the client is not done with this round, "" when it is.
func (c *client) busy() string {
	s := c.state.Load()
	if s.why == "" && s.round != c.l.round.Load() {
		return "has not been asked whether it is done"
	}
	return s.why
}

func (c *client) log(e history.Event) {
	e.Client, e.Conn = c.id, c.conns
	c.l.o.Log.Add(e)
}

// run connects again and again.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		conn, err := c.l.o.Dial()
		if err != nil {
			wait(ctx, time.Duration(3+c.rng.IntN(15))*ms)
			continue
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		c.converse(ctx, conn)
		conn.Close()
		stop()
		c.tell("is not connected")
		away := c.off.choose(c.rng)
		for end := time.Now().Add(away); time.Now().Before(end) && !c.l.calm.Load() && ctx.Err() == nil; {
			wait(ctx, min(away, 10*ms))
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// converse is one connection, from CONNECT to its end.
func (c *client) converse(ctx context.Context, conn net.Conn) {
	c.conns++
	c.conn, c.owed, c.calls, c.buf, c.pinging, c.written, c.round = conn, nil, map[uint16]call{}, c.buf[:0], false, false, 0
	packets := make(chan *mqtt.Packet, 256)
	done := make(chan struct{})
	defer func() {
		close(done)
		conn.Close()
		for range packets { // until the reader has ended
		}
	}()
	if !c.connect(conn) {
		c.log(history.Event{Kind: history.Closed})
		close(packets)
		return
	}
	go read(conn, c.version, packets, done)

	leave := time.NewTimer(c.on.choose(c.rng))
	defer leave.Stop()
	if c.on == (span{}) {
		leave.Stop()
	}
	tick := time.NewTicker(c.l.o.Pace)
	defer tick.Stop()
	for {
		select {
		case p, open := <-packets:
			if !open {
				c.log(history.Event{Kind: history.Closed})
				return
			}
			c.take(p)
			for more := true; more; { // what is there already
				select {
				case p, open := <-packets:
					if more = open; open {
						c.take(p)
					}
				default:
					more = false
				}
			}
		case <-tick.C:
			c.work()
		case <-leave.C:
			if !c.l.calm.Load() {
				c.leave()
				return
			}
			leave.Reset(c.on.choose(c.rng))
		case <-ctx.Done():
			c.log(history.Event{Kind: history.Closed})
			return
		}
		if !c.flush() {
			c.log(history.Event{Kind: history.Closed})
			return
		}
	}
}

// connect is the handshake, and what a client does first: it sends again what was under way.
func (c *client) connect(conn net.Conn) bool {
	clean := c.renews && !c.l.calm.Load() && c.rng.IntN(4) == 0
	p := mqtt.Connect{Version: c.version, CleanStart: clean, KeepAlive: 60, ClientID: []byte(c.id)}
	if c.version >= mqtt.V5 {
		p.Props.SessionExpiry, p.Props.ReceiveMaximum = 24*3600, c.receive
	}
	c.log(history.Event{Kind: history.Connecting, Clean: clean})
	if clean {
		c.forget() // also if no answer comes: the broker may have forgotten
	}
	ack, err := handshake(conn, &p)
	if err != nil {
		return false
	}
	c.log(history.Event{Kind: history.Connected, Clean: clean, Present: ack.SessionPresent})
	if !ack.SessionPresent {
		c.forget()
	}
	c.heard = time.Now()
	for _, f := range c.out {
		c.send(f)
	}
	for _, filter := range c.filters {
		if !c.has[filter] {
			c.subscribe(filter)
		}
	}
	for _, filter := range c.toggles {
		if joined, known := c.asked[filter]; known && joined != c.has[filter] {
			c.toggle(filter, joined)
		}
	}
	return c.flush()
}

// leave ends the connection on purpose, politely or not.
func (c *client) leave() {
	if c.rng.IntN(2) == 0 {
		for c.window > len(c.out) { // much is under way as it breaks off
			c.publish()
		}
		c.flush()
		c.log(history.Event{Kind: history.Closed})
		return
	}
	c.answer()
	c.log(history.Event{Kind: history.Disconnecting})
	c.buf = (&mqtt.Disconnect{}).AppendTo(c.buf, c.version, 0)
	c.flush()
}

// work is what the client does of itself, once in a while.
func (c *client) work() {
	round := c.l.round.Load()
	calm := c.l.calm.Load() // it is, if the round is new
	if c.round != round {
		c.round, c.written = round, true
	}
	if c.window > 0 && !calm {
		c.publish()
	}
	if !calm && len(c.toggles) > 0 && len(c.calls) == 0 && c.rng.IntN(12) == 0 {
		filter := c.toggles[c.rng.IntN(len(c.toggles))]
		c.toggle(filter, !c.has[filter])
	}
	if calm || c.rng.IntN(3) > 0 {
		c.answer()
	}
	if c.written && !c.pinging && (calm || c.rng.IntN(20) == 0) {
		c.written, c.pinging = false, true
		c.log(history.Event{Kind: history.Pinging})
		c.buf = mqtt.AppendPing(c.buf, mqtt.PINGREQ)
	}
	c.tell(c.why())
}

// why tells what the client waits for.
func (c *client) why() string {
	switch {
	case len(c.out) > 0:
		return fmt.Sprintf("has %d messages under way, the first is %s", len(c.out), c.out[0].message)
	case len(c.received) > 0:
		return fmt.Sprintf("waits for %d PUBRELs", len(c.received))
	case len(c.calls) > 0:
		return "waits for a SUBACK or UNSUBACK"
	case len(c.owed) > 0 || c.written || c.pinging:
		return "has something to say"
	case time.Since(c.heard) < quiet:
		return "still receives"
	}
	return ""
}

// flush writes what has been gathered.
func (c *client) flush() bool {
	if len(c.buf) == 0 {
		return true
	}
	err := write(c.conn, c.buf)
	c.buf = c.buf[:0]
	return err == nil
}

func (c *client) subscribe(filter string) {
	c.nextID = max(c.nextID+1, firstCallID)
	c.calls[c.nextID] = call{filter, true}
	c.log(history.Event{Kind: history.Subscribe, ID: c.nextID, Topic: filter, QoS: c.qos})
	s := mqtt.Subscribe{ID: c.nextID, Filters: []mqtt.Subscription{{Filter: []byte(filter), Options: mqtt.SubOptions(c.qos)}}}
	c.buf = s.AppendTo(c.buf, c.version)
	c.written = true
}

// toggle subscribes or unsubscribes.
func (c *client) toggle(filter string, join bool) {
	c.asked[filter] = join
	if join {
		c.subscribe(filter)
		return
	}
	c.nextID = max(c.nextID+1, firstCallID)
	c.calls[c.nextID] = call{filter, false}
	c.log(history.Event{Kind: history.Unsubscribe, ID: c.nextID, Topic: filter})
	u := mqtt.Unsubscribe{ID: c.nextID, Filters: [][]byte{[]byte(filter)}}
	c.buf = u.AppendTo(c.buf, c.version)
	c.written = true
}
