package loop

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxIov is how many segments one system call writes.
const maxIov = 64

// maxRead bounds one read into kept input, maxFlush what one connection writes
// at once: a peer that takes all it gets must not keep the loop from others.
const (
	maxRead  = 256 << 10
	maxFlush = 1 << 20
)

// socket is the transport of a TCP or Unix connection on Linux.
type socket struct {
	fd     int32
	events uint32 // what the epoll set reports; 0: not in the set
	from   peerAddr
}

// peerAddr is a TCP address without pointers; family 0: not TCP.
type peerAddr struct {
	ip     [16]byte
	zone   uint32
	port   uint16
	family uint8
}

// socketConn is both parts in one piece of memory.
type socketConn struct {
	Conn
	socket
}

func newSocket(fd int, peer peerAddr) *Conn {
	x := &socketConn{socket: socket{fd: int32(fd), from: peer}}
	x.Conn.t = &x.socket
	return &x.Conn
}

// adopt makes a Conn of nc's descriptor and closes nc; nil if it has none.
func adopt(nc net.Conn) *Conn {
	var sc syscall.Conn
	switch nc := nc.(type) {
	case *net.TCPConn:
		sc = nc
	case *net.UnixConn:
		sc = nc
	default:
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	fd := -1
	if rc.Control(func(s uintptr) { fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) }) != nil || err != nil {
		return nil
	}
	var peer peerAddr
	if sa, err := unix.Getpeername(fd); err == nil {
		peer = peerOf(sa)
	}
	nc.Close()
	return newSocket(fd, peer)
}

func (s *socket) home(*Loop)    {}
func (s *socket) movable() bool { return true }

func (s *socket) join(c *Conn) error {
	s.events = 0
	return s.interest(c)
}

func (s *socket) leave(c *Conn) { s.want(c, 0) }

func (s *socket) resume(c *Conn) {
	if err := s.interest(c); err != nil {
		c.fail(err)
	}
}

// interest tells the epoll set what c waits for.
func (s *socket) interest(c *Conn) error {
	var ev uint32
	if c.flags&deaf == 0 || c.flags&(finishing|gone) == finishing {
		ev |= unix.EPOLLIN
	}
	if c.flags&blocked != 0 {
		ev |= unix.EPOLLOUT
	}
	return s.want(c, ev)
}

func (s *socket) want(c *Conn, ev uint32) error {
	err := c.l.poll.want(s.fd, c.slot, s.events, ev)
	s.events = ev
	return err
}

// ready deals with an event. Errors and hang-ups show in reading or writing.
func (s *socket) ready(c *Conn, ev uint32) {
	if ev&unix.EPOLLOUT != 0 || ev&(unix.EPOLLERR|unix.EPOLLHUP) != 0 && c.flags&blocked != 0 {
		c.flush()
	}
	if ev&^unix.EPOLLOUT == 0 || c.flags&gone != 0 {
		return
	}
	switch {
	case c.flags&finishing != 0:
		if n, err := s.recv(c.l.buf); n == 0 || err != 0 && err != unix.EAGAIN {
			c.destroy()
		}
	case c.flags&deaf != 0:
		s.resume(c) // not interested after all
	case c.flags&offered == 0:
		s.read(c)
	}
}

// read takes in what is there, once, and offers it.
func (s *socket) read(c *Conn) {
	l, rest := c.l, 0
	into := l.buf
	if c.in != nil {
		kept := c.in.buf[c.inOff:]
		if rest = len(kept); rest > smallRest {
			s.readMore(c, rest)
			return
		}
		copy(into, kept)
		into = into[rest:]
	}
	n, errno := s.recv(into)
	if n <= 0 {
		s.readEnd(c, n, errno)
		return
	}
	l.read += n
	if rest > 0 {
		c.dropInput()
	}
	c.receive(l.buf[:rest+n])
}

// readMore reads behind the kept input, not beyond what c waits for, so that
// nothing is left of a large packet to be kept.
func (s *socket) readMore(c *Conn, rest int) {
	if cap(c.in.buf)-len(c.in.buf) < smallRest {
		c.makeRoom(1)
	}
	into := spareOf(c.in)
	size := min(cap(into), maxRead)
	if need := int(c.need); need > rest {
		size = min(size, need-rest)
	}
	n, errno := s.recv(into[:size])
	if n <= 0 {
		s.readEnd(c, n, errno)
		return
	}
	c.l.read += n
	c.in.buf = c.in.buf[:len(c.in.buf)+n]
	c.offerRest()
}

func (s *socket) readEnd(c *Conn, n int, errno syscall.Errno) {
	switch {
	case n == 0:
		c.fail(io.EOF)
	case errno != unix.EAGAIN:
		c.fail(os.NewSyscallError("read", errno))
	}
}

// flush writes what is pending in as few system calls as possible.
func (s *socket) flush(c *Conn) error {
	for total := 0; c.out != nil; {
		segs := c.out.segs[c.out.head:]
		var n, size int
		var errno syscall.Errno
		if len(segs) == 1 {
			size = segs[0].Len()
			n, errno = s.send(segs[0].Bytes())
		} else {
			n, size, errno = s.sendv(&c.l.poll.iov, segs)
		}
		if errno != 0 && errno != unix.EAGAIN {
			return os.NewSyscallError("write", errno)
		}
		if n > 0 {
			c.advance(n)
			total += n
		}
		if n < size || total >= maxFlush && c.out != nil {
			if c.flags&blocked != 0 {
				return nil
			}
			c.flags |= blocked
			c.privatize(refMinCopies)
			return s.interest(c)
		}
	}
	if c.flags&blocked == 0 {
		return nil
	}
	c.flags &^= blocked
	return s.interest(c)
}

// shutdown waits for the peer's end if c had last words or if there is unread
// input: to close with that resets the connection, which could destroy what the
// peer has not read yet.
func (s *socket) shutdown(c *Conn) {
	if c.flags&spoke == 0 {
		if n, _ := s.recv(c.l.buf); n <= 0 {
			c.destroy()
			return
		}
	}
	unix.Shutdown(int(s.fd), unix.SHUT_WR)
	if s.interest(c) != nil {
		c.destroy()
	}
}

func (s *socket) close(c *Conn) {
	if s.fd < 0 {
		return
	}
	if s.events != 0 {
		s.want(c, 0) // close would do, if no process being forked had a copy
	}
	unix.Close(int(s.fd))
	s.fd = -1
}

// recv reads into b: n > 0, 0 at the peer's end, or -1 with errno.
func (s *socket) recv(b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return -1, errno
		}
	}
}

func (s *socket) send(b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// sendv writes the first segments at once; size is how much it tried.
func (s *socket) sendv(iov *[maxIov]unix.Iovec, segs []Span) (n, size int, errno syscall.Errno) {
	k := min(len(segs), maxIov)
	for i, seg := range segs[:k] {
		iov[i].Base = &seg.b.buf[seg.off]
		iov[i].SetLen(seg.Len())
		size += seg.Len()
	}
	msg := unix.Msghdr{Iov: &iov[0]}
	msg.SetIovlen(k)
	for {
		r, _, e := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&msg)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if e == unix.EINTR {
			continue
		}
		clear(iov[:k]) // do not keep blocks alive
		if e != 0 {
			return 0, size, e
		}
		return int(r), size, 0
	}
}

func (s *socket) peer() netip.AddrPort { return s.from.addrPort() }

func (p *peerAddr) addrPort() netip.AddrPort {
	switch p.family {
	case 4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(p.ip[:4])), p.port)
	case 6:
		return netip.AddrPortFrom(netip.AddrFrom16(p.ip), p.port)
	}
	return netip.AddrPort{}
}

// remote of a Unix socket has no name: who connects rarely binds one.
func (s *socket) remote() net.Addr {
	switch p := &s.from; p.family {
	case 4:
		return &net.TCPAddr{IP: append(net.IP(nil), p.ip[:4]...), Port: int(p.port)}
	case 6:
		return &net.TCPAddr{IP: append(net.IP(nil), p.ip[:]...), Port: int(p.port), Zone: zoneName(p.zone)}
	}
	return &net.UnixAddr{Net: "unix"}
}

func (s *socket) local() net.Addr {
	if s.fd >= 0 {
		sa, _ := unix.Getsockname(int(s.fd))
		if u, ok := sa.(*unix.SockaddrUnix); ok {
			return &net.UnixAddr{Net: "unix", Name: u.Name}
		}
		return (&socket{from: peerOf(sa)}).remote()
	}
	if s.from.family != 0 {
		return &net.TCPAddr{}
	}
	return &net.UnixAddr{Net: "unix"}
}

func peerOf(sa unix.Sockaddr) (p peerAddr) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		p.family, p.port = 4, uint16(sa.Port)
		copy(p.ip[:], sa.Addr[:])
	case *unix.SockaddrInet6:
		p.family, p.port, p.zone, p.ip = 6, uint16(sa.Port), sa.ZoneId, sa.Addr
		if a := netip.AddrFrom16(sa.Addr); a.Is4In6() { // as package net shows them
			v4 := a.As4()
			p.family, p.zone, p.ip = 4, 0, [16]byte{}
			copy(p.ip[:], v4[:])
		}
	}
	return p
}

func zoneName(index uint32) string {
	if index == 0 {
		return ""
	}
	if ifi, err := net.InterfaceByIndex(int(index)); err == nil {
		return ifi.Name
	}
	return strconv.Itoa(int(index))
}

// tune sets what the net package sets on accepted TCP connections.
func tune(fd int, keepAlive time.Duration) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err != nil || keepAlive < 0 {
		return err
	}
	secs := max(1, int(keepAlive.Round(time.Second)/time.Second))
	for _, o := range [...]struct{ level, opt, value int }{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, secs},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, secs},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.opt, o.value); err != nil {
			return err
		}
	}
	return nil
}

// left implements Conn.Left.
func (x *socket) left() bool {
	poll := []unix.PollFd{{Fd: x.fd, Events: unix.POLLRDHUP}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0
}
