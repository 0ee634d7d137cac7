package loop

import (
	"net/netip"
	"runtime"
	"sync"
)

// Handshakes admit TLS handshakes. Some may be under way at a time, of one address (IPv6: one /64 network) fewer; whoever
// is beyond that waits, unread and without a goroutine. Addresses take turns, and within an address whoever came first is first,
// so an address that opens many connections delays others by one handshake. Safe for use by many goroutines.
type Handshakes struct {
	mu      sync.Mutex // guards all
	turns   Turns      // a handshake holds one while it computes
	limit   int
	share   int
	running int
	by      map[netip.Prefix]*applicants
	ring    []*applicants // those with somebody waiting and room for it
}

// applicants are the connections of one address.
type applicants struct {
	running int
	waiting []*layer
	listed  bool // in ring
}

// Turns is what handshakes compute by: as many at a time as processors but one, so that they do not keep event loops waiting. All
// Handshakes of a process should share one.
type Turns chan struct{}

// NewTurns makes Turns for this process.
func NewTurns() Turns { return make(Turns, max(1, runtime.GOMAXPROCS(0)-1)) }

// NewHandshakes admits limit handshakes at a time, share of them of one address. They have Turns of their own until Use.
func NewHandshakes(limit, share int) *Handshakes {
	h := &Handshakes{turns: NewTurns(), by: map[netip.Prefix]*applicants{}}
	h.Set(limit, share)
	return h
}

// Use has handshakes that begin from now on compute by turns.
func (h *Handshakes) Use(turns Turns) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turns = turns
}

func (h *Handshakes) using() Turns {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.turns
}

// Set changes the limits.
func (h *Handshakes) Set(limit, share int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limit, h.share = limit, share
	h.admit()
}

// Waiting is the number of connections that wait for their handshake to begin, and of handshakes under way.
func (h *Handshakes) Waiting() (waiting, running int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.by {
		for _, x := range a.waiting {
			if !x.canceled.Load() {
				waiting++
			}
		}
	}
	return waiting, h.running
}

// group is what counts as one address: an IPv6 /64 network belongs to one customer, whose machines choose freely in it.
func group(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero Prefix for no address
	return p
}

// Group is what limits by address count as one: the address itself, of IPv6 its /64 network, of an IPv4-mapped one the IPv4
// address. It is invalid for an invalid address.
func Group(a netip.Addr) netip.Prefix { return group(a) }

func (h *Handshakes) enter(x *layer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.by[x.from]
	if a == nil {
		a = &applicants{}
		h.by[x.from] = a
	}
	a.waiting = append(a.waiting, x)
	h.list(a, x.from)
	h.admit()
}

func (h *Handshakes) leave(x *layer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.by[x.from]
	a.running--
	h.running--
	h.list(a, x.from)
	h.admit()
}

// list puts a into the ring if it may have a turn, and forgets it if it is of no concern any more.
func (h *Handshakes) list(a *applicants, from netip.Prefix) {
	for len(a.waiting) > 0 && a.waiting[0].canceled.Load() {
		a.waiting[0] = nil
		a.waiting = a.waiting[1:]
	}
	switch {
	case a.listed:
	case len(a.waiting) > 0 && (a.running < h.share || !from.IsValid()):
		a.listed = true
		h.ring = append(h.ring, a)
	case len(a.waiting) == 0 && a.running == 0:
		delete(h.by, from)
	}
}

func (h *Handshakes) admit() {
	for h.running < h.limit && len(h.ring) > 0 {
		a := h.ring[0]
		h.ring[0] = nil
		h.ring = h.ring[1:]
		a.listed = false
		if len(a.waiting) == 0 {
			continue
		}
		x := a.waiting[0]
		a.waiting[0] = nil
		a.waiting = a.waiting[1:]
		a.running++
		h.running++
		h.list(a, x.from)
		if !x.upper.l.Post(x.handshake) { // the loop has ended, with all of its connections
			a.running--
			h.running--
		}
	}
}
