package jwt

import (
	"crypto/ecdsa"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// issuer is a server of key sets.
type issuer struct {
	*httptest.Server
	asked  atomic.Int64
	answer atomic.Value // http.HandlerFunc
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{}
	i.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		i.answer.Load().(http.HandlerFunc)(w, r)
	}))
	i.Config.ErrorLog = nil
	i.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	i.StartTLS()
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) says(f http.HandlerFunc) { i.answer.Store(f) }

func (i *issuer) serves(t *testing.T, keys ...jose.JSONWebKey) {
	t.Helper()
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	i.says(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) })
}

func jwk(name, kid string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: pairs()[name].Public(), KeyID: kid}
}

// clock is one that a test turns on.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func openRemote(t *testing.T, i *issuer, change func(*Config)) (*Backend, *clock) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.JWKS = i.URL
	cfg.TLS.CA = write(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}))
	if change != nil {
		change(&cfg)
	}
	at := &clock{now: noon}
	b, err := Open(t.Context(), cfg, Options{Now: at.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b, at
}

func long(c claims) claims {
	c = good(c)
	c["exp"] = noon.Add(1000 * time.Hour).Unix()
	return c
}

// TestKeySet: a key set is fetched once, again when it is old, and for a key that is new, but not for each that is made up (F150).
func TestKeySet(t *testing.T) {
	i := newIssuer(t)
	i.serves(t, jwk("p256", "one"))
	b, at := openRemote(t, i, nil)
	one, two := signed(t, "ES256", pairs()["p256"], "one", long(nil)), signed(t, "EdDSA", pairs()["ed"], "two", long(nil))
	f := func(token string, fetched int64, want string) {
		t.Helper()
		before := i.asked.Load()
		id, err := show(b, token)
		if n := i.asked.Load() - before; n != fetched {
			t.Errorf("fetched %d times, want %d", n, fetched)
		}
		if want == "" && err != nil {
			t.Error(err)
		} else if want != "" {
			refused(t, id, err, want)
		}
	}
	f(one, 1, "")
	f(one, 0, "")
	f(signed(t, "ES256", pairs()["other"], "one", long(nil)), 0, "no key verifies") // the id is known: nothing to look for
	at.forward(retry)
	i.serves(t, jwk("p256", "one"), jwk("ed", "two"))
	f(two, 1, "")
	for n := range 100 {
		f(signed(t, "ES256", pairs()["other"], fmt.Sprint("made up ", n), long(nil)), 0, "no key verifies")
	}
	at.forward(retry)
	f(signed(t, "ES256", pairs()["other"], "made up", long(nil)), 1, "no key verifies")
	at.forward(15 * time.Minute)
	i.serves(t, jwk("ed", "two"))
	f(two, 1, "")
	f(one, 0, "no key verifies") // withdrawn
}

// TestKeySetDown: keys that are known are good for a while, whatever keeps the server from answering (F248); after that, and from the start,
// nobody gets in (F148).
func TestKeySetDown(t *testing.T) {
	i := newIssuer(t)
	b, at := openRemote(t, i, nil)
	down := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	one := signed(t, "ES256", pairs()["p256"], "one", long(nil))
	i.says(down)
	if id, err := show(b, one); id != nil || err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("got %v, %v", id, err)
	}
	if _, err := show(b, one); err == nil || i.asked.Load() != 1 {
		t.Errorf("asked %d times: %v", i.asked.Load(), err)
	}
	at.forward(retry)
	i.serves(t, jwk("p256", "one"))
	if _, err := show(b, one); err != nil {
		t.Fatal(err)
	}
	i.says(down)
	at.forward(24*time.Hour - time.Second)
	if _, err := show(b, one); err != nil {
		t.Error(err)
	}
	// A made-up key id is that client's affair, even though the set cannot be fetched.
	id, err := show(b, signed(t, "ES256", pairs()["other"], "two", long(nil)))
	refused(t, id, err, "key set")
	var no *auth.Refusal
	if no, _ = err.(*auth.Refusal); no == nil || no.Reason != mqtt.ServerUnavailable {
		t.Errorf("got %v", err)
	}
	at.forward(time.Second)
	if id, err := show(b, one); id != nil || err == nil {
		t.Errorf("got %v, %v", id, err)
	}
}

// TestBadKeySets: what is not a small set of public keys is none (F150: 10,000 keys; F148: wrong type, empty, redirect, endless).
func TestBadKeySets(t *testing.T) {
	i := newIssuer(t)
	one := signed(t, "ES256", pairs()["p256"], "one", good(nil))
	f := func(want string, answer http.HandlerFunc) {
		t.Helper()
		i.says(answer)
		b, _ := openRemote(t, i, func(c *Config) { c.Timeout = 2 * time.Second })
		if id, err := show(b, one); id != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v, want %q", id, err, want)
		}
	}
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s)) }
	}
	public, err := json.Marshal(jwk("p256", "one"))
	if err != nil {
		t.Fatal(err)
	}
	private, err := json.Marshal(jose.JSONWebKey{Key: pairs()["p256"].(*ecdsa.PrivateKey), KeyID: "one"})
	if err != nil {
		t.Fatal(err)
	}
	f("not a key set", text(""))
	f("not a key set", text("<html>"))
	f("not a key set", text(`{"keys": "none"}`))
	f("0 keys", text(`{}`))
	f("not a key set", text(`[]`))
	f("101 keys", text(`{"keys": [`+strings.Repeat(string(public)+",", 100)+string(public)+`]}`))
	f("more than 262144 bytes", text(`{"keys": [`+strings.Repeat(string(public)+",", 9999)+string(public)+`]}`))
	f("no key of the set is of use", text(`{"keys": [{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "one"}]}`))
	f("no key of the set is of use", text(`{"keys": [`+string(private)+`]}`))
	f("no key of the set is of use", text(`{"keys": [`+strings.Replace(string(public), `{`, `{"use":"enc",`, 1)+`]}`))
	f("no key of the set is of use", text(`{"keys": [`+strings.Replace(string(public), `{`, `{"alg":"RS256",`, 1)+`]}`))
	f("302", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, i.URL+"/elsewhere", http.StatusFound)
	})
	f("204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	f("deadline exceeded", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	f("more than 262144 bytes", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(strings.Repeat(" ", 1<<16))); err != nil {
				return
			}
		}
	})

	i.serves(t, jwk("p256", "one"))
	b, _ := openRemote(t, i, func(c *Config) { c.TLS.CA = "" }) // nobody that the system trusts
	if id, err := show(b, one); id != nil || err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v, %v", id, err)
	}
	b, _ = openRemote(t, i, func(c *Config) { c.TLS.ServerName = "other.example" })
	if id, err := show(b, one); id != nil || err == nil || !strings.Contains(err.Error(), "other.example") {
		t.Errorf("got %v, %v", id, err)
	}
}

// TestManyFetchOnce: many clients at once are one question.
func TestManyFetchOnce(t *testing.T) {
	i := newIssuer(t)
	i.serves(t, jwk("p256", "one"))
	b, _ := openRemote(t, i, nil)
	one := signed(t, "ES256", pairs()["p256"], "one", good(nil))
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := show(b, one); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := i.asked.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}
