package loop

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// closedWithin is how soon Accept notices that somebody closed its listener without a word.
const closedWithin = 250 * time.Millisecond

// acceptor accepts on a TCP or Unix listener without making a net.Conn of each connection. A
// listener's RawConn cannot wait, and a copy of its descriptor would go on listening after
// ln.Close. So an epoll set waits for the listener's own descriptor: it forgets it when that is
// closed, and since nobody is told, the wait looks after it now and then.
type acceptor struct {
	ln      net.Listener
	stop    <-chan struct{}
	done    chan struct{}   // closed by close; nil until it is open
	rc      syscall.RawConn // nil for a listener that has no descriptor of a known kind
	network string
	set     *os.File
	wait    syscall.RawConn
	events  [1]unix.EpollEvent
	from    unix.RawSockaddrAny
	tuned   bool

	// ready and take are the two halves of next, made once; what they need and find is below.
	ready  func(set uintptr) bool
	take   func(ln uintptr)
	each   bool // tune the connections one by one
	with   *Reception
	failed error
	room   uint64 // descriptors from this number on are for others
}

// open readies a, if it is not yet.
func (a *acceptor) open(ln net.Listener, stop <-chan struct{}) error {
	if a.ln != nil {
		return nil
	}
	var sc syscall.Conn
	switch ln := ln.(type) {
	case *net.TCPListener:
		sc = ln
	case *net.UnixListener:
		sc = ln
	default:
		a.ln = ln
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("create epoll set: %w", err)
	}
	err = unix.SetNonblock(ep, true) // os.NewFile polls only such
	set := os.NewFile(uintptr(ep), "accept")
	if err == nil {
		a.wait, err = set.SyscallConn()
	}
	if err == nil {
		failed := rc.Control(func(fd uintptr) {
			err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN})
		})
		err = errors.Join(failed, err)
	}
	if err != nil {
		set.Close()
		return fmt.Errorf("wait for connections: %w", err)
	}
	a.ln, a.stop, a.rc, a.network, a.set, a.done = ln, stop, rc, ln.Addr().Network(), set, make(chan struct{})
	a.take = a.acceptAll
	a.ready = func(set uintptr) bool {
		n, _ := unix.EpollWait(int(set), a.events[:], 0)
		return n > 0
	}
	go a.interrupt()
	return nil
}

// interrupt ends a wait when stop is closed.
func (a *acceptor) interrupt() {
	select {
	case <-a.stop:
		a.set.SetReadDeadline(time.Unix(1, 0))
	case <-a.done:
	}
}

func (a *acceptor) close() {
	if a.done != nil {
		close(a.done)
		a.set.Close()
	}
}

// next waits for connections and accepts what is there. It may return without any.
func (a *acceptor) next(r *Reception) error {
	if a.rc == nil {
		return acceptFrom(a.ln, r)
	}
	each := !a.tuned && a.network == "tcp" // connections may be there that inherited nothing
	if each {
		a.tuned = true
		if err := a.tune(r.Pick().o.KeepAlive); err != nil {
			return err
		}
	}
	err := a.set.SetReadDeadline(time.Now().Add(closedWithin))
	select {
	case <-a.stop: // closed before that could end the wait
		return net.ErrClosed
	default:
	}
	if err == nil {
		err = a.wait.Read(a.ready)
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	a.each, a.with, a.failed, a.room = each, r, nil, limit.Cur-reserveOf(limit.Cur)
	if err := a.rc.Control(a.take); err != nil {
		return err
	}
	return a.failed
}

// tune sets on the listener what every accepted connection is to have: it inherits it.
func (a *acceptor) tune(keepAlive time.Duration) error {
	var failed error
	if err := a.rc.Control(func(fd uintptr) { failed = tune(int(fd), keepAlive) }); err != nil {
		return err
	}
	return failed
}

// acceptAll accepts until nothing is there. The listener is non-blocking, so the scheduler need not be told.
func (a *acceptor) acceptAll(ln uintptr) {
	for {
		a.from.Addr.Family = unix.AF_UNSPEC
		size := uint32(unsafe.Sizeof(a.from))
		fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, ln, uintptr(unsafe.Pointer(&a.from)), uintptr(unsafe.Pointer(&size)),
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
			if uint64(fd) >= a.room { // the system gives out the lowest free number
				refuse(int(fd))
				a.failed = ErrReserve
				return
			}
			l, from := a.with.Pick(), a.peer()
			broken := a.each && tune(int(fd), l.o.KeepAlive) != nil // before it counts as anything
			if broken || a.with.Admit != nil && !a.with.Admit(from.addrPort()) {
				refuse(int(fd))
				continue
			}
			a.with.give(newSocket(int(fd), from), l)
		case unix.EAGAIN:
			return
		case unix.EINTR, unix.ECONNABORTED: // the next one may be fine
		default:
			a.failed = &net.OpError{Op: "accept", Net: a.network, Err: os.NewSyscallError("accept4", errno)}
			return
		}
	}
}

// peer is the address in from.
func (a *acceptor) peer() peerAddr {
	switch a.from.Addr.Family {
	case unix.AF_INET:
		raw := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.from))
		return peerOf(&unix.SockaddrInet4{Port: int(fromNetwork(raw.Port)), Addr: raw.Addr})
	case unix.AF_INET6:
		raw := (*unix.RawSockaddrInet6)(unsafe.Pointer(&a.from))
		return peerOf(&unix.SockaddrInet6{Port: int(fromNetwork(raw.Port)), ZoneId: raw.Scope_id, Addr: raw.Addr})
	}
	return peerAddr{}
}

// fromNetwork turns a port in network byte order into a number.
func fromNetwork(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}

// refuse closes a connection that is not wanted by a reset, which leaves nothing behind in the system.
func refuse(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // else it is closed the other way
	unix.Close(fd)
}
