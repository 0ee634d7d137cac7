package loop

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// acceptor returns the function that accepts what is there on ln, at least one
// connection. A listener's RawConn cannot wait, and a copy of its descriptor
// would go on listening after ln.Close. So package net accepts the first
// connection of each wake-up, and those behind it are taken without making a
// net.Conn of each: in a storm that is nearly all.
func acceptor(ln net.Listener) func(func() *Loop, func(*Conn)) error {
	first := acceptFrom(ln)
	var sc syscall.Conn
	switch ln := ln.(type) {
	case *net.TCPListener:
		sc = ln
	case *net.UnixListener:
		sc = ln
	default:
		return first
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return func(func() *Loop, func(*Conn)) error { return err }
	}
	network := ln.Addr().Network()
	tuned := false
	return func(pick func() *Loop, admit func(*Conn)) error {
		waited := !tuned && network == "tcp" // connections may be there that inherited nothing
		if waited {
			tuned = true
			if err := tuneListener(rc, pick().o.KeepAlive); err != nil {
				return err
			}
		}
		if err := first(pick, admit); err != nil {
			return err
		}
		var failed error
		if err := rc.Control(func(fd uintptr) { failed = acceptRest(int(fd), network, waited, pick, admit) }); err != nil {
			return err
		}
		return failed
	}
}

// acceptRest accepts until nothing is there. each says to tune the connections one by one.
func acceptRest(ln int, network string, each bool, pick func() *Loop, admit func(*Conn)) error {
	for {
		fd, sa, err := unix.Accept4(ln, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			l := pick()
			if each && tune(fd, l.o.KeepAlive) != nil {
				unix.Close(fd) // it broke already
				continue
			}
			give(fd, sa, l, admit)
		case unix.EAGAIN:
			return nil
		case unix.EINTR, unix.ECONNABORTED: // the next one may be fine
		default:
			return &net.OpError{Op: "accept", Net: network, Err: err}
		}
	}
}

// tuneListener sets what every accepted connection is to have.
func tuneListener(rc syscall.RawConn, keepAlive time.Duration) error {
	var failed error
	if err := rc.Control(func(fd uintptr) { failed = tune(int(fd), keepAlive) }); err != nil {
		return err
	}
	return failed
}

func give(fd int, sa unix.Sockaddr, l *Loop, admit func(*Conn)) {
	c := newSocket(fd, peerOf(sa))
	if admit != nil {
		admit(c)
	}
	if !l.join(c, nil) {
		c.t.close(c)
	}
}
