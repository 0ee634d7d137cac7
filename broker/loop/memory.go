package loop

import "time"

// A block is a piece of memory that outgoing segments or kept input refer to.
// Only the goroutine of the loop that holds it touches refs; a block may change
// loops only when a single connection that moves refers to it.
type block struct {
	buf     []byte // the used part; its capacity is the block's
	refs    int32  // queued segments, plus one for the arena or connection that still appends
	class   int8   // size class, or unpooled
	private bool   // belongs to one connection
}

// The size classes of pooled blocks. Larger ones come from the heap.
const (
	unpooled   int8 = -1
	tailClass  int8 = 1 // 1 KiB: a connection's first private block
	arenaClass int8 = 3 // 16 KiB: a slow connection pins at most this much per queued segment
	maxClass   int8 = 4
)

// classSize is 256 B, 1, 4, 16 or 64 KiB.
func classSize(class int8) int { return 256 << (2 * class) }

// trimEvery is how often unused memory is looked for, keepFree how many free
// blocks or outputs of a kind are not worth giving back.
const (
	trimEvery = time.Second
	keepFree  = 4
)

// memory is a loop's stock of free blocks and outputs. What was never needed
// during trimEvery is given back by halves, so that a burst leaves nothing.
type memory struct {
	blocks  [maxClass + 1]stock[block]
	outputs stock[output]
	trimAt  time.Time // zero: nothing to give back
}

// A stock is a free list that knows how low it ran.
type stock[T any] struct {
	free []*T
	low  int // the smallest length since the last trim
}

func (s *stock[T]) get() *T {
	n := len(s.free) - 1
	if n < 0 {
		return nil
	}
	x := s.free[n]
	s.free[n] = nil
	s.free = s.free[:n]
	s.low = min(s.low, n)
	return x
}

func (s *stock[T]) put(x *T) { s.free = append(s.free, x) }

// trim gives back half of what was not used and reports whether more remains.
func (s *stock[T]) trim() bool {
	if n := s.low - keepFree; n > 0 {
		keep := len(s.free) - (n+1)/2
		clear(s.free[keep:])
		s.free = s.free[:keep]
		if cap(s.free) > 64 && cap(s.free) > 4*len(s.free) {
			s.free = append(make([]*T, 0, 2*len(s.free)), s.free...)
		}
	}
	s.low = len(s.free)
	return len(s.free) > keepFree
}

// block returns an empty block with room for n bytes and one reference.
func (m *memory) block(n int) *block {
	for class := range maxClass + 1 {
		if n > classSize(class) {
			continue
		}
		b := m.blocks[class].get()
		if b == nil {
			b = &block{buf: make([]byte, 0, classSize(class)), class: class}
		}
		b.refs, b.private = 1, false
		return b
	}
	return &block{buf: make([]byte, 0, n), refs: 1, class: unpooled}
}

// release takes one reference away.
func (m *memory) release(b *block) {
	if b.refs--; b.refs == 0 && b.class != unpooled {
		b.buf = b.buf[:0]
		m.blocks[b.class].put(b)
	}
}

func (m *memory) output() *output {
	o := m.outputs.get()
	if o == nil {
		o = new(output)
		o.segs = o.few[:0]
	}
	return o
}

// trim looks for unused memory when it is time. The loop wakes for it only as
// long as there is something left to give back.
func (m *memory) trim(now time.Time) {
	if m.trimAt.IsZero() {
		if !m.rich() {
			return
		}
		m.trimAt = now.Add(trimEvery)
	}
	if now.Before(m.trimAt) {
		return
	}
	more := m.outputs.trim()
	for i := range m.blocks {
		more = m.blocks[i].trim() || more
	}
	m.trimAt = time.Time{}
	if more {
		m.trimAt = now.Add(trimEvery)
	}
}

func (m *memory) rich() bool {
	for i := range m.blocks {
		if len(m.blocks[i].free) > keepFree {
			return true
		}
	}
	return len(m.outputs.free) > keepFree
}
