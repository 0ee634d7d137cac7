package broker_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/admission"
	ws "github.com/sapwood-mqtt/sapwood/broker/transport/websocket"
)

const upgrade = "GET /mqtt HTTP/1.1\r\nHost: broker.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"

// wsFrame is a client's frame; its mask is zero.
func wsFrame(first byte, payload string) string {
	if len(payload) > 125 {
		return string([]byte{first, 0xFE, byte(len(payload) >> 8), byte(len(payload)), 0, 0, 0, 0}) + payload
	}
	return string([]byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}) + payload
}

// raw sends what is given after the upgrade and returns all that comes back.
func (s *served) raw(addr, request string, pieces ...string) (*http.Response, string) {
	s.t.Helper()
	conn := s.dialTCP(addr)
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, request)
	r := bufio.NewReader(conn)
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range pieces {
		io.WriteString(conn, p)
	}
	rest, err := io.ReadAll(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer, string(rest)
}

const (
	connect311 = "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"
	connack    = "\x82\x04\x20\x02\x00\x00"
)

// F176, F177, F178 over sockets: packets in frames of every shape are the same conversation as over TCP [MQTT5 MQTT-6.0.0-2]; what
// must not be gets the closing frame with its status and the end.
func TestWebSocketFrames(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{})
	addr, _ := s.open(withWebSocket)
	sub := s.client("id=sub")
	sub.subscribe("# qos=0")
	f := func(name, want string, pieces ...string) {
		t.Helper()
		if answer, got := s.raw(addr, upgrade, pieces...); answer.StatusCode != 101 || answer.Header.Get("Sec-WebSocket-Protocol") != "mqtt" || got != want {
			t.Errorf("%s: %d, %q, want %q", name, answer.StatusCode, got, want)
		}
	}
	publish, disconnect := "\x30\x05\x00\x01tws", "\xe0\x00"
	f("all in one frame", connack+"\x88\x02\x03\xe8", wsFrame(0x82, connect311+publish+disconnect))
	sub.expect(`PUBLISH topic=t "ws"`)
	all := connect311 + publish + disconnect
	var bytewise strings.Builder
	for i := range all {
		bytewise.WriteString(wsFrame(0x82, all[i:i+1]) + wsFrame(0x82, ""))
	}
	f("a frame a byte", connack+"\x88\x02\x03\xe8", bytewise.String())
	sub.expect(`PUBLISH topic=t "ws"`)
	f("fragments with pings between", "\x8a\x02hi"+connack+"\x88\x02\x03\xe8",
		wsFrame(0x02, connect311[:5]), wsFrame(0x89, "hi"), wsFrame(0x00, connect311[5:]+publish[:3]), wsFrame(0x00, ""), wsFrame(0x80, publish[3:]+disconnect))
	sub.expect(`PUBLISH topic=t "ws"`)
	f("the client closes", "\x88\x02\x03\xe9", wsFrame(0x82, connect311[:5])+wsFrame(0x88, "\x03\xe9"))
	const unsupported, violated = "\x88\x02\x03\xeb", "\x88\x02\x03\xea"
	f("text", unsupported, wsFrame(0x81, connect311))
	f("unmasked", violated, "\x82\x0e"+connect311)
	f("reserved", violated, wsFrame(0xC2, connect311))
	f("long ping", violated, wsFrame(0x89, strings.Repeat("x", 126)))
	f("top bit", violated, "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00")
	f("fragmented ping", violated, wsFrame(0x09, ""))
	s.until("they are counted", func(st broker.Stats) bool { return st.FramingErrors == 6 && st.Sockets == 1 })
}

// A client that asks for answers and does not read them is cut off.
func TestPingFlood(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{})
	addr, _ := s.open(withWebSocket)
	conn := s.dialTCP(addr)
	conn.SetReadBuffer(4096)
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, upgrade)
	pings := []byte(strings.Repeat(wsFrame(0x89, strings.Repeat("x", 125)), 100))
	for sent := 0; ; sent += len(pings) {
		if _, err := conn.Write(pings); err != nil {
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				t.Fatalf("not cut off after %d bytes", sent)
			}
			break
		}
	}
	s.until("it is gone", func(st broker.Stats) bool { return st.Sockets == 0 })
}

func TestWebSocketRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{})
	addr, _ := s.open(func(l *broker.Listener) {
		l.WebSocket = &ws.Policy{Path: "/mqtt", Origins: []string{"https://console.example"}}
	})
	f := func(code int, text, request string) {
		t.Helper()
		answer, body := s.raw(addr, request)
		if answer.StatusCode != code || !strings.Contains(body, text) {
			t.Errorf("%q: %d %s", request, answer.StatusCode, body)
		}
	}
	f(404, "/mqtt", "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	f(426, "MQTT over WebSocket", "GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n")
	f(400, "not HTTP", connect311)
	f(431, "8 KiB", "GET /mqtt HTTP/1.1\r\nX: "+strings.Repeat("x", 9000))
	// F180
	f(403, "origin", strings.Replace(upgrade, "Host", "Cookie: session=1\r\nOrigin: https://evil.example\r\nHost", 1))
	s.until("they are counted", func(st broker.Stats) bool { return st.FramingErrors == 5 && st.Sockets == 0 })
	for _, origin := range []string{"https://console.example", "https://broker.example"} {
		if answer, _ := s.raw(addr, strings.Replace(upgrade, "Host", "Origin: "+origin+"\r\nHost", 1), wsFrame(0x88, "")); answer.StatusCode != 101 {
			t.Errorf("%s: %d", origin, answer.StatusCode)
		}
	}
}

// F154: a proxy's word counts when the proxy is trusted, and is demanded then; nobody else's does.
func TestProxies(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{})
	w := &witness{}
	trust := func(networks ...string) func(*broker.Listener) {
		return func(l *broker.Listener) {
			l.Authn = w
			for _, n := range networks {
				l.Trusted = append(l.Trusted, netip.MustParsePrefix(n))
			}
		}
	}
	v1 := "PROXY TCP4 192.0.2.7 192.0.2.1 4711 1883\r\n"
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24" + strings.Repeat("\x20\x01\x0d\xb8", 4) + strings.Repeat("\x00", 16) + "\x12\x67\x07\x5b"
	f := func(name, head, want string, change func(*broker.Listener), secure bool) {
		t.Helper()
		addr, _ := s.open(func(l *broker.Listener) {
			if change(l); secure {
				withTLS(l)
			}
		})
		conn := net.Conn(s.dialTCP(addr))
		for i := range head { // byte by byte
			io.WriteString(conn, head[i:i+1])
		}
		if secure {
			conn = tls.Client(conn, private().clientConfig())
		}
		if want == "" {
			p := s.on(conn, 5)
			p.send("CONNECT id=refused")
			p.gone()
			return
		}
		s.enter(conn, "id=c")
		if p := w.of("c"); want != "own" && p.Address.String() != want || want == "own" && !p.Address.Addr().IsLoopback() || p.TLS != secure {
			t.Errorf("%s: %+v", name, p)
		}
	}
	for _, secure := range []bool{false, true} {
		f("v1", v1, "192.0.2.7:4711", trust("127.0.0.0/8"), secure)
		f("v2", v2, "[2001:db8:2001:db8:2001:db8:2001:db8]:4711", trust("127.0.0.0/8"), secure)
		f("the proxy itself", "PROXY UNKNOWN\r\n", "own", trust("127.0.0.0/8"), secure)
		f("not from there", "", "own", trust("10.0.0.0/8"), secure)
	}
	f("it is demanded", "", "", trust("127.0.0.0/8"), false)
	f("malformed", "PROXY TCP4 example.org\r\n", "", trust("127.0.0.0/8"), false)
	f("forged", v1, "", trust("10.0.0.0/8"), false)
	s.until("they are counted", func(st broker.Stats) bool { return st.ProxyErrors == 2 })

	forwarded := func(name, head, header, want string, change func(*broker.Listener)) {
		t.Helper()
		addr, _ := s.open(func(l *broker.Listener) { change(l); withWebSocket(l) })
		conn := s.dialTCP(addr)
		conn.SetDeadline(time.Now().Add(patience))
		io.WriteString(conn, head+strings.Replace(upgrade, "Host", header+"Host", 1))
		r := bufio.NewReader(conn)
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, wsFrame(0x82, strings.Replace(connect311, "\x0c", "\x0d", 1)[:13]+"\x01w"))
		if _, err := io.ReadFull(r, make([]byte, len(connack))); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if p := w.of("w"); answer.StatusCode != 101 || want != "own" && p.Address.Addr().String() != want || want == "own" && !p.Address.Addr().IsLoopback() {
			t.Errorf("%s: %d %+v", name, answer.StatusCode, p)
		}
	}
	forwarded("one", "", "X-Forwarded-For: 192.0.2.9\r\n", "192.0.2.9", trust("127.0.0.0/8"))
	forwarded("the client's own claim", "", "X-Forwarded-For: 10.1.1.1, 192.0.2.9\r\n", "192.0.2.9", trust("127.0.0.0/8"))
	forwarded("not trusted", "", "X-Forwarded-For: 192.0.2.9\r\n", "own", trust("10.0.0.0/8"))
	forwarded("both kinds", v1, "", "192.0.2.7", trust("127.0.0.0/8"))
}

// turnedAway connects in vain.
func (s *served) turnedAway(addr string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return // the reset may come that early
	}
	s.on(conn, 5).gone()
}

// Counts and rates of a listener and of one address turn connections away at once; a new limit holds for whoever comes next.
func TestListenerLimits(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{})
	var f func(reason admission.Reason, open int, change func(*broker.ListenerLimits))
	f = func(reason admission.Reason, open int, change func(*broker.ListenerLimits)) {
		t.Helper()
		limits := broker.DefaultListenerLimits()
		change(&limits)
		addr, door := s.open(func(l *broker.Listener) { l.Limits = &limits })
		began := time.Now()
		for i := range open {
			s.enter(s.dialTCP(addr), fmt.Sprintf("id=%v%d", reason, i))
		}
		s.turnedAway(addr)
		turned := uint64(0)
		for _, n := range door.Figures().Turned {
			turned += n
		}
		if limits.ConnectRate+limits.AddressConnectRate == 1 && turned == 0 && time.Since(began) > time.Second {
			f(reason, open, change) // this machine is too busy: meanwhile one more might come
			return
		}
		if got := door.Figures(); turned != 1 || got.Turned[reason] != 1 || got.Connections != open {
			t.Errorf("%s: %+v", reason, got)
		}
		l := door.Listener()
		l.Limits = nil
		door.Set(l)
		s.enter(s.dialTCP(addr), "id=after")
	}
	f(admission.ListenerFull, 3, func(l *broker.ListenerLimits) { l.MaxConnections = 3 })
	f(admission.AddressFull, 3, func(l *broker.ListenerLimits) { l.MaxConnectionsPerAddress = 3 })
	f(admission.ListenerRate, 2, func(l *broker.ListenerLimits) { l.ConnectRate, l.ConnectBurst, l.AddressConnectRate = 1, 2, 0 })
	f(admission.AddressRate, 2, func(l *broker.ListenerLimits) { l.AddressConnectRate, l.AddressConnectBurst, l.ConnectRate = 1, 2, 0 })

	// F122: those of one address that are no clients yet.
	limits := broker.DefaultListenerLimits()
	limits.MaxHalfOpenPerAddress = 3
	addr, door := s.open(func(l *broker.Listener) { l.Limits = &limits })
	for i := range 5 {
		s.enter(s.dialTCP(addr), fmt.Sprint("id=client", i)) // clients do not count
	}
	var silent []net.Conn
	for range 3 {
		silent = append(silent, s.dialTCP(addr))
	}
	s.turnedAway(addr)
	if f := door.Figures(); f.Connections != 8 || f.Turned[admission.AddressHalfOpen] != 1 {
		t.Errorf("%+v", f)
	}
	silent[0].Close()
	if !reached(func() bool { return door.Figures().Connections == 7 }) {
		t.Fatalf("%+v", door.Figures())
	}
	s.enter(s.dialTCP(addr), "id=late")
	st := s.stats()
	total := uint64(0)
	for _, n := range st.TurnedAway {
		total += n
	}
	if total != 5 {
		t.Errorf("turned away: %v", st.TurnedAway)
	}
}
