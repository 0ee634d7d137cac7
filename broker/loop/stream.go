package loop

import (
	"net"
	"net/netip"
	"sync/atomic"
)

// The buffers of a stream's reader. It waits for input with the small one; a
// read that fills it is followed by one into a large one from the loop's pool.
const (
	smallRead = 1 << 10
	largeRead = 32 << 10
)

// maxWrite and maxPieces bound what a stream's writer takes at once.
const (
	maxWrite  = 256 << 10
	maxPieces = 64
)

// stream is the transport of any other net.Conn. A goroutine reads and waits
// until the loop has used what it read; another writes, for as long as there is
// output. Both report to the loop by mail.
type stream struct {
	nc net.Conn
	c  *Conn
	to atomic.Pointer[Loop] // where to report; set under the mailbox's lock

	// The reader's, and the loop's while it holds the reader.
	buf     []byte
	n       int
	err     error
	done    bool          // the reader is to end
	release chan struct{} // lets the reader go on; room for one
	small   []byte

	// The loop's.
	held   bool // the reader waits for release
	unread bool // what it has was not offered yet
	begun  bool // the reader runs

	// The writer's while busy.
	busy   bool // the loop's
	pieces [][]byte
	wrote  int
	werr   error
	write  func()
	orphan *output // the loop's: what is being written of a closed connection
}

type streamConn struct {
	Conn
	stream
}

func newStream(nc net.Conn) *Conn {
	x := &streamConn{}
	x.Conn.t, x.Conn.flags = &x.stream, streamed
	s := &x.stream
	s.nc, s.c = nc, &x.Conn
	s.release = make(chan struct{}, 1)
	s.small = make([]byte, smallRead)
	s.write = s.writePieces
	return &x.Conn
}

func (s *stream) home(l *Loop)         { s.to.Store(l) }
func (s *stream) movable() bool        { return !s.busy }
func (s *stream) leave(*Conn)          {}
func (s *stream) remote() net.Addr     { return s.nc.RemoteAddr() }
func (s *stream) peer() netip.AddrPort { return addrPortOf(s.nc.RemoteAddr()) }
func (s *stream) local() net.Addr      { return s.nc.LocalAddr() }

func (s *stream) join(*Conn) error {
	if !s.begun {
		s.begun = true
		go s.read()
	}
	return nil
}

// read is the reader.
func (s *stream) read() {
	var large *[largeRead]byte
	full := false
	for !s.done {
		s.buf = s.small
		if full { // there is probably more
			if large, _ = s.to.Load().large.Get().(*[largeRead]byte); large == nil {
				large = new([largeRead]byte)
			}
			s.buf = large[:]
		}
		s.n, s.err = s.nc.Read(s.buf)
		full = s.n == len(s.buf)
		if !s.report(received) {
			return
		}
		<-s.release
		if large != nil {
			s.buf = nil
			s.to.Load().large.Put(large)
			large = nil
		}
	}
}

// report sends mail to c's loop. It reports false when that has ended; c may
// move to another meanwhile.
func (s *stream) report(what event) bool {
	for {
		l := s.to.Load()
		if l.post(letter{c: s.c, what: what}) {
			return true
		}
		if s.to.Load() == l {
			return false
		}
	}
}

// event takes a report. One that was under way while the connection moved is
// sent after it.
func (s *stream) event(l *Loop, what event) {
	if s.to.Load() != l {
		s.report(what)
		return
	}
	if what == sent {
		s.sent()
		return
	}
	s.held, s.unread = true, true
	if s.c.flags&offered == 0 {
		s.resume(s.c)
	}
}

// resume deals with what the reader has, if c may have it now, and releases it.
// An error waits its turn behind the input.
func (s *stream) resume(c *Conn) {
	switch {
	case !s.held || c.flags&told == 0 && c.flags&deaf != 0:
		return
	case c.flags&gone != 0:
		s.letGo(true)
		return
	}
	if s.unread {
		n := s.n
		s.unread, s.n = false, 0
		if c.flags&told == 0 && n > 0 {
			c.l.read += n
			c.receive(s.buf[:n])
		}
		if c.flags&told == 0 && c.flags&deaf != 0 {
			s.unread = true // of the error, if any
			return
		}
		if s.err != nil {
			c.fail(s.err)
			return
		}
	}
	s.letGo(false)
}

func (s *stream) letGo(done bool) {
	if s.held {
		s.held = false
		s.done = done
		s.release <- struct{}{}
	}
}

// flush starts the writer with what is pending; it runs until sent.
func (s *stream) flush(c *Conn) error {
	if s.busy || c.out == nil {
		return nil
	}
	o, size := c.out, 0
	for _, seg := range o.segs[o.head:] {
		s.pieces = append(s.pieces, seg.Bytes())
		if size += seg.Len(); size >= maxWrite || len(s.pieces) == maxPieces {
			break
		}
	}
	s.busy = true
	c.flags |= blocked
	go s.write()
	return nil
}

// writePieces is the writer.
func (s *stream) writePieces() {
	s.wrote, s.werr = 0, nil
	for _, p := range s.pieces {
		n, err := s.nc.Write(p)
		s.wrote += n
		if s.werr = err; err != nil {
			break
		}
	}
	s.report(sent)
}

// sent takes the writer's result.
func (s *stream) sent() {
	c := s.c
	s.busy = false
	clear(s.pieces)
	s.pieces = s.pieces[:0]
	if s.orphan != nil {
		s.orphan.drop(&c.l.mem)
		s.orphan = nil
	}
	c.flags &^= blocked
	if c.flags&gone != 0 || c.out == nil {
		return
	}
	c.advance(s.wrote)
	if s.werr != nil {
		c.fail(s.werr)
		return
	}
	c.flush()
}

// shutdown waits for the peer's end after last words, as a socket's does.
func (s *stream) shutdown(c *Conn) {
	cw, ok := s.nc.(interface{ CloseWrite() error })
	if !ok || c.flags&spoke == 0 {
		c.destroy()
		return
	}
	go cw.CloseWrite()
	s.resume(c)
}

// close does not wait: closing a TLS connection writes.
func (s *stream) close(c *Conn) {
	go s.nc.Close()
	if s.busy {
		s.orphan, c.out = c.out, nil
	}
	s.letGo(true)
}
