package transport

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// Limited is a listener with a bound on the connections that are open at a time.
type Limited struct {
	net.Listener
	most    int64
	open    atomic.Int64
	refused atomic.Uint64
}

// Limit bounds the open connections of l. One above the bound is accepted and closed at once, so
// that it does not wait in the kernel's queue, unanswered, for somebody else to leave.
func Limit(l net.Listener, most int) *Limited {
	return &Limited{Listener: l, most: int64(most)}
}

// Accept returns the next connection within the bound. Its place is free again once it is closed.
func (l *Limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &counted{Conn: c, leave: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		l.refused.Add(1)
		c.Close()
	}
}

// Refused is the number of connections that were closed because of the bound.
func (l *Limited) Refused() uint64 { return l.refused.Load() }

// counted gives its place back when it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close closes the connection and frees its place.
func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}

// SyscallConn gives an event loop the descriptor below.
func (c *counted) SyscallConn() (syscall.RawConn, error) {
	return c.Conn.(syscall.Conn).SyscallConn()
}
