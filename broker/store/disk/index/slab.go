package index

import "github.com/sapwood-mqtt/sapwood/broker/store"

// slot is one position of a queue: how the session gets the message, and behind it the message's handle. The
// zero slot is a settled position.
type slot uint64

// What a slot tells beside the QoS of its delivery (bits 0 and 1).
const (
	slotQoS      slot = 3
	slotRetain   slot = 1 << 2
	slotFind     slot = 1 << 3 // there is more to the delivery: it is in the record
	slotReleased slot = 1 << 4 // PUBREC came; there is no message
	slotShared   slot = 1 << 5 // in a snapshot: other positions may refer to the message
	slotTaken    slot = 1 << 7
)

func newSlot(handle uint32, d *store.Delivery) slot {
	s := slot(handle)<<8 | slotTaken | slot(d.QoS)&slotQoS
	if d.Retain {
		s |= slotRetain
	}
	if d.Group != "" || len(d.SubscriptionIDs) > 0 {
		s |= slotFind
	}
	return s
}

func (s slot) handle() uint32 { return uint32(s >> 8) }

// entry is a message that somebody needs. It is lost when bytes is 0: no message weighs that little.
type entry struct {
	pos   Pos
	bytes uint32 // mqtt.Message.Bytes; of a free entry the index of the next one in its block, plus 1
	refs  uint32 // positions, or 1 for the retained message; 0 = free
}

const perBlock = 4096

// block is 4,096 entries, of which used are taken. Without any it has no memory, or it is the one
// that the next entry comes from.
type block struct {
	entries *[perBlock]entry
	used    uint32
	free    uint32 // index of the first one that is free again, plus 1
	fresh   uint32 // those from here on were never used
}

// slab holds entries by handle, without a pointer to any.
type slab struct {
	blocks []block
	open   []uint32 // the blocks that are not full, each once; the next entry is taken from the last
}

func (s *slab) at(handle uint32) *entry {
	return &s.blocks[handle/perBlock].entries[handle%perBlock]
}

func (s *slab) take(e entry) (handle uint32) {
	if len(s.open) == 0 {
		s.open = append(s.open, uint32(len(s.blocks)))
		s.blocks = append(s.blocks, block{})
	}
	n := s.open[len(s.open)-1]
	b := &s.blocks[n]
	if b.entries == nil {
		*b = block{entries: new([perBlock]entry)}
	}
	i := b.fresh
	if b.free != 0 {
		i = b.free - 1
		b.free = b.entries[i].bytes
	} else {
		b.fresh++
	}
	b.entries[i] = e
	if b.used++; b.used == perBlock {
		s.open = s.open[:len(s.open)-1]
	}
	return n*perBlock + i
}

func (s *slab) free(handle uint32) {
	n := handle / perBlock
	b := &s.blocks[n]
	b.entries[handle%perBlock] = entry{bytes: b.free}
	b.free = handle%perBlock + 1
	b.used--
	if b.used == perBlock-1 {
		s.empty(len(s.open) - 1)
		s.open = append(s.open, n)
	} else if s.open[len(s.open)-1] != n {
		s.emptyBlock(b)
	}
}

// empty gives back the memory of an open block if nothing is in it.
func (s *slab) empty(open int) {
	if open >= 0 {
		s.emptyBlock(&s.blocks[s.open[open]])
	}
}

func (s *slab) emptyBlock(b *block) {
	if b.used == 0 {
		*b = block{}
	}
}
