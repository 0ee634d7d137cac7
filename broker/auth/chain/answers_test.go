package chain

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
)

// byPassword accepts the password "right", knows nobody called "stranger", and fails for "broken".
func byPassword() *backend {
	return &backend{do: func(_ context.Context, a *auth.Attempt) (*auth.Identity, error) {
		switch {
		case a.Username == "stranger":
			return nil, auth.ErrUnknown
		case a.Username == "broken":
			return nil, errDown
		case string(a.Password) != "right":
			return nil, refuses
		}
		return &auth.Identity{Name: "id-" + a.Username}, nil
	}}
}

func cached(t *testing.T, b *backend, c Cache) *Chain {
	return open(t, Options{Cache: c}, Link{Name: "b", Authn: b, Cached: true})
}

// TestCache: what was answered is not asked again for a while, but for failures; with other credentials it always is.
func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := byPassword()
		c := cached(t, b, Cache{Entries: 100, TTL: time.Minute, Refused: 2 * time.Second})
		f := func(user, password string, asked int64, ok bool) {
			t.Helper()
			before := b.asked.Load()
			_, err := ask(c, user, password)
			if n := b.asked.Load() - before; n != asked || (err == nil) != ok {
				t.Errorf("%s, %s: asked %d times, want %d; %v", user, password, n, asked, err)
			}
		}
		f("a", "right", 1, true)
		f("a", "right", 0, true)
		f("a", "wrong", 1, false)
		f("a", "wrong", 0, false)
		f("b", "right", 1, true)
		f("stranger", "x", 1, false)
		f("stranger", "x", 0, false)
		f("broken", "x", 1, false)
		f("broken", "x", 1, false)
		time.Sleep(2 * time.Second)
		f("a", "right", 0, true)
		f("a", "wrong", 1, false)
		f("stranger", "x", 1, false)
		time.Sleep(58 * time.Second)
		f("a", "right", 1, true)
		if n := c.Counts()[0].CacheHits; n != 4 {
			t.Errorf("%d hits", n)
		}
		if n := c.Flush("id-a"); n != 1 {
			t.Errorf("forgot %d by the identity's name", n)
		}
		f("a", "right", 1, true)
		f("b", "right", 1, true)
		if n := c.Flush("a"); n != 2 { // the right and the wrong password
			t.Errorf("forgot %d by the user name", n)
		}
		f("a", "right", 1, true)
		f("b", "right", 0, true)
		c.Flush("")
		f("b", "right", 1, true)
	})
}

// TestCacheExpires: an identity is not kept beyond its own end.
func TestCacheExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(10 * time.Second)
		b := says(&auth.Identity{Name: "a", Expires: end}, nil)
		c := cached(t, b, Cache{Entries: 10, TTL: time.Minute})
		_, _ = ask(c, "a", "p")
		time.Sleep(9 * time.Second)
		if _, err := ask(c, "a", "p"); err != nil || b.asked.Load() != 1 {
			t.Errorf("asked %d times: %v", b.asked.Load(), err)
		}
		time.Sleep(time.Second)
		if id, err := ask(c, "a", "p"); err == nil || b.asked.Load() != 2 {
			t.Errorf("asked %d times: %v", b.asked.Load(), id)
		}
	})
}

// TestCacheKey: all that a backend may look at tells two attempts apart.
func TestCacheKey(t *testing.T) {
	s := newAnswers(Cache{Entries: 1, TTL: 1}, []byte("secret"))
	other := newAnswers(Cache{Entries: 1, TTL: 1}, []byte("other"))
	at := netip.MustParseAddrPort
	attempts := []auth.Attempt{
		{},
		{ClientID: "a"},
		{Username: "a"},
		{ClientID: "a", Username: "b"},
		{ClientID: "ab"},
		{Username: "a", HasUser: true},
		{Password: []byte("a")},
		{HasPass: true},
		{Method: "a"},
		{Peer: auth.Peer{Listener: "a"}},
		{Peer: auth.Peer{TLS: true}},
		{Peer: auth.Peer{ProxiedName: "a"}}, // the server beside is told it
		{Peer: auth.Peer{Address: at("192.0.2.1:1")}},
		{Peer: auth.Peer{Address: at("192.0.2.2:1")}},
		{Peer: auth.Peer{Cert: &x509.Certificate{Raw: []byte("a")}}},
	}
	seen := map[key]int{}
	for i := range attempts {
		k := s.key(&attempts[i])
		if j, ok := seen[k]; ok {
			t.Errorf("%+v and %+v are one", attempts[i], attempts[j])
		}
		if k == other.key(&attempts[i]) {
			t.Errorf("the secret does not count for %+v", attempts[i])
		}
		seen[k] = i
	}
	a, b := auth.Attempt{Peer: auth.Peer{Address: at("192.0.2.1:1")}}, auth.Attempt{Peer: auth.Peer{Address: at("192.0.2.1:2")}}
	if s.key(&a) != s.key(&b) {
		t.Error("another connection of the same client is another attempt")
	}
}

// TestCacheBounds: guesses forget nobody who is welcome, and memory is bounded.
func TestCacheBounds(t *testing.T) {
	b := byPassword()
	c := cached(t, b, Cache{Entries: 80, TTL: time.Hour, Refused: time.Hour})
	for i := range 80 {
		_, _ = ask(c, fmt.Sprint(i), "right")
	}
	for i := range 1000 {
		_, _ = ask(c, "guess", fmt.Sprint(i))
	}
	_, _ = ask(c, "0", "right") // used just now
	_, _ = ask(c, "80", "right")
	s := c.links[0].answers
	if len(s.yes.byKey) != 80 || s.yes.recent.Len() != 80 || len(s.no.byKey) != 10 || s.no.recent.Len() != 10 {
		t.Errorf("keeps %d and %d", len(s.yes.byKey), len(s.no.byKey))
	}
	before := b.asked.Load()
	for i := range 81 {
		if i != 1 { // the one not used for the longest time
			_, _ = ask(c, fmt.Sprint(i), "right")
		}
	}
	if n := b.asked.Load() - before; n != 0 {
		t.Errorf("%d were forgotten", n)
	}
}

// TestFlushWhileAsking: an answer to a question from before a flush is not kept.
func TestFlushWhileAsking(t *testing.T) {
	var c *Chain
	var asked atomic.Int64
	b := &backend{do: func(context.Context, *auth.Attempt) (*auth.Identity, error) {
		if asked.Add(1) == 1 {
			c.Flush("somebody else")
		}
		return &auth.Identity{Name: "a"}, nil
	}}
	c = cached(t, b, Cache{Entries: 10, TTL: time.Hour})
	for range 3 {
		_, _ = ask(c, "a", "p")
	}
	if asked.Load() != 2 {
		t.Errorf("asked %d times", asked.Load())
	}
}

// TestUncached: a backend that does not want its answers kept is always asked.
func TestUncached(t *testing.T) {
	b := byPassword()
	c := open(t, Options{Cache: DefaultCache()}, Link{Name: "b", Authn: b})
	for range 3 {
		_, _ = ask(c, "a", "right")
		_, _ = ask(c, "a", "wrong")
	}
	if n := b.asked.Load(); n != 6 {
		t.Errorf("asked %d times", n)
	}
	if _, err := ask(c, "broken", ""); !errors.Is(err, errDown) {
		t.Error(err)
	}
}

func BenchmarkCacheHit(b *testing.B) {
	c, err := Open([]Link{{Name: "b", Authn: byPassword(), Cached: true}}, Options{Cache: DefaultCache()})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := ask(c, "a", "right"); err != nil {
			b.Fatal(err)
		}
	}
}
