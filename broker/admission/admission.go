// Package admission decides, by counts and rates alone, whether a connection that just came to a listener may stay. It knows addresses and
// times, and touches no connection.
package admission

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Limits bound what connections may ask of one listener before they are clients. An address is one IPv4 address or
// one IPv6 /64 network; an IPv4-mapped one is the IPv4 address. Connections of trusted proxies are not limited by address, but
// the addresses they forward are by rate.
type Limits struct {
	MaxConnections           int `yaml:"max_connections" unit:"connections" doc:"Open connections of this listener; 0 = as many as file descriptors allow." exceeded:"closed at once, counted"`
	MaxConnectionsPerAddress int `yaml:"max_connections_per_address" unit:"connections" doc:"Open connections of one address; 0 = no limit." exceeded:"closed at once, counted"`
	MaxHalfOpenPerAddress    int `yaml:"max_half_open_per_address" unit:"connections" doc:"Connections of one address that are no clients yet: before or within TLS handshake, upgrade and CONNECT; 0 = no limit." exceeded:"closed at once, counted"`
	ConnectRate              int `yaml:"connect_rate" unit:"connections per second" doc:"New connections; 0 = no limit." exceeded:"closed at once, counted"`
	ConnectBurst             int `yaml:"connect_burst" unit:"connections" doc:"How many may come at once after a quiet time; 0 = connect_rate."`
	AddressConnectRate       int `yaml:"connect_rate_per_address" unit:"connections per second" doc:"New connections of one address; 0 = no limit." exceeded:"closed at once, counted"`
	AddressConnectBurst      int `yaml:"connect_burst_per_address" unit:"connections" doc:"How many may come at once from one address after a quiet time; 0 = connect_rate_per_address."`
	MaxHandshakes            int `yaml:"max_handshakes" unit:"handshakes" doc:"TLS handshakes under way at a time." exceeded:"further clients wait, addresses taking turns, until limits.connect_timeout"`
	MaxHandshakesPerAddress  int `yaml:"max_handshakes_per_address" unit:"handshakes" doc:"Those of one address." exceeded:"as max_handshakes"`
}

// DefaultLimits returns the defaults.
func DefaultLimits() Limits {
	return Limits{MaxHalfOpenPerAddress: 20_000, MaxHandshakes: 1024, MaxHandshakesPerAddress: 128}
}

// Check holds the rules that no tag can say.
func (l *Limits) Check(bad func(key, message, fix string)) {
	for _, f := range []struct {
		key   string
		value int
		least int
	}{
		{"max_connections", l.MaxConnections, 0},
		{"max_connections_per_address", l.MaxConnectionsPerAddress, 0},
		{"max_half_open_per_address", l.MaxHalfOpenPerAddress, 0},
		{"connect_rate", l.ConnectRate, 0},
		{"connect_burst", l.ConnectBurst, 0},
		{"connect_rate_per_address", l.AddressConnectRate, 0},
		{"connect_burst_per_address", l.AddressConnectBurst, 0},
		{"max_handshakes", l.MaxHandshakes, 1},
		{"max_handshakes_per_address", l.MaxHandshakesPerAddress, 1},
	} {
		if f.value < f.least {
			bad(f.key, fmt.Sprintf("is %d", f.value), fmt.Sprintf("give at least %d", f.least))
		}
	}
}

// Reason says why a connection was closed as soon as it came.
type Reason uint8

// The reasons.
const (
	ListenerFull    Reason = iota // max_connections
	AddressFull                   // max_connections_per_address
	AddressHalfOpen               // max_half_open_per_address
	ListenerRate                  // connect_rate
	AddressRate                   // connect_rate_per_address
	NoDescriptors                 // the rest is for files, HTTP and clients that are there
	Reasons                       // the number of reasons
	Welcome         = Reasons
)

// String is the name for people and metrics.
func (t Reason) String() string {
	return [...]string{"listener_full", "address_full", "address_half_open", "listener_rate", "address_rate", "no_descriptors", "welcome"}[t]
}

// Figures are a door's present figures.
type Figures struct {
	Connections int
	Addresses   int             // that limits are kept for
	Turned      [Reasons]uint64 // away, since the start
}

// maxVisitors is how many addresses are told apart; those beyond share one account.
const maxVisitors = 1 << 16

// Visitors are the connections of a listener, by address: see Limits for what one address is. Safe for use by many goroutines.
type Visitors struct {
	mu     sync.Mutex // guards all
	limits *Limits
	open   int
	rate   bucket
	by     map[netip.Prefix]*visitor
	others visitor // those that found no room in by
	sweep  int     // the number of addresses at which idle ones are forgotten
	swept  time.Time
	turned [Reasons]uint64
}

// visitor is one address.
type visitor struct {
	open, halfOpen int
	rate           bucket
	crowd          bool // many addresses share it, and only its rate counts
}

// bucket is a token bucket; the zero value is full.
type bucket struct {
	used float64 // tokens that are missing
	at   time.Time
}

// take takes a token if there is one. No rate means that there always is.
func (b *bucket) take(now time.Time, rate, burst int) bool {
	if rate <= 0 {
		return true
	}
	if burst <= 0 {
		burst = rate
	}
	b.used = max(0, b.used-now.Sub(b.at).Seconds()*float64(rate))
	b.at = now
	if b.used+1 > float64(burst) {
		return false
	}
	b.used++
	return true
}

// Set changes the limits. It comes before everything else.
func (v *Visitors) Set(l *Limits) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.limits = l
	if v.by == nil {
		v.by = make(map[netip.Prefix]*visitor)
		v.sweep = 1024
		v.others.crowd = true
	}
}

// Come decides about a new connection from an address, which is counted if it is welcome. A proxy's is not limited by address.
func (v *Visitors) Come(from netip.Prefix, proxy bool, now time.Time) Reason {
	v.mu.Lock()
	defer v.mu.Unlock()
	why := v.judge(from, proxy, now)
	if why != Welcome {
		v.turned[why]++
		return why
	}
	v.open++
	return Welcome
}

func (v *Visitors) judge(from netip.Prefix, proxy bool, now time.Time) Reason {
	l := v.limits
	if l.MaxConnections > 0 && v.open >= l.MaxConnections {
		return ListenerFull
	}
	var who *visitor
	if !proxy {
		who = v.of(from, now)
	}
	switch {
	case who == nil:
	case !who.crowd && l.MaxConnectionsPerAddress > 0 && who.open >= l.MaxConnectionsPerAddress:
		return AddressFull
	case !who.crowd && l.MaxHalfOpenPerAddress > 0 && who.halfOpen >= l.MaxHalfOpenPerAddress:
		return AddressHalfOpen
	case !who.rate.take(now, l.AddressConnectRate, l.AddressConnectBurst):
		return AddressRate
	}
	if !v.rate.take(now, l.ConnectRate, l.ConnectBurst) {
		return ListenerRate
	}
	if who != nil {
		who.open++
		who.halfOpen++
	}
	return Welcome
}

// Knock takes a token of an address that a proxy has named.
func (v *Visitors) Knock(from netip.Prefix, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	who := v.of(from, now)
	if who == nil || who.rate.take(now, v.limits.AddressConnectRate, v.limits.AddressConnectBurst) {
		return true
	}
	v.turned[AddressRate]++
	return false
}

// of is the account of an address; nil for a Unix socket.
func (v *Visitors) of(from netip.Prefix, now time.Time) *visitor {
	if !from.IsValid() {
		return nil
	}
	who := v.by[from]
	if who != nil {
		return who
	}
	if len(v.by) >= v.sweep && (len(v.by) < maxVisitors || now.Sub(v.swept) >= time.Second) { // a full table is looked through once a second
		v.forget(now)
	}
	if len(v.by) >= maxVisitors {
		return &v.others
	}
	who = &visitor{}
	v.by[from] = who
	return who
}

// forget drops the addresses that nothing is to be remembered of.
func (v *Visitors) forget(now time.Time) {
	for from, who := range v.by {
		if who.open == 0 && who.halfOpen == 0 && (v.limits.AddressConnectRate == 0 || who.rate.used <= now.Sub(who.rate.at).Seconds()*float64(v.limits.AddressConnectRate)) {
			delete(v.by, from)
		}
	}
	v.sweep, v.swept = min(max(1024, 2*len(v.by)), maxVisitors), now
}

// Settle says that a connection is a client's now, or was refused.
func (v *Visitors) Settle(from netip.Prefix) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if who := v.by[from]; who != nil && who.halfOpen > 0 {
		who.halfOpen--
	}
}

// Leave says that a connection is closed.
func (v *Visitors) Leave(from netip.Prefix) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open--
	if who := v.by[from]; who != nil && who.open > 0 {
		who.open--
	}
}

// Turn counts one that was turned away elsewhere.
func (v *Visitors) Turn(why Reason) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.turned[why]++
}

// Figures are the present ones.
func (v *Visitors) Figures() Figures {
	v.mu.Lock()
	defer v.mu.Unlock()
	return Figures{Connections: v.open, Addresses: len(v.by), Turned: v.turned}
}
