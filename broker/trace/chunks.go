package trace

import "encoding/binary"

// extend begins a chunk of a log: a new one, or in the place of its oldest.
func (r *Ring) extend(l *Log, now int64) {
	n, oldest := r.walk(l)
	at := uint32(0)
	switch {
	case n >= maxChunks:
		at = oldest
		switch reach := now - r.at(oldest).begin(); {
		case reach < shortMS:
			l.grain = min(l.grain+1, maxGrain)
		case reach > longMS && l.grain > 0:
			l.grain--
		}
	case n > 1 && now-r.at(oldest).begin() > 2*staleMS && now-r.at(l.newest).begin() > staleMS:
		at = oldest
	}
	if at != 0 {
		r.unlink(at)
	} else {
		at = r.take()
	}
	if l.serial == 0 {
		if r.serial++; r.serial == 0 {
			r.serial = 1
		}
		l.serial = r.serial
	}
	before := l.newest
	if before == at || n == 0 {
		before = 0
	}
	c := r.at(at)
	r.stamp++
	c.owner, c.before, c.stamp, c.used = l.serial, before, r.stamp, 0
	r.link(at)
	l.newest, l.c = at, c
	for i := range l.lanes {
		l.lanes[i] = noLane
	}
	l.next, l.hot = 0, [2]hot{}
}

// walk counts the chunks of a log and tells which is its oldest, 0 = it has none.
func (r *Ring) walk(l *Log) (n int, oldest uint32) {
	r.each(l, func(at uint32) { n, oldest = n+1, at })
	return n, oldest
}

// each calls do for the chunks of a log, newest first. What was taken from it ends the row.
func (r *Ring) each(l *Log, do func(at uint32)) {
	if l.serial == 0 {
		return
	}
	last := uint32(0)
	for at := l.newest; at != 0; {
		c := r.at(at)
		if c.owner != l.serial || last != 0 && int32(last-c.stamp) <= 0 {
			return
		}
		last = c.stamp
		before := c.before
		do(at)
		at = before
	}
}

// take returns a chunk that is in no list: a free one, a new one, or the oldest of all.
func (r *Ring) take() uint32 {
	if at := r.free; at != 0 {
		r.free = r.at(at).newer
		return at
	}
	if r.made < r.limit || r.oldest == 0 {
		at := r.made
		if int(at)/slabChunks == len(r.slabs) {
			r.slabs = append(r.slabs, make([]chunk, slabChunks))
		}
		r.made++
		return at
	}
	at := r.oldest
	r.unlink(at)
	return at
}

func (r *Ring) link(at uint32) {
	c := r.at(at)
	c.older, c.newer = r.newest, 0
	if r.newest != 0 {
		r.at(r.newest).newer = at
	} else {
		r.oldest = at
	}
	r.newest = at
}

func (r *Ring) unlink(at uint32) {
	c := r.at(at)
	if c.older != 0 {
		r.at(c.older).newer = c.newer
	} else {
		r.oldest = c.newer
	}
	if c.newer != 0 {
		r.at(c.newer).older = c.older
	} else {
		r.newest = c.older
	}
}

// Forget empties a log and gives back what it has.
func (r *Ring) Forget(l *Log) {
	r.each(l, func(at uint32) {
		r.unlink(at)
		c := r.at(at)
		c.owner, c.newer = 0, r.free
		r.free = at
	})
	*l = Log{}
}

// begin is when the first packet of a chunk came.
func (c *chunk) begin() int64 { return int64(binary.LittleEndian.Uint64(c.data[8:]) & timeMask) }

// Entry is one packet of a log, or a run of like ones.
type Entry struct {
	At, Until int64 // of the first and the last, ms of Unix time
	First     byte  // of the packet: its type and flags; 0 = a note
	Dir       Direction
	Reason    uint8
	ID        uint16 // of the first
	Count     int
	Bytes     int64  // of all; at most 4 GiB are counted
	Topic     string // or what else there is to say: a filter, an address, the text of a note
	Several   bool   // Topic is that of the first, others have others
	Cut       bool   // Topic is not whole
	Payload   []byte // of the first; as much as is kept
}

// Entries are what is kept of a log, oldest first.
func (r *Ring) Entries(l *Log) []Entry {
	r.settle(l)
	var chunks []uint32
	r.each(l, func(at uint32) { chunks = append(chunks, at) })
	var list []Entry
	for i := len(chunks) - 1; i >= 0; i-- {
		c := r.at(chunks[i])
		for d := c.data[:c.used]; len(d) > 0; {
			var e Entry
			e, d = parse(d)
			list = append(list, e)
		}
	}
	return list
}

// parse reads one entry, and returns what follows it.
func parse(d []byte) (Entry, []byte) {
	key, word := binary.LittleEndian.Uint32(d), binary.LittleEndian.Uint64(d[8:])
	at := int64(word & timeMask)
	e := Entry{
		At: at, Until: at + int64(binary.LittleEndian.Uint32(d[16:])), First: byte(key), Reason: uint8(key >> 16), ID: uint16(word >> 48),
		Count: int(binary.LittleEndian.Uint32(d[4:])), Bytes: int64(binary.LittleEndian.Uint32(d[20:])),
		Several: key>>8&bitSeveral != 0, Cut: key>>8&bitCut != 0,
	}
	switch {
	case e.First == 0:
	case key>>8&bitOut != 0:
		e.Dir = Out
	default:
		e.Dir = In
	}
	topic, payload := headBytes+int(key>>24), int(d[24])
	e.Topic = string(d[headBytes:topic])
	if payload > 0 {
		e.Payload = append([]byte(nil), d[topic:topic+payload]...)
	}
	return e, d[topic+payload:]
}
