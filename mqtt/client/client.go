// Package client is a small MQTT client for 3.1, 3.1.1 and 5.0 on the codec of
// package mqtt: one session, carried over the connections it takes.
//
// A Client has two goroutines per connection, one that reads and one that
// writes; its state belongs to one lock. Every queue is bounded: messages being
// published by MaxInflight, bytes to be written by a constant, messages received
// by reading no further until OnMessage has returned.
//
// The package may not know a broker: it serves the command line, the tests and
// bridges, and imports package mqtt alone.
package client

import (
	"context"
	crand "crypto/rand"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Client is one MQTT client. Its methods may be called at the same time.
type Client struct {
	opt   Options
	slots chan struct{}   // one per QoS 1 or 2 message being published
	life  context.Context // ends when nothing is to be dialled any more
	kill  context.CancelFunc
	ended chan struct{} // closed at the very end

	mu      sync.Mutex
	link    *link         // nil while there is no connection
	up      chan struct{} // closed while there is one
	ending  error         // set by Close, Abort or OnMessage: what err will be
	err     error         // why it ended; ErrClosed after Close
	connack mqtt.Connack

	// The session state (MQTT5 4.1), and what it takes to build it again.
	lastID   uint16
	lastSeq  uint64
	flights  map[uint16]*flight // messages being published
	queue    []*flight          // of them, to be sent on this connection, in order
	received map[uint16]bool    // QoS 2 messages received and not yet released
	requests map[uint16]*request
	subs     subscriptions
}

// Dial connects and returns once the server accepted. ctx bounds only that. A
// server's refusal is a *ReasonError.
func Dial(ctx context.Context, o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if o.Version == mqtt.V31 && o.ClientID == "" {
		o.ClientID = "sapwood-" + crand.Text()[:12]
	}
	c := &Client{
		opt:      o,
		slots:    make(chan struct{}, o.MaxInflight),
		ended:    make(chan struct{}),
		up:       make(chan struct{}),
		flights:  map[uint16]*flight{},
		received: map[uint16]bool{},
		requests: map[uint16]*request{},
	}
	l, err := c.connect(ctx, o.CleanStart)
	if err != nil {
		return nil, err
	}
	c.life, c.kill = context.WithCancel(context.Background())
	c.attach(l)
	go c.run(l)
	return c, nil
}

// Connack is the CONNACK of the newest connection, after which the server's
// limits are as it says. Its content must not be changed.
func (c *Client) Connack() mqtt.Connack {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connack
}

// Done is closed when the client has ended and will not connect again.
func (c *Client) Done() <-chan struct{} { return c.ended }

// Err is nil while the client lives, then why it ended: ErrClosed after Close
// or ErrStop.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the client with a normal DISCONNECT, after what is waiting to be
// written. Messages not yet acknowledged end with ErrClosed: wait for Publish
// first. When ctx ends sooner the connection is cut and ctx's error returned.
func (c *Client) Close(ctx context.Context) error {
	return c.Disconnect(ctx, mqtt.Disconnect{})
}

// Disconnect is Close with a DISCONNECT of one's own.
func (c *Client) Disconnect(ctx context.Context, d mqtt.Disconnect) error {
	l := c.end(ErrClosed)
	if l != nil {
		l.farewell(d)
	}
	select {
	case <-c.ended:
	case <-ctx.Done():
		if l != nil {
			l.fail(ctx.Err())
		}
		return ctx.Err()
	}
	if err := c.Err(); !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

// Abort cuts the connection without a DISCONNECT, as a crash would, and ends the
// client with ErrAborted.
func (c *Client) Abort() {
	if l := c.end(ErrAborted); l != nil {
		l.fail(ErrAborted)
	}
}

// end makes this connection, which it returns, the last.
func (c *Client) end(err error) *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending == nil {
		c.ending = err
	}
	c.kill()
	return c.link
}

// run carries the session from connection to connection.
func (c *Client) run(l *link) {
	for attempt := 0; l != nil; {
		since := time.Now()
		err := c.serve(l)
		c.detach(l)
		if time.Since(since) > c.opt.Reconnect.Max {
			attempt = 0
		}
		l, err = c.again(err, &attempt)
		if l == nil {
			c.finish(err)
		}
	}
}

// again waits and connects until that succeeds (the link), or until it is not
// to be tried any more (the error).
func (c *Client) again(err error, attempt *int) (*link, error) {
	for {
		if ending := c.isEnding(); ending != nil {
			return nil, ending
		}
		if c.opt.Reconnect.Min <= 0 || !temporary(err) {
			return nil, err
		}
		wait := c.opt.Reconnect.before(*attempt)
		*attempt++
		c.opt.tell(Event{Kind: Disconnected, Err: err, Retry: wait})
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.life.Done():
			timer.Stop()
			continue
		}
		var l *link
		if l, err = c.connect(c.life, c.opt.CleanStart && c.opt.SessionExpiry == 0); err == nil {
			c.attach(l)
			c.opt.tell(Event{Kind: Connected, Connack: l.connack})
			return l, nil
		}
	}
}

// before is how long to wait before attempt n.
func (b Backoff) before(n int) time.Duration {
	ceiling := max(b.Min, b.Max)
	if n < 32 && b.Min<<n > 0 {
		ceiling = min(ceiling, b.Min<<n)
	}
	return rand.N(ceiling)
}

// attach puts a new connection to work and brings the session onto it.
func (c *Client) attach(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.connack.Props.AssignedClientID != nil {
		c.opt.ClientID = string(l.connack.Props.AssignedClientID)
	}
	c.link, c.connack = l, l.connack
	if !l.resumed {
		clear(c.received)
	}
	if !l.connack.SessionPresent {
		c.resubscribe(l)
	}
	c.requeue(l.resumed)
	c.pump(l)
	if c.ending != nil { // Close came while dialling
		l.sendDisconnect(mqtt.Disconnect{})
	}
	close(c.up)
}

// detach takes a lost connection out of work.
func (c *Client) detach(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link, c.up = nil, make(chan struct{})
	close(l.drained)
	for id, r := range c.requests {
		delete(c.requests, id)
		close(r.reply)
	}
}

// finish ends the client.
func (c *Client) finish(err error) {
	c.kill()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	for _, f := range c.flights {
		c.complete(f, f.reason, err)
	}
	c.queue = nil
	close(c.ended)
}

// live waits for a connection.
func (c *Client) live(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		l, up := c.link, c.up
		c.mu.Unlock()
		if l != nil {
			return l, nil
		}
		select {
		case <-up:
		case <-c.ended:
			return nil, c.Err()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// isEnding is what ends the client, nil if nothing does.
func (c *Client) isEnding() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

// newID is a packet identifier that is not in use, 0 if there is none. With
// the lock held.
func (c *Client) newID() uint16 {
	for range 65535 {
		c.lastID++
		if c.lastID != 0 && c.flights[c.lastID] == nil && c.requests[c.lastID] == nil {
			return c.lastID
		}
	}
	return 0
}
