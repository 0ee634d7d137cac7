package password

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
)

// guesses slows who guesses passwords, without locking out whom the guesses are about.
//
// Wrong passwords are counted by user and address, and by address for all users; each makes the next try wait, twice as long each time. A
// user alone never has to wait: otherwise everybody could lock everybody out. Many wrong passwords for one user from everywhere only let its tries be
// hashed after those of others, and are told.
//
// A place is a user, an address and a client id that were right together once. What others do from the same address, or to
// the same user, does not touch it: it has a count of its own. So a device behind the address of an attacker keeps its way in.
type guesses struct {
	free    int           // wrong passwords of a user and address before the first wait
	longest time.Duration // of all waits

	seed      maphash.Seed
	mu        sync.Mutex
	pairs     recent[uint64, failures] // user and address
	addresses recent[uint64, failures]
	users     recent[uint64, failures]
	places    recent[uint64, failures] // all that were right once
}

// failures are the wrong passwords of somebody; without one for an hour they are forgotten.
type failures struct {
	count int
	last  time.Time
	until time.Time // no try before
}

const (
	forgetAfter  = time.Hour
	addressTimes = 10     // how many times more an address may fail than a user there
	alarmTimes   = 10     // how many times more a user may fail in all before it is told
	tableSize    = 65_536 // a table takes 6 MB at most
)

func newGuesses(free int, longest time.Duration) *guesses {
	table := func() recent[uint64, failures] { return newRecent[uint64, failures](tableSize) }
	return &guesses{free: free, longest: longest, seed: maphash.MakeSeed(), pairs: table(), addresses: table(), users: table(), places: table()}
}

// origin is where an attempt comes from, as keys of the tables. Names are hashed: they are of any length and not to be kept.
type origin struct{ pair, address, user, place uint64 }

func (g *guesses) origin(a *auth.Attempt) origin {
	at := a.Address.Addr()
	if at.Is6() { // who has one address there has the network
		if network, err := at.WithZone("").Prefix(64); err == nil {
			at = network.Addr()
		}
	}
	type key struct {
		user    string
		address netip.Addr
		client  string
	}
	return origin{
		pair: maphash.Comparable(g.seed, key{a.Username, at, "pair"}), address: maphash.Comparable(g.seed, at),
		user: maphash.Comparable(g.seed, a.Username), place: maphash.Comparable(g.seed, key{a.Username, at, "place" + a.ClientID}),
	}
}

// outlook is what an attempt has to expect.
type outlook struct {
	known bool          // it comes from a place
	wait  time.Duration // no try before
	later bool          // it is hashed after others
}

func (g *guesses) look(at origin, now time.Time) (o outlook) {
	g.mu.Lock()
	defer g.mu.Unlock()
	place, known := g.places.get(at.place)
	if known {
		return outlook{known: true, wait: place.until.Sub(now)}
	}
	pair, address, user := g.failed(&g.pairs, at.pair, now), g.failed(&g.addresses, at.address, now), g.failed(&g.users, at.user, now)
	o.wait = max(pair.until.Sub(now), address.until.Sub(now))
	o.later = pair.count > 0 || address.count > 0 || user.count >= g.free
	return o
}

func (g *guesses) failed(in *recent[uint64, failures], key uint64, now time.Time) failures {
	f, _ := in.get(key)
	if now.Sub(f.last) > forgetAfter {
		return failures{}
	}
	return f
}

// wrong notes a wrong password and tells how many there were for this user, when that is to be told.
func (g *guesses) wrong(at origin, now time.Time) (tell int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	count := func(in *recent[uint64, failures], key uint64, free int) int {
		f := g.failed(in, key, now)
		f.count++
		f.last = now
		if over := f.count - free; over >= 0 {
			f.until = now.Add(min(time.Second<<min(over, 20), g.longest))
		}
		in.put(key, f)
		return f.count
	}
	if _, known := g.places.get(at.place); known {
		count(&g.places, at.place, g.free)
	} else {
		count(&g.pairs, at.pair, g.free)
		count(&g.addresses, at.address, addressTimes*g.free)
	}
	f := g.failed(&g.users, at.user, now)
	f.count++
	f.last = now
	g.users.put(at.user, f)
	if n := f.count / (alarmTimes * g.free); n > 0 && f.count%(alarmTimes*g.free) == 0 && n&(n-1) == 0 { // at 50, 100, 200, 400 ...
		return f.count
	}
	return 0
}

// right notes that the attempt's origin is a place. The count of its address stays: who has one password could otherwise go on
// guessing others.
func (g *guesses) right(at origin) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.places.put(at.place, failures{})
	g.pairs.remove(at.pair)
}

// Guesses slows who guesses passwords where Password itself is not asked, such as by SCRAM. Its methods may be called from any goroutine.
type Guesses struct{ g *guesses }

// NewGuesses makes one with the bounds of the configuration.
func NewGuesses(c Config) *Guesses { return &Guesses{newGuesses(c.MaxFailures, c.MaxWait)} }

// Wait is how long it takes until the attempt may be judged; 0 = it may now.
func (g *Guesses) Wait(a *auth.Attempt) time.Duration {
	return max(0, g.g.look(g.g.origin(a), time.Now()).wait)
}

// Wrong notes that the attempt's password was wrong.
func (g *Guesses) Wrong(a *auth.Attempt) { g.g.wrong(g.g.origin(a), time.Now()) }

// Right notes that it was right.
func (g *Guesses) Right(a *auth.Attempt) { g.g.right(g.g.origin(a)) }
