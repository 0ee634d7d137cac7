package app

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Whoever opens connections to the HTTP server and says nothing leaves the descriptors to others (F198): more than the bound are closed at
// once, those that became something else do not count, and what ends makes room.
func TestCrowd(t *testing.T) {
	c := newCrowd(slog.New(slog.DiscardHandler))
	if c.most < leastCrowd || c.most > mostCrowd {
		t.Fatal(c.most)
	}
	c.most = 8
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { nc.Close() })
		io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
	}))
	s.Config.ConnState = c.state
	s.Start()
	defer s.Close()
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		nc.SetDeadline(time.Now().Add(time.Minute))
		return nc
	}
	is := func(want int) {
		t.Helper()
		for ends := time.Now().Add(time.Minute); ; <-time.After(time.Millisecond) {
			c.mu.Lock()
			open, by := c.open, len(c.by)
			c.mu.Unlock()
			if open == want && by == min(want, 1) {
				return
			}
			if time.Now().After(ends) {
				t.Fatalf("%d are open, of %d addresses, want %d", open, by, want)
			}
		}
	}
	var quiet []net.Conn
	for range 4 { // half of all
		quiet = append(quiet, dial())
	}
	is(4)
	if n, err := dial().Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("one too many is let in")
	}
	is(4)
	quiet[0].Close()
	is(3)
	up := dial()
	io.WriteString(up, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := up.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	is(3)
	for _, nc := range quiet {
		nc.Close()
	}
	is(0)
}
