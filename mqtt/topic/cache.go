package topic

import (
	"hash/maphash"
	"math/bits"
)

const (
	cacheName    = 256 // bytes; a longer name is not kept
	cacheEntries = 64  // a longer result is not kept: to find it again costs little against delivering it
	cacheSlots   = 1024
	cacheWays    = 8 // slots of a set: a name is in one of its set's
)

// Cache remembers the results of [Index.Match] for the topics that are published to most. It belongs to one
// goroutine. A hit takes no lock; a change of the index makes it forget only what may be concerned: the topics of one
// of 256 shards if the filter has no wildcard, else all.
//
// It begins small and doubles, forgetting what it has, when as many results as it has slots had to make room for others. It holds at
// most 128 bytes per slot, and 256 bytes of name and 64 entries where a name is longer than 76 bytes or has more than two entries.
//
// Where many topics come in turn it is memory that takes the time, so a hit reads as little of it as can be: the tags of its set, which are
// few enough to stay near the processor, and the slot, two lines that it fetches together.
type Cache struct {
	index   *Index
	sets    []tags
	slots   []cached // cacheWays of each set
	mask    uint64
	most    int // slots
	evicted int // results that made room, since it has as many slots as it has
	random  uint64
	longer  []long
	scratch []Entry
	last    *cached // the slot of the last Match, nil if its result is not kept
}

// cached is the result for one name, and the versions of the index that were current before it was looked up: 128 bytes, without a pointer.
type cached struct {
	hash, exact, wild uint64
	note              uint32
	long              uint32   // 1 + its place in Cache.longer, its own from when it needed one; 0 = it did not yet
	few               [2]Entry // if there are not more
	length            uint16   // of the name
	entries           uint8    // in few
	isLong            bool     // name and entries are in long; else in short and few
	short             [76]byte // if it is not longer
}

// long is what has no room in a slot.
type long struct {
	name    []byte
	entries []Entry
}

// Note is a place for a note of the caller's about the name of the last Match, for as long as it is remembered: 0 until the
// caller writes to it, nil if the name is not kept. It is valid until the next Match.
func (c *Cache) Note() *uint32 {
	if c.last == nil {
		return nil
	}
	return &c.last.note
}

// NewCache returns an empty cache of the index. The number of slots that it may have is rounded up to a power of two, at least 8.
func NewCache(x *Index, slots int) *Cache {
	n := cacheWays
	if slots > n {
		n = 1 << bits.Len(uint(slots-1))
	}
	c := &Cache{index: x, most: n}
	c.resize(min(n, cacheSlots))
	return c
}

func (c *Cache) resize(n int) {
	c.slots, c.sets, c.mask = make([]cached, n), make([]tags, n/cacheWays), uint64(n/cacheWays-1)
	c.longer, c.evicted, c.last = nil, 0, nil
}

// Match returns what [Index.Match] would return, valid until the next call of Match; the caller does not change it.
// A Set or Delete that returned before Match began is seen.
func (c *Cache) Match(name []byte) []Entry {
	x := c.index
	if s := c.last; s != nil && c.isOf(s, name) && s.exact == x.exactVersion[shardOf(s.hash)].Load() && s.wild == x.wildVersion.Load() {
		return c.result(s) // of a publisher that stays with a topic: not even hashed
	}
	hash := maphash.Bytes(x.seed, name)
	// The versions are read before the index is: a change in between makes the result look older than it is, never newer.
	exact, wild := x.exactVersion[shardOf(hash)].Load(), x.wildVersion.Load()
	set := hash & c.mask
	t := &c.sets[set]
	for at := t.find(hash, 0); at < cacheWays; at = t.find(hash, at+1) {
		s := &c.slots[set*cacheWays+uint64(at)]
		if s.hash != hash || !c.isOf(s, name) {
			continue
		}
		t.use(at)
		c.last = s
		if s.exact == exact && s.wild == wild {
			return c.result(s)
		}
		return c.look(hash, exact, wild, name)
	}
	c.last = nil
	return c.look(hash, exact, wild, name)
}

// look asks the index, and keeps the result in the name's slot, which is last if it has one.
func (c *Cache) look(hash, exact, wild uint64, name []byte) []Entry {
	c.scratch = c.index.match(hash, name, c.scratch[:0])
	if len(name) > cacheName || len(c.scratch) > cacheEntries {
		c.last = nil
		return c.scratch
	}
	s := c.last
	if s == nil {
		s = c.room(hash)
		s.hash, s.note = hash, 0
		c.last = s
	}
	s.exact, s.wild = exact, wild
	c.keep(s, name)
	return c.scratch
}

// room takes a slot for a name. It is a free one of its set, or one at random of those that were not used for longer: if all topics come in turn, and are more than
// there are slots, what is oldest is what comes next.
func (c *Cache) room(hash uint64) *cached {
	set := hash & c.mask
	at := c.sets[set].free()
	if at == cacheWays {
		if c.evicted++; c.evicted == len(c.slots) && c.evicted < c.most {
			c.resize(2 * len(c.slots))
			set, at = hash&c.mask, 0
		}
	}
	for try := 0; at == cacheWays; try++ {
		c.random = c.random*6364136223846793005 + 1442695040888963407 // Knuth, MMIX
		if victim := int(c.random >> 61); try == 2*cacheWays || !c.sets[set].spare(victim) {
			at = victim
		}
	}
	c.sets[set].put(at, hash)
	return &c.slots[set*cacheWays+uint64(at)]
}

// isOf tells whether a slot is that of a name. Most others end with another byte.
func (c *Cache) isOf(s *cached, name []byte) bool {
	n := len(name)
	switch {
	case n != int(s.length) || n == 0:
		return false
	case s.isLong:
		return string(c.longer[s.long-1].name) == string(name)
	}
	return s.short[n-1] == name[n-1] && string(s.short[:n]) == string(name)
}

func (c *Cache) result(s *cached) []Entry {
	if s.isLong {
		return c.longer[s.long-1].entries
	}
	return s.few[:s.entries]
}

// keep puts a name and the entries that were found into its slot.
func (c *Cache) keep(s *cached, name []byte) {
	s.length = uint16(len(name))
	s.isLong = len(name) > len(s.short) || len(c.scratch) > len(s.few)
	if !s.isLong {
		copy(s.short[:], name)
		s.entries = uint8(copy(s.few[:], c.scratch))
		return
	}
	if s.long == 0 {
		c.longer = append(c.longer, long{})
		s.long = uint32(len(c.longer))
	}
	l := &c.longer[s.long-1]
	l.name = append(l.name[:0], name...)
	l.entries = append(l.entries[:0], c.scratch...)
}

// tags are those of the names in the slots of a set, 16 bits each: 0 = it is free; the highest says that it was used since it was last spared.
type tags [cacheWays / 4]uint64

const (
	eachTag = 0x0001_0001_0001_0001
	usedTag = 0x8000
)

func tagOf(hash uint64) uint64 { return hash>>32&(usedTag-1) | 1 }

// find returns the first slot from a place on whose name may have the hash, cacheWays if there is none.
func (t *tags) find(hash uint64, from int) int {
	tag := (tagOf(hash) | usedTag) * eachTag
	for w := from / 4; w < len(t); w++ {
		if at := zero((t[w] | usedTag*eachTag) ^ tag | (1<<(max(from-4*w, 0)*16) - 1)); at < 4 {
			return 4*w + at
		}
	}
	return cacheWays
}

// free returns the first slot that is, cacheWays if none is.
func (t *tags) free() int {
	for w := range t {
		if at := zero(t[w]); at < 4 {
			return 4*w + at
		}
	}
	return cacheWays
}

// zero returns the first of four 16-bit numbers that is 0; 4 = none is.
func zero(v uint64) int {
	return bits.TrailingZeros64((v-eachTag)&^v&(usedTag*eachTag)) / 16
}

func (t *tags) put(at int, hash uint64) {
	shift := at % 4 * 16
	t[at/4] = t[at/4]&^(0xffff<<shift) | tagOf(hash)<<shift
}

func (t *tags) use(at int) {
	if used := uint64(usedTag) << (at % 4 * 16); t[at/4]&used == 0 {
		t[at/4] |= used
	}
}

// spare tells whether a slot was used since this was last asked.
func (t *tags) spare(at int) bool {
	used := uint64(usedTag) << (at % 4 * 16)
	was := t[at/4]&used != 0
	t[at/4] &^= used
	return was
}
