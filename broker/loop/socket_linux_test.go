package loop

import (
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An idle socket costs one small object.
func TestConnSize(t *testing.T) {
	if n := unsafe.Sizeof(socketConn{}); n > 112 {
		t.Errorf("%d bytes", n)
	}
}

func TestSocketOptions(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan *Conn, 2)
	l := start(t, &funcs{opened: func(c *Conn) { opened <- c }}, Options{KeepAlive: 7 * time.Second})
	var peers []net.Conn
	for range 2 { // before Accept: the first one takes the way of package net
		peer, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		peers = append(peers, peer)
	}
	go Accept(ln, nil, &Reception{Pick: func() *Loop { return l }})
	defer ln.Close()
	for range peers {
		c := get(t, opened)
		on(t, l, func() { checkOptions(t, int(c.t.(*socket).fd)) })
	}
}

func checkOptions(t *testing.T, fd int) {
	for _, o := range []struct{ level, opt, want int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 7},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 7},
	} {
		if got, err := unix.GetsockoptInt(fd, o.level, o.opt); got != o.want || err != nil {
			t.Errorf("option %d is %d, %v; want %d", o.opt, got, err, o.want)
		}
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("flags %x, %v: not non-blocking", flags, err)
	}
	if flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %x, %v: not close-on-exec", flags, err)
	}
}

// F121 with the real thing: no descriptor is left, and later some are.
func TestAcceptWithoutDescriptors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan *Conn, 3)
	l := start(t, &funcs{opened: func(c *Conn) { opened <- c }}, Options{})
	for range cap(opened) {
		peer, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	var reports atomic.Int32
	ended := make(chan error, 1)
	go func() {
		ended <- Accept(ln, nil, &Reception{Pick: func() *Loop { return l }, Failed: func(err error) { reports.Add(1) }})
	}()
	eventually(t, "a report", func() bool { return reports.Load() > 1 })
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	for range cap(opened) {
		get(t, opened)
	}
	if n := reports.Load(); n > 20 {
		t.Errorf("%d reports: a busy loop", n)
	}
	ln.Close()
	if err := get(t, ended); err != nil {
		t.Error(err)
	}
}

// F120: connections leave descriptors to others: files are still opened, those that are there go on, and who comes is closed at once
// until somebody leaves.
func TestAcceptLeavesDescriptors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	const limit = 400
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	l := start(t, &funcs{data: echo}, Options{})
	var reports atomic.Int32
	go Accept(ln, nil, &Reception{Pick: func() *Loop { return l }, Failed: func(err error) {
		if err != ErrReserve {
			t.Error(err)
		}
		reports.Add(1)
	}})
	enter := func() net.Conn { // nil: turned away
		peer, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return nil
		}
		peer.SetDeadline(time.Now().Add(time.Minute))
		if _, err = peer.Write([]byte("y")); err == nil {
			_, err = peer.Read(make([]byte, 1))
		}
		if err != nil {
			peer.Close()
			return nil
		}
		return peer
	}
	var peers []net.Conn
	for { // each takes two descriptors of this process; one by one, so that none that waits takes the room that is made later
		peer := enter()
		if peer == nil {
			break
		}
		defer peer.Close()
		if peers = append(peers, peer); len(peers) > limit/2 {
			t.Fatal("nobody is turned away")
		}
	}
	if reports.Load() == 0 {
		t.Error("turned away without a report")
	}
	for range reserveOf(limit) / 2 {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	send(t, peers[0], "x")
	expect(t, peers[0], "x")
	peers[0].Close()
	peers[1].Close()
	eventually(t, "room again", func() bool {
		peer := enter()
		if peer == nil {
			return false
		}
		peer.Close()
		return true
	})
}

// A peer that is gone wakes neither a paused connection nor, again and again,
// its loop.
func TestPausedDoesNotSpin(t *testing.T) {
	turns := 0
	closed := make(chan error, 1)
	l := start(t, &funcs{
		turn:   func(time.Time) { turns++ },
		closed: func(_ *Conn, err error) { closed <- err },
	}, Options{})
	for _, k := range kinds()[:2] {
		c, peer := attach(t, l, k)
		on(t, l, c.PauseRead)
		peer.Close()
		eventually(t, "deaf", func() (ok bool) {
			on(t, l, func() { ok = c.t.(*socket).events == 0 })
			return ok
		})
		var before int
		on(t, l, func() { before = turns })
		<-time.After(20 * time.Millisecond)
		on(t, l, func() {
			if turns > before+3 {
				t.Errorf("%d turns", turns-before)
			}
			c.ResumeRead()
		})
		get(t, closed)
	}
}
