package console

import (
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/transport/websocket"
)

// upgradeTime bounds how long a client may take to take the answer to its upgrade.
const upgradeTime = 10 * time.Second

// MQTT upgrades requests for policy's path, /mqtt if it has none, to MQTT over WebSocket, and gives the connections to take, with
// what was read from them already. Everything else goes to next, and so does everything while policy returns nil. HTTP/2 clients get a
// refusal: browsers open WebSocket connections by HTTP/1.1. The functions are called from many goroutines at once.
func MQTT(next http.Handler, policy func() *websocket.Policy, take func(nc net.Conn, prefix []byte, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := policy()
		if p == nil || r.URL.Path != p.Path && (p.Path != "" || r.URL.Path != "/mqtt") {
			next.ServeHTTP(w, r)
			return
		}
		answer, err := p.Answer(r)
		var no *websocket.Refusal
		if errors.As(err, &no) {
			if name, value := no.Header(); name != "" {
				w.Header().Set(name, value)
			}
			fail(w, no.Code, no.Text)
			return
		}
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			fail(w, http.StatusInternalServerError, "this connection cannot be upgraded")
			return
		}
		if err := hand(nc, answer, func() error {
			prefix, _ := rw.Reader.Peek(rw.Reader.Buffered()) // no error: they are there
			return take(nc, prefix, r)
		}); err != nil {
			nc.Close() // who opened it sees that: there is no way left to tell more
		}
	})
}

// hand sends the answer and gives the connection away.
func hand(nc net.Conn, answer []byte, take func() error) error {
	if err := nc.SetDeadline(time.Now().Add(upgradeTime)); err != nil {
		return err
	}
	if _, err := nc.Write(answer); err != nil {
		return err
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return err
	}
	return take()
}
