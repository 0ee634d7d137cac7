package broker

import (
	"context"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// View is what the broker holds, to look at: it changes nothing. Its methods may be called from any goroutine but the broker's own.
// They ask the event loops, in slices where there is much to tell, and return copies.
type View struct{ reach }

// View returns what the broker holds.
func (b *Broker) View() *View { return &View{reach{b}} }

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
	Software   string   // what a connected client says of itself
	TLS        *TLS     // of its connection; nil = none of ours
	Filters    []string // subscriptions
	Resting    []string // those of them that it may not have at present
}

// Client describes a client id, connected or not.
func (w *View) Client(ctx context.Context, id string) (Client, error) {
	var d Client
	err := w.on(ctx, id, func(_ *shard, c *client) { d = c.describe() })
	return d, err
}

func (c *client) describe() Client {
	n, bytes := c.s.Queued()
	d := Client{
		ID: c.id, Owner: c.who.Load().Name, Remote: c.remote(), Version: c.s.Version(), Connected: c.s.Connected(),
		KeepAlive: time.Duration(c.s.KeepAlive()) * time.Second, Expiry: -1, Queued: n, QueueBytes: bytes,
	}
	if x := c.s.Expiry(); x != session.Never {
		d.Expiry = time.Duration(x) * time.Second
	}
	if l := c.told.life; l != nil && l.about != nil {
		d.Software, d.TLS = l.about.software, l.about.tls
	}
	for _, s := range c.s.Subscriptions() {
		d.Filters = append(d.Filters, s.Filter)
		if c.resting[s.Filter] {
			d.Resting = append(d.Resting, s.Filter)
		}
	}
	return d
}
