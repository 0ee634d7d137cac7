package broker

import (
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/loop"
)

// LoopFigures are the present figures of one event loop.
type LoopFigures struct {
	Sockets  int         // open connections
	Delays   loop.Delays // its turns since the start
	Awaiting int         // changes that wait for the store
	Doors    map[*Door]Traffic
}

// Traffic is what went through since the start, in bytes of MQTT: without TLS and WebSocket frames.
type Traffic struct{ Received, Sent uint64 }

// Loops returns the present figures of all event loops, false when the broker is closed. It asks every loop, and so waits for the
// one that is latest.
func (b *Broker) Loops() ([]LoopFigures, bool) {
	all := make([]LoopFigures, len(b.shards))
	done := make(chan struct{})
	var left atomic.Int32
	left.Store(int32(len(b.shards)))
	for i, sh := range b.shards {
		sh.loop.Post(func() {
			f := LoopFigures{
				Sockets: sh.loop.Conns(), Delays: *sh.loop.Delays(), Awaiting: sh.commits.records, Doors: make(map[*Door]Traffic, len(sh.traffic)),
			}
			for door, t := range sh.traffic {
				f.Doors[door] = *t
			}
			all[i] = f
			if left.Add(-1) == 0 {
				close(done)
			}
		})
	}
	select {
	case <-done:
		return all, true
	case <-b.closed:
		return nil, false
	}
}

// Late is how overdue the latest event loop is, without asking it; 0 = none is, or nobody looks (Options.Overload).
func (b *Broker) Late() time.Duration {
	s := b.sample(time.Now())
	return max(s.Lag, 0)
}

// trafficOf is where a door's bytes on this shard are counted.
func (sh *shard) trafficOf(d *Door) *Traffic {
	t := sh.traffic[d]
	if t == nil {
		t = new(Traffic)
		sh.traffic[d] = t
	}
	return t
}

// received counts what came by a connection.
func (sh *shard) received(conn *loop.Conn, used int) {
	sh.count.BytesReceived += uint64(used)
	switch s := conn.State.(type) {
	case *client:
		s.traffic.Received += uint64(used)
	case *pending:
		sh.trafficOf(s.door).Received += uint64(used)
	}
}
