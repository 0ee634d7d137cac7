package broker_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/transport/privateca"
	ws "github.com/sapwood-mqtt/sapwood/broker/transport/websocket"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// authority is a private CA with a server's and a client's certificate.
type authority struct {
	ca             []byte // DER
	pool           *x509.CertPool
	server, client tls.Certificate
}

var private = sync.OnceValue(func() *authority {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	until := time.Now().Add(30 * 24 * time.Hour)
	ca, err := privateca.New("ca", until)
	must(err)
	pair := func(i *privateca.Issued, err error) tls.Certificate {
		must(err)
		return tls.Certificate{Certificate: [][]byte{i.Cert.Raw}, PrivateKey: i.Key, Leaf: i.Cert}
	}
	a := &authority{
		ca: ca.Cert.Raw, pool: x509.NewCertPool(),
		server: pair(ca.Server([]string{"localhost", "127.0.0.1"}, until)), client: pair(ca.Client("sensor-7", until)),
	}
	a.pool.AddCert(ca.Cert)
	return a
})

// caFile writes the CA's certificate for programs.
func (a *authority) caFile(t testing.TB) string {
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.ca}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (a *authority) serverConfig() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{a.server}, ClientCAs: a.pool, ClientAuth: tls.VerifyClientCertIfGiven,
		MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true,
	}
}

func (a *authority) clientConfig() *tls.Config {
	return &tls.Config{RootCAs: a.pool, ServerName: "localhost"}
}

// open serves one more listener of s, changed by change, and returns its address.
func (s *served) open(change func(*broker.Listener)) (string, *broker.Door) {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	l := broker.Listener{Name: "door"}
	change(&l)
	door := broker.NewDoor(l)
	end := make(chan struct{})
	go func() { defer close(end); s.ServeDoor(ln, door) }()
	s.t.Cleanup(func() { ln.Close(); <-end })
	return ln.Addr().String(), door
}

func withTLS(l *broker.Listener) {
	cfg := private().serverConfig()
	l.TLS = func() *tls.Config { return cfg }
}

func withWebSocket(l *broker.Listener) { l.WebSocket = &ws.Policy{Path: "/mqtt"} }

// on makes a peer of a connection.
func (s *served) on(conn net.Conn, v mqtt.Version) *peer {
	p := &peer{t: s.t, v: v, conn: conn}
	p.change = sync.NewCond(&p.mu)
	ended := make(chan struct{})
	go func() { defer close(ended); p.read() }()
	s.t.Cleanup(func() { conn.Close(); <-ended })
	return p
}

func (s *served) dialTLS(addr string, cfg *tls.Config) *tls.Conn {
	s.t.Helper()
	conn, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// dialWS connects by a WebSocket library of others, cfg not nil with TLS.
func (s *served) dialWS(addr string, cfg *tls.Config, header http.Header) net.Conn {
	s.t.Helper()
	scheme := "ws://"
	if cfg != nil {
		scheme = "wss://"
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	transport := &http.Transport{TLSClientConfig: cfg}
	c, _, err := websocket.Dial(ctx, scheme+addr+"/mqtt", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: header, Subprotocols: []string{"mqtt"},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	c.SetReadLimit(-1)
	return websocket.NetConn(ctx, c, websocket.MessageBinary)
}

// way is a way in, as a test table has it.
type way struct {
	name   string
	change func(*broker.Listener)
	dial   func(s *served, addr string) net.Conn
}

func waysIn() []way {
	both := func(l *broker.Listener) { withTLS(l); withWebSocket(l) }
	return []way{
		{"tcp", func(*broker.Listener) {}, func(s *served, addr string) net.Conn { return s.dialTCP(addr) }},
		{"tls", withTLS, func(s *served, addr string) net.Conn { return s.dialTLS(addr, private().clientConfig()) }},
		{"ws", withWebSocket, func(s *served, addr string) net.Conn { return s.dialWS(addr, nil, nil) }},
		{"wss", both, func(s *served, addr string) net.Conn { return s.dialWS(addr, private().clientConfig(), nil) }},
	}
}

func (s *served) dialTCP(addr string) *net.TCPConn {
	s.t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// enter is join on a connection that is there.
func (s *served) enter(conn net.Conn, words string) *peer {
	s.t.Helper()
	v := mqtt.V5
	if strings.Contains(words, "v3.1.1") {
		v = mqtt.V311
	}
	p := s.on(conn, v)
	p.send("CONNECT " + words)
	p.expect("CONNACK 0x00")
	return p
}

// The same conversation by every way in, on one shard and on several, with a payload over many records, frames and reads, and one
// at each size around their borders.
func TestWays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		s := serve(t, broker.Options{Shards: shards})
		for _, w := range waysIn() {
			t.Run(w.name, func(t *testing.T) {
				addr, _ := s.open(w.change)
				a := s.enter(w.dial(s, addr), "id=a-"+w.name)
				a.subscribe("t/" + w.name + "/# qos=2")
				b := s.enter(w.dial(s, addr), "v3.1.1 id=b-"+w.name)
				for i, size := range []int{1, 100, 125, 126, 127, 15<<10 - 20, 15 << 10, 16 << 10, 32<<10 - 1, 65_535, 65_536, 70_000, 900_000} {
					line := fmt.Sprintf("PUBLISH topic=t/%s/%d %q", w.name, i, strings.Repeat("0123456789abcdefg", 1+size/17)[:size])
					b.send(line)
					if got := a.next(); got != line {
						t.Fatalf("%d bytes: got %d of %d: %.100s", size, len(got), len(line), got)
					}
				}
				b.send("PUBLISH qos=1 id=1 topic=t/"+w.name+`/y "q1"`, "PUBLISH qos=2 id=2 topic=t/"+w.name+`/y "q2"`)
				b.expect("PUBACK id=1", "PUBREC id=2")
				a.expect(`PUBLISH qos=1 "q1"`, `PUBLISH qos=2 "q2"`)
				b.send("PUBREL id=2")
				b.expect("PUBCOMP id=2")
				b.send("DISCONNECT")
				b.gone()
				a.conn.Close()
			})
		}
	})
}
