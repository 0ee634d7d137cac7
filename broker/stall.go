package broker

import (
	"fmt"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// stalls watches the clients whose output is at its cap: one that takes nothing for too long is
// disconnected, however well it sends its pings.
type stalls struct {
	sh      *shard
	clients map[*client]stall
}

// stall is how much waited for a client, and since when it has not become less.
type stall struct {
	since   int64 // ms
	pending int   // bytes
	from    int64 // when the output was found full, ms
	told    bool
}

// note takes a client in whose output has reached its cap.
func (s *stalls) note(c *client) {
	if _, ok := s.clients[c]; !ok {
		s.clients[c] = stall{since: s.sh.now, pending: c.conn.Pending(), from: s.sh.now}
	}
}

// over lets go of a client that has read on.
func (s *stalls) over(c *client) {
	if st, ok := s.clients[c]; ok {
		delete(s.clients, c)
		s.ended(c, st)
	}
}

// check disconnects who has taken nothing for delivery.stall_timeout.
func (s *stalls) check() {
	limit := s.sh.b.delivery().StallTimeout
	for c, st := range s.clients {
		switch {
		case c.conn == nil:
			delete(s.clients, c)
		case c.conn.Pending() < st.pending:
			s.clients[c] = stall{s.sh.now, c.conn.Pending(), st.from, st.told}
		case limit > 0 && s.sh.now-st.since >= limit.Milliseconds():
			delete(s.clients, c)
			s.sh.count.Stalled++
			why := fmt.Sprintf("the client has taken nothing of %d bytes for %s", st.pending, limit)
			c.kick(ByStall, mqtt.QuotaExceeded, why)
		case !st.told && s.sh.now-st.since >= stalledFor:
			st.told = true
			s.clients[c] = st
			s.began(c)
		}
	}
}
