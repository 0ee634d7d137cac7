// Package positions is the queue of one session as store engines keep it in memory: what waits at which
// position, whatever the order it is settled in. It may not know what waits there, nor lock, nor wait.
package positions

import (
	"cmp"
	"iter"
	"slices"
)

// perChunk items and their count fill a size class of the allocator: 128 bytes with items of 8 bytes, 256 with 16.
const perChunk = 15

// sparse is how many positions the chunks of a queue may span for one that is
// still queued, and slack how many they may span anyway. Beyond, the oldest
// move into Queue.old.
// A list of fewChunks is too short to bother about its length.
const (
	fewChunks = 8

	sparse = 4
	slack  = 4 * perChunk
)

type chunk[T comparable] struct {
	items [perChunk]T
	live  int // items not settled
}

type straggler[T comparable] struct {
	seq  uint64
	item T
}

// Queue holds what waits at the positions of one session, in order; the zero T is a
// settled position. The zero value is an empty queue. It is not safe for concurrent use.
//
// Position p lies in chunk number p/perChunk. A chunk is given back as soon as all of
// it is settled, and what is left of the oldest chunks moves to old when it holds up a
// long span of settled ones; so space is proportional to what is queued, whatever the order of
// settling, and each position moves once at most.
type Queue[T comparable] struct {
	last   uint64 // the position given last
	first  uint64 // the number of chunks[head]
	chunks []*chunk[T]
	head   int            // chunks before it are gone; while there are chunks, chunks[head] is not nil
	live   int            // positions not settled in chunks
	old    []straggler[T] // by seq, all in chunks before first; settled ones stay until swept
	oldies int            // positions not settled in old
}

// Spare keeps a few emptied parts of the queues that share it for the next position, so that a
// flow of messages that are settled soon allocates nothing. The zero value is ready.
type Spare[T comparable] struct {
	chunks []*chunk[T]
}

// maxSpare bounds the list of spare parts: a message for so many sessions at
// once still allocates nothing.
const maxSpare = 2048

func (s *Spare[T]) take() *chunk[T] {
	n := len(s.chunks)
	if n == 0 {
		return new(chunk[T])
	}
	c := s.chunks[n-1]
	s.chunks = s.chunks[:n-1]
	return c
}

// put takes a chunk that is all zero.
func (s *Spare[T]) put(c *chunk[T]) {
	if len(s.chunks) < maxSpare {
		s.chunks = append(s.chunks, c)
	}
}

// Last is the position given last, 0 at first.
func (q *Queue[T]) Last() uint64 { return q.last }

// Len is how many positions are not settled.
func (q *Queue[T]) Len() int { return q.live + q.oldies }

// Skip gives all positions up to seq without anything in them.
func (q *Queue[T]) Skip(seq uint64) { q.last = max(q.last, seq) }

// Push gives the next position to an item, which is not the zero T.
func (q *Queue[T]) Push(it T, sp *Spare[T]) uint64 {
	q.last++
	n := q.last / perChunk
	if q.live == 0 { // the chunk given last may have been full
		q.first = n
	}
	at := q.head + int(n-q.first)
	if at >= len(q.chunks) {
		at = q.extend(n, sp)
	}
	c := q.chunks[at]
	if c == nil {
		c = sp.take()
		q.chunks[at] = c
	}
	c.items[q.last%perChunk] = it
	c.live++
	q.live++
	return q.last
}

// extend makes the place of chunk number n, which is behind all there are, and returns its index. What
// is left of the oldest chunks goes to old when positions were skipped that would make too long a list.
func (q *Queue[T]) extend(n uint64, sp *Spare[T]) int {
	for q.live > 0 && (n-q.first)*perChunk > uint64(sparse*q.live+slack) {
		q.evict(sp)
	}
	if q.live == 0 {
		q.first = n
	}
	at := q.head + int(n-q.first)
	for at >= len(q.chunks) {
		q.chunks = append(q.chunks, nil)
	}
	return at
}

// Find returns the item at a position, to be changed but not to be made zero; nil if it is
// settled or was never given. It holds until the queue changes.
func (q *Queue[T]) Find(seq uint64) *T {
	var it *T
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
	if settled(it) {
		return nil
	}
	return it
}

func settled[T comparable](it *T) bool {
	var zero T
	return *it == zero
}

// search returns the index in old of the first position not before seq.
func (q *Queue[T]) search(seq uint64) int {
	if len(q.old) == 0 {
		return 0
	}
	i, _ := slices.BinarySearchFunc(q.old, seq, func(s straggler[T], seq uint64) int { return cmp.Compare(s.seq, seq) })
	return i
}

// Remove settles a position and returns what was there; the zero T if it was
// settled already or never given.
func (q *Queue[T]) Remove(seq uint64, sp *Spare[T]) (was T) {
	it := q.Find(seq)
	if it == nil {
		return was
	}
	was = *it
	var zero T
	*it = zero
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
		sp.put(c)
		q.chunks[at] = nil
		q.trim()
	}
	for (len(q.chunks)-q.head)*perChunk > sparse*q.live+slack {
		q.evict(sp)
	}
	return was
}

// sweep gives back what the settled ones take in old.
func (q *Queue[T]) sweep() {
	if q.oldies == 0 {
		q.old = nil
		return
	}
	kept := make([]straggler[T], 0, q.oldies)
	for i := range q.old {
		if !settled(&q.old[i].item) {
			kept = append(kept, q.old[i])
		}
	}
	q.old = kept
}

// trim makes chunks[head] the oldest chunk that has something, and gives back
// the places before it when these are half of all.
func (q *Queue[T]) trim() {
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
func (q *Queue[T]) evict(sp *Spare[T]) {
	c := q.chunks[q.head]
	for i := range c.items {
		if !settled(&c.items[i]) {
			q.old = append(q.old, straggler[T]{q.first*perChunk + uint64(i), c.items[i]})
		}
	}
	q.oldies += c.live
	q.live -= c.live
	*c = chunk[T]{}
	sp.put(c)
	q.chunks[q.head] = nil
	q.trim()
}

// All yields the positions from from to to, both included, that are not
// settled, in order. The queue may not change meanwhile, but for what is in an item.
func (q *Queue[T]) All(from, to uint64) iter.Seq2[uint64, *T] {
	return func(yield func(uint64, *T) bool) {
		for i := q.search(from); i < len(q.old) && q.old[i].seq <= to; i++ {
			if s := &q.old[i]; !settled(&s.item) && !yield(s.seq, &s.item) {
				return
			}
		}
		if q.live == 0 {
			return
		}
		seq := max(from, q.first*perChunk)
		to = min(to, (q.first+uint64(len(q.chunks)-q.head))*perChunk-1)
		for ; seq <= to; seq = (seq/perChunk + 1) * perChunk {
			c := q.chunks[q.head+int(seq/perChunk-q.first)]
			if c == nil {
				continue
			}
			base := seq - seq%perChunk
			for i := seq % perChunk; i < perChunk && base+i <= to; i++ {
				if it := &c.items[i]; !settled(it) && !yield(base+i, it) {
					return
				}
			}
		}
	}
}
