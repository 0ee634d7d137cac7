package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// serve starts a server and the backend that asks it.
func serve(t *testing.T, change func(*Config), answer http.HandlerFunc) *Backend {
	t.Helper()
	s := httptest.NewTLSServer(answer)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(s.Close)
	cfg := DefaultConfig()
	cfg.URL = s.URL
	cfg.TLS.CA = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(cfg.TLS.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	return open(t, cfg)
}

func open(t *testing.T, cfg Config) *Backend {
	t.Helper()
	b, err := Open(t.Context(), cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// says answers with JSON.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = io.WriteString(w, text)
	}
}

func attempt() *auth.Attempt {
	return &auth.Attempt{
		Peer:     auth.Peer{Address: netip.MustParseAddrPort("192.0.2.7:4711"), Listener: "plain", TLS: true, Cert: &x509.Certificate{Subject: pkix.Name{CommonName: "cn-7"}}},
		ClientID: "client-7", Username: "meter-7", HasUser: true, Password: []byte(`p"&=`), HasPass: true,
	}
}

// TestQuestion: what the server gets to know, in both forms, and headers of the configuration.
func TestQuestion(t *testing.T) {
	var got any
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") == "application/json" {
			m := map[string]any{}
			if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
				t.Error(err)
			}
			got = m
		} else {
			if err := r.ParseForm(); err != nil {
				t.Error(err)
			}
			got = r.PostForm.Encode()
		}
		if r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer x" {
			t.Errorf("got %s, %q", r.Method, r.Header.Get("Authorization"))
		}
		says(`{"result": "allow"}`)(w, r)
	}
	headers := func(c *Config) { c.Headers, c.Refresh = []Header{{"authorization", "Bearer x"}}, true }
	b := serve(t, headers, answer)
	f := func(id *auth.Identity, err error, want any) {
		t.Helper()
		if err != nil || id.Name != "meter-7" || id.By != "http" || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v\n%v, want\n%v", id, err, got, want)
		}
	}
	want := map[string]any{
		"action": "connect", "client_id": "client-7", "username": "meter-7", "password": `p"&=`,
		"address": "192.0.2.7", "listener": "plain", "tls": true, "common_name": "cn-7",
	}
	id, err := b.Authenticate(t.Context(), attempt())
	f(id, err, want)

	binary := attempt()
	binary.Password = []byte("\x00\xff") // F156: not bent into UTF-8
	id, err = b.Authenticate(t.Context(), binary)
	delete(want, "password")
	want["password_base64"] = "AP8="
	f(id, err, want)

	delete(want, "password_base64")
	delete(want, "username")
	want["action"], want["name"] = "refresh", "meter-7"
	id, err = b.Refresh(t.Context(), &auth.Principal{Identity: id, ClientID: "client-7", Peer: attempt().Peer})
	f(id, err, want)

	b = serve(t, func(c *Config) { headers(c); c.Format = "form" }, answer)
	id, err = b.Authenticate(t.Context(), attempt())
	f(id, err, "action=connect&address=192.0.2.7&client_id=client-7&common_name=cn-7&listener=plain&password=p%22%26%3D&tls=true&username=meter-7")

	if _, err := serve(t, nil, answer).Refresh(t.Context(), &auth.Principal{Identity: id}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a refresh that is off: %v", err)
	}
}

// TestAnswer: what an answer makes of a client.
func TestAnswer(t *testing.T) {
	b := serve(t, nil, says(`{"result": "allow", "name": "m7", "groups": ["a", "b"], "claims": {"site": "north"}, "expires": "2030-01-01T00:00:00Z",
		"rules": [{"allow": ["publish"], "topics": ["a/{client}/#"]}], "reason": ""}`))
	id, err := b.Authenticate(t.Context(), attempt())
	if err != nil || id.Name != "m7" || !slices.Equal(id.Groups, []string{"a", "b"}) || id.Claims["site"] != "north" ||
		!id.Expires.Equal(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)) || len(id.Rules) != 1 || id.Rules[0].Name != "http.rules[0]" {
		t.Errorf("got %+v, %v", id, err)
	}
	b = serve(t, nil, says(`{"result": "deny", "reason": "unpaid"}`))
	id, err = b.Authenticate(t.Context(), attempt())
	var no *auth.Refusal
	if id != nil || !errors.As(err, &no) || no.Reason != mqtt.NotAuthorized || !strings.Contains(no.Why, "unpaid") || strings.Contains(no.Text, "unpaid") {
		t.Errorf("got %+v, %v", id, err)
	}
	b = serve(t, nil, says(`{"result": "unknown"}`))
	if id, err = b.Authenticate(t.Context(), attempt()); id != nil || !errors.Is(err, auth.ErrUnknown) {
		t.Errorf("got %+v, %v", id, err)
	}
}

// TestBadAnswers: nothing but a whole, strict answer in time lets anybody in, or on to another backend (F148, F173).
func TestBadAnswers(t *testing.T) {
	f := func(want string, answer http.HandlerFunc) {
		t.Helper()
		b := serve(t, func(c *Config) { c.Timeout = time.Second }, answer)
		id, err := b.Authenticate(t.Context(), attempt())
		var no *auth.Refusal
		if id != nil || err == nil || errors.Is(err, auth.ErrUnknown) || errors.As(err, &no) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %+v, %v, want %q", id, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "127.0.0.1/") {
			t.Errorf("the URL is in the error: %v", err)
		}
	}
	status := func(n int, h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(n)
			h(w, r)
		}
	}
	allow := says(`{"result": "allow"}`)
	f("500", status(500, allow))
	f("401", status(401, allow))
	f("201", status(201, allow))
	f("302", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/yes" {
			allow(w, r)
			return
		}
		http.Redirect(w, r, "/yes", http.StatusFound)
	})
	f("307", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/yes" {
			t.Error("the password was sent on")
		}
		http.Redirect(w, r, "/yes", http.StatusTemporaryRedirect)
	})
	f("EOF", says(""))
	f("invalid character", says("allow"))
	f("not application/json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `{"result": "allow"}`)
	})
	f(`result ""`, says(`null`))
	f(`result ""`, says(`{}`))
	f(`result "ignore"`, says(`{"result": "ignore"}`))
	f(`result "ALLOW"`, says(`{"result": "ALLOW"}`))
	f("cannot unmarshal", says(`{"result": true}`))
	f("cannot unmarshal", says(`["allow"]`))
	f("unexpected EOF", says(`{"result": "allow"`))
	f("something follows", says(`{"result": "allow"}{"result": "deny"}`))
	f("unknown field", says(`{"result": "allow", "is_superuser": true}`))
	f("cannot unmarshal", says(`{"result": "allow", "groups": "admin"}`))
	f("cannot unmarshal", says(`{"result": "allow", "claims": {"a": 1}}`))
	f("parsing time", says(`{"result": "allow", "expires": "tomorrow"}`))
	f("either allow or deny", says(`{"result": "allow", "rules": [{"topics": ["#"]}]}`))
	f("not a list", says(`{"result": "allow", "rules": "all"}`))
	f("control character", says(`{"result": "allow", "name": "a\u0000b"}`))
	f("more than 262144 bytes", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
				return
			}
		}
	})
	f("deadline exceeded", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-t.Context().Done() // not the request's: what is answered when that ends might still arrive
	})
	f("deadline exceeded", func(w http.ResponseWriter, r *http.Request) { // a byte now and then
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(io.Discard, r.Body)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, " ")
			w.(http.Flusher).Flush()
			<-tick.C
		}
	})
	f("EOF", func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = c.Close()
		}
	})
	b := serve(t, nil, allow)
	if id, err := b.Authenticate(t.Context(), &auth.Attempt{ClientID: "x"}); id != nil || err == nil || !strings.Contains(err.Error(), "the name is empty") {
		t.Errorf("got %+v, %v", id, err)
	}
}

// TestUnreachable: nobody there, and somebody who takes the connection and says nothing (F148).
func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.URL, cfg.Timeout = "https://"+l.Addr().String()+"/?key=s3cret", 200*time.Millisecond
	if id, err := open(t, cfg).Authenticate(t.Context(), attempt()); id != nil || !errors.As(err, new(net.Error)) {
		t.Errorf("got %+v, %v", id, err)
	}
	cfg.URL = "https://nobody.invalid/" // F248: a name that does not resolve, or not in time
	if id, err := open(t, cfg).Authenticate(t.Context(), attempt()); id != nil || !errors.As(err, new(net.Error)) {
		t.Errorf("got %+v, %v", id, err)
	}
	cfg.URL, cfg.Timeout = "https://"+l.Addr().String()+"/?key=s3cret", time.Minute
	_ = l.Close()
	id, err := open(t, cfg).Authenticate(t.Context(), attempt())
	if id != nil || err == nil || !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %+v, %v", id, err)
	}
}

// TestVerified: a server that does not prove who it is gets no password (F161).
func TestVerified(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		b := serve(t, change, func(http.ResponseWriter, *http.Request) { t.Error("the password was sent") })
		if id, err := b.Authenticate(t.Context(), attempt()); id != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %+v, %v, want %q", id, err, want)
		}
	}
	f("certificate", func(c *Config) { c.TLS.CA = "" })
	f("other.example", func(c *Config) { c.TLS.ServerName = "other.example" })

	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ca := range []string{empty, filepath.Join(t.TempDir(), "missing.pem")} {
		cfg := DefaultConfig()
		cfg.URL, cfg.TLS.CA = "https://auth.example.com/", ca
		if _, err := Open(t.Context(), cfg, Options{}); err == nil {
			t.Errorf("%s was taken", ca)
		}
	}
	// A bad new file leaves the old one in use.
	b := serve(t, nil, says(`{"result": "allow"}`))
	if err := os.WriteFile(b.Files()[0], nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Reload(); err == nil {
		t.Error("an empty file was taken")
	}
	if _, err := b.Authenticate(t.Context(), attempt()); err != nil {
		t.Error(err)
	}
	if conf := b.client.Load().Transport.(*http.Transport).TLSClientConfig; conf.InsecureSkipVerify || conf.MinVersion < tls.VersionTLS12 {
		t.Error("TLS is not what it should be")
	}
}

// TestConnections: no more at once than stated, and those are kept.
func TestConnections(t *testing.T) {
	var now, most, made atomic.Int64
	var b *Backend
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		defer now.Add(-1)
		says(`{"result": "allow"}`)(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			made.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	cfg := DefaultConfig()
	cfg.URL, cfg.Connections = s.URL, 4
	b = open(t, cfg)
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			for range 10 {
				if _, err := b.Authenticate(t.Context(), attempt()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if most.Load() > 4 || made.Load() > 8 {
		t.Errorf("%d at once, %d connections", most.Load(), made.Load())
	}
}

// TestConfig: what may be asked, and what is missing.
func TestConfig(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg, told := DefaultConfig(), ""
		change(&cfg)
		cfg.Check(func(key, message, _ string) { told += key + " " + message })
		if want == "" && told != "" || !strings.Contains(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		if _, err := Open(t.Context(), cfg, Options{}); (err == nil) != (want == "" && cfg.URL != "") {
			t.Errorf("opened: %v, want %q", err, want)
		}
	}
	at := func(url string) func(*Config) { return func(c *Config) { c.URL = url } }
	f("", at(""))
	f("", at("https://auth.example.com/mqtt"))
	f("", at("http://127.0.0.1:8080/"))
	f("", at("http://[::1]:8080/"))
	f("", at("http://localhost/"))
	f("", func(c *Config) { c.URL, c.Plaintext = "http://auth.example.com/", true })
	f("http to another machine", at("http://auth.example.com/"))
	f("http to another machine", at("http://127.0.0.1.example.com/"))
	f("must be https", at("ftp://auth.example.com/"))
	f("not the URL", at("auth.example.com"))
	f("contains a password", at("https://a:b@auth.example.com/"))
	header := func(name, value string) func(*Config) {
		return func(c *Config) { c.URL, c.Headers = "https://auth.example.com/", []Header{{name, value}} }
	}
	f("letters, digits", header("a b", ""))
	f("letters, digits", header("", ""))
	f("control character", header("X-Key", "a\r\nHost: b"))
	f("is ours", header("content-type", "x"))
}
