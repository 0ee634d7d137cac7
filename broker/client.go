package broker

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// client is a client id with its session and, while connected, its connection. All of it
// belongs to its shard's loop but for the atomics, by which other shards choose
// among receivers.
type client struct {
	s      session.Session
	shard  *shard
	conn   *loop.Conn // nil while not connected
	id     string
	stored store.SessionID // 0 = not durable
	handle uint32          // in the subscription index

	who    atomic.Pointer[auth.Principal] // other shards ask whether it may receive
	online atomic.Bool                    // takes QoS 0
	full   atomic.Bool                    // its queue is at the limit
	barred atomic.Bool                    // in quarantine
	load   atomic.Int32                   // QoS 1 and 2 messages queued or in flight

	point     string          // who's mount point, for its own loop
	resting   map[string]bool // subscriptions that it may not have at present: not in the index
	pace      *pace           // how fast it may send and get; nil = as it likes
	replays   []*replay       // retained messages still to be sent
	hello     *hello          // what CONNACK has to say; nil once it is sent
	timer     int             // 1 + its place in agenda.timers, 0 = none
	expires   int64           // when its identity ends, 0 = never
	published uint64          // the batch that its last message became part of
	replayed  uint64          // the batch that its last retained message became part of
	waiting   uint64          // the batch in whose list of waiters it stands
	trace     trace.Log       // its last packets
	replaying bool            // stands in shard.replaying
	moving    int32           // messages of the ended session on their way to other members' queues
	forgotten []func(error)   // told when the store has forgotten the session, or has not
	will      *mqtt.Message   // came due, but the store did not take it
	told      told            // what events need
	tally     *page           // nil = nothing came from it or for it
	stay
	backlog
}

// backlog is what waits for a client.
type backlog struct {
	written       // that may wait in the output
	queued  int64 // its share of Broker.queuedBytes
}

// written are messages in the output: see outgoing.
type written struct {
	unsent  int
	unsentB int // their bytes
}

// pending is a connection that has no client yet.
type pending struct {
	conn     *loop.Conn // nil once the shard has nothing to do with it any more
	door     *Door
	peer     auth.Peer
	hs       session.Handshake
	deadline int64 // ms, for its CONNECT
	asked    int64 // ms, when it was begun to find out who it is
	version  mqtt.Version
	request  *session.Request
	assigned bool               // the client id was made up
	exchange *exchange          // nil without enhanced authentication
	cancel   context.CancelFunc // of its authentication
	meanwhile
	from     netip.Addr // of the connection itself, whatever a proxy said
	halfOpen bool       // counted as such
	tls      *TLS       // nil = none of ours
	software string     // what the client says it is
	trace    early
}

// settle says that the connection is no longer half open.
func (p *pending) settle() {
	if p.halfOpen {
		p.halfOpen = false
		p.door.visitors.Settle(loop.Group(p.from))
	}
}

// leave says that the connection is gone, or has an answer.
func (p *pending) leave() {
	p.conn = nil
	p.settle()
	if p.cancel != nil {
		p.cancel()
	}
}

// hello is what a CONNACK tells beside the session.
type hello struct {
	request  *session.Request
	assigned bool
	authData []byte // the last of enhanced authentication
}

// meta is the session's own data as the store keeps it.
func (c *client) meta(now int64) *store.Session {
	m := &store.Session{
		ID: c.stored, ClientID: c.id, Owner: c.who.Load().Name,
		Version: c.s.Version(), Expiry: c.s.Expiry(),
	}
	if !c.s.Connected() {
		m.Disconnected = c.s.ClosedAt(now)
		m.Unsent, _ = c.s.Unsent()
	}
	if w := c.s.Will(); w != nil {
		m.Will = &store.Will{Message: w.Msg, Delay: w.Delay}
	} else if c.will != nil {
		m.Will = &store.Will{Message: c.will}
	}
	return m
}

// identify says who the client is from now on.
func (c *client) identify(who *auth.Principal) {
	if c.point = who.Mount; c.point != "" {
		c.shard.b.mounted.Store(true)
	}
	c.who.Store(who)
	c.expires = 0
	if !who.Expires.IsZero() && c.conn != nil {
		c.expires = max(c.shard.now+time.Until(who.Expires).Milliseconds(), 1)
	}
}

// reidentify gives a client that is there another identity of the same name; what it has and may not have any more rests.
func (c *client) reidentify(id *auth.Identity) {
	who := c.who.Load()
	c.identify(&auth.Principal{Identity: id, ClientID: c.id, Peer: who.Peer, Mount: who.Mount, Restored: who.Restored})
	c.shard.agenda.watch(c)
	c.shard.router.reauthorize(c)
}

// outgoing is about how many messages wait in the output: those written since it was last seen empty, less the share
// of their bytes that the connection has taken.
func (c *client) outgoing() int {
	if left := c.conn.Pending(); left < c.unsentB {
		c.unsent, c.unsentB = int(int64(c.unsent)*int64(left)/int64(c.unsentB)), left
	}
	return c.unsent
}

// principal is who c is, nil for nobody.
func (c *client) principal() *auth.Principal {
	if c == nil {
		return nil
	}
	return c.who.Load()
}

// remote is the peer's address, for people.
func (c *client) remote() string {
	if c.conn == nil {
		return "unknown"
	}
	return c.who.Load().Peer.Remote()
}

// addressOf is where a connection comes from, for people, whoever it is.
func addressOf(conn *loop.Conn) string {
	if conn == nil || conn.RemoteAddr() == nil {
		return "unknown"
	}
	return conn.RemoteAddr().String()
}
