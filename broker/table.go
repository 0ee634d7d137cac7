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

// table maps handles, the small numbers by which the subscription index names clients, to
// clients. Looking up takes no lock.
type table struct {
	chunks atomic.Pointer[[]*[chunkSize]atomic.Pointer[client]]

	mu    sync.Mutex
	next  uint32
	freed []freedHandle // oldest first
}

type freedHandle struct {
	handle uint32
	at     time.Time
}

// get returns the client of a handle, nil if it is gone.
func (t *table) get(handle uint32) *client {
	chunks := *t.chunks.Load()
	return chunks[handle/chunkSize][handle%chunkSize].Load()
}

// add gives c a handle.
func (t *table) add(c *client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	handle := t.next
	if len(t.freed) > 0 && time.Since(t.freed[0].at) > handleRest {
		handle = t.freed[0].handle
		t.freed = t.freed[1:]
	} else {
		t.next++
	}
	var chunks []*[chunkSize]atomic.Pointer[client]
	if p := t.chunks.Load(); p != nil {
		chunks = *p
	}
	if int(handle/chunkSize) == len(chunks) {
		grown := append(chunks[:len(chunks):len(chunks)], new([chunkSize]atomic.Pointer[client]))
		t.chunks.Store(&grown)
		chunks = grown
	}
	c.handle = handle
	chunks[handle/chunkSize][handle%chunkSize].Store(c)
}

// remove takes c's handle back. No subscription of c may be in the index any more.
func (t *table) remove(c *client) {
	chunks := *t.chunks.Load()
	chunks[c.handle/chunkSize][c.handle%chunkSize].Store(nil)
	t.mu.Lock()
	t.freed = append(t.freed, freedHandle{c.handle, time.Now()})
	t.mu.Unlock()
}
