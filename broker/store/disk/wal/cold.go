package wal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sapwood-mqtt/sapwood/broker/store"
)

// How a cold segment is written.
const (
	coldBuffer = 256 << 10 // bytes written at once
	coldStep   = 1 << 20   // bytes of room made at once
)

// Cold is a segment of survivors, copied out of others. It has no groups and is never replayed: what is in it counts
// by being referred to. It belongs to one goroutine. After an error every further call but Close fails with it.
type Cold struct {
	log     *Log
	seg     *segment
	buf     []byte // not yet written
	written int64
	room    int64
	err     error
}

// NewCold makes a cold segment; its number is the next of the log's.
func (l *Log) NewCold() (*Cold, error) {
	if l.live() != nil {
		return nil, fmt.Errorf("new cold segment: %w", store.ErrClosed)
	}
	s, err := l.supply.cold()
	if err != nil {
		return nil, fmt.Errorf("new cold segment: %w", full(err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments[s.number] = s
	return &Cold{log: l, seg: s, written: headerSize, room: headerSize}, nil
}

// Number is that of the segment.
func (c *Cold) Number() uint32 { return c.seg.number }

// Append adds a record. It can be read when Sync or Close has returned, and is kept for good from then on.
func (c *Cold) Append(body []byte) (Pos, error) {
	at := c.Len()
	if c.err == nil && (len(body) == 0 || at+frameSize+int64(len(body)) > maxOffset) {
		return Pos{}, fmt.Errorf("append to cold segment: a body of %d bytes at %d does not go", len(body), at)
	}
	if c.err == nil && len(c.buf)+frameSize+len(body) > coldBuffer {
		c.flush()
	}
	if c.err != nil {
		return Pos{}, c.err
	}
	p := Pos{c.seg.number, uint32(at)}
	n := len(c.buf)
	c.buf = append(slices.Grow(c.buf, frameSize+len(body)), make([]byte, frameSize)...)
	c.buf = append(c.buf, body...)
	order.PutUint32(c.buf[n+4:], uint32(len(body))|lastBit)
	sealFrame(c.buf[n:], c.log.seed.at(p.Segment, p.Offset))
	return p, nil
}

// Len is the bytes that the segment takes so far, header included.
func (c *Cold) Len() int64 { return c.written + int64(len(c.buf)) }

// Sync makes what was appended last.
func (c *Cold) Sync() error {
	c.flush()
	if c.err == nil {
		if err := c.seg.file.Sync(); err != nil {
			c.err = fmt.Errorf("sync cold segment: %w", full(err))
		}
	}
	return c.err
}

// flush writes the buffer.
func (c *Cold) flush() {
	if c.err != nil || len(c.buf) == 0 {
		return
	}
	end := c.Len()
	var err error
	if end > c.room {
		room := (end + coldStep - 1) / coldStep * coldStep
		if err = c.seg.file.Allocate(room); err == nil {
			c.room = room
			c.seg.size.Store(room)
		}
	}
	if err == nil {
		_, err = c.seg.file.WriteAt(c.buf, c.written)
	}
	if err != nil {
		c.err = fmt.Errorf("append to cold segment: %w", full(err))
		return
	}
	c.written = end
	c.buf = c.buf[:0]
	c.seg.end.Store(end)
}

// Close ends the writing: everything is synced, and room that was not used is given back. After an error the segment
// is to be dropped.
func (c *Cold) Close() error {
	if c.seg.file == nil {
		return c.err
	}
	c.flush()
	if c.err == nil && c.room > c.written {
		if err := c.seg.file.Truncate(c.written); err != nil {
			c.err = fmt.Errorf("close cold segment: %w", err)
		} else {
			c.seg.size.Store(c.written)
		}
	}
	if c.err == nil {
		c.err = c.Sync()
	}
	err := c.seg.file.Close()
	c.log.mu.Lock()
	c.seg.file = nil
	c.log.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("close cold segment: %w", err)
	}
	return errors.Join(c.err, err)
}
