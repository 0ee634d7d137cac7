package wal

// Group is what Append writes at once: whole batches of records. Its zero value is empty and ready. A record is made
// by Begin, appending its body to Buf, and End. It may be used again after Reset.
type Group struct {
	// Buf holds the group so far. Between Begin and End the body is appended to it; a body has at least one byte.
	Buf   []byte
	frame int // where the record begun last stands
}

// Begin starts a record.
func (g *Group) Begin() {
	if len(g.Buf) == 0 {
		g.Buf = append(g.Buf, make([]byte, groupSize)...)
	}
	g.frame = len(g.Buf)
	g.Buf = append(g.Buf, make([]byte, frameSize)...)
}

// End finishes the record; last says that it ends its batch. The record will stand at rel bytes behind what Append
// returns.
func (g *Group) End(last bool) (rel uint32) {
	n := uint32(len(g.Buf) - g.frame - frameSize)
	if last {
		n |= lastBit
	}
	order.PutUint32(g.Buf[g.frame+4:], n)
	return uint32(g.frame)
}

// Len is the bytes that the group takes in the log, 0 when it is empty.
func (g *Group) Len() int { return len(g.Buf) }

// Reset empties the group and keeps its memory.
func (g *Group) Reset() { g.Buf = g.Buf[:0] }
