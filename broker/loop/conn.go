package loop

import (
	"math"
	"net"
	"net/netip"
)

// transport is what a Conn stands on: a socket (Linux) or a stream.
type transport interface {
	home(l *Loop)        // l's mailbox is where to report to; called under its lock
	join(c *Conn) error  // c.l is set: start to receive
	leave(c *Conn)       // stop reporting to c.l
	movable() bool       // nothing is under way that only c.l can finish
	resume(c *Conn)      // reading is wanted again
	flush(c *Conn) error // offer pending output to the system; not an error: it takes none now
	shutdown(c *Conn)    // end of output: call c.destroy, now or when the peer has ended too
	close(c *Conn)       // free everything; c may be on no loop
	peer() netip.AddrPort
	remote() net.Addr
	local() net.Addr
}

type flags uint16

const (
	paused    flags = 1 << iota // no Data until ResumeRead
	offered                     // in Loop.offer
	dirty                       // in Loop.dirty
	blocked                     // the system takes no output now and will say when it does
	streamed                    // a stream: prefers copies over small segments
	waitDrain                   // WaitDrain was called
	answering                   // in Loop.drained
	leaving                     // Move was called
	ended                       // Close, Abort or failed: no more Data, output is refused
	graceful                    // ended by Close: pending output is still written
	spoke                       // there was pending output at Close
	told                        // Closed was called
	finishing                   // shutdown was called
	gone                        // the transport is closed, the slot free
	layered                     // the transport is a layer on a lower Conn
	under                       // such a lower Conn: its handler is the layer, its State
)

// deaf connections do not read.
const deaf = paused | leaving | ended

// Conn is a connection of a Loop. Except where they say otherwise its methods
// are for the loop's goroutine only, from Opened (for State: from admit) until
// Closed; output after Close, Abort or the peer's end is dropped silently.
type Conn struct {
	// State is the handler's own.
	State any

	l     *Loop
	t     transport
	in    *block  // input kept by the loop, from inOff on; nil: none
	out   *output // nil: nothing pending
	inOff int32
	need  int32 // no Data call before this much input is there
	slot  int32
	flags flags
	from  *Reception // that let it in; nil: none
}

// RemoteAddr is the peer's address, also after Closed; that of a Unix socket may
// lack the name. Any goroutine.
func (c *Conn) RemoteAddr() net.Addr { return c.t.remote() }

// Peer is the peer's address, unmapped; invalid if it is not TCP. Any goroutine.
func (c *Conn) Peer() netip.AddrPort {
	if c.flags&layered != 0 {
		return c.t.(*layer).lower.t.peer()
	}
	return c.t.peer()
}

// LocalAddr is our address; after Closed it may be empty.
func (c *Conn) LocalAddr() net.Addr { return c.t.local() }

// Pending is the number of bytes queued and not yet accepted by the system.
func (c *Conn) Pending() int {
	n := c.out.queued()
	if c.flags&layered != 0 {
		n += c.t.(*layer).lower.out.queued()
	}
	return n
}

// WaitDrain asks for one call of Drained, in a later turn, when at most
// LowWater bytes are pending.
func (c *Conn) WaitDrain() {
	if c.flags&(ended|answering) == 0 {
		c.flags |= waitDrain
		c.checkDrained()
	}
}

func (c *Conn) checkDrained() {
	if c.flags&(waitDrain|ended) == waitDrain {
		c.answerDrain()
	}
}

// answerDrain answers WaitDrain if it is time.
func (c *Conn) answerDrain() {
	switch {
	case c.Pending() <= c.l.o.LowWater:
		c.flags = c.flags&^waitDrain | answering
		c.l.drained = append(c.l.drained, c)
	case c.flags&layered != 0:
		c.t.(*layer).lower.WaitDrain()
	}
}

// PauseRead stops Data calls for c; what was read already is kept and what
// comes stays in the system. The peer's end is noticed only by writing, by Left or
// after ResumeRead.
func (c *Conn) PauseRead() { c.flags |= paused }

// Left asks the system whether the peer has ended its side, whatever of its bytes is
// still to be read; false where the system cannot tell.
func (c *Conn) Left() bool {
	t, asks := c.t.(interface{ left() bool })
	return asks && c.flags&ended == 0 && t.left()
}

// ResumeRead ends PauseRead. In the next turn kept input is offered to Data.
func (c *Conn) ResumeRead() {
	c.flags &^= paused
	c.offerLater()
}

// Close ends c. What is queued is written if the system takes it within
// Options.Linger, which does not block the loop. Closed(c, nil) follows before
// this turn's Turn or, when called there, in the next turn, which follows at
// once.
func (c *Conn) Close() {
	if c.flags&ended != 0 {
		return
	}
	c.flags |= ended | graceful
	if c.Pending() > 0 {
		c.flags |= spoke
	}
	c.l.closing = append(c.l.closing, ending{c, nil})
}

// Abort ends c and drops what is queued. Closed(c, err) follows as with Close.
// It also cuts short the linger time of a connection that was closed.
func (c *Conn) Abort(err error) { c.fail(err) }

// fail ends c because of err. After Close it only gives up on the output.
func (c *Conn) fail(err error) {
	switch {
	case c.flags&told != 0:
		c.destroy()
	case c.flags&ended != 0:
		c.flags &^= graceful
	default:
		c.flags |= ended
		c.l.closing = append(c.l.closing, ending{c, err})
	}
}

// finish ends a connection that was closed gracefully once its output is
// written.
func (c *Conn) finish() {
	if c.flags&(gone|finishing) == 0 && c.out.queued() == 0 {
		c.flags |= finishing
		c.t.shutdown(c)
	}
}

// destroy gives everything back.
func (c *Conn) destroy() {
	if c.flags&gone != 0 {
		return
	}
	c.flags |= gone
	c.release()
	if c.out != nil {
		c.out.drop(&c.l.mem)
		c.out = nil
	}
	c.dropInput()
	c.l.slots.conns[c.slot] = nil
	c.l.slots.freed = append(c.l.slots.freed, c.slot)
}

// release closes the transport, on a loop or on none.
func (c *Conn) release() {
	c.t.close(c)
	if c.from != nil && c.from.Left != nil {
		c.from.Left(c.t.peer())
	}
}

// Move hands c over to another loop after this Data call, to which it is
// restricted: unread input and pending output go with it, Data stops here, and
// over there opened, or Handler.Opened if it is nil, is called. Until Data
// returns c may be used as before. When c breaks before it has left, or `to` has
// ended, Closed is called here. If c is on `to` already, opened is called after
// Data and nothing else changes.
func (c *Conn) Move(to *Loop, opened func(*Conn)) {
	if c.l.inData != c {
		panic("loop: Move outside of the connection's Data")
	}
	c.l.move = moving{c, to, opened}
}

func (c *Conn) moveNow(m moving) {
	switch {
	case c.flags&ended != 0:
	case m.to != c.l:
		c.flags |= leaving
		c.l.moves = append(c.l.moves, m)
	default:
		if m.opened != nil {
			m.opened(c)
		}
		c.offerLater()
	}
}

// smallRest is how much kept input is copied in front of new input instead of
// reading behind it.
const smallRest = 4 << 10

// data offers b and returns the number of bytes consumed.
func (c *Conn) data(b []byte) int {
	l := c.l
	l.inData = c
	var used, need int
	if c.flags&under == 0 {
		used, need = l.h.Data(c, b)
	} else {
		used, need = c.State.(*layer).data(b)
	}
	l.inData = nil
	if used < 0 || used > len(b) {
		panic("loop: Data consumed more than it was offered")
	}
	c.need = int32(min(max(need, 0), math.MaxInt32))
	return used
}

// settle does what the handler asked for in Data, once its input is put away.
func (c *Conn) settle() {
	if m := c.l.move; m.c != nil {
		c.l.move = moving{}
		c.moveNow(m)
	}
}

// receive offers new input that does not lie in c.in.
func (c *Conn) receive(b []byte) {
	if c.in != nil {
		c.keep(b)
		c.offerRest()
		return
	}
	if len(b) < int(c.need) {
		c.keep(b)
		return
	}
	if used := c.data(b); used < len(b) && c.flags&ended == 0 {
		c.keep(b[used:])
	}
	c.settle()
}

// offerRest offers c.in if it is enough.
func (c *Conn) offerRest() {
	if c.in == nil || c.flags&deaf != 0 {
		return
	}
	rest := c.in.buf[c.inOff:]
	if len(rest) < int(c.need) {
		return
	}
	used := c.data(rest)
	c.inOff += int32(used)
	switch rest = rest[used:]; {
	case len(rest) == 0 || c.flags&ended != 0:
		c.dropInput()
	case len(rest) <= smallRest && cap(c.in.buf) > 4*smallRest:
		big := c.in
		c.in = nil
		c.keep(rest)
		c.l.mem.release(big)
	}
	c.settle()
}

func (c *Conn) offerLater() {
	if c.flags&(offered|ended) == 0 {
		c.flags |= offered
		c.l.offer = append(c.l.offer, c)
	}
}

// keep puts b, which may not lie in c.in, behind the kept input.
func (c *Conn) keep(b []byte) {
	if c.in == nil {
		c.in, c.inOff = c.l.mem.block(len(b)), 0
	}
	if cap(c.in.buf)-len(c.in.buf) < len(b) {
		c.makeRoom(len(b))
	}
	c.in.buf = append(c.in.buf, b...)
}

// makeRoom makes room for at least n bytes behind the kept input. It grows by
// what has been received, whatever size was announced: twice that at most.
func (c *Conn) makeRoom(n int) {
	rest := c.in.buf[c.inOff:]
	size := max(2*len(rest), len(rest)+n)
	if need := int(c.need); need >= len(rest)+n && need < size {
		size = need
	}
	if cap(c.in.buf) >= size {
		c.in.buf = c.in.buf[:copy(c.in.buf, rest)]
	} else {
		old := c.in
		c.in = c.l.mem.block(size)
		c.in.buf = append(c.in.buf, rest...)
		c.l.mem.release(old)
	}
	c.inOff = 0
}

// shove puts b in front of the kept input.
func (c *Conn) shove(b []byte) {
	old := c.in
	if old != nil {
		b = append(b, old.buf[c.inOff:]...)
	}
	c.in, c.inOff, c.need = &block{buf: b, refs: 1, class: unpooled}, 0, 0
	if old != nil {
		c.l.mem.release(old)
	}
}

func (c *Conn) dropInput() {
	if c.in != nil {
		c.l.mem.release(c.in)
		c.in, c.inOff = nil, 0
	}
}
