package app

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/overload"
)

// crowd bounds the connections of the HTTP server: nobody has to show a credential to open one, and each takes a file descriptor that MQTT
// clients and the store need as well. Those that have become MQTT over WebSocket do not count: they are among the clients.
type crowd struct {
	log  *slog.Logger
	most int // one address has half of them

	mu   sync.Mutex
	open int
	by   map[netip.Addr]int
	told time.Time // when it was last said that there are too many
}

// The bounds of an HTTP server's connections: a quarter of the descriptors, within these. All live streams fit.
const (
	leastCrowd  = 512
	mostCrowd   = 4096
	crowdedTold = time.Minute
)

func newCrowd(log *slog.Logger) *crowd {
	return &crowd{log: log, most: int(min(mostCrowd, max(leastCrowd, overload.Descriptors()/4))), by: map[netip.Addr]int{}}
}

// state is an http.Server's ConnState. Also one that is turned away counts until it has ended.
func (c *crowd) state(nc net.Conn, s http.ConnState) {
	var at netip.Addr
	if remote, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		at = remote.Addr().Unmap()
	}
	switch s {
	case http.StateNew:
		if !c.enter(at, time.Now()) {
			nc.Close() // who opened it sees that
		}
	case http.StateHijacked, http.StateClosed:
		c.leave(at)
	}
}

func (c *crowd) enter(at netip.Addr, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	c.by[at]++
	if c.open <= c.most && c.by[at] <= c.most/2 {
		return true
	}
	if now.Sub(c.told) >= crowdedTold {
		c.told = now
		c.log.Warn("HTTP connections are turned away: there are as many as file descriptors are set aside for", "open", c.open, "remote", at, "of_it", c.by[at])
	}
	return false
}

func (c *crowd) leave(at netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if c.by[at]--; c.by[at] == 0 {
		delete(c.by, at)
	}
}
