package broker

import (
	"sync/atomic"

	"github.com/sapwood-mqtt/sapwood/broker/admission"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Counters are what the broker has counted since it started. Dropped, Refused and
// Violations are indexed by their reason, TurnedAway (connections closed as soon as they came) by its.
type Counters struct {
	PacketsReceived, PacketsSent           uint64
	BytesReceived, BytesSent               uint64
	PublishReceived, PublishSent           uint64
	PublishBytesReceived, PublishBytesSent uint64 // payloads; packets, messages and bytes are without those of the process's own clients
	Connects, Disconnects, Takeovers       uint64
	ConnectTimeouts                        uint64 // connections without a CONNECT in time
	Secured, Resumed                       uint64 // TLS handshakes of those that sent a CONNECT, and how many of them resumed a session
	HandshakesFailed                       uint64 // TLS handshakes
	FramingErrors                          uint64 // WebSocket: upgrades refused, bad frames
	ProxyErrors                            uint64 // PROXY headers missing or malformed
	TurnedAway                             [admission.Reasons]uint64
	Stalled                                uint64 // clients disconnected because they did not read
	Subscribes                             uint64
	Wills                                  uint64 // published
	Denied                                 uint64 // publishes and filters refused
	SessionsExpired                        uint64 // ended by their expiry interval
	StoreErrors                            uint64 // batches not kept
	HeldBack                               uint64 // times a client was not read because the store did not take its message
	Protection
	NotStored  [256]uint64          // PUBLISHes, filters and CONNECTs refused because the store takes nothing new, by mqtt.ReasonCode
	Dropped    [session.Whys]uint64 // messages that did not reach a receiver, by session.Why
	Refused    [256]uint64          // CONNECTs, by mqtt.ReasonCode
	Violations [256]uint64          // connections closed for bad input, by mqtt.ReasonCode
}

// Protection is what was counted as limits, bans and overload did their work.
type Protection struct {
	Limited  [limit.Reasons]uint64        // publishes, deliveries and connects held back, refused or dropped, by limit.Reason
	Banned   uint64                       // connections refused to those who are banned
	Flapping uint64                       // found
	Shed     [overload.Publish + 1]uint64 // what overload refused or dropped, by overload.Level
}

func (c *Counters) add(o *Counters) {
	c.PacketsReceived += o.PacketsReceived
	c.PacketsSent += o.PacketsSent
	c.BytesReceived += o.BytesReceived
	c.BytesSent += o.BytesSent
	c.PublishReceived += o.PublishReceived
	c.PublishSent += o.PublishSent
	c.PublishBytesReceived += o.PublishBytesReceived
	c.PublishBytesSent += o.PublishBytesSent
	c.Connects += o.Connects
	c.Disconnects += o.Disconnects
	c.Takeovers += o.Takeovers
	c.ConnectTimeouts += o.ConnectTimeouts
	c.Stalled += o.Stalled
	c.Secured += o.Secured
	c.Resumed += o.Resumed
	c.HandshakesFailed += o.HandshakesFailed
	c.FramingErrors += o.FramingErrors
	c.ProxyErrors += o.ProxyErrors
	c.Subscribes += o.Subscribes
	c.Wills += o.Wills
	c.Denied += o.Denied
	c.SessionsExpired += o.SessionsExpired
	c.StoreErrors += o.StoreErrors
	c.HeldBack += o.HeldBack
	c.Banned += o.Banned
	c.Flapping += o.Flapping
	for i, n := range o.Limited {
		c.Limited[i] += n
	}
	for i, n := range o.Shed {
		c.Shed[i] += n
	}
	for i, n := range o.Dropped {
		c.Dropped[i] += n
	}
	for i := range o.Refused {
		c.Refused[i] += o.Refused[i]
		c.Violations[i] += o.Violations[i]
		c.NotStored[i] += o.NotStored[i]
	}
}

// TotalDropped is the sum over all reasons.
func (c *Counters) TotalDropped() uint64 {
	total := uint64(0)
	for _, n := range c.Dropped {
		total += n
	}
	return total
}

// Stats are the broker's present figures.
type Stats struct {
	Counters
	Connected     int64 // clients
	MaxConnected  int64 // at a time, since the start
	Sessions      int64 // connected or waiting to be resumed
	Sockets       int   // open connections, with those that have no client yet
	Subscriptions int   // shared ones included
	Shared        int
	Retained      int   // of clients and the API
	RetainedBytes int64 // of these
	RetainedOwn   int   // the server's own, below $SYS: they count against no limit
	QueuedBytes   int64 // of all sessions
	Panics        uint64
}

// Stats returns the present figures. It asks every shard; false when the broker is closed.
func (b *Broker) Stats() (Stats, bool) {
	got := make(chan Stats, 1)
	b.gather(func(s Stats) { got <- s })
	select {
	case s := <-got:
		return s, true
	case <-b.closed:
		return Stats{}, false
	}
}

// gather adds up the figures of all shards, each on its own loop, and gives the sum to done on the
// last one's.
func (b *Broker) gather(done func(Stats)) {
	parts := make([]Stats, len(b.shards))
	var left atomic.Int32
	left.Store(int32(len(b.shards)))
	for i, sh := range b.shards {
		sh.loop.Post(func() {
			sh.books.settleAll()
			parts[i].Sockets = sh.loop.Conns()
			parts[i].Counters, parts[i].Subscriptions = countersOf(sh)
			if left.Add(-1) > 0 {
				return
			}
			total := Stats{
				Connected: b.connected.Load(), MaxConnected: b.maximum.Load(), Sessions: b.sessions.Load(),
				Shared: b.groups.len(), Retained: b.retained.len(), RetainedOwn: int(b.retained.own.Load()), RetainedBytes: b.retained.bytes.Load(),
				QueuedBytes: b.queuedBytes.Load(), Panics: b.panics.Load(),
			}
			total.Banned, total.Shed[overload.Connects] = b.burden.banned.Load(), b.burden.closed.Load()
			total.Subscriptions = b.index.Len() - b.groups.count() + total.Shared
			for i := range parts {
				total.add(&parts[i].Counters)
				total.Sockets += parts[i].Sockets
				total.Subscriptions -= parts[i].Subscriptions // the process's own
			}
			for i := range total.TurnedAway {
				total.TurnedAway[i] = b.entrance.turned[i].Load()
			}
			done(total)
		})
	}
}

// countersOf are what the shard has counted, with what others count anyhow: a message is counted in as few places as can be. Packets, messages
// and bytes are those of clients, without the process's own.
func countersOf(sh *shard) (of Counters, ownSubscriptions int) {
	c := sh.count
	k := &sh.books
	own, subscriptions := k.inside.traffic()
	c.PublishReceived, c.PublishBytesReceived = k.Received-own.in, k.BytesIn-own.inBytes
	c.PublishSent, c.PublishBytesSent = k.written-own.out, k.BytesOut-own.outBytes
	c.PacketsSent += c.PublishSent
	for d, t := range sh.traffic {
		if d.listener.Load().Own {
			c.BytesReceived -= t.Received
			c.PacketsReceived -= t.packetsIn
		} else {
			c.BytesSent += t.Sent
			c.PacketsSent += t.packetsOut
		}
	}
	return c, subscriptions
}

func (c *Counters) secured(resumed bool) {
	c.Secured++
	if resumed {
		c.Resumed++
	}
}

func (c *Counters) refused(r mqtt.ReasonCode)  { c.Refused[r]++ }
func (c *Counters) violated(r mqtt.ReasonCode) { c.Violations[r]++ }
