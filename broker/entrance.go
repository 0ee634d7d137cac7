package broker

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/admission"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/flapping"
	"github.com/sapwood-mqtt/sapwood/broker/loop"
)

// entrance is what all doors have in common.
type entrance struct {
	turned   [admission.Reasons]atomic.Uint64
	turns    loop.Turns // of TLS handshakes
	faults   *quiet
	next     atomic.Uint32
	refusals refusals // of those who did not get in

	bans     *ban.Table
	flapping *flapping.Detector // nil = nobody looks
}

// reception is how connections come in by a door.
func (b *Broker) reception(door *Door, address string) *loop.Reception {
	door.handshakes.Use(b.entrance.turns)
	failures, turned := newQuiet(time.Second), newQuiet(time.Second)
	return &loop.Reception{
		Pick: func() *loop.Loop { return b.shards[int(b.entrance.next.Add(1))%len(b.shards)].loop },
		Admit: func(from netip.AddrPort) bool {
			if b.keepsAway(door, from, door.listener.Load().TLS != nil) {
				return false
			}
			why := door.visitors.Come(loop.Group(from.Addr()), door.listener.Load().Trusted.Contains(from.Addr()), time.Now())
			if why != admission.Welcome {
				b.entrance.turned[why].Add(1)
				b.turnedAway(door, from, why.String(), "")
				if n, ok := turned.allow(time.Now()); ok {
					b.log.Warn("connections are turned away", "listener", address, "reason", why.String(), "times", n)
				}
			}
			return why == admission.Welcome
		},
		Layers: door.layers.Load,
		Greet:  func(conn *loop.Conn) { conn.State = door },
		Left:   func(from netip.AddrPort) { door.visitors.Leave(loop.Group(from.Addr())) },
		Failed: func(err error) {
			if errors.Is(err, loop.ErrReserve) {
				b.entrance.turned[admission.NoDescriptors].Add(1)
				door.visitors.Turn(admission.NoDescriptors)
				b.turnedAway(door, netip.AddrPort{}, admission.NoDescriptors.String(), "")
			}
			if n, ok := failures.allow(time.Now()); ok {
				b.log.Warn("accepting a connection failed", "listener", address, "error", err, "times", n)
			}
		},
	}
}

// ServeWebSocket takes over a connection that an HTTP server has upgraded to WebSocket for the request r; prefix is what that has
// read from it beyond. The door's TLS and its policy do not apply: the server has done both. On an error nc is the caller's.
func (b *Broker) ServeWebSocket(nc net.Conn, prefix []byte, r *http.Request, door *Door) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return ErrClosed
	}
	return door.attach(b, nc, prefix, r)
}
