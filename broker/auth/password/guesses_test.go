package password

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// cheapDecoy makes wrong passwords cost nothing, where a test is not about cost.
func cheapDecoy(t testing.TB, p *Password) *Password {
	t.Helper()
	var err error
	if p.decoy, err = phc.Parse(weak(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

// 10,000 guesses at one user from as many addresses do not lock out the device, neither where it was before nor at a
// new address; an address that guesses has to wait longer and longer, the device behind it does not; and the operator is told (F157).
func TestBruteForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		p := cheapDecoy(t, open(t, Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))},
			accounts.User{Name: "pump", Password: weak(t)}, accounts.User{Name: "valve", Password: weak(t)}))
		f := func(name, user, password, from, client string, want mqtt.ReasonCode) {
			t.Helper()
			if got := reasonOf(t, p, attempt(user, password, from, client)); got != want {
				t.Errorf("%s: %#x, want %#x", name, got, want)
			}
		}
		const home = "192.0.2.1"
		f("the device before", "pump", "secret", home, "pump-1", 0)
		for i := range 10_000 {
			f("a guess", "pump", fmt.Sprint("guess", i), fmt.Sprintf("10.%d.%d.1", i/250, i%250), "x", 0x86)
		}
		f("the device during", "pump", "secret", home, "pump-1", 0)
		p.verified.forget(map[string]accounts.UserChange{"pump": {}})
		f("the device, hashed again", "pump", "secret", home, "pump-1", 0)
		f("the device at a new address", "pump", "secret", "192.0.2.99", "pump-1", 0)
		if s := p.Stats(); s.Alarms == 0 || s.Alarms > 20 || s.Wrong != 10_000 || !strings.Contains(logged.String(), "guesses the password") || !strings.Contains(logged.String(), "pump") {
			t.Errorf("%+v\n%s", s, &logged)
		}

		// From one address, for one user: five are free, then 1 s, 2 s, 4 s ... a minute.
		const attacker = "203.0.113.5"
		for range 5 {
			f("a free guess", "valve", "guess", attacker, "x", 0x86)
		}
		for wait := time.Second; wait < 2*time.Minute; wait *= 2 {
			f("too early", "valve", "guess", attacker, "x", 0x9F)
			f("too early, although it is right", "valve", "secret", attacker, "x", 0x9F)
			time.Sleep(min(wait, time.Minute))
			f("in time", "valve", "guess", attacker, "x", 0x86)
		}
		f("another user from there", "pump", "secret", attacker, "pump-2", 0)

		// From one address, for many users: fifty are free. Whoever was let in from there before still is, also when it has to be hashed.
		for i := range 50 {
			f("a guess at many", fmt.Sprint("user", i), "guess", home, "x", 1)
		}
		f("one more", "user99", "guess", home, "x", 0x9F)
		f("the same for a user that is there", "valve", "guess", home, "x", 0x9F)
		p.verified.forget(map[string]accounts.UserChange{"pump": {}})
		f("the device behind it", "pump", "secret", home, "pump-1", 0)

		// Guesses that even know its client id and come from its address slow each other; the device's own credential is remembered.
		for range 5 {
			f("a guess from its place", "pump", "guess", home, "pump-1", 0x86)
		}
		f("one more from its place", "pump", "guess", home, "pump-1", 0x9F)
		f("the device", "pump", "secret", home, "pump-1", 0)

		time.Sleep(2 * time.Hour)
		f("forgotten", "valve", "secret", attacker, "x", 0)
	})
}

// A generated secret gets in whatever others do from the same address, and without waiting for anybody's hash.
func TestGeneratedIsNeverSlowed(t *testing.T) {
	secret, h := phc.Generate()
	p := cheapDecoy(t, open(t, Options{Gate: phc.NewGate(1, 1)}, accounts.User{Name: "pump", Password: h.String()}))
	for range 200 {
		if got := reasonOf(t, p, attempt("pump", "guess", "192.0.2.1", "pump-1")); got != 0x86 && got != 0x9F {
			t.Fatalf("%#x", got)
		}
	}
	hold(t, p.gate)
	before := p.Stats().Hashing.Hashes
	for range 2 {
		if got := reasonOf(t, p, attempt("pump", secret, "192.0.2.1", "pump-1")); got != 0 {
			t.Errorf("the device: %#x", got)
		}
	}
	if s := p.Stats(); s.Hashing.Hashes != before {
		t.Errorf("%+v", s)
	}
}

// 500 wrong passwords at once: as many are hashed as fit, the others are told that the server is busy, and who is known gets in (F140).
func TestFlood(t *testing.T) {
	const flood, queue = 500, 10
	p := open(t, Options{Gate: phc.NewGate(2, queue)}, accounts.User{Name: "ann", Password: phc.New([]byte("secret")).String()})
	if got := reasonOf(t, p, attempt("ann", "secret", "192.0.2.1", "c")); got != 0 {
		t.Fatalf("%#x", got)
	}
	before := p.Stats()
	reasons := make(chan mqtt.ReasonCode, flood)
	release := make(chan struct{})
	var all sync.WaitGroup
	for i := range flood {
		all.Go(func() {
			<-release
			user := "ann"
			if i%2 == 1 {
				user = fmt.Sprint("nobody", i)
			}
			reasons <- reasonOf(t, p, attempt(user, "guess", fmt.Sprintf("10.0.%d.%d", i/250, i%250), "x"))
		})
	}
	close(release)
	start := time.Now()
	if got := reasonOf(t, p, attempt("ann", "secret", "192.0.2.1", "c")); got != 0 {
		t.Errorf("who is known during the flood: %#x", got)
	}
	known, ahead := time.Since(start), p.Stats().Hashing.Hashes-before.Hashing.Hashes
	all.Wait()
	count := map[mqtt.ReasonCode]int{}
	for range flood {
		count[<-reasons]++
	}
	s := p.Stats()
	hashes := s.Hashing.Hashes - before.Hashing.Hashes
	t.Logf("%d at once: %d hashed in %v, %d told that the server is busy; who is known waited %v", flood, hashes, time.Since(start), count[0x89], known)
	if count[0x89] == 0 || int(s.Busy) != count[0x89] || count[0x86]+count[1]+count[0x89] != flood || int(hashes) != flood-count[0x89] {
		t.Errorf("%v %+v", count, s)
	}
	if ahead > flood/10 { // two at once, some in the queue, and what ends meanwhile
		t.Errorf("who is known waited for %d hashes", ahead)
	}
}

// An unknown user is hashed as a known one is, counted as one, and made to wait as one; so nothing tells which names exist. Where others
// are asked after this backend it costs nothing.
func TestUnknownUserLooksLikeWrongPassword(t *testing.T) {
	secret, device := phc.Generate()
	p := open(t, Options{}, accounts.User{Name: "ann", Password: phc.New([]byte("secret")).String()}, accounts.User{Name: "pump", Password: device.String()},
		accounts.User{Name: "none"}, accounts.User{Name: "off", Disabled: true, Password: phc.New([]byte("secret")).String()})
	fastest := map[string]time.Duration{}
	users := []string{"ann", "pump", "none", "off", "nobody"}
	for range 4 {
		for _, user := range users {
			before, start := p.Stats().Hashing.Hashes, time.Now()
			if got := reasonOf(t, p, attempt(user, "guess", "192.0.2.1", "c")); got != 0x86 && !(user == "nobody" && got == 1) {
				t.Errorf("%s: %#x", user, got)
			}
			took := time.Since(start)
			if f, ok := fastest[user]; !ok || took < f {
				fastest[user] = took
			}
			if n := p.Stats().Hashing.Hashes - before; n != 1 {
				t.Errorf("%s: %d hashes", user, n)
			}
		}
	}
	t.Logf("the fastest of each: %v", fastest)
	if a, b := p.decoy.String(), phc.New(nil).String(); a[:len("$argon2id$v=19$m=19456,t=2,p=1$")] != b[:len("$argon2id$v=19$m=19456,t=2,p=1$")] {
		t.Errorf("the decoy costs something else: %s", a)
	}
	for _, user := range users {
		if fastest[user] < fastest["ann"]/4 { // one is 30 ms, the rest are microseconds
			t.Errorf("%s takes %v, a wrong password %v", user, fastest[user], fastest["ann"])
		}
	}
	for _, user := range []string{"ann", "nobody"} {
		for range 2 {
			reasonOf(t, p, attempt(user, "guess", "192.0.2.1", "c"))
		}
		if got := reasonOf(t, p, attempt(user, "guess", "192.0.2.1", "c")); got != 0x9F {
			t.Errorf("%s after six: %#x", user, got)
		}
	}
	if got := reasonOf(t, p, attempt("pump", secret, "192.0.2.1", "c")); got != 0 {
		t.Errorf("the device: %#x", got)
	}

	first := open(t, Options{Next: true}, accounts.User{Name: "ann", Password: phc.New([]byte("secret")).String()})
	for range 200 {
		if got := reasonOf(t, first, attempt("nobody", "guess", "192.0.2.1", "c")); got != 1 {
			t.Fatalf("with others to ask: %#x", got)
		}
	}
	if s := first.Stats(); s.Hashing.Hashes != 0 || s.Unknown != 200 {
		t.Errorf("%+v", s)
	}
}

// Guesses that come all at once are slowed as those that come one by one are; and many clients with one credential cost one hash.
func TestAtOnce(t *testing.T) {
	f := func(name, password string, hashes uint64, reasons string) {
		t.Run(name, func(t *testing.T) {
			p := cheapDecoy(t, open(t, Options{Gate: phc.NewGate(1, 300)}, accounts.User{Name: "ann", Password: weak(t)}))
			in, out := make(chan struct{}), make(chan struct{})
			var all sync.WaitGroup
			all.Go(func() {
				if err := p.gate.Do(t.Context(), false, func() { close(in); <-out }); err != nil {
					t.Error(err)
				}
			})
			<-in
			var mu sync.Mutex
			got := map[mqtt.ReasonCode]int{}
			for i := range 200 {
				all.Go(func() {
					r := reasonOf(t, p, attempt("ann", password, "192.0.2.1", fmt.Sprint("c", i)))
					mu.Lock()
					defer mu.Unlock()
					got[r]++
				})
			}
			for p.gate.Stats().Waiting < 200 {
				runtime.Gosched()
			}
			close(out)
			all.Wait()
			if fmt.Sprint(got) != reasons {
				t.Errorf("%v, want %s", got, reasons)
			}
			if s := p.Stats(); s.Wrong != hashes {
				t.Errorf("%+v", s)
			}
		})
	}
	f("guesses", "guess", 5, fmt.Sprint(map[mqtt.ReasonCode]int{0x86: 5, 0x9F: 195}))
	f("one credential", "secret", 0, fmt.Sprint(map[mqtt.ReasonCode]int{0: 200}))
}

// 50,000 reconnects of clients whose passwords were right before cost no hash.
func TestStorm(t *testing.T) {
	const clients, reconnects = 500, 50_000
	users := make([]accounts.User, clients)
	for i := range users {
		users[i] = accounts.User{Name: fmt.Sprint("u", i), Password: weak(t)}
	}
	p := open(t, Options{}, users...)
	connect := func(i int) {
		if got := reasonOf(t, p, attempt(users[i%clients].Name, "secret", "192.0.2.1", "c")); got != 0 {
			t.Fatalf("%#x", got)
		}
	}
	for i := range clients {
		connect(i)
	}
	before, start := p.Stats(), time.Now()
	for i := range reconnects {
		connect(i)
	}
	s := p.Stats()
	t.Logf("%d reconnects in %v, %d hashes", reconnects, time.Since(start), s.Hashing.Hashes-before.Hashing.Hashes)
	if before.Hashing.Hashes != clients || s.Hashing.Hashes != before.Hashing.Hashes || s.Cached-before.Cached != reconnects {
		t.Errorf("before %+v\nafter %+v", before, s)
	}
}

// What is remembered ends: some time after its last use, and when there is too much of it.
func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := DefaultConfig()
		c.CacheSize, c.CacheTTL = 8, time.Hour
		users := make([]accounts.User, 50)
		for i := range users {
			users[i] = accounts.User{Name: fmt.Sprint("u", i), Password: weak(t)}
		}
		p := open(t, Options{Config: c}, users...)
		hashes := func(want uint64) {
			t.Helper()
			before := p.Stats().Hashing.Hashes
			if got := reasonOf(t, p, attempt("u0", "secret", "192.0.2.1", "c")); got != 0 {
				t.Errorf("%#x", got)
			}
			if n := p.Stats().Hashing.Hashes - before; n != want {
				t.Errorf("%d hashes, want %d", n, want)
			}
		}
		hashes(1)
		time.Sleep(50 * time.Minute)
		hashes(0)
		time.Sleep(50 * time.Minute) // since its last use
		hashes(0)
		time.Sleep(time.Hour)
		hashes(1)
		for i := 1; i < 50; i++ {
			reasonOf(t, p, attempt(users[i].Name, "secret", "192.0.2.1", "c"))
			if n := p.Stats().Remembered; n > c.CacheSize {
				t.Fatalf("%d are remembered", n)
			}
		}
		hashes(1)
	})
}

// The tables do not grow with what strangers send.
func TestBounded(t *testing.T) {
	g := newGuesses(5, time.Minute)
	now := time.Now()
	for i := range 3 * tableSize {
		o := origin{uint64(4 * i), uint64(4*i + 1), uint64(4*i + 2), uint64(4*i + 3)}
		g.wrong(o, now)
		g.right(o)
	}
	for _, n := range []int{g.pairs.len(), g.addresses.len(), g.users.len(), g.places.len()} {
		if n > tableSize {
			t.Errorf("%d entries", n)
		}
	}
}

func BenchmarkRemembered(b *testing.B) {
	p := open(b, Options{}, accounts.User{Name: "ann", Password: weak(b)})
	a := attempt("ann", "secret", "192.0.2.1", "c")
	b.ReportAllocs()
	for b.Loop() {
		if reasonOf(b, p, a) != 0 {
			b.Fatal()
		}
	}
}

// Guesses has the waits of Password, for who judges passwords by itself.
func TestGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGuesses(DefaultConfig())
		home, elsewhere := attempt("ann", "", "192.0.2.1", "c"), attempt("ann", "", "192.0.2.2", "c")
		g.Right(elsewhere)
		for range 5 {
			if w := g.Wait(home); w != 0 {
				t.Fatalf("a wait of %v", w)
			}
			g.Wrong(home)
		}
		if g.Wait(home) != time.Second || g.Wait(elsewhere) != 0 {
			t.Errorf("waits of %v and %v", g.Wait(home), g.Wait(elsewhere))
		}
		time.Sleep(time.Second)
		if w := g.Wait(home); w != 0 {
			t.Errorf("a wait of %v", w)
		}
	})
}
