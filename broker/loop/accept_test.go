package loop

import (
	"errors"
	"net"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// listener hides a listener's type from Accept and fails at first.
type listener struct {
	net.Listener
	fail []error
}

func (l *listener) Accept() (net.Conn, error) {
	if len(l.fail) > 0 {
		err := l.fail[0]
		l.fail = l.fail[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

func TestAccept(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(network, func(t *testing.T) {
				noLeak(t)
				address := "127.0.0.1:0"
				if network == "unix" {
					address = filepath.Join(t.TempDir(), "s")
				}
				ln, err := net.Listen(network, address)
				if err != nil {
					t.Fatal(err)
				}
				if hidden {
					ln = &listener{Listener: ln}
				}
				opened := make(chan *Conn, 100)
				l := start(t, &funcs{data: echo, opened: func(c *Conn) {
					if c.State != "admitted" || c.LocalAddr().String() != ln.Addr().String() {
						t.Errorf("state %v, local address %v", c.State, c.LocalAddr())
					}
					opened <- c
				}}, Options{})
				ended := make(chan error, 1)
				go func() {
					ended <- Accept(ln, nil, &Reception{Pick: func() *Loop { return l }, Greet: func(c *Conn) { c.State = "admitted" }})
				}()
				var peers []net.Conn
				for range 20 {
					peer, err := net.Dial(network, ln.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					defer peer.Close()
					peers = append(peers, peer)
				}
				addrs := map[string]bool{}
				for range peers {
					addrs[get(t, opened).RemoteAddr().String()] = true
				}
				for _, peer := range peers {
					send(t, peer, "x")
					expect(t, peer, "x")
					if a := peer.LocalAddr().String(); network == "tcp" && !addrs[a] {
						t.Errorf("no remote address %v", a)
					}
				}
				ln.Close()
				if err := get(t, ended); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// F121: out of descriptors, Accept backs off, reports and goes on.
func TestAcceptBacksOff(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	full := &net.OpError{Op: "accept", Err: syscall.EMFILE}
	ln := &listener{Listener: inner, fail: []error{full, full, full}}
	opened := make(chan *Conn, 1)
	l := start(t, &funcs{opened: func(c *Conn) { opened <- c }}, Options{})
	var reports atomic.Int32
	ended := make(chan error, 1)
	begin := time.Now()
	go func() {
		ended <- Accept(ln, nil, &Reception{Pick: func() *Loop { return l }, Failed: func(err error) {
			if !errors.Is(err, syscall.EMFILE) {
				t.Error(err)
			}
			reports.Add(1)
		}})
	}()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	get(t, opened)
	if d := time.Since(begin); d < 35*time.Millisecond || reports.Load() != 3 {
		t.Errorf("%d reports, accepted after %v, want 3 and 5+10+20 ms", reports.Load(), d)
	}
	ln.Close()
	if err := get(t, ended); err != nil {
		t.Error(err)
	}
}

// An error that will not pass ends Accept.
func TestAcceptFails(t *testing.T) {
	broken := errors.New("broken")
	if err := Accept(&listener{fail: []error{broken}}, nil, &Reception{}); err != broken {
		t.Error(err)
	}
}
