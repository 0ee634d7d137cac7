package loop

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch is how many ready connections one epoll_wait reports.
const batch = 256

// poller is an epoll set whose descriptor waits in Go's netpoller. It is woken,
// by Wake or at a time, through the read deadline of that wait, which needs no
// system call.
//
// All system calls here and in socket.go are raw: every descriptor is
// non-blocking, so the scheduler need not be told that they might block.
type poller struct {
	f      *os.File
	rc     syscall.RawConn
	fd     int
	look   func(uintptr) bool // poller.ready as a value, made once
	events [batch]unix.EpollEvent
	n      int  // events of the last wait
	next   int  // the first of them that is not dealt with
	idle   bool // this wait may park
	slept  bool // this wait has parked
	armed  time.Time
	iov    [maxIov]unix.Iovec
}

func (p *poller) open(l *Loop) error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("create epoll set: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // os.NewFile polls only such
		unix.Close(fd)
		return fmt.Errorf("create epoll set: %w", err)
	}
	p.fd = fd
	p.f = os.NewFile(uintptr(fd), "epoll")
	if p.rc, err = p.f.SyscallConn(); err == nil {
		err = p.f.SetReadDeadline(time.Time{})
	}
	if err != nil {
		p.f.Close()
		return fmt.Errorf("poll epoll set: %w", err)
	}
	p.look = func(uintptr) bool { return p.ready(l) }
	return nil
}

func (p *poller) close() { p.f.Close() }

// wake ends the park. A late one only causes a turn more: wait resets the
// deadline whenever it finds it expired.
func (p *poller) wake() { p.f.SetReadDeadline(time.Unix(1, 0)) }

// wait collects events, parking until there are some if the loop has nothing
// else to do. It reports whether it parked.
func (p *poller) wait(l *Loop) bool {
	if p.next < p.n {
		return false
	}
	// No event names these slots any more.
	l.slots.free = append(l.slots.free, l.slots.freed...)
	l.slots.freed = l.slots.freed[:0]
	p.n, p.next = 0, 0
	p.idle, p.slept = !l.busy(), false
	switch err := p.rc.Read(p.look); {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.arm(time.Time{})
		p.poll()
	default:
		panic(fmt.Sprintf("loop: wait for epoll set: %v", err))
	}
	return p.slept
}

// ready looks for events and reports whether the wait is over.
func (p *poller) ready(l *Loop) bool {
	p.poll()
	if p.n > 0 || !p.idle {
		return true
	}
	// The deadline goes first: wake, which comes only after parked is seen, must
	// not be overwritten. One that is too early stays: it costs a turn, not a
	// system call at each.
	if t := l.due(); !t.IsZero() && (p.armed.IsZero() || t.Before(p.armed)) {
		p.arm(t)
	}
	if !l.state.CompareAndSwap(awake, parked) && l.state.Load() == woken {
		return true
	}
	p.slept = true
	return false
}

func (p *poller) arm(t time.Time) {
	p.armed = t
	if err := p.f.SetReadDeadline(t); err != nil {
		panic(fmt.Sprintf("loop: set deadline of epoll set: %v", err))
	}
}

func (p *poller) poll() {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.events)), batch, 0, 0, 0)
	if errno == 0 {
		p.n = int(n)
	}
}

// dispatch deals with the events of the last wait, up to turnBytes of input.
func (p *poller) dispatch(l *Loop) {
	for p.next < p.n && l.read < turnBytes {
		ev := &p.events[p.next]
		p.next++
		if c := l.slots.conns[ev.Fd]; c != nil {
			c.t.(*socket).ready(c, ev.Events)
		}
	}
}

// want makes the epoll set report ev for c; had is what it reports now.
func (p *poller) want(fd int32, slot int32, had, ev uint32) error {
	op := unix.EPOLL_CTL_MOD
	switch {
	case ev == had:
		return nil
	case ev == 0:
		op = unix.EPOLL_CTL_DEL
	case had == 0:
		op = unix.EPOLL_CTL_ADD
	}
	e := unix.EpollEvent{Events: ev, Fd: slot}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(&e)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}
