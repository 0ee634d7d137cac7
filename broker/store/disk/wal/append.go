package wal

import (
	"errors"
	"fmt"
	"time"
)

// Append writes a group, and with sync makes it last. A record of it stands at base.Offset plus what Group.End said.
// grows says that it takes room for good: it is refused while only the reserve is left, with what Health says. After an
// error nothing of the group counts. One that the disk gave poisons the segment: it is never written again, and the
// next group goes to a new one. It may wait for a segment, but not when none can be had. Append does not allocate.
func (l *Log) Append(g *Group, grows, sync bool) (base Pos, err error) {
	if g.Len() <= groupSize {
		return base, errors.New("append: the group is empty")
	}
	if h := l.supply.health.Load(); grows && h != nil {
		return base, fmt.Errorf("append: %w", h.err)
	}
	need := int64(g.Len())
	if c := l.current; c == nil || c.end.Load()+need > c.size.Load() {
		if err := l.roll(need, grows); err != nil {
			return base, fmt.Errorf("append: %w", err)
		}
	}
	base, err = l.write(g, sync)
	if err != nil {
		return Pos{}, fmt.Errorf("append: %w", err)
	}
	return base, nil
}

// write puts a group that fits at the end of the current segment.
func (l *Log) write(g *Group, sync bool) (Pos, error) {
	c := l.current
	end := c.end.Load()
	base := Pos{c.number, uint32(end)}
	h := groupHeader{
		number: l.group + 1, durable: l.durable, stamp: max(l.stamp, time.Now().UnixMilli()),
		bytes: uint32(g.Len() - groupSize), prev: l.prev,
	}
	h.put(g.Buf, l.seed.at(base.Segment, base.Offset))
	for at := groupSize; at < len(g.Buf); {
		n := frameLength(g.Buf[at:], int64(len(g.Buf)-at))
		if n == 0 {
			return base, fmt.Errorf("the record at %d of the group is empty or not ended", at)
		}
		sealFrame(g.Buf[at:at+int(n)], l.seed.at(base.Segment, base.Offset+uint32(at)))
		at += int(n)
	}
	if _, err := c.file.WriteAt(g.Buf, end); err != nil {
		l.poison(err, l.group, true)
		return base, full(err)
	}
	if sync {
		if err := c.file.Sync(); err != nil {
			l.poison(err, l.group, false)
			return base, full(err)
		}
		l.durable = h.number
	}
	l.group, l.stamp = h.number, h.stamp
	end += int64(g.Len())
	c.end.Store(end)
	l.tail.Store(pack(Pos{c.number, uint32(end)}))
	if l.durable == l.group && len(l.failed) > 0 {
		l.discard()
	}
	return base, nil
}

// Sync makes last what was appended without. An error poisons the segment and names the groups that counted and
// may not survive a power cut.
func (l *Log) Sync() error {
	if err := l.live(); err != nil {
		return err
	}
	return l.sync()
}

func (l *Log) sync() error {
	if l.current != nil && l.durable < l.group {
		if err := l.current.file.Sync(); err != nil {
			l.poison(err, l.group, false)
		} else {
			l.durable = l.group
		}
	}
	err := l.doubt
	l.doubt = nil
	return err
}

// roll takes the next segment for a group of so many bytes.
func (l *Log) roll(need int64, grows bool) error {
	size := headerSize + need
	if size > maxOffset {
		return fmt.Errorf("a group of %d bytes is more than a segment can hold", need)
	}
	next, err := l.supply.next(grows)
	if err != nil {
		return err
	}
	// The keeper does not touch what it has prepared.
	if size > next.size.Load() {
		if err := l.enlarge(next, size); err != nil {
			return full(err)
		}
	}
	if c := l.current; c != nil {
		l.retire(c)
	}
	l.take()
	return nil
}

// take makes the oldest segment prepared the current one.
func (l *Log) take() {
	s := l.supply.take()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments[s.number] = s
	l.current, l.prev = s, l.End()
}

// retire ends the writing to a segment that is full. What of it is not synced is synced now, since a later Sync goes
// to another file.
func (l *Log) retire(c *segment) {
	if l.durable < l.group {
		if err := c.file.Sync(); err != nil {
			l.poison(err, l.group, false)
			return
		}
		l.durable = l.group
	}
	l.part(c)
}

// enlarge makes room for one group that is larger than a segment.
func (l *Log) enlarge(s *segment, size int64) error {
	if err := l.room(size - s.size.Load()); err != nil {
		return err
	}
	if err := s.file.Allocate(size); err != nil {
		return fmt.Errorf("make room for a group of %d bytes: %w", size-headerSize, err)
	}
	s.size.Store(size)
	return nil
}

// poison gives the current segment up after err. Groups up to last count; those of them that are not durable are
// synced if that can still be, or else in doubt.
func (l *Log) poison(err error, last uint64, syncable bool) {
	c := l.current
	l.log.Error("a segment failed and is given up", "file", segmentName(c.number), "error", err)
	if l.durable < last {
		if syncable && c.file.Sync() == nil {
			l.durable = last
		} else {
			l.doubt = errors.Join(l.doubt, fmt.Errorf("sync %s: groups %d to %d may not survive a power cut: %w", segmentName(c.number), l.durable+1, last, err))
		}
	}
	c.poisoned = true
	if c.end.Load() == headerSize {
		l.failed = append(l.failed, c.number)
	}
	l.part(c)
	l.supply.rest()
}

// part closes the current segment, which is not written any more.
func (l *Log) part(c *segment) {
	if err := c.file.Close(); err != nil {
		l.log.Warn("closing a segment failed", "file", segmentName(c.number), "error", err)
	}
	l.mu.Lock()
	c.file, l.current = nil, nil
	l.mu.Unlock()
}

// discard drops the segments that nothing came to count in: a later group is durable and says what it follows.
func (l *Log) discard() {
	for _, n := range l.failed {
		if err := l.Drop(n); err != nil {
			l.log.Warn("dropping a failed segment", "file", segmentName(n), "error", err)
		}
	}
	l.failed = nil
}
