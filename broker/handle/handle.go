// Package handle gives out the small numbers by which the subscription index names clients and groups, and finds what they name. It knows
// nothing about either.
package handle

import (
	"iter"
	"sync"
	"sync/atomic"
	"time"
)

// rest is how long a freed handle is not given anew, so that nobody who has just read it
// from the subscription index reaches somebody else.
const rest = 10 * time.Second

const chunkSize = 1024

type chunk[T any] [chunkSize]atomic.Pointer[T]

// Table maps handles, the small numbers by which the subscription index names clients and groups, to
// what they name. Looking up takes no lock. The zero value is empty.
type Table[T any] struct {
	chunks atomic.Pointer[[]*chunk[T]]

	mu   sync.Mutex
	next uint32
	free []freed // oldest first
}

type freed struct {
	handle uint32
	at     time.Time
}

// Get returns what a handle that was given names, nil if it is gone.
func (t *Table[T]) Get(handle uint32) *T {
	chunks := *t.chunks.Load()
	return chunks[handle/chunkSize][handle%chunkSize].Load()
}

// Add gives v a handle.
func (t *Table[T]) Add(v *T) (handle uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	handle = t.next
	if len(t.free) > 0 && time.Since(t.free[0].at) > rest {
		handle = t.free[0].handle
		t.free = t.free[1:]
	} else {
		t.next++
	}
	var chunks []*chunk[T]
	if p := t.chunks.Load(); p != nil {
		chunks = *p
	}
	if int(handle/chunkSize) == len(chunks) {
		grown := append(chunks[:len(chunks):len(chunks)], new(chunk[T]))
		t.chunks.Store(&grown)
		chunks = grown
	}
	chunks[handle/chunkSize][handle%chunkSize].Store(v)
	return handle
}

// Remove takes a handle back. No entry with it may be in the index any more.
func (t *Table[T]) Remove(handle uint32) {
	chunks := *t.chunks.Load()
	chunks[handle/chunkSize][handle%chunkSize].Store(nil)
	t.mu.Lock()
	t.free = append(t.free, freed{handle, time.Now()})
	t.mu.Unlock()
}

// All are the values that have a handle: those that have one from before All is called until it has returned, and some of those that come or go
// meanwhile. It takes no lock.
func (t *Table[T]) All() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		p := t.chunks.Load()
		if p == nil {
			return
		}
		for _, c := range *p {
			for i := range c {
				if v := c[i].Load(); v != nil && !yield(v) {
					return
				}
			}
		}
	}
}
