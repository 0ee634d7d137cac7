package loop

import "unsafe"

const (
	// refMin is the size from which a span that does not continue the last
	// segment becomes one of its own instead of a copy.
	refMin = 256
	// refMinCopies is that size for connections that wait for their peer, so
	// that they do not pin blocks they use little of, and for streams.
	refMinCopies = 4 << 10
	// manySegs is the capacity above which a segment list is not kept for reuse.
	manySegs = 64
)

// Span is a piece of encoded output in a loop's arena. The zero Span is empty.
type Span struct {
	b        *block
	off, end int32
}

// Len is the number of bytes.
func (s Span) Len() int { return int(s.end - s.off) }

// Bytes is the content, not to be changed.
func (s Span) Bytes() []byte {
	if s.b == nil {
		return nil
	}
	return s.b.buf[s.off:s.end:s.end]
}

// output is what a connection has pending.
type output struct {
	segs    []Span // segs[head:] are pending; each holds a reference
	head    int
	pending int
	tail    *block // private block that is appended to; nil: none
	few     [3]Span
}

// queued is what waits in it, in bytes; nil is an empty one.
func (o *output) queued() int {
	if o == nil {
		return 0
	}
	return o.pending
}

// arena is where a loop encodes. Full blocks are kept until the turn's end so
// that spans stay valid.
type arena struct {
	b    *block
	full []*block
	open bool // between Begin and End, or Reserve and Commit
}

// room returns a block with room for n bytes, which is a.b.
func (a *arena) room(m *memory, n int) *block {
	if a.b != nil {
		if cap(a.b.buf)-len(a.b.buf) >= n {
			return a.b
		}
		a.full = append(a.full, a.b)
	}
	a.b = m.block(max(n, classSize(arenaClass)))
	return a.b
}

// reset ends the turn: what no connection has pending is free again.
func (a *arena) reset(m *memory) {
	for i, b := range a.full {
		m.release(b)
		a.full[i] = nil
	}
	if a.full = a.full[:0]; cap(a.full) > 1024 {
		a.full = nil
	}
	switch b := a.b; {
	case b == nil:
	case b.class != arenaClass || b.refs > 1 && cap(b.buf)-len(b.buf) < cap(b.buf)/4:
		m.release(b)
		a.b = nil
	case b.refs == 1:
		b.buf = b.buf[:0]
	}
}

// Begin returns a slice of length 0 with room for n bytes to append a packet
// to, for End. Appending more is allowed but costs a copy. Another Begin or
// Reserve before End discards this one.
func (l *Loop) Begin(n int) []byte {
	l.reserved = nil
	l.arena.open = true
	return spareOf(l.arena.room(&l.mem, n))
}

// End seals what was appended to the slice of Begin. The span is valid until
// the turn's end, on this loop only; Send keeps it as long as needed.
func (l *Loop) End(p []byte) Span {
	if !l.arena.open || l.reserved != nil {
		panic("loop: End without Begin")
	}
	l.arena.open = false
	b, off := grow(l.arena.b, p)
	if b != l.arena.b {
		l.arena.full = append(l.arena.full, b)
	}
	return Span{b, off, off + int32(len(p))}
}

// spareOf is the unused part of b, to append to.
func spareOf(b *block) []byte { return b.buf[len(b.buf):len(b.buf):cap(b.buf)] }

// grow makes p, appended to spareOf(b), part of b and says where it begins. If p
// was outgrown it becomes a block of its own, with one reference.
func grow(b *block, p []byte) (*block, int32) {
	off := len(b.buf)
	if len(p) <= cap(b.buf)-off && (len(p) == 0 || unsafe.SliceData(p) == unsafe.SliceData(b.buf[off:off+1])) {
		b.buf = b.buf[:off+len(p)]
		return b, int32(off)
	}
	return &block{buf: p, refs: 1, class: unpooled}, 0
}

// Send queues s by reference, or a copy if s is small and does not continue
// what is queued.
func (c *Conn) Send(s Span) {
	n := s.Len()
	if n == 0 || c.flags&ended != 0 {
		return
	}
	o := c.output()
	if k := len(o.segs); k > 0 && !o.continues(s) && n < refMin || c.flags&(blocked|streamed) != 0 && n < refMinCopies {
		c.Write(s.Bytes())
		return
	}
	c.push(s)
	c.touch()
}

// Write queues a copy of p.
func (c *Conn) Write(p []byte) {
	if len(p) == 0 || c.flags&ended != 0 {
		return
	}
	b := c.place(len(p))
	off := int32(len(b.buf))
	b.buf = append(b.buf, p...)
	c.push(Span{b, off, off + int32(len(p))})
	c.touch()
}

// Reserve returns a slice of length 0 with room for n bytes of c's output to
// append to, for Commit, without a copy. No other output to c may come between;
// another Reserve or Begin before Commit discards this one.
func (c *Conn) Reserve(n int) []byte {
	l := c.l
	l.arena.open, l.reserved = false, nil
	if c.flags&ended != 0 {
		return make([]byte, 0, n)
	}
	l.reserved = c.place(n)
	l.arena.open = l.reserved == l.arena.b
	return spareOf(l.reserved)
}

// Commit queues what was appended to the slice of Reserve.
func (c *Conn) Commit(p []byte) {
	b := c.l.reserved
	c.l.arena.open, c.l.reserved = false, nil
	if c.flags&ended != 0 {
		return
	}
	if b == nil {
		panic("loop: Commit without Reserve")
	}
	if len(p) > 0 {
		own, off := grow(b, p)
		c.push(Span{own, off, off + int32(len(p))})
		if own != b {
			own.private = true
			c.l.mem.release(own) // push took its own reference
		}
	}
	c.touch()
}

func (c *Conn) output() *output {
	if c.out == nil {
		c.out = c.l.mem.output()
	}
	return c.out
}

// place finds the block for n private bytes: the tail if there is one, else the
// arena if they would continue what is pending there, so that packets for one
// connection lie together in warm memory, else a new tail.
func (c *Conn) place(n int) *block {
	o, m, a := c.output(), &c.l.mem, &c.l.arena
	if o.tail == nil && c.flags&(blocked|streamed) == 0 && !a.open && n <= classSize(arenaClass) &&
		(len(o.segs) == 0 || a.b != nil && o.continues(Span{b: a.b, off: int32(len(a.b.buf))})) {
		return a.room(m, n)
	}
	if o.tail != nil && cap(o.tail.buf)-len(o.tail.buf) >= n {
		return o.tail
	}
	return o.newTail(m, n)
}

// newTail replaces the tail by a block for at least n bytes; tails grow as long
// as they are filled.
func (o *output) newTail(m *memory, n int) *block {
	size := classSize(tailClass)
	if o.tail != nil {
		size = min(4*cap(o.tail.buf), classSize(maxClass))
		m.release(o.tail)
	}
	o.tail = m.block(max(n, size))
	o.tail.private = true
	return o.tail
}

// continues reports whether s lies right behind the last segment.
func (o *output) continues(s Span) bool {
	k := len(o.segs)
	return k > 0 && o.segs[k-1].b == s.b && o.segs[k-1].end == s.off
}

func (c *Conn) push(s Span) {
	o := c.out
	o.pending += s.Len()
	if o.continues(s) {
		o.segs[len(o.segs)-1].end = s.end
		return
	}
	s.b.refs++
	o.segs = append(o.segs, s)
}

// touch has c flushed at the turn's end, or now if it has much pending.
func (c *Conn) touch() {
	if c.flags&blocked != 0 {
		return
	}
	if c.flags&dirty == 0 {
		c.flags |= dirty
		c.l.dirty = append(c.l.dirty, c)
	}
	if c.out.pending >= c.l.o.FlushAt {
		c.flush()
	}
}

// flush offers what is pending to the system.
func (c *Conn) flush() {
	if c.flags&gone != 0 {
		return
	}
	if c.out != nil && c.out.pending == 0 {
		c.advance(0) // nothing came of a Reserve
	}
	if c.out != nil {
		if err := c.t.flush(c); err != nil {
			c.fail(err)
			return
		}
	}
	c.checkDrained()
	if c.flags&told != 0 {
		c.finish()
	}
}

// advance takes n written bytes off the queue.
func (c *Conn) advance(n int) {
	o, m := c.out, &c.l.mem
	o.pending -= n
	for o.head < len(o.segs) {
		s := &o.segs[o.head]
		if n < s.Len() {
			s.off += int32(n)
			break
		}
		n -= s.Len()
		m.release(s.b)
		*s = Span{}
		o.head++
	}
	if o.head == len(o.segs) {
		o.drop(m)
		c.out = nil
	} else if o.head > manySegs && o.head > len(o.segs)/2 {
		k := copy(o.segs, o.segs[o.head:])
		clear(o.segs[k:])
		o.segs, o.head = o.segs[:k], 0
	}
}

// drop releases all that is pending and o itself.
func (o *output) drop(m *memory) {
	for i := o.head; i < len(o.segs); i++ {
		m.release(o.segs[i].b)
		o.segs[i] = Span{}
	}
	if o.tail != nil {
		m.release(o.tail)
	}
	segs := o.segs[:0]
	if cap(segs) > manySegs {
		segs = o.few[:0]
	}
	*o = output{segs: segs}
	m.outputs.put(o)
}

// privatize copies pending segments shorter than limit that lie in blocks of
// others: a connection that waits for its peer must not pin memory it hardly
// uses, and one that moves must not refer to its old loop's blocks.
func (c *Conn) privatize(limit int) {
	o := c.out
	if o == nil {
		return
	}
	m := &c.l.mem
	old := o.segs[o.head:]
	segs := o.few[:0]
	if len(old) > 1 {
		segs = make([]Span, 0, len(old))
	}
	for _, s := range old {
		if !s.b.private && s.Len() < limit {
			b := o.tail
			if b == nil || cap(b.buf)-len(b.buf) < s.Len() {
				b = o.newTail(m, s.Len())
			}
			off := int32(len(b.buf))
			b.buf = append(b.buf, s.Bytes()...)
			m.release(s.b)
			s = Span{b, off, int32(len(b.buf))}
			s.b.refs++
		}
		if k := len(segs); k > 0 && segs[k-1].b == s.b && segs[k-1].end == s.off {
			segs[k-1].end = s.end
			m.release(s.b)
			continue
		}
		segs = append(segs, s)
	}
	o.segs, o.head = segs, 0
}
