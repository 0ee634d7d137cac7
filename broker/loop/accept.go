package loop

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// The back-off after an accept that failed for want of resources.
const (
	minBackOff = 5 * time.Millisecond
	maxBackOff = time.Second
)

// Reception is how Accept receives connections. Only Pick is needed. The functions run on the goroutine of Accept, but for Left.
type Reception struct {
	Pick  func() *Loop                   // chooses the loop for a connection
	Admit func(from netip.AddrPort) bool // asked before anything is made of a connection; false closes it. from is invalid for a Unix socket
	// Layers returns the layers of connections from now on, nil for none. It is asked for each.
	Layers func() *Layers
	Greet  func(c *Conn)             // called before the loop knows of c; may set State
	Left   func(from netip.AddrPort) // once for each that was admitted, when its descriptor is closed; any goroutine
	Failed func(error)               // the system refused; ErrReserve is one such error
}

// ErrReserve says that a connection was closed because only the descriptors are left that the process needs for itself: for
// files, for HTTP, for what clients that are there cause.
var ErrReserve = errors.New("no file descriptor left for a further connection")

// reserveOf is how many descriptors of limit connections leave to others.
func reserveOf(limit uint64) uint64 {
	return min(max(limit/16, min(32, limit/4)), 512)
}

// Accept gives the connections of ln to loops until ln is closed, and then
// returns nil. When the system refuses (too many open files, no memory), or few
// descriptors are left, Accept waits, 5 ms at first and up to 1 s. An error that will not
// pass is returned.
//
// On Linux it may take a quarter of a second to notice that a TCP or Unix listener
// was closed, though its address is free at once. Who closes stop, if not nil, after
// ln is not kept waiting.
func Accept(ln net.Listener, stop <-chan struct{}, r *Reception) error {
	var a acceptor
	defer a.close()
	var wait time.Duration
	for {
		err := a.open(ln, stop)
		if err == nil {
			err = a.next(r)
		}
		switch {
		case err == nil:
			wait = 0
			continue
		case errors.Is(err, net.ErrClosed):
			return nil
		case !passing(err):
			return err
		}
		if r.Failed != nil {
			r.Failed(err)
		}
		wait = min(max(2*wait, minBackOff), maxBackOff)
		select {
		case <-stop:
			return nil
		case <-time.After(wait):
		}
	}
}

// acceptFrom accepts one connection of any listener.
func acceptFrom(ln net.Listener, r *Reception) error {
	nc, err := ln.Accept()
	if err != nil {
		return err
	}
	if r.Admit != nil && !r.Admit(addrPortOf(nc.RemoteAddr())) {
		nc.Close()
		return nil
	}
	l := r.Pick()
	if tc, ok := nc.(*net.TCPConn); ok {
		every := max(l.o.KeepAlive, 0)
		// An error means that the connection broke; reading will tell.
		_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: every > 0, Idle: every, Interval: every})
	}
	c := adopt(nc)
	if c == nil {
		c = newStream(nc)
	}
	r.give(c, l)
	return nil
}

// give hands an admitted connection to l.
func (r *Reception) give(c *Conn, l *Loop) {
	c.from = r
	var layers *Layers
	if r.Layers != nil {
		layers = r.Layers()
	}
	l.take(c, layers, r.Greet)
}

// addrPortOf is a's address, unmapped; invalid if it is not TCP's.
func addrPortOf(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := tcp.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// passing reports whether accepting may succeed later. Of a listener's own
// errors only those that say so; of the system's all but the ones that mean that
// this is no listening socket, since a network's errors show in accept too.
func passing(err error) bool {
	if err == ErrReserve {
		return true
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		switch errno {
		case syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EOPNOTSUPP:
			return false
		}
		return true
	}
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary()
}
