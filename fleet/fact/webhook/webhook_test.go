package webhook

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func some(n int) []fact.Fact {
	all := make([]fact.Fact, n)
	for i := range all {
		all[i] = fact.Fact{ID: uint64(i + 1), Kind: fact.Dropped, Client: "a\r\nX-Evil: 1", Text: "line\r\nfeed"}
	}
	return all
}

// roundTripper answers in the place of a server.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func says(code int) *http.Response {
	return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader("")), Header: http.Header{}}
}

func open(t *testing.T, c Config) *Webhook {
	t.Helper()
	w, err := New(c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func config(url string) Config {
	c := DefaultConfig()
	c.URL = url
	return c
}

// What arrives is signed, in batches, and nothing that a client is called gets out of its JSON (F197).
func TestDelivery(t *testing.T) {
	var got []fact.Fact
	var lost uint64
	requests := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		at, sum, _ := strings.Cut(strings.TrimPrefix(r.Header.Get(SignatureHeader), "t="), ",")
		seconds, err := strconv.ParseInt(at, 10, 64)
		if err != nil || Sign("secret", time.Unix(seconds, 0), text) != "t="+at+","+sum || Sign("other", time.Unix(seconds, 0), text) == "t="+at+","+sum {
			t.Errorf("signature %q, %v", r.Header.Get(SignatureHeader), err)
		}
		if r.Header.Get("Authorization") != "Bearer token" || r.Header.Get("X-Evil") != "" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v", r.Header)
		}
		var b body
		if err := json.Unmarshal(text, &b); err != nil {
			t.Error(err)
		}
		got, lost = append(got, b.Events...), lost+b.Lost
		requests++
	}))
	defer s.Close()
	c := config(s.URL)
	c.Secret, c.Bearer = "secret", "token"
	w := open(t, c)
	w.Send(t.Context(), some(250), 7)
	if len(got) != 250 || requests != 3 || lost != 7 || w.Outcome().Sent != 250 || w.Outcome().Dropped != 7 || got[249].Text != "line\r\nfeed" {
		t.Errorf("%d events in %d requests, %d lost; sent %d, dead %d", len(got), requests, lost, w.Outcome().Sent, w.Outcome().Dropped)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// F196: a server that fails is tried again with growing pauses, then left alone for a while, then asked by one request; what
// it did not take is counted.
func TestFailingServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, config("https://example.com/x"))
		asked, code := 0, 500
		w.client.Transport = roundTripper(func(*http.Request) (*http.Response, error) {
			asked++
			return says(code), nil
		})
		began := time.Now()
		w.Send(t.Context(), some(10), 0)
		if took := time.Since(began); asked != 5 || took < 7*time.Second || took > 16*time.Second || w.Outcome().Dropped != 10 {
			t.Errorf("asked %d times in %v, %d dead", asked, took, w.Outcome().Dropped)
		}
		for range 20 {
			w.Send(t.Context(), some(10), 0)
			time.Sleep(time.Second)
		}
		if asked != 5 || w.Outcome().Dropped != 210 || w.Outcome().Failing != "the server answered 500" {
			t.Errorf("asked %d times in the pause, %d dead", asked, w.Outcome().Dropped)
		}
		time.Sleep(pause)
		w.Send(t.Context(), some(10), 0)
		if asked != 6 {
			t.Errorf("asked %d times after the pause", asked)
		}
		time.Sleep(2 * pause)
		code = 200
		w.Send(t.Context(), some(10), 0)
		w.Send(t.Context(), some(10), 0)
		if asked != 8 || w.Outcome().Sent != 20 || w.Outcome().Dropped != 220 {
			t.Errorf("asked %d times, sent %d, dead %d", asked, w.Outcome().Sent, w.Outcome().Dropped)
		}
		code = 400 // trying again is no use
		w.Send(t.Context(), some(10), 0)
		if asked != 9 || w.Outcome().Dropped != 230 {
			t.Errorf("asked %d times, dead %d", asked, w.Outcome().Dropped)
		}
		code = 302 // who is asked is for the configuration to say
		w.Send(t.Context(), some(1), 0)
		if asked != 10 || w.Outcome().Dropped != 231 {
			t.Errorf("asked %d times, dead %d", asked, w.Outcome().Dropped)
		}
	})
}

// A server is believed if its certificate is signed by an authority that is named, and only then.
func TestAuthorities(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c := config(s.URL)
	c.Tries = 1
	w := open(t, c)
	if w.Send(t.Context(), some(1), 0); w.Outcome().Dropped != 1 || !strings.Contains(w.Outcome().Failing, "unknown authority") {
		t.Errorf("%+v", w.Outcome())
	}
	c.CAFile = file
	w = open(t, c)
	if w.Send(t.Context(), some(1), 0); w.Outcome() != (fact.Outcome{Sent: 1}) {
		t.Errorf("%+v", w.Outcome())
	}
	for content, want := range map[string]string{"none": "no certificate", "": "no such file"} {
		if c.CAFile = filepath.Join(t.TempDir(), "bad.pem"); content != "" {
			if err := os.WriteFile(c.CAFile, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := New(c, quiet()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// F196: a server that takes its time, or answers without end, is not waited for.
func TestEndlessAnswer(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server would not see that the client leaves
		if asked.Add(1) == 1 {
			<-r.Context().Done() // silent
			return
		}
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}))
	defer s.Close()
	c := config(s.URL)
	c.Timeout = 2 * time.Second
	w := open(t, c)
	began := time.Now()
	w.Send(t.Context(), some(1), 0)
	if took := time.Since(began); asked.Load() != 2 || w.Outcome().Sent != 1 || took > time.Minute {
		t.Errorf("asked %d times, sent %d, in %v", asked.Load(), w.Outcome().Sent, took)
	}
}

// The stop does not wait for a server that does not answer.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, config("https://example.com/x"))
		w.client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		w.Send(ctx, some(300), 0)
		if took := time.Since(began); took > 2*time.Second || w.Outcome().Dropped != 300 {
			t.Errorf("%v, %d dead", took, w.Outcome().Dropped)
		}
	})
}

func TestCheck(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := config("https://example.com/x")
		change(&c)
		got := ""
		c.Check(func(key, message, _ string) { got += key + " " + message })
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f("", func(*Config) {})
	f("", func(c *Config) { c.URL = "" })
	f("plaintext", func(c *Config) { c.URL = "http://example.com/x" })
	f("kind", func(c *Config) { c.Kinds = []string{"nonsense"} })
	f("bearer", func(c *Config) { c.Bearer = "a\r\nX-Evil: 1" }) // F197
	f("timeout", func(c *Config) { c.Timeout = 0 })
}
