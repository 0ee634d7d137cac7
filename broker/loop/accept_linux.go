package loop

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// acceptor returns the function that accepts what is there on ln, at least one
// connection. For TCP and Unix listeners no net.Conn is made.
func acceptor(ln net.Listener) func(func() *Loop, func(*Conn)) error {
	var sc syscall.Conn
	return acceptFrom(ln)
	switch ln := ln.(type) {
	case *net.TCPListener:
		sc = ln
	case *net.UnixListener:
		sc = ln
	default:
		return acceptFrom(ln)
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return func(func() *Loop, func(*Conn)) error { return err }
	}
	network := ln.Addr().Network()
	return func(pick func() *Loop, admit func(*Conn)) error {
		var failed error
		err := rc.Read(func(fd uintptr) (done bool) {
			done, failed = acceptAll(int(fd), network, pick, admit)
			return done
		})
		if err != nil {
			return err
		}
		return failed
	}
}

// acceptAll accepts until nothing is there and reports whether it met an error.
func acceptAll(ln int, network string, pick func() *Loop, admit func(*Conn)) (failed bool, err error) {
	for {
		fd, sa, err := unix.Accept4(ln, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			give(fd, sa, network == "tcp", pick(), admit)
		case unix.EAGAIN:
			return false, nil
		case unix.EINTR, unix.ECONNABORTED: // the next one may be fine
		default:
			return true, &net.OpError{Op: "accept", Net: network, Err: err}
		}
	}
}

func give(fd int, sa unix.Sockaddr, tcp bool, l *Loop, admit func(*Conn)) {
	if tcp && tune(fd, l.o.KeepAlive) != nil {
		unix.Close(fd) // it broke already
		return
	}
	c := newSocket(fd, peerOf(sa))
	if admit != nil {
		admit(c)
	}
	if !l.join(c, nil) {
		c.t.close(c)
	}
}
