package mem

import (
	"iter"
	"slices"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// perChunk items and their count fill a 256-byte size class of the allocator.
const perChunk = 15

// sparse is how many positions the chunks of a queue may span for one that is
// still queued, and slack how many they may span anyway. Beyond, the oldest
// move into queue.old.
// A list of fewChunks is too short to bother about its length.
const (
	fewChunks = 8

	sparse = 4
	slack  = 4 * perChunk
)

// held is a message and how many positions refer to it.
type held struct {
	msg  *mqtt.Message
	refs int
}

// item is one position: settled (both nil), released (msg nil) or queued.
type item struct {
	msg *held
	how *store.Delivery
}

type chunk struct {
	items [perChunk]item
	live  int // items not settled
}

type straggler struct {
	seq uint64
	item
}

// queue holds the positions of one session in order. Position p lies in chunk
// number p/perChunk. A chunk is given back as soon as all of it is settled, and
// what is left of the oldest chunks moves to old when it holds up a long span of
// settled ones; so space is proportional to what is queued, whatever the order of
// settling, and each position moves once at most. The zero value is an empty queue.
type queue struct {
	last   uint64 // the position given last
	first  uint64 // the number of chunks[head]
	chunks []*chunk
	head   int         // chunks before it are gone; chunks[head] is not nil
	live   int         // positions not settled in chunks
	old    []straggler // by seq, all in chunks before first; settled ones stay until swept
	oldies int         // positions not settled in old
}

// spare keeps a few emptied parts for the next message, so that a flow of
// messages that are settled soon allocates nothing.
type spare struct {
	chunks []*chunk
	helds  []*held
}

// maxSpare bounds each list of spare parts: a message for so many sessions at
// once still allocates nothing. The lists hold half a megabyte at most.
const maxSpare = 2048

func (s *spare) chunk() *chunk {
	n := len(s.chunks)
	if n == 0 {
		return new(chunk)
	}
	c := s.chunks[n-1]
	s.chunks = s.chunks[:n-1]
	return c
}

// putChunk takes a chunk that is all zero.
func (s *spare) putChunk(c *chunk) {
	if len(s.chunks) < maxSpare {
		s.chunks = append(s.chunks, c)
	}
}

func (s *spare) held(m *mqtt.Message) *held {
	n := len(s.helds)
	if n == 0 {
		return &held{msg: m}
	}
	h := s.helds[n-1]
	s.helds = s.helds[:n-1]
	h.msg = m
	return h
}

// putHeld takes a held that nothing refers to.
func (s *spare) putHeld(h *held) {
	h.msg = nil
	if len(s.helds) < maxSpare {
		s.helds = append(s.helds, h)
	}
}

// push adds an item and returns its position.
func (q *queue) push(it item, sp *spare) uint64 {
	q.last++
	n := q.last / perChunk
	if q.live == 0 { // the chunk given last may have been full
		q.first = n
	}
	at := q.head + int(n-q.first)
	if at == len(q.chunks) {
		q.chunks = append(q.chunks, nil)
	}
	c := q.chunks[at]
	if c == nil {
		c = sp.chunk()
		q.chunks[at] = c
	}
	c.items[q.last%perChunk] = it
	c.live++
	q.live++
	return q.last
}

// find returns the item at a position, nil if it is settled or was never given.
func (q *queue) find(seq uint64) *item {
	var it *item
	if n := seq / perChunk; n < q.first {
		i := q.search(seq)
		if i == len(q.old) || q.old[i].seq != seq {
			return nil
		}
		it = &q.old[i].item
	} else {
		if n-q.first >= uint64(len(q.chunks)-q.head) {
			return nil
		}
		c := q.chunks[q.head+int(n-q.first)]
		if c == nil {
			return nil
		}
		it = &c.items[seq%perChunk]
	}
	if it.how == nil {
		return nil
	}
	return it
}

// search returns the index in old of the first position not before seq.
func (q *queue) search(seq uint64) int {
	i, _ := slices.BinarySearchFunc(q.old, seq, func(s straggler, seq uint64) int {
		if s.seq < seq {
			return -1
		}
		if s.seq > seq {
			return 1
		}
		return 0
	})
	return i
}

// remove settles a position and returns what was there; nothing if it was
// settled already.
func (q *queue) remove(seq uint64, sp *spare) item {
	it := q.find(seq)
	if it == nil {
		return item{}
	}
	was := *it
	*it = item{}
	n := seq / perChunk
	if n < q.first {
		q.oldies--
		if 2*q.oldies < len(q.old) {
			q.sweep()
		}
		return was
	}
	at := q.head + int(n-q.first)
	c := q.chunks[at]
	c.live--
	q.live--
	if c.live == 0 {
		sp.putChunk(c)
		q.chunks[at] = nil
		q.trim()
	}
	for (len(q.chunks)-q.head)*perChunk > sparse*q.live+slack {
		q.evict(sp)
	}
	return was
}

// sweep gives back what the settled ones take in old.
func (q *queue) sweep() {
	if q.oldies == 0 {
		q.old = nil
		return
	}
	kept := make([]straggler, 0, q.oldies)
	for _, s := range q.old {
		if s.how != nil {
			kept = append(kept, s)
		}
	}
	q.old = kept
}

// trim makes chunks[head] the oldest chunk that has something, and gives back
// the places before it when these are half of all.
func (q *queue) trim() {
	if q.live == 0 {
		q.chunks, q.head, q.first = q.chunks[:0], 0, q.last/perChunk
		if cap(q.chunks) > 2*fewChunks {
			q.chunks = nil
		}
		return
	}
	for q.chunks[q.head] == nil {
		q.head++
		q.first++
	}
	if rest := q.chunks[q.head:]; q.head >= max(fewChunks, len(rest)) {
		if cap(q.chunks) > 8*max(fewChunks, len(rest)) {
			q.chunks = slices.Clone(rest)
		} else {
			q.chunks = slices.Delete(q.chunks, 0, q.head)
		}
		q.head = 0
	}
}

// evict moves what is left of the oldest chunk to old.
func (q *queue) evict(sp *spare) {
	c := q.chunks[q.head]
	for i, it := range c.items {
		if it.how != nil {
			q.old = append(q.old, straggler{q.first*perChunk + uint64(i), it})
		}
	}
	q.oldies += c.live
	q.live -= c.live
	*c = chunk{}
	sp.putChunk(c)
	q.chunks[q.head] = nil
	q.trim()
}

// items yields the positions from from to to, both included, that are not
// settled, in order. The queue may not change meanwhile.
func (q *queue) items(from, to uint64) iter.Seq2[uint64, *item] {
	return func(yield func(uint64, *item) bool) {
		for i := q.search(from); i < len(q.old) && q.old[i].seq <= to; i++ {
			if s := &q.old[i]; s.how != nil && !yield(s.seq, &s.item) {
				return
			}
		}
		if q.live == 0 {
			return
		}
		seq := max(from, q.first*perChunk)
		for to = min(to, q.last); seq <= to; seq = (seq/perChunk + 1) * perChunk {
			c := q.chunks[q.head+int(seq/perChunk-q.first)]
			if c == nil {
				continue
			}
			base := seq - seq%perChunk
			for i := seq % perChunk; i < perChunk && base+i <= to; i++ {
				if it := &c.items[i]; it.how != nil && !yield(base+i, it) {
					return
				}
			}
		}
	}
}
