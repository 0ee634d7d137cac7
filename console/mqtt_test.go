package console_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	ws "github.com/sapwood-mqtt/sapwood/broker/transport/websocket"
	"github.com/sapwood-mqtt/sapwood/console"
)

// MQTT on the HTTP listener, with TLS and without: a CONNECT and its CONNACK, both before and behind the answer to the upgrade.
func TestMQTT(t *testing.T) {
	b, err := broker.New(broker.Options{Store: mem.New()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.Background())
	door := broker.NewDoor(broker.Listener{Name: "http"})
	policy := &ws.Policy{Path: "/mqtt"}
	h := console.MQTT(http.NotFoundHandler(), func() *ws.Policy { return policy }, func(nc net.Conn, prefix []byte, r *http.Request) error {
		return b.ServeWebSocket(nc, prefix, r, door)
	})
	for _, secure := range []bool{false, true} {
		s := httptest.NewUnstartedServer(h)
		if secure {
			s.StartTLS()
		} else {
			s.Start()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		c, _, err := websocket.Dial(ctx, strings.Replace(s.URL, "http", "ws", 1)+"/mqtt", &websocket.DialOptions{HTTPClient: s.Client(), Subprotocols: []string{"mqtt"}})
		if err != nil {
			t.Fatal(err)
		}
		nc := websocket.NetConn(ctx, c, websocket.MessageBinary)
		converse(t, nc)
		c.Close(websocket.StatusNormalClosure, "")

		var raw net.Conn
		if raw, err = net.Dial("tcp", s.Listener.Addr().String()); err == nil && secure {
			cfg := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			cfg.ServerName = "example.com"
			raw = tls.Client(raw, cfg)
		}
		if err != nil {
			t.Fatal(err)
		}
		raw.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(raw, "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n\x82\x8e\x00\x00\x00\x00"+connect)
		r := bufio.NewReader(raw)
		answer, err := http.ReadResponse(r, nil)
		if err != nil || answer.StatusCode != 101 {
			t.Fatal(answer, err)
		}
		ack := make([]byte, 6)
		if _, err := io.ReadFull(r, ack); err != nil || string(ack) != "\x82\x04\x20\x02\x00\x00" {
			t.Errorf("% x, %v", ack, err)
		}
		raw.Close()
		cancel()
		s.Close()
	}
	for reached := time.Now().Add(time.Minute); door.Figures().Connections > 0; {
		if time.Now().After(reached) {
			t.Fatalf("%+v", door.Figures())
		}
	}
}

const connect = "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"

func converse(t *testing.T, nc net.Conn) {
	t.Helper()
	io.WriteString(nc, connect)
	ack := make([]byte, 4)
	if _, err := io.ReadFull(nc, ack); err != nil || string(ack) != "\x20\x02\x00\x00" {
		t.Errorf("% x, %v", ack, err)
	}
}

// F180: the page of a foreign site gets no connection, whatever cookies its browser has for us, and no other path is concerned.
func TestMQTTRefused(t *testing.T) {
	policy := &ws.Policy{Path: "/mqtt"}
	h := console.MQTT(console.Handler(func() error { return nil }, func() http.Handler { return nil }), func() *ws.Policy { return policy },
		func(net.Conn, []byte, *http.Request) error { t.Error("taken"); return nil })
	f := func(path, origin string, status int, text string) {
		t.Helper()
		r := httptest.NewRequest("GET", path, nil)
		for k, v := range map[string]string{
			"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
			"Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "mqtt", "Cookie": "session=1",
		} {
			r.Header.Set(k, v)
		}
		if origin == "" {
			r.Header.Del("Upgrade")
		} else {
			r.Header.Set("Origin", origin)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != status || !strings.Contains(w.Body.String(), text) {
			t.Errorf("%s from %s: %d %s", path, origin, w.Code, w.Body)
		}
	}
	f("/mqtt", "https://evil.example", 403, "origin")
	f("/mqtt", "", 426, "Upgrade")
	f("/healthz", "https://evil.example", 200, "ok")
	f("/mqtt", "http://example.com", 500, "cannot be upgraded") // a recorder is no connection
	policy = nil
	f("/mqtt", "http://example.com", 404, "")
}
