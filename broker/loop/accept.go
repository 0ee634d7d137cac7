package loop

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// The back-off after an accept that failed for want of resources.
const (
	minBackOff = 5 * time.Millisecond
	maxBackOff = time.Second
)

// Accept gives the connections of ln to loops until ln is closed, and then
// returns nil. pick chooses the loop for a connection; admit, if not nil, is
// called before that loop knows of it and may set State. Both run on the calling
// goroutine. When the system refuses (too many open files, no memory) Accept
// waits, 5 ms at first and up to 1 s; onErr, if not nil, hears of each such
// error. An error that will not pass is returned.
//
// On Linux it may take a quarter of a second to notice that a TCP or Unix listener
// was closed, though its address is free at once. Who closes stop, if not nil, after
// ln is not kept waiting.
func Accept(ln net.Listener, stop <-chan struct{}, pick func() *Loop, admit func(*Conn), onErr func(error)) error {
	var a acceptor
	defer a.close()
	var wait time.Duration
	for {
		err := a.open(ln, stop)
		if err == nil {
			err = a.next(pick, admit)
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
		if onErr != nil {
			onErr(err)
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
func acceptFrom(ln net.Listener, pick func() *Loop, admit func(*Conn)) error {
	nc, err := ln.Accept()
	if err != nil {
		return err
	}
	l := pick()
	if tc, ok := nc.(*net.TCPConn); ok {
		every := max(l.o.KeepAlive, 0)
		// An error means that the connection broke; reading will tell.
		_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: every > 0, Idle: every, Interval: every})
	}
	l.attach(nc, admit)
	return nil
}

// passing reports whether accepting may succeed later. Of a listener's own
// errors only those that say so; of the system's all but the ones that mean that
// this is no listening socket, since a network's errors show in accept too.
func passing(err error) bool {
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
