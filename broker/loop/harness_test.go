package loop

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// funcs is a Handler of optional functions.
type funcs struct {
	opened  func(*Conn)
	data    func(*Conn, []byte) (int, int)
	drained func(*Conn)
	closed  func(*Conn, error)
	turn    func(time.Time)
}

func (h *funcs) Opened(c *Conn) {
	if h.opened != nil {
		h.opened(c)
	}
}

func (h *funcs) Data(c *Conn, b []byte) (int, int) {
	if h.data != nil {
		return h.data(c, b)
	}
	return len(b), 0
}

func (h *funcs) Drained(c *Conn) {
	if h.drained != nil {
		h.drained(c)
	}
}

func (h *funcs) Closed(c *Conn, err error) {
	if h.closed != nil {
		h.closed(c, err)
	}
}

func (h *funcs) Turn(now time.Time) {
	if h.turn != nil {
		h.turn(now)
	}
}

// echo sends back what comes.
func echo(c *Conn, b []byte) (int, int) {
	c.Write(b)
	return len(b), 0
}

// start runs a loop until the test's end and checks that it leaves nothing.
func start(t testing.TB, h Handler, o Options) *Loop {
	t.Helper()
	l, err := New(h, o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { l.Run(); close(done) }()
	t.Cleanup(func() {
		l.Stop()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatal("Run does not return after Stop")
		}
		if n := l.Conns(); n != 0 {
			t.Errorf("%d connections after Run", n)
		}
	})
	return l
}

// on runs f on the loop and waits for it.
func on(t testing.TB, l *Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(func() { f(); close(done) }) {
		t.Fatal("Post to a loop that has ended")
	}
	wait(t, done)
}

func wait(t testing.TB, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		buf := make([]byte, 1<<16)
		t.Fatalf("waited in vain\n%s", buf[:runtime.Stack(buf, true)])
	}
}

func get[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		buf := make([]byte, 1<<16)
		t.Fatalf("waited in vain\n%s", buf[:runtime.Stack(buf, true)])
		panic("unreachable")
	}
}

// eventually waits until f holds.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	limit := time.Now().Add(time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !f() {
		if time.Now().After(limit) {
			t.Fatal("not in time: " + what)
		}
		<-tick.C
	}
}

// A kind makes both ends of a connection: ours for Attach, the peer's.
type kind struct {
	name   string
	tcp    bool // the peer can reset it
	stream bool
	layers func(t testing.TB) *Layers // nil: none
	pair   func(t testing.TB) (ours, peer net.Conn)
}

// plain hides a connection's type from Attach.
type plain struct{ net.Conn }

func (p plain) CloseWrite() error {
	return p.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

func dial(t testing.TB, network, address string) (ours, peer net.Conn) {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err = net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ours, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return ours, peer
}

func hiddenPair(t testing.TB) (net.Conn, net.Conn) {
	ours, peer := tcpPair(t)
	return plain{ours}, peer
}

// under are the layers of a new connection.
func (k *kind) under(t testing.TB) *Layers {
	if k.layers == nil {
		return nil
	}
	return k.layers(t)
}

func tcpPair(t testing.TB) (net.Conn, net.Conn) { return dial(t, "tcp", "127.0.0.1:0") }

func unixPair(t testing.TB) (net.Conn, net.Conn) {
	return dial(t, "unix", filepath.Join(t.TempDir(), "s"))
}

func kinds() []kind {
	return []kind{
		{"tcp", true, false, nil, tcpPair},
		{"unix", false, false, nil, unixPair},
		{"stream", true, true, nil, hiddenPair},
		{"pipe", false, true, nil, func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() }},
		{"tls", false, true, nil, tlsPair},
		{"head", true, false, headLayers, through(tcpPair, headClient)},
		{"framed", true, false, framedLayers, through(tcpPair, framedClient)},
		{"tls layer", false, false, tlsLayers, through(tcpPair, tlsClient)},
		{"framed tls layer", false, false, allLayers, through(tcpPair, allClient)},
		{"framed tls layer on a stream", false, true, allLayers, through(hiddenPair, allClient)},
	}
}

// eachKind runs f over every kind of connection, and checks that goroutines and
// descriptors are as many as before.
func eachKind(t *testing.T, f func(t *testing.T, k kind)) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			noLeak(t)
			f(t, k)
		})
	}
}

// noLeak checks at the test's end, after the loops have ended.
func noLeak(t testing.TB) {
	goroutines, fds := runtime.NumGoroutine(), openFiles()
	t.Cleanup(func() {
		eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
		if fds >= 0 {
			eventually(t, "descriptors are closed", func() bool { return openFiles() <= fds })
		}
	})
}

// openFiles is the number of open sockets and epoll sets, -1 where unknown.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil &&
			(strings.HasPrefix(to, "socket:") || strings.Contains(to, "eventpoll")) {
			n++
		}
	}
	return n
}

// attach gives a new connection to l and returns both ends. The peer is closed
// at the test's end.
func attach(t testing.TB, l *Loop, k kind) (*Conn, net.Conn) {
	t.Helper()
	c, peer := attachOnly(t, l, k)
	if h, ok := peer.(interface{ handshake() error }); ok {
		if err := h.handshake(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the layers stand", func() (ok bool) {
			on(t, l, func() { ok = c.t.(*layer).stage == flowing })
			return ok
		})
	}
	return c, peer
}

// attachTo gives nc to l; greet, if not nil, may set State.
func attachTo(l *Loop, nc net.Conn, layers *Layers, greet func(*Conn)) {
	r := Reception{Pick: func() *Loop { return l }, Layers: func() *Layers { return layers }, Greet: greet}
	r.Attach(nc, nil)
}

// attachOnly is attach that does not wait for the layers.
func attachOnly(t testing.TB, l *Loop, k kind) (*Conn, net.Conn) {
	t.Helper()
	ours, peer := k.pair(t)
	peer.SetDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() { peer.Close() })
	conn := make(chan *Conn, 1)
	attachTo(l, ours, k.under(t), func(c *Conn) { conn <- c })
	return <-conn, peer
}
