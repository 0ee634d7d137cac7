package broker

import (
	"sync"
	"sync/atomic"
	"time"
)

// handleRest is how long a freed handle is not given anew, so that nobody who has just read it
// from the subscription index reaches somebody else.
const handleRest = 10 * time.Second

const chunkSize = 1024

type chunk[T any] [chunkSize]atomic.Pointer[T]

// table maps handles, the small numbers by which the subscription index names clients and groups, to
// what they name. Looking up takes no lock. The zero value is empty.
type table[T any] struct {
	chunks atomic.Pointer[[]*chunk[T]]

	mu    sync.Mutex
	next  uint32
	freed []freedHandle // oldest first
}

type freedHandle struct {
	handle uint32
	at     time.Time
}

// get returns what a handle that was given names, nil if it is gone.
func (t *table[T]) get(handle uint32) *T {
	chunks := *t.chunks.Load()
	return chunks[handle/chunkSize][handle%chunkSize].Load()
}

// add gives v a handle.
func (t *table[T]) add(v *T) (handle uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	handle = t.next
	if len(t.freed) > 0 && time.Since(t.freed[0].at) > handleRest {
		handle = t.freed[0].handle
		t.freed = t.freed[1:]
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

// remove takes a handle back. No entry with it may be in the index any more.
func (t *table[T]) remove(handle uint32) {
	chunks := *t.chunks.Load()
	chunks[handle/chunkSize][handle%chunkSize].Store(nil)
	t.mu.Lock()
	t.freed = append(t.freed, freedHandle{handle, time.Now()})
	t.mu.Unlock()
}
