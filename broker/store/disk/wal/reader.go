package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/sapwood-mqtt/sapwood/broker/store"
)

// maxAhead is how much a Reader reads at once, but for a record that is larger.
const maxAhead = 256 << 10

// little is how much a Reader reads at least.
const little = 512

// Reader reads single records. It belongs to one goroutine. While it is not closed, no segment that was dropped since
// it was made is recycled.
type Reader struct {
	log        *Log
	born       uint64 // Log.epoch
	prev, next *Reader
	of         uint32  // the segment that handle and buf belong to
	handle     *handle // nil = none
	mem        *[]byte // for buf
	buf        []byte
	off        int64
	closed     bool
}

// list is the open readers by age.
type list struct{ oldest, newest *Reader }

// after tells whether every open reader was made after a drop.
func (q *list) after(epoch uint64) bool { return q.oldest == nil || q.oldest.born >= epoch }

// NewReader makes a reader. Close must be called.
func (l *Log) NewReader() *Reader {
	r := &Reader{log: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.born, r.prev = l.epoch, l.readers.newest
	if r.prev != nil {
		r.prev.next = r
	} else {
		l.readers.oldest = r
	}
	l.readers.newest = r
	return r
}

// Close gives back what the reader holds. A second Close does nothing.
func (r *Reader) Close() {
	if r.closed {
		return
	}
	r.closed = true
	r.leave()
	l := r.log
	if r.mem != nil && cap(*r.mem) <= maxAhead {
		l.buffers.Put(r.mem)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		l.readers.oldest = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	} else {
		l.readers.newest = r.prev
	}
	if len(l.dropped) > 0 {
		l.supply.nudge()
	}
}

// Read is the body of the record at at, valid until the next call. ahead is how many bytes from at on will probably be
// asked for next: they are read at once, up to 256 KiB. A record that is not what was written, or not there, is a
// *DamageError; other errors are the disk's.
func (r *Reader) Read(at Pos, ahead int) ([]byte, error) {
	if r.closed {
		return nil, store.ErrClosed
	}
	if at.Offset < headerSize {
		return nil, fmt.Errorf("read record: %v is no place of a record", at)
	}
	if err := r.enter(at); err != nil {
		return nil, err
	}
	off := int64(at.Offset)
	seed := r.log.seed.at(at.Segment, at.Offset)
	if body, _, ok := parseFrame(r.has(off), seed); ok {
		return body, nil
	}
	// Not at hand, or not as it was when the buffer was filled.
	err := r.load(off, min(max(ahead, little), maxAhead))
	if err != nil && ahead > little { // what fails may lie ahead
		err = r.load(off, little)
	}
	if err != nil {
		return nil, err
	}
	n := frameLength(r.has(off), maxOffset-off)
	if n > int64(len(r.buf)) {
		if size, err := r.handle.file.Size(); err == nil && off+n <= size {
			if err := r.load(off, int(n)); err != nil {
				return nil, err
			}
		}
	}
	body, _, ok := parseFrame(r.has(off), seed)
	if !ok {
		d := Damage{File: r.log.segmentPath(at.Segment), Offset: off, Bytes: max(n, frameSize), What: "a record fails its checksum"}
		if len(r.buf) < frameSize {
			d.What = "the file ends before the record"
		}
		return nil, &DamageError{d}
	}
	return body, nil
}

// enter opens the segment of a position.
func (r *Reader) enter(at Pos) error {
	if r.handle != nil && r.of == at.Segment {
		return nil
	}
	r.leave()
	h, err := r.log.files.get(at.Segment)
	if errors.Is(err, fs.ErrNotExist) {
		return &DamageError{Damage{File: r.log.segmentPath(at.Segment), Offset: int64(at.Offset), Bytes: frameSize, What: "the segment is missing"}}
	}
	if err != nil {
		return fmt.Errorf("read record: %w", err)
	}
	r.handle, r.of = h, at.Segment
	return nil
}

func (r *Reader) leave() {
	if r.handle != nil {
		r.log.files.put(r.handle)
		r.handle, r.buf = nil, nil
	}
}

// has is what of the segment is at hand from off on.
func (r *Reader) has(off int64) []byte {
	if off < r.off || off > r.off+int64(len(r.buf)) {
		return nil
	}
	return r.buf[off-r.off:]
}

// load fills the buffer with up to n bytes from off on.
func (r *Reader) load(off int64, n int) error {
	if r.mem == nil {
		r.mem, _ = r.log.buffers.Get().(*[]byte)
		if r.mem == nil {
			r.mem = new([]byte)
		}
	}
	if cap(*r.mem) < n {
		*r.mem = make([]byte, n)
	}
	r.buf, r.off = (*r.mem)[:n], off
	got, err := r.handle.file.ReadAt(r.buf, off)
	r.buf = r.buf[:got]
	if err != nil && !errors.Is(err, io.EOF) {
		r.buf = nil
		return fmt.Errorf("read record: %w", err)
	}
	return nil
}
