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
	Doors    map[*Door]DoorTraffic
}

// DoorTraffic is what went through since the start, in bytes of MQTT: without TLS and WebSocket frames.
type DoorTraffic struct {
	Received, Sent uint64
	packetsIn      uint64
	packetsOut     uint64 // to clients, without PUBLISH
}

// Loops returns the present figures of all event loops, false when the broker is closed. It asks every loop, and so waits for the
// one that is latest.
func (w *View) Loops() ([]LoopFigures, bool) {
	b := w.b
	all := make([]LoopFigures, len(b.shards))
	done := make(chan struct{})
	var left atomic.Int32
	left.Store(int32(len(b.shards)))
	for i, sh := range b.shards {
		sh.loop.Post(func() {
			f := LoopFigures{
				Sockets: sh.loop.Conns(), Delays: *sh.loop.Delays(), Awaiting: sh.commits.records, Doors: make(map[*Door]DoorTraffic, len(sh.traffic)),
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
func (w *View) Late() time.Duration {
	s := w.b.sample(time.Now())
	return max(s.Lag, 0)
}

// traffics are a shard's bytes by door.
type traffics map[*Door]*DoorTraffic

// of is where a door's bytes are counted.
func (t traffics) of(d *Door) *DoorTraffic {
	x := t[d]
	if x == nil {
		x = new(DoorTraffic)
		t[d] = x
	}
	return x
}

// received counts what came by a connection.
func (t traffics) received(conn *loop.Conn, used int, packets uint64) {
	var x *DoorTraffic
	switch s := conn.State.(type) {
	case *client:
		x = s.told.traffic
	case *pending:
		x = t.of(s.door)
	default:
		return
	}
	x.Received += uint64(used)
	x.packetsIn += packets
}
