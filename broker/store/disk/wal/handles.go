package wal

import (
	"errors"
	"path/filepath"
	"sync"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// maxHandles is how many segments stay open for reading that nobody reads at the moment.
const maxHandles = 64

// handles are the segments open for reading: those in use, and of the rest the ones used last.
type handles struct {
	sys    file.System
	dir    string
	mu     sync.Mutex
	open   map[uint32]*handle
	tick   uint64
	closed bool
}

// handle is one open file and how many use it.
type handle struct {
	file   file.File
	number uint32
	refs   int
	used   uint64 // the tick of its last use
	gone   bool   // no longer among the open ones: its last user closes it
}

// get opens a segment for reading; put gives it back.
func (h *handles) get(number uint32) (*handle, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, store.ErrClosed
	}
	h.tick++
	one := h.open[number]
	if one == nil {
		f, err := open(h.sys, filepath.Join(h.dir, segmentName(number)))
		if err != nil {
			return nil, err
		}
		one = &handle{file: f, number: number}
		h.open[number] = one
		h.trim()
	}
	one.refs++
	one.used = h.tick
	return one, nil
}

func (h *handles) put(one *handle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if one.refs--; one.refs == 0 && one.gone {
		_ = one.file.Close() // read only: there is nothing to lose
	}
}

// trim closes the file that was not used for longest when too many are open; mu is held.
func (h *handles) trim() {
	if len(h.open) <= maxHandles {
		return
	}
	var oldest *handle
	for _, one := range h.open {
		if one.refs == 0 && one.used > 0 && (oldest == nil || one.used < oldest.used) {
			oldest = one
		}
	}
	if oldest != nil {
		delete(h.open, oldest.number)
		_ = oldest.file.Close() // read only: there is nothing to lose
	}
}

// forget closes a segment whose file goes away.
func (h *handles) forget(number uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if one := h.open[number]; one != nil {
		delete(h.open, number)
		one.gone = true
		if one.refs == 0 {
			_ = one.file.Close() // read only: there is nothing to lose
		}
	}
}

// close closes all of them; those in use are closed by their users.
func (h *handles) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	var errs []error
	for n, one := range h.open {
		delete(h.open, n)
		one.gone = true
		if one.refs == 0 {
			errs = append(errs, one.file.Close())
		}
	}
	return errors.Join(errs...)
}
