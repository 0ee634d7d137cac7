package app

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/fleet/sqlite"
)

// TestSlow: whoever sends its request a byte at a time, or never ends it, loses its connection (F198). The server's own deadlines
// are divided by fifty, so that nobody waits for them.
func TestSlow(t *testing.T) {
	t.Setenv(EnvAdminPassword, "long enough")
	a := start(t, testConfig(t))
	s := a.site.server(slog.New(slog.DiscardHandler))
	for _, d := range []*time.Duration{&s.ReadHeaderTimeout, &s.ReadTimeout, &s.WriteTimeout, &s.IdleTimeout} {
		if *d == 0 || *d > time.Minute {
			t.Fatalf("a deadline is %v", *d)
		}
		*d /= 50
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	var all sync.WaitGroup
	f := func(what, first, again string) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		began := time.Now()
		c.SetDeadline(began.Add(time.Minute))
		gone := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, c)
			gone <- err
		}()
		if _, err := io.WriteString(c, first); err != nil {
			t.Error(err)
			return
		}
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case err := <-gone:
				var late net.Error
				if errors.As(err, &late) && late.Timeout() {
					t.Errorf("%s: the connection is still there after %v", what, time.Since(began))
				}
				return
			case <-tick.C:
				_, _ = io.WriteString(c, again) // it ends by an error
			}
		}
	}
	for _, x := range [][3]string{
		{"a header that does not end", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ", "a"},
		{"silence", "", ""},
		{"a body that does not end", "POST /api/v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{", " "},
		{"a body that does not begin", "POST /api/v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", ""},
		{"idle after an answer", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", ""},
	} {
		all.Go(func() { f(x[0], x[1], x[2]) })
	}
	all.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-served
}

// TestTraceHeaders: headers of traces are bounded with all others, and what is wrong with them harms nobody (F208).
func TestTraceHeaders(t *testing.T) {
	t.Setenv(EnvAdminPassword, "long enough")
	a := start(t, testConfig(t))
	f := func(name, value string, status int) {
		t.Helper()
		r, err := http.NewRequest("GET", a.Bound().HTTP+"/api/v1/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("admin", "long enough")
		r.Header.Set(name, value)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("%s of %d bytes: %d", name, len(value), resp.StatusCode)
		}
	}
	f("baggage", strings.Repeat("k=v,", 16<<10), http.StatusRequestHeaderFieldsTooLarge)
	f("tracestate", strings.Repeat("k=v,", 16<<10), http.StatusRequestHeaderFieldsTooLarge)
	for _, value := range []string{"", "=", ",,,,", "k", "k=", "=v", "k=%zz", "00-0-0-0", "ff-" + strings.Repeat("f", 32) + "-" + strings.Repeat("f", 16) + "-ff", strings.Repeat(";", 1000)} {
		for _, name := range []string{"baggage", "tracestate", "traceparent"} {
			f(name, value, http.StatusOK)
		}
	}
}

// Operators, keys and the audit log are in the database of the data directory, and there after a restart.
func TestAccessLasts(t *testing.T) {
	t.Setenv(EnvAdminPassword, "long enough")
	cfg := testConfig(t)
	a := start(t, cfg)
	send := func(method, path, body, authorization string) (int, string) {
		t.Helper()
		r, err := http.NewRequest(method, a.Bound().HTTP+"/api/v1"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if r.SetBasicAuth("admin", "long enough"); authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := bufio.NewReader(resp.Body).ReadString(0)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		return resp.StatusCode, text
	}
	if status, text := send("POST", "/operators", `{"name":"anna","role":"operator","password":"password of anna"}`, ""); status != 201 {
		t.Fatal(text)
	}
	status, text := send("POST", "/keys", `{"name":"k","scopes":["read"]}`, "")
	var key struct{ Key string }
	if err := json.Unmarshal([]byte(text), &key); err != nil || status != 201 {
		t.Fatal(text, err)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	a = start(t, cfg)
	status, text = send("GET", "/me", "", "Bearer "+key.Key)
	if status != 200 || !strings.Contains(text, fmt.Sprintf(`"version":%q`, Version)) {
		t.Errorf("%d %s", status, text)
	}
	local, err := access.ReadLocal(cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	if status, text = send("GET", "/audit?operation=key-create", "", "Bearer "+local.Key); status != 200 || !strings.Contains(text, `"by":"admin"`) || strings.Contains(text, key.Key) {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := send("DELETE", "/keys/k", "", "Bearer "+local.Key); status != 204 {
		t.Errorf("the owner of the machine may not revoke: %d", status)
	}
	if status, _ := send("GET", "/me", "", "Bearer "+key.Key); status != 401 {
		t.Errorf("after it was revoked: %d", status)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	found, err := db.Access().Records(t.Context(), "operator")
	if err != nil || len(found) != 1 || strings.Contains(string(found["anna"]), "password of anna") {
		t.Errorf("%s %v", found, err)
	}
}
