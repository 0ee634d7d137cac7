package broker_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// witness lets everybody in and notes who came.
type witness struct {
	mu   sync.Mutex
	seen map[string]auth.Peer
}

func (w *witness) Authenticate(_ context.Context, a *auth.Attempt) (*auth.Identity, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = map[string]auth.Peer{}
	}
	w.seen[a.ClientID] = a.Peer
	return &auth.Identity{Name: a.ClientID}, nil
}

func (w *witness) of(id string) auth.Peer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[id]
}

// What the handshake shows of a client reaches its authentication; a session is resumed with the certificate.
func TestTLSPeer(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{})
	w := &witness{}
	addr, _ := s.open(func(l *broker.Listener) { withTLS(l); l.Authn = w })
	cfg := private().clientConfig()
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	s.enter(s.dialTLS(addr, cfg), "id=anybody")
	if p := w.of("anybody"); !p.TLS || p.Cert != nil || p.Listener != "door" || !p.Address.Addr().IsLoopback() {
		t.Errorf("%+v", p)
	}
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	cfg.Certificates = []tls.Certificate{private().client}
	for i, words := range []string{"id=first", "id=second"} {
		conn := s.dialTLS(addr, cfg)
		s.enter(conn, words)
		if p := w.of(words[3:]); p.CommonName() != "sensor-7" || conn.ConnectionState().DidResume != (i > 0) {
			t.Errorf("%s: %q, resumed %v", words, p.CommonName(), conn.ConnectionState().DidResume)
		}
	}
	if st := s.stats(); st.Secured != 3 || st.Resumed != 1 {
		t.Errorf("%d handshakes, %d resumed", st.Secured, st.Resumed)
	}
}

// F181: old versions are refused; no name, an unknown name and foreign protocols are served with the certificate there is.
func TestTLSNegotiation(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{})
	addr, _ := s.open(withTLS)
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		cfg := private().clientConfig()
		cfg.MinVersion, cfg.MaxVersion = version, version
		if conn, err := tls.Dial("tcp", addr, cfg); err == nil {
			conn.Close()
			t.Errorf("version %x was accepted", version)
		}
	}
	s.until("both are counted", func(st broker.Stats) bool { return st.HandshakesFailed == 2 })
	weak := private().clientConfig()
	weak.MaxVersion, weak.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}
	if conn, err := tls.Dial("tcp", addr, weak); err == nil {
		conn.Close()
		t.Error("RC4 was accepted")
	}
	for i, change := range []func(*tls.Config){
		func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
		func(c *tls.Config) { c.ServerName = "127.0.0.1" }, // an address is sent as no name
		func(c *tls.Config) { c.ServerName, c.InsecureSkipVerify = "who.example", true },
		func(c *tls.Config) { c.NextProtos = []string{"mqtt"} },
		func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} },
	} {
		cfg := private().clientConfig()
		change(cfg)
		s.enter(s.dialTLS(addr, cfg), fmt.Sprint("id=c", i))
	}
}

// F014: who speaks plain MQTT where TLS is spoken is closed at once, and nobody else is concerned.
func TestPlainWhereTLSIs(t *testing.T) {
	t.Parallel()
	s := serve(t, with(func(l *broker.Limits, _ *broker.Delivery) { l.ConnectTimeout = 10 * patience }))
	addr, door := s.open(withTLS)
	there := s.enter(s.dialTLS(addr, private().clientConfig()), "id=there")
	for _, words := range []string{"id=plain", "v3.1.1 id=plain", "id=" + strings.Repeat("x", 20_000)} {
		conn := s.dialTCP(addr)
		conn.SetDeadline(time.Now().Add(patience))
		s.tell(conn, "CONNECT "+words)
		if answer, err := io.ReadAll(conn); len(answer) > 0 && answer[0] == byte(mqtt.CONNACK)<<4 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%.20s: % x, %v", words, answer, err)
		}
	}
	if !reached(func() bool { f := door.Figures(); return f.Connections == 1 && f.Handshaking == 0 }) || s.stats().HandshakesFailed != 3 {
		t.Errorf("%+v, %d handshakes failed", door.Figures(), s.stats().HandshakesFailed)
	}
	there.idle()
}

// F138: a client that wants to renegotiate is cut off, and a ticket that is too old, or is not ours, leads to a full handshake.
func TestRenegotiationAndTickets(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{})
	addr, _ := s.open(withTLS)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", "s_client", "-connect", addr, "-tls1_2", "-CAfile", private().caFile(t))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stderr = &out
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	asked := false
	for lines.Scan() { // until the broker has ended it
		if !asked && strings.Contains(lines.Text(), "Verify return code") {
			asked = true
			io.WriteString(in, "R\n")
		}
	}
	cmd.Wait()
	if !asked || ctx.Err() != nil || !strings.Contains(out.String(), "RENEGOTIATING") {
		t.Errorf("asked %v, %v: %s", asked, ctx.Err(), out.String())
	}

	now := time.Now()
	var mu sync.Mutex
	cfg := private().serverConfig()
	cfg.Time = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	addr, _ = s.open(func(l *broker.Listener) { l.TLS = func() *tls.Config { return cfg } })
	client := private().clientConfig()
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	client.Time = cfg.Time
	connect := func(id string) bool {
		conn := s.dialTLS(addr, client)
		p := s.enter(conn, "id="+id)
		p.idle()
		resumed := conn.ConnectionState().DidResume
		p.send("DISCONNECT")
		p.gone()
		return resumed
	}
	later := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	if connect("a") || !connect("b") {
		t.Error("the second handshake is to be a resumed one")
	}
	later(30 * time.Hour) // package tls takes a new key every day and knows the old ones for a week
	if !connect("c") {
		t.Error("not resumed after a day")
	}
	later(8 * 24 * time.Hour)
	if connect("d") {
		t.Error("resumed by a ticket of eight days ago")
	}
	private2 := private().serverConfig()
	addr, _ = s.open(func(l *broker.Listener) { l.TLS = func() *tls.Config { return private2 } })
	if connect("e") {
		t.Error("resumed by a ticket of another listener")
	}
}

// A reload is a function that returns another configuration: those that are connected stay, tickets stay good.
func TestTLSReload(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{})
	var mu sync.Mutex
	current := private().serverConfig()
	base := &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		return current, nil
	}}
	addr, _ := s.open(func(l *broker.Listener) { l.TLS = func() *tls.Config { return base } })
	cfg := private().clientConfig()
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	stays := s.enter(s.dialTLS(addr, cfg), "id=stays")
	stays.idle()
	mu.Lock()
	current = private().serverConfig()
	mu.Unlock()
	conn := s.dialTLS(addr, cfg)
	s.enter(conn, "id=new")
	if !conn.ConnectionState().DidResume {
		t.Error("the ticket was worth nothing after the reload")
	}
	stays.idle()
}

// Other makes of clients: mosquitto's and openssl's.
func TestForeignTLSClients(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{})
	addr, _ := s.open(withTLS)
	host, port, _ := net.SplitHostPort(addr)
	sub := s.client("id=sub")
	sub.subscribe("t qos=1")
	ca := private().caFile(t)
	for _, version := range []string{"tlsv1.2", "tlsv1.3"} {
		out, err := exec.Command("mosquitto_pub", "-h", host, "-p", port, "--cafile", ca, "--tls-version", version, "-t", "t", "-q", "1", "-m", version).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		sub.expect(fmt.Sprintf("PUBLISH %q", version))
	}
	cmd := exec.Command("openssl", "s_client", "-quiet", "-verify_return_error", "-connect", addr, "-CAfile", ca)
	cmd.Stdin = strings.NewReader("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01o" + "\x30\x0a\x00\x01topenssl" + "\xe0\x00")
	out, err := cmd.Output()
	if err != nil && len(out) == 0 || !bytes.HasPrefix(out, []byte("\x20\x02\x00\x00")) {
		t.Fatalf("%v: % x", err, out)
	}
	sub.expect(`PUBLISH "openssl"`)
}

// F184: a client that ends its side, though it still reads, is gone, by every way in, and its will comes.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		s := serve(t, broker.Options{Shards: shards})
		sub := s.client("id=sub")
		sub.subscribe("will/# qos=1")
		for _, w := range waysIn() {
			addr, _ := s.open(w.change)
			conn := w.dial(s, addr)
			p := s.enter(conn, "id=c-"+w.name+" will=will/"+w.name+` "gone"`)
			if half, ok := conn.(interface{ CloseWrite() error }); ok {
				half.CloseWrite()
			} else {
				conn.Close() // a closing frame
			}
			sub.expect("PUBLISH topic=will/" + w.name)
			p.gone()
		}
	})
}

// F185: connections that are reset in the middle of a packet, in both directions, leave nothing behind, and every will comes.
func TestResetFlood(t *testing.T) {
	s := serve(t, broker.Options{})
	sub := s.client("id=sub")
	sub.subscribe("wills qos=1")
	sub.subscribe("t qos=0")
	goroutines := runtime.NumGoroutine()
	const each = 250
	for _, w := range waysIn()[:2] {
		addr, door := s.open(w.change)
		for i := range each {
			raw := s.dialTCP(addr)
			conn := net.Conn(raw)
			if w.name == "tls" {
				conn = tls.Client(raw, private().clientConfig())
			}
			p := &peer{t: t, v: mqtt.V5, conn: conn}
			p.send(fmt.Sprintf("CONNECT id=%s%d will=wills ", w.name, i))
			if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
			p.send("SUBSCRIBE id=1 t qos=0")
			conn.Write([]byte("\x30\xff\x7f\x00\x01thalf of a packet"))
			raw.SetLinger(0)
			raw.Close()
		}
		for range each {
			sub.expect("PUBLISH topic=wills")
		}
		s.until("nobody is left", func(st broker.Stats) bool { return st.Connected == 1 && st.Sockets == 1 && st.Subscriptions == 2 })
		if f := door.Figures(); f.Connections != 0 || f.Handshaking != 0 {
			t.Errorf("%s: %+v", w.name, f)
		}
	}
	if !reached(func() bool { return runtime.NumGoroutine() <= goroutines+10 }) {
		t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
	}
}

// hello is the first flight of a TLS client that never goes on.
func hello(t testing.TB) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	go tls.Client(theirs, private().clientConfig()).Handshake()
	b := make([]byte, 4096)
	n, err := ours.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	return b[:n]
}

// F122, F137: sockets that send nothing, a byte of a hello, or a hello and then nothing more, hold only so many handshakes, delay
// neither those that are connected nor those that come (but from their own address, whose share they use up), cost what is
// stated, and are closed at the CONNECT deadline.
func TestHandshakeFlood(t *testing.T) {
	for deadline := 2 * time.Second; !handshakeFlood(t, deadline); deadline *= 2 {
		t.Logf("this machine is too busy for a CONNECT deadline of %v", deadline)
	}
}

// handshakeFlood is false if the deadline was over before everybody else had been served, so that nobody can tell what they waited for.
func handshakeFlood(t *testing.T, deadline time.Duration) bool {
	const each = 150
	limits := broker.DefaultLimits()
	limits.ConnectTimeout = deadline
	s := serve(t, broker.Options{Limits: &limits})
	few := broker.DefaultListenerLimits()
	few.MaxHandshakes, few.MaxHandshakesPerAddress = 16, 8
	addr, door := s.open(func(l *broker.Listener) { withTLS(l); l.Limits = &few })
	there := s.enter(s.dialTLS(addr, private().clientConfig()), "id=there")
	goroutines := runtime.NumGoroutine()
	first := hello(t)
	start := time.Now()
	for range each {
		s.dialTCP(addr)
		s.dialTCP(addr).Write(first[:1])
		s.dialTCP(addr).Write(first)
	}
	over := func() bool { return time.Since(start) >= deadline }
	if !reached(func() bool {
		f := door.Figures()
		return f.Handshaking == 8 && f.WaitingForHandshake == each-8 || over()
	}) {
		t.Fatalf("%+v", door.Figures())
	}
	if n := runtime.NumGoroutine() - goroutines; n > 8+10 {
		t.Errorf("%d goroutines for %d sockets", n, 3*each)
	}
	for range 50 {
		there.idle()
	}
	from2 := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}} // another address
	conn, err := tls.DialWithDialer(from2, "tcp", addr, private().clientConfig())
	if err != nil {
		t.Fatal(err)
	}
	s.enter(conn, "id=newcomer")
	if over() {
		return false
	}
	s.until("the silent ones are closed", func(st broker.Stats) bool { return st.ConnectTimeouts >= 3*each && st.Sockets == 2 })
	if d := time.Since(start); d < limits.ConnectTimeout {
		t.Errorf("closed after %v", d)
	}
	if !reached(func() bool {
		f := door.Figures()
		return f.Handshaking == 0 && f.WaitingForHandshake == 0 && f.Connections == 2
	}) {
		t.Errorf("%+v", door.Figures())
	}
	there.idle()
	return true
}

// BenchmarkSilent opens b.N sockets of each kind and says what one costs, and what a client waits meanwhile.
func BenchmarkSilent(b *testing.B) {
	for k, kind := range []string{"nothing", "a byte", "a hello"} {
		b.Run(kind, func(b *testing.B) {
			s := serve(b, broker.Options{})
			addr, door := s.open(withTLS)
			there := s.enter(s.dialTLS(addr, private().clientConfig()), "id=there")
			first := hello(b)
			before := heap()
			begin := time.Now()
			conns := make([]net.Conn, 0, b.N)
			for i := range b.N {
				from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(1+k), byte(1+i/20_000), 2)}}
				conn, err := from.Dial("tcp", addr)
				if err != nil {
					b.Fatal(err)
				}
				conns = append(conns, conn)
				switch kind {
				case "a byte":
					conn.Write(first[:1])
				case "a hello":
					conn.Write(first)
				}
			}
			s.until("all are there", func(st broker.Stats) bool { return st.Sockets+int(st.ConnectTimeouts) >= b.N })
			b.ReportMetric(float64(len(conns))/time.Since(begin).Seconds(), "opened/s")
			b.ReportMetric(float64(door.Figures().Handshaking), "handshakes")
			var waits []time.Duration
			for range 200 {
				at := time.Now()
				there.idle()
				waits = append(waits, time.Since(at))
			}
			slices.Sort(waits)
			b.ReportMetric(float64(waits[len(waits)/2].Microseconds()), "p50-ping-µs")
			b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-ping-µs")
			at := time.Now()
			s.enter(s.dialTLS(addr, private().clientConfig()), "id=newcomer")
			b.ReportMetric(float64(time.Since(at).Microseconds()), "newcomer-µs")
			b.ReportMetric(float64(heap()-before)/float64(b.N), "heap-B/socket-both-ends")
			for _, c := range conns {
				c.Close()
			}
		})
	}
}
