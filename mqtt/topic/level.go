package topic

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

// levels holds the text of each distinct level once and counts who uses it. A level's number is good as long as
// somebody uses it; 0 is no level. Trees are then walked by numbers alone.
//
// A record is: users (4 bytes), length (2 bytes), text. A text too long for a slab run lies in long instead, and the
// record holds its place there (4 bytes).
type levels struct {
	seed  maphash.Seed
	index tables
	recs  slab[byte]
	long  [][]byte
	holes []uint32 // free places in long
}

const (
	levelUnit  = 16 // bytes; a level of up to 10 bytes takes one unit
	levelHead  = 6
	levelShort = longestRun*levelUnit - levelHead
)

func newLevels(seed maphash.Seed) levels {
	return levels{seed: seed, recs: newSlab[byte](levelUnit)}
}

// text returns the bytes of a level, good until its last user lets go.
func (l *levels) text(id uint32) []byte {
	head := l.recs.run(id, levelHead+4)
	n := int(binary.LittleEndian.Uint16(head[4:]))
	if n > levelShort {
		return l.long[binary.LittleEndian.Uint32(head[levelHead:])]
	}
	return l.recs.run(id, levelHead+n)[levelHead:]
}

// find returns the number of a level, or 0 if nobody uses it.
func (l *levels) find(text []byte) uint32 {
	return l.lookup(maphash.Bytes(l.seed, text), text)
}

func (l *levels) lookup(hash uint64, text []byte) uint32 {
	t, h := l.index.of(hash), uint32(hash)
	for at, id := t.first(h); id != 0; at, id = t.next(h, at) {
		if bytes.Equal(l.text(id), text) {
			return id
		}
	}
	return 0
}

// use returns the number of a level and counts one user more.
func (l *levels) use(text []byte) uint32 {
	hash := maphash.Bytes(l.seed, text)
	if id := l.lookup(hash, text); id != 0 {
		users := l.recs.run(id, 4)
		binary.LittleEndian.PutUint32(users, binary.LittleEndian.Uint32(users)+1)
		return id
	}
	id := l.recs.alloc(levelUnits(len(text)))
	head := l.recs.run(id, levelHead+4)
	binary.LittleEndian.PutUint32(head, 1)
	binary.LittleEndian.PutUint16(head[4:], uint16(len(text)))
	if len(text) <= levelShort {
		copy(l.recs.run(id, levelHead+len(text))[levelHead:], text)
	} else {
		binary.LittleEndian.PutUint32(head[levelHead:], l.keepLong(text))
	}
	l.index.of(hash).insert(uint32(hash), id)
	return id
}

func (l *levels) keepLong(text []byte) uint32 {
	if last := len(l.holes) - 1; last >= 0 {
		place := l.holes[last]
		l.holes = l.holes[:last]
		l.long[place] = bytes.Clone(text)
		return place
	}
	l.long = append(l.long, bytes.Clone(text))
	return uint32(len(l.long) - 1)
}

// drop counts one user less; a level without users is forgotten.
func (l *levels) drop(id uint32) {
	users := l.recs.run(id, 4)
	n := binary.LittleEndian.Uint32(users) - 1
	binary.LittleEndian.PutUint32(users, n)
	if n > 0 {
		return
	}
	text := l.text(id)
	size := levelUnits(len(text))
	hash := maphash.Bytes(l.seed, text)
	l.index.of(hash).drop(uint32(hash), id)
	if len(text) > levelShort {
		place := binary.LittleEndian.Uint32(l.recs.run(id, levelHead+4)[levelHead:])
		l.long[place] = nil
		l.holes = append(l.holes, place)
	}
	l.recs.release(id, size)
}

// levelUnits is the number of units of the record of a text of n bytes.
func levelUnits(n int) int {
	if n > levelShort {
		return 1
	}
	return (levelHead + n + levelUnit - 1) / levelUnit
}

func (l *levels) bytes() int {
	n := l.index.bytes() + l.recs.bytes() + cap(l.long)*24 + cap(l.holes)*4
	for _, text := range l.long {
		n += cap(text)
	}
	return n
}

// edges maps (parent node, level) to the child node, for all nodes of a tree in one table. The owner compares the
// child's parent and level.
type edges struct {
	seed  uint64
	index tables
}

func (e *edges) hash(parent, level uint32) uint64 {
	hi, lo := bits.Mul64((uint64(parent)<<32|uint64(level))^e.seed, 0x9E3779B97F4A7C15)
	return (hi ^ lo) * 0xD6E8FEB86659FD93
}

// cutLevel returns the end of the level that begins at from.
func cutLevel(s []byte, from int) (end int) {
	if i := bytes.IndexByte(s[from:], '/'); i >= 0 {
		return from + i
	}
	return len(s)
}
