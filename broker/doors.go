package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Gate is the door at which the broker asks: may this message pass? It is asked on the message path,
// from several goroutines, after authorisation, and must not block. m is a view that is
// valid during the call. Success lets it pass; anything else is the publisher's reason code.
type Gate interface {
	Admit(clientID string, m *mqtt.Message) mqtt.ReasonCode
}

// Control is the door at which the broker obeys; to look at what it holds there is View. Its methods may be called from any goroutine but the
// broker's own; each returns what it did.
type Control struct{ reach }

// Control returns the broker's third door.
func (b *Broker) Control() *Control { return &Control{reach{b}} }

// ErrNoClient says that there is no such client id.
var ErrNoClient = errors.New("no such client")

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
		c.kick(ByAdmin, reason, why)
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
		c.kick(ByAdmin, reason, why)
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

// EndSession closes a client's connection and forgets its session with all that waits in it. It returns when the store has
// forgotten it too, or why it has not: then it is told again until it does.
func (k *Control) EndSession(ctx context.Context, id string, why string) error {
	sh := k.b.shardOf(id)
	done := make(chan error, 1)
	sh.loop.Post(func() {
		sh.mail.abreast()
		c := sh.byID[id]
		if c == nil {
			done <- ErrNoClient
			return
		}
		if c.stored == 0 {
			defer func() { done <- nil }()
		} else {
			c.forgotten = append(c.forgotten, answer(done))
		}
		defer sh.rescue(c)
		sh.evict(c, EndAdmin, ByAdmin, why)
	})
	return k.wait(ctx, done)
}

// Publish publishes a message in the broker's own name: neither rules nor gates are asked, and $SYS is open to it. It returns
// when a client's acknowledgement would be sent: the message is routed, and kept where it has to be. The reason is
// what that acknowledgement would say. What somebody asked for goes by PublishAs.
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
		batch := uint64(0)
		defer func() {
			if batch != 0 {
				sh.commits.batch.answers = append(sh.commits.batch.answers, func(err error) {
					if err != nil {
						reason = refusal(err)
					}
					done <- nil
				})
				return
			}
			sh.mail.send() // before anybody knows: see abreast
			done <- nil
		}()
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
			v := sh.router.publish(nil, kept)
			reason, batch = v.reason, v.batch
		})
	})
	if err := k.wait(ctx, done); err != nil {
		return mqtt.UnspecifiedError, err
	}
	return reason, nil
}
