package topic

import (
	"encoding/binary"
	"sync"
)

// exact holds the filters without wildcards of one shard of the index: a table into an arena of records.
//
// A record is: roster count (1 byte), text length (2), roster entry (8), text. Records are appended; what is deleted
// is only counted, and when that is a quarter of the arena the living are copied to a new one. So churn with filters
// of any lengths cannot grow or fragment it.
type exact struct {
	mu    sync.RWMutex
	index table
	arena []byte
	dead  int // bytes of deleted records
	rosters
}

const (
	recordHead = 11
	arenaMin   = 256     // bytes
	deadMin    = 4 << 10 // bytes that are not worth a compaction
)

func (x *exact) roster(ref uint32) roster {
	rec := x.arena[ref : ref+recordHead]
	return roster{
		Entry{binary.LittleEndian.Uint32(rec[3:]), binary.LittleEndian.Uint32(rec[7:])},
		rec[0],
	}
}

func (x *exact) setRoster(ref uint32, r roster) {
	rec := x.arena[ref : ref+recordHead]
	rec[0] = r.n
	binary.LittleEndian.PutUint32(rec[3:], r.e.ID)
	binary.LittleEndian.PutUint32(rec[7:], r.e.Options)
}

func (x *exact) text(ref uint32) []byte {
	n := uint32(binary.LittleEndian.Uint16(x.arena[ref+1:]))
	return x.arena[ref+recordHead : ref+recordHead+n]
}

// find returns the slot and the record of a filter; 0 if there is none.
func (x *exact) find(hash uint32, filter []byte) (at int, ref uint32) {
	for at, ref = x.index.first(hash); ref != 0; at, ref = x.index.next(hash, at) {
		if string(x.text(ref)) == string(filter) {
			return at, ref
		}
	}
	return 0, 0
}

func (x *exact) set(hash uint32, filter []byte, e Entry) (replaced bool) {
	if _, ref := x.find(hash, filter); ref != 0 {
		r := x.roster(ref)
		replaced = x.rosters.set(&r, e)
		x.setRoster(ref, r)
		return replaced
	}
	x.reserve(recordHead + len(filter))
	ref := uint32(len(x.arena))
	x.arena = x.arena[:len(x.arena)+recordHead]
	binary.LittleEndian.PutUint16(x.arena[ref+1:], uint16(len(filter)))
	x.arena = append(x.arena, filter...)
	x.setRoster(ref, roster{e, 1})
	x.index.insert(hash, ref)
	return false
}

func (x *exact) delete(hash uint32, filter []byte, id uint32) (existed bool) {
	at, ref := x.find(hash, filter)
	if ref == 0 {
		return false
	}
	r := x.roster(ref)
	if !x.rosters.remove(&r, id) {
		return false
	}
	if r.n > 0 {
		x.setRoster(ref, r)
		return true
	}
	x.index.remove(at)
	x.dead += recordHead + len(filter)
	if x.dead > deadMin && x.dead > len(x.arena)/4 {
		x.compact(0)
	}
	return true
}

// reserve makes room for n bytes at the end of the arena. Growth is by a quarter, to waste little.
func (x *exact) reserve(n int) {
	if len(x.arena)+n <= cap(x.arena) {
		return
	}
	if x.dead > len(x.arena)/8 {
		x.compact(n)
		return
	}
	if len(x.arena) == 0 {
		n++ // record 0 is none
	}
	grown := make([]byte, max(len(x.arena), 1), max(arenaMin, (len(x.arena)+n)*5/4))
	copy(grown, x.arena)
	x.arena = grown
}

// compact copies the living records to a new arena, with room for extra bytes.
func (x *exact) compact(extra int) {
	old := x.arena
	live := len(old) - x.dead
	x.arena = append(make([]byte, 0, max(arenaMin, (live+extra)*5/4)), 0)
	x.dead = 0
	for i := range x.index.slots {
		s := &x.index.slots[i]
		if s.ref == 0 {
			continue
		}
		n := recordHead + uint32(binary.LittleEndian.Uint16(old[s.ref+1:]))
		rec := old[s.ref : s.ref+n]
		s.ref = uint32(len(x.arena))
		x.arena = append(x.arena, rec...)
	}
}

func (x *exact) bytes() int { return x.index.bytes() + cap(x.arena) + x.rosters.bytes() }
