package session

import (
	"slices"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// window is what is in flight: the positions from the oldest that awaits an acknowledgement to the
// newest that was sent.
type window struct {
	base  uint64 // position of slots[0]
	slots []slot // contiguous; a position that needs no (more) acknowledgement is done
	room  []slot // the memory that slots are a part of

	released int32 // slots of messages that the client has
	flying   int32 // live slots
	aloft    int64 // bytes of live slots
}

// slot is one position in flight.
type slot struct {
	state   slotState
	qos     mqtt.QoS
	charged bool // it has spent quota on this connection
	live    bool // it is in flight: sent on a connection that is there, or released
	size    uint32
	at      int64 // ms, when it was last sent, or PUBREC came
	// shared is the message, held only where it may have to go to another member.
	shared *queued
}

type slotState uint8

const (
	done     slotState = iota
	absent             // a later position came first: its message is still on the way from another shard
	waiting            // not sent, although a later position was
	sent               // PUBLISH sent; PUBACK or PUBREC is awaited
	resent             // PUBREC came, which the store did not keep: PUBLISH sent once more, PUBREC is awaited again
	released           // PUBREL sent or about to be; PUBCOMP is awaited
)

// has tells that the client has the message: it is counted as acknowledged.
func (sl *slot) has() bool { return sl.state >= resent }

// slotsCap is how many slots an idle session keeps room for.
const slotsCap = 64

// slot returns the slot of a position in the window, or nil.
func (w *window) slot(seq uint64) *slot {
	if seq < w.base || seq-w.base >= uint64(len(w.slots)) {
		return nil
	}
	return &w.slots[seq-w.base]
}

// grow returns the slots with room for one more, in the memory they have if half of it is free.
func (w *window) grow() []slot {
	n := len(w.slots)
	if n < cap(w.slots) {
		return w.slots
	}
	if len(w.room) > 0 && 2*n <= len(w.room) {
		copy(w.room, w.slots)
		return w.room[:n]
	}
	w.room = make([]slot, max(8, 2*n))
	copy(w.room, w.slots)
	return w.room[:n]
}

// launch counts a slot as in flight.
func (w *window) launch(sl *slot) {
	if !sl.live {
		sl.live = true
		w.flying++
		w.aloft += int64(sl.size)
	}
}

// land counts it no longer: it waits, or is about to be done.
func (w *window) land(sl *slot) {
	if sl.live {
		sl.live = false
		w.flying--
		w.aloft -= int64(sl.size)
	}
}

// advance moves the window past what is done.
func (w *window) advance() {
	n := 0
	for n < len(w.slots) && w.slots[n].state == done {
		n++
	}
	if n == 0 {
		return
	}
	w.base += uint64(n)
	if n == len(w.slots) {
		w.slots = w.room[:0]
		if len(w.room) > slotsCap {
			w.slots, w.room = nil, nil
		}
		return
	}
	w.slots = w.slots[n:]
}

// shrink gives back the memory that the slots do not need, for a session that stays away.
func (w *window) shrink() {
	w.room = slices.Clone(w.slots)
	w.slots = w.room[:len(w.slots):len(w.slots)]
	if len(w.slots) == 0 {
		w.slots, w.room = nil, nil
	}
}

// wasSent tells whether a position was sent on this connection or an earlier one.
func (w *window) wasSent(seq uint64) bool {
	sl := w.slot(seq)
	return sl != nil && sl.state >= sent
}

// isDone tells that a position needs nothing any more.
func (w *window) isDone(seq uint64) bool {
	sl := w.slot(seq)
	return seq < w.base || sl != nil && sl.state == done
}

// fits tells that the packet identifier of seq is unused.
func (w *window) fits(seq uint64) bool { return len(w.slots) == 0 || seq-w.base < idSpan }

// find returns the position in flight under a packet identifier, or 0.
func (w *window) find(id uint16) uint64 {
	if len(w.slots) == 0 || id == 0 {
		return 0
	}
	ahead := (uint64(id) + idSpan - uint64(packetID(w.base))) % idSpan
	if ahead >= uint64(len(w.slots)) || w.slots[ahead].state < sent {
		return 0
	}
	return w.base + ahead
}
