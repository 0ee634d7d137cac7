package faulty

import (
	"io"
	"io/fs"
	"syscall"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// handle is an open file. It stays with the file through Rename and Remove, as POSIX has it.
type handle struct {
	d     *Disk
	n     *node
	name  string
	write bool

	closed bool
}

var _ file.File = (*handle)(nil)

func (d *Disk) handle(n *node, name string, write bool) *handle {
	n.open++
	return &handle{d: d, n: n, name: name, write: write}
}

// ReadAt implements io.ReaderAt.
func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	if err := h.d.enter(OpRead, h.name); err != nil {
		return 0, failed("read", h.name, err)
	}
	defer h.d.mu.Unlock()
	switch {
	case h.closed:
		return 0, failed("read", h.name, fs.ErrClosed)
	case off < 0:
		return 0, failed("read", h.name, syscall.EINVAL)
	case off >= h.n.now.size && len(p) > 0:
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), h.n.now.size-off))
	h.n.now.read(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt. A write that fails has written a part of p, as real ones may have.
func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	err := h.d.enter(OpWrite, h.name)
	if gone(err) {
		return 0, failed("write", h.name, err)
	}
	if err == nil {
		defer h.d.mu.Unlock()
		if err := h.mayWrite(off); err != nil {
			return 0, failed("write", h.name, err)
		}
		p, err = h.fitting(p, off)
	} else {
		h.d.mu.Lock()
		defer h.d.mu.Unlock()
		if h.mayWrite(off) == nil && len(p) > 0 {
			p, _ = h.fitting(p[:h.d.rand.IntN(len(p))], off)
		} else {
			p = nil
		}
	}
	h.put(p, off)
	if err != nil {
		return len(p), failed("write", h.name, err)
	}
	return len(p), nil
}

func (h *handle) mayWrite(off int64) error {
	switch {
	case h.d.dead != nil:
		return h.d.dead
	case h.closed:
		return fs.ErrClosed
	case !h.write:
		return syscall.EBADF
	case h.d.readOnly:
		return syscall.EROFS
	case off < 0:
		return syscall.EINVAL
	}
	return nil
}

// fitting is the part of p for which there is room, ENOSPC when that is not all.
func (h *handle) fitting(p []byte, off int64) ([]byte, error) {
	left := h.d.free()
	for i := off / blockSize; i*blockSize < off+int64(len(p)); i++ {
		if h.n.now.has(i) {
			continue
		}
		if left < blockSize {
			return p[:max(0, i*blockSize-off)], syscall.ENOSPC
		}
		left -= blockSize
	}
	return p, nil
}

func (h *handle) put(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	h.d.soil(h.n, off, int64(len(p)))
	h.n.now.write(p, off)
	h.n.now.size = max(h.n.now.size, off+int64(len(p)))
	h.d.take(h.n)
}

// Allocate implements file.File.
func (h *handle) Allocate(size int64) error {
	if err := h.d.enter(OpAllocate, h.name); err != nil {
		return failed("allocate", h.name, err)
	}
	defer h.d.mu.Unlock()
	if err := h.mayWrite(size); err != nil {
		return failed("allocate", h.name, err)
	}
	blocks := inBlocks(size)
	missing := int64(0)
	for i := h.n.now.room; i < blocks; i++ {
		if !h.n.now.has(i) {
			missing += blockSize
		}
	}
	if missing > h.d.free() {
		return failed("allocate", h.name, syscall.ENOSPC)
	}
	h.n.now.reserve(max(h.n.now.room, blocks))
	h.n.now.size = max(h.n.now.size, size)
	h.d.take(h.n)
	return nil
}

// Truncate implements file.File.
func (h *handle) Truncate(size int64) error {
	if err := h.d.enter(OpTruncate, h.name); err != nil {
		return failed("truncate", h.name, err)
	}
	defer h.d.mu.Unlock()
	if err := h.mayWrite(size); err != nil {
		return failed("truncate", h.name, err)
	}
	h.d.resize(h.n, size)
	return nil
}

// Sync implements file.File.
func (h *handle) Sync() error {
	err := h.d.enter(OpSync, h.name)
	if gone(err) {
		return failed("sync", h.name, err)
	}
	if err != nil {
		h.d.mu.Lock()
	}
	defer h.d.mu.Unlock()
	switch {
	case h.d.dead != nil:
		err = h.d.dead
	case h.closed:
		err = fs.ErrClosed
	case err != nil:
		h.d.fail(h.n)
	case h.d.readOnly && h.n.unsynced():
		h.d.fail(h.n)
		err = syscall.EROFS
	default:
		h.n.flush()
		if h.d.journal {
			h.d.keep(func(change) bool { return true })
		}
		return nil
	}
	return failed("sync", h.name, err)
}

// fail is a Sync that failed: some sectors came to the medium. With FailedSyncDrops none is written later.
func (d *Disk) fail(n *node) {
	for _, i := range sorted(n.dirty) {
		written := !d.readOnly && d.rand.IntN(2) == 0 && (i+1)*sectorSize <= n.stable.size
		if written {
			n.stable.setSector(i, n.now.sector(i))
		}
		if written || d.drops {
			delete(n.dirty, i)
		}
		if !written && d.drops {
			n.lost[i] = true
		}
	}
}

// Size implements file.File.
func (h *handle) Size() (int64, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	switch {
	case h.d.dead != nil:
		return 0, failed("stat", h.name, h.d.dead)
	case h.closed:
		return 0, failed("stat", h.name, fs.ErrClosed)
	}
	return h.n.now.size, nil
}

// Close implements io.Closer.
func (h *handle) Close() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	switch {
	case h.d.dead != nil:
		return failed("close", h.name, h.d.dead)
	case h.closed:
		return failed("close", h.name, fs.ErrClosed)
	}
	h.closed = true
	h.n.open--
	h.d.reclaim(h.n)
	return nil
}
