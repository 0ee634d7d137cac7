package access

import (
	"net/netip"
	"time"
)

// network is what an address counts as: who has one of IPv6 has all 2^64 of its network, and would have as many tries.
func network(from string) string {
	at, err := netip.ParseAddr(from)
	if err != nil {
		return from
	}
	if at = at.Unmap().WithZone(""); at.Is6() {
		return netip.PrefixFrom(at, 64).Masked().String()
	}
	return at.String()
}

// lenient is how many wrong credentials an address may send before it has to wait.
const lenient = 5

// longest is the longest wait between two tries.
const longest = time.Minute

// throttle counts the wrong credentials of addresses.
type throttle map[string]*attempts

type attempts struct {
	count int
	whom  string    // whose credentials were tried
	mixed bool      // those of several
	until time.Time // no further try before
}

// forgotten is after how long without a wrong one an address begins anew.
const forgotten = time.Hour

func (t throttle) wait(from string, now time.Time) time.Duration {
	if a := t[from]; a != nil {
		return a.until.Sub(now)
	}
	return 0
}

// failed notes one more and returns how many there were. The wait doubles from a second on; who did not try for an
// hour is forgotten.
func (t throttle) failed(from, whom string, now time.Time) int {
	a := t[from]
	if a == nil || now.Sub(a.until) > forgotten {
		if a == nil && len(t) >= 1024 {
			t.sweep(now)
		}
		a = &attempts{whom: whom}
		t[from] = a
	}
	a.count++
	a.mixed = a.mixed || a.whom != whom
	a.until = now
	if over := a.count - lenient; over >= 0 {
		a.until = now.Add(min(time.Second<<min(over, 10), longest))
	}
	return a.count
}

// forget is told that somebody's credentials were right. Who has some cannot go on guessing those of others for that.
func (t throttle) forget(from, whom string) {
	if a := t[from]; a != nil && !a.mixed && a.whom == whom {
		delete(t, from)
	}
}

// sweep makes room: those that may try again go first, all of them if that is not enough.
func (t throttle) sweep(now time.Time) {
	for from, a := range t {
		if now.Sub(a.until) > forgotten {
			delete(t, from)
		}
	}
	if len(t) >= 1024 {
		clear(t)
	}
}

// maxPaces is how many callers a pace is kept of.
const maxPaces = 4096

// ahead is how many seconds' worth of requests may come at once.
const ahead = 10 * time.Second

// paces say when each caller will have used up what it may ask: a token bucket each, as one moment.
type paces map[string]time.Time

// take is how long a caller has to wait before its next request, which counts if that is zero. perSecond 0 limits nothing.
func (p paces) take(who string, perSecond int, now time.Time) time.Duration {
	if perSecond <= 0 {
		return 0
	}
	used := p[who]
	if used.Before(now) {
		used = now
	}
	each := time.Second / time.Duration(perSecond)
	if over := used.Add(each).Sub(now.Add(max(ahead, each))); over > 0 {
		return over
	}
	if _, known := p[who]; !known && len(p) >= maxPaces {
		p.sweep(now)
	}
	p[who] = used.Add(each)
	return 0
}

// sweep makes room: those that are not in debt go first, all of them if that is not enough.
func (p paces) sweep(now time.Time) {
	for who, used := range p {
		if !used.After(now) {
			delete(p, who)
		}
	}
	if len(p) >= maxPaces {
		clear(p)
	}
}
