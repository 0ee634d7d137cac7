package wal

import (
	"errors"
	"io"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// chunk is how much of a segment is read at once.
const chunk = 1 << 20

// window reads a file from the front to the back through one buffer.
type window struct {
	file file.File
	size int64
	buf  []byte
	off  int64                             // of buf in the file
	bad  func(off, bytes int64, err error) // told of what cannot be read, which then reads as zeros
}

// from is what is at hand from off on: at least need bytes, fewer where the file ends. It is valid until the next call.
func (w *window) from(off int64, need int) []byte {
	if off >= w.size {
		return nil
	}
	need = int(min(int64(need), w.size-off))
	if off >= w.off && off+int64(need) <= w.off+int64(len(w.buf)) {
		return w.buf[off-w.off:]
	}
	n := int(min(int64(max(need, chunk)), w.size-off))
	if cap(w.buf) < n {
		w.buf = make([]byte, n)
	}
	w.buf, w.off = w.buf[:n], off
	w.fill()
	return w.buf
}

// at is exactly n bytes from off on, nil when the file does not have them.
func (w *window) at(off int64, n int) []byte {
	if b := w.from(off, n); len(b) >= n {
		return b[:n]
	}
	return nil
}

// fill reads the buffer; where the disk fails it goes on block by block.
func (w *window) fill() {
	n, err := w.file.ReadAt(w.buf, w.off)
	if err == nil || n == len(w.buf) {
		return
	}
	if errors.Is(err, io.EOF) {
		clear(w.buf[n:])
		return
	}
	const block = 4096
	for at := 0; at < len(w.buf); at += block {
		b := w.buf[at:min(at+block, len(w.buf))]
		if n, err := w.file.ReadAt(b, w.off+int64(at)); err != nil && n < len(b) {
			clear(b[n:])
			if w.bad != nil && !errors.Is(err, io.EOF) {
				w.bad(w.off+int64(at+n), int64(len(b)-n), err)
			}
		}
	}
}
