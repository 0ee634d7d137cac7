package loop

import (
	"crypto/tls"
	"net"
	"net/netip"
	"testing"
	"time"
)

// F186: one identity per host, however its address is written; IPv6 counts by /64 networks.
func TestGroup(t *testing.T) {
	f := func(a, want string) {
		t.Helper()
		if got := Group(netip.MustParseAddr(a)); got.String() != want {
			t.Errorf("%s: %s", a, got)
		}
	}
	f("192.0.2.1", "192.0.2.1/32")
	f("::ffff:192.0.2.1", "192.0.2.1/32")
	f("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64")
	f("fe80::1%eth0", "fe80::/64")
	if Group(netip.Addr{}).IsValid() {
		t.Error("no address is a group")
	}
}

// shy makes n connections that have said hello as from each address, and returns their peers.
func shy(t *testing.T, l *Loop, y *Layers, n int, from string) []net.Conn {
	t.Helper()
	hello := make([]byte, 4096)
	ours, theirs := net.Pipe()
	go tls.Client(theirs, &tls.Config{InsecureSkipVerify: true}).Handshake()
	k, err := ours.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	with := *y
	with.From = func(*Conn) netip.Addr { return netip.MustParseAddr(from) }
	var peers []net.Conn
	for range n {
		ours, peer := tcpPair(t)
		t.Cleanup(func() { peer.Close() })
		attachTo(l, ours, &with, nil)
		peer.Write(hello[:k])
		peers = append(peers, peer)
	}
	return peers
}

// An address that has used its share waits; others do not wait for it; within the address the first comes first.
func TestHandshakeShares(t *testing.T) {
	noLeak(t)
	l := start(t, &funcs{data: echo}, Options{})
	y := tlsLayers(t)
	y.Handshakes.Set(6, 4)
	busy := shy(t, l, y, 20, "192.0.2.1")
	at := func(waiting, running int) {
		t.Helper()
		eventually(t, "the handshakes", func() bool { w, r := y.Handshakes.Waiting(); return w == waiting && r == running })
	}
	at(16, 4)
	shy(t, l, y, 2, "2001:db8::1")
	at(16, 6)
	shy(t, l, y, 1, "2001:db8::2") // full for everybody
	at(17, 6)
	busy[0].Close() // one place: it is the other address's turn
	at(16, 6)
	busy[19].Close() // waiting, and paused: nobody notices
	y.Handshakes.Set(100, 100)
	at(0, 21)
}

// What comes before the handshake is what TLS clients send.
func TestNotTLS(t *testing.T) {
	for _, in := range []string{"\x10\x0c\x00\x04MQTT", "GET / HTTP/1.1\r\n", "\x16\x03\x01\xff\xff", "\x16\x03\x01\x00\x04abcd"} {
		closed := make(chan error, 1)
		l := start(t, &funcs{closed: func(_ *Conn, err error) { closed <- err }}, Options{})
		ours, peer := tcpPair(t)
		attachTo(l, ours, tlsLayers(t), nil)
		send(t, peer, in)
		err := get(t, closed)
		if fault, ok := err.(*LayerError); !ok || fault.Layer != "TLS" {
			t.Errorf("%q: %v", in, err)
		}
		peer.Close()
	}
}

// Idle connections hold no large record buffer: this Go release's tls.Conn is laid out as we know it, and a second of rest is enough.
func TestTLSBuffersAreGivenBack(t *testing.T) {
	l := start(t, &funcs{data: echo}, Options{})
	on(t, l, func() {
		if !l.tls.layout.known {
			t.Error("tls.Conn has other fields")
		}
	})
	k := kind{layers: tlsLayers, pair: through(tcpPair, tlsClient)}
	c, peer := attach(t, l, k)
	b := make([]byte, 16<<10)
	for round := range 2 {
		send(t, peer, string(b))
		expect(t, peer, string(b))
		fat := func() (fat bool) {
			on(t, l, func() { fat = l.tls.layout.fat(c.t.(*layer).tls) })
			return fat
		}
		if !fat() {
			t.Errorf("round %d: not fat after a large record", round)
		}
		eventually(t, "lean", func() bool { return !fat() })
	}
	for used := 0; used < 3; { // it is not taken from a connection in use
		began := time.Now()
		send(t, peer, string(b))
		expect(t, peer, string(b))
		<-time.After(600 * time.Millisecond)
		var n int
		on(t, l, func() { n = len(l.tls.fat) })
		if time.Since(began) >= trimEvery {
			continue // this machine is too busy to use it in time
		}
		if used++; n != 1 {
			t.Errorf("%d fat connections", n)
		}
	}
}
