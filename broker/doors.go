package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Gate is the door at which the broker asks: may this message pass? It is asked on the message path,
// from several goroutines, after authorisation, and must not block. m is a view that is
// valid during the call. Success lets it pass; anything else is the publisher's reason code.
type Gate interface {
	Admit(clientID string, m *mqtt.Message) mqtt.ReasonCode
}

// Events is the door at which the broker tells what happened. A nil function is not interested. They are
// called on the broker's loops and must not block; messages are views.
type Events struct {
	Connected    func(Client)
	Disconnected func(c Client, why string)
	Refused      func(Refusal)
	SessionEnded func(clientID string)
	Subscribed   func(clientID, filter string, o mqtt.SubOptions)
	Denied       func(Denial)
	Dropped      func(clientID string, m *mqtt.Message, why session.Why) // m is nil where the message was not at hand
	Limited      func(Limited)                                           // once until the client was within the limit for a while
	Overload     func(overload.State)                                    // a change, told on a goroutine of its own
}

// Client is a client as others see it.
type Client struct {
	ID         string
	Owner      string // identity; empty = anonymous
	Remote     string
	Version    mqtt.Version
	Connected  bool
	KeepAlive  time.Duration
	Expiry     time.Duration // of the session; negative = never
	Queued     int           // QoS 1 and 2 messages waiting or in flight
	QueueBytes int64
	Filters    []string // subscriptions
	Resting    []string // those of them that it may not have at present
}

// Limited is a client that has reached a limit, or flaps, or one that is put into quarantine.
type Limited struct {
	What     string // a limit.Reason, "flapping" or "quarantine"
	ClientID string // empty if it is about a user
	User     string
	Listener string
	Remote   string
	Text     string // for people
}

// Refusal is a CONNECT that was not accepted.
type Refusal struct {
	ClientID string // empty if the CONNECT did not get that far
	Remote   string
	Reason   mqtt.ReasonCode
	Text     string // what the client was told
	Why      string // what only the operator is told; empty if there is no more
}

func (sh *shard) describe(c *client) Client {
	n, bytes := c.s.Queued()
	d := Client{
		ID: c.id, Owner: c.who.Load().Name, Remote: c.remote(), Version: c.s.Version(), Connected: c.s.Connected(),
		KeepAlive: time.Duration(c.s.KeepAlive()) * time.Second, Expiry: -1, Queued: n, QueueBytes: bytes,
	}
	if x := c.s.Expiry(); x != session.Never {
		d.Expiry = time.Duration(x) * time.Second
	}
	for _, s := range c.s.Subscriptions() {
		d.Filters = append(d.Filters, s.Filter)
		if c.resting[s.Filter] {
			d.Resting = append(d.Resting, s.Filter)
		}
	}
	return d
}

// Control is the door at which the broker obeys. Its methods may be called from any goroutine but the
// broker's own; each returns what it did.
type Control struct{ b *Broker }

// Control returns the broker's third door.
func (b *Broker) Control() *Control { return &Control{b} }

// ErrNoClient says that there is no such client id.
var ErrNoClient = errors.New("no such client")

// Client describes a client id, connected or not.
func (k *Control) Client(ctx context.Context, id string) (Client, error) {
	var d Client
	err := k.on(ctx, id, func(sh *shard, c *client) { d = sh.describe(c) })
	return d, err
}

// Principal is who a client id is, connected or not.
func (k *Control) Principal(ctx context.Context, id string) (*auth.Principal, error) {
	var who *auth.Principal
	err := k.on(ctx, id, func(_ *shard, c *client) { who = c.who.Load() })
	return who, err
}

// Disconnect closes a client's connection; a v5 client is told reason and why. Its session stays as
// after a lost connection.
func (k *Control) Disconnect(ctx context.Context, id string, reason mqtt.ReasonCode, why string) error {
	return k.on(ctx, id, func(sh *shard, c *client) {
		sh.perform(c, nil, c.s.Kick(reason, why, sh.take()))
	})
}

// DisconnectAll closes the connections of all clients that match, as Disconnect does, and tells how many. It also refuses those
// whose authentication was under way, as its answer may be of before. match is called on the broker's loops, for these also
// after DisconnectAll has returned and from several at once: it must neither block nor change anything.
func (k *Control) DisconnectAll(ctx context.Context, match func(*auth.Principal) bool, reason mqtt.ReasonCode, why string) (int, error) {
	return k.onAll(ctx, &news{ends: match, reason: reason, why: why}, func(sh *shard, c *client) bool {
		if !c.s.Connected() || !match(c.who.Load()) {
			return false
		}
		sh.perform(c, nil, c.s.Kick(reason, why, sh.take()))
		return true
	})
}

// Reidentify replaces the identities of clients that are there, connected or not: what is known of them has changed. change
// returns its argument's identity to change nothing, and must not change the name; it is called as DisconnectAll's match is. It
// tells how many were changed.
func (k *Control) Reidentify(ctx context.Context, change func(*auth.Principal) *auth.Identity) (int, error) {
	return k.onAll(ctx, &news{change: change}, func(_ *shard, c *client) bool {
		who := c.who.Load()
		id := change(who)
		if id == who.Identity {
			return false
		}
		c.reidentify(id)
		return true
	})
}

// Principals are all clients that match, connected or not. match is called on the broker's loops, one at a time, and must not block.
func (k *Control) Principals(ctx context.Context, match func(*auth.Principal) bool) (list []*auth.Principal, err error) {
	_, err = k.onAll(ctx, nil, func(_ *shard, c *client) bool {
		who := c.who.Load()
		if match(who) {
			list = append(list, who)
		}
		return false
	})
	return list, err
}

// slice is how many clients are looked at before a loop goes on with its work.
const slice = 1000

// onAll runs do for every client, on the loops of their shards, and counts those for which it is true. Of those who are no
// clients yet the news, nil = none, is not lost.
func (k *Control) onAll(ctx context.Context, told *news, do func(*shard, *client) bool) (int, error) {
	n := 0
	for _, sh := range k.b.shards {
		var clients []*client
		err := k.in(ctx, sh, func() {
			clients = slices.Collect(maps.Values(sh.byID))
			if told != nil {
				told.tell(sh)
			}
		})
		for err == nil && len(clients) > 0 {
			part := clients[:min(len(clients), slice)]
			clients = clients[len(part):]
			err = k.in(ctx, sh, func() {
				for _, c := range part {
					if c.s.Ended() {
						continue
					}
					func() {
						defer sh.rescue(c)
						if do(sh, c) {
							n++
						}
					}()
				}
			})
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// in runs do on a shard's loop.
func (k *Control) in(ctx context.Context, sh *shard, do func()) error {
	done := make(chan error, 1)
	sh.loop.Post(func() {
		sh.tick(sh.loop.Now())
		defer func() { done <- nil }()
		do()
	})
	return k.wait(ctx, done)
}

// EndSession closes a client's connection and forgets its session with all that waits in it.
func (k *Control) EndSession(ctx context.Context, id string, why string) error {
	return k.on(ctx, id, func(sh *shard, c *client) {
		if c.conn != nil {
			sh.perform(c, nil, c.s.Kick(mqtt.AdministrativeAction, why, sh.take()))
			c.conn.State = nil
			sh.detach(c)
		}
		if !c.s.Ended() {
			sh.perform(c, nil, c.s.End(sh.turn(), sh.take()))
		}
	})
}

// on runs do on the loop of the shard that owns a client id.
func (k *Control) on(ctx context.Context, id string, do func(*shard, *client)) error {
	sh := k.b.shardOf(id)
	done := make(chan error, 1)
	sh.loop.Post(func() {
		sh.tick(sh.loop.Now())
		c := sh.byID[id]
		if c == nil {
			done <- ErrNoClient
			return
		}
		defer func() { done <- nil }()
		defer sh.rescue(c)
		do(sh, c)
	})
	return k.wait(ctx, done)
}

func (k *Control) wait(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-k.b.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Publish publishes a message in the broker's own name: neither rules nor gates are asked, and $SYS is open to it. It returns
// when the message is routed and, where it has to be kept, handed to the store; the reason is
// what a publisher's acknowledgement would say. What somebody asked for goes by PublishAs.
func (k *Control) Publish(ctx context.Context, m mqtt.Message) (mqtt.ReasonCode, error) {
	return k.publish(ctx, nil, m)
}

func (k *Control) publish(ctx context.Context, who *auth.Principal, m mqtt.Message) (mqtt.ReasonCode, error) {
	if err := topic.ValidName(m.Topic); err != nil {
		return mqtt.TopicNameInvalid, err
	}
	if m.QoS > 2 {
		return mqtt.QoSNotSupported, fmt.Errorf("publish: %w", mqtt.QoSNotSupported)
	}
	kept := m.Keep()
	reason := mqtt.Success
	done := make(chan error, 1)
	sh := k.b.shards[0]
	sh.loop.Post(func() {
		sh.tick(sh.loop.Now())
		defer func() { done <- nil }()
		sh.b.guard("publish", func() {
			reason = mqtt.UnspecifiedError
			if who != nil {
				if reason = sh.router.admits(who, kept); reason != mqtt.Success {
					sh.books.Own++
					sh.books.ended(nil, kept, denial(reason))
					return
				}
				reason = mqtt.UnspecifiedError
			}
			reason = sh.router.publish(nil, kept).reason
		})
	})
	if err := k.wait(ctx, done); err != nil {
		return mqtt.UnspecifiedError, err
	}
	return reason, nil
}
