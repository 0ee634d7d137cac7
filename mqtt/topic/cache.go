package topic

import (
	"hash/maphash"
	"math/bits"
)

const (
	cacheName    = 256 // bytes; a longer name is not kept
	cacheEntries = 64  // a longer result is not kept: to find it again costs little against delivering it
	cacheSlots   = 1024
)

// Cache remembers the results of [Index.Match] for the topics that are published to most. It belongs to one
// goroutine. A hit takes no lock; a change of the index makes it forget only what may be concerned: the topics of one
// of 256 shards if the filter has no wildcard, else all.
//
// It begins small and doubles, forgetting what it has, when as many results as it has slots had to make room for others. It holds at
// most 256 bytes of name and 64 entries per slot, allocated as slots are used.
type Cache struct {
	index   *Index
	slots   []cached
	mask    uint64
	most    int // slots
	evicted int // results that made room, since it has as many slots as it has
	scratch []Entry
	last    *cached // the slot of the last Match, nil if its result is not kept
}

// cached is the result for one name, and the versions of the index that were current before it was looked up.
type cached struct {
	hash, exact, wild uint64
	name              []byte
	entries           []Entry
	recent            bool // used after its neighbour
	note              uint32
}

// Note is a place for a note of the caller's about the name of the last Match, for as long as it is remembered: 0 until the
// caller writes to it, nil if the name is not kept. It is valid until the next Match.
func (c *Cache) Note() *uint32 {
	if c.last == nil {
		return nil
	}
	return &c.last.note
}

// NewCache returns an empty cache of the index. The number of slots that it may have is rounded up to a power of two, at least 2.
func NewCache(x *Index, slots int) *Cache {
	n := 2
	if slots > n {
		n = 1 << bits.Len(uint(slots-1))
	}
	c := &Cache{index: x, most: n}
	c.resize(min(n, cacheSlots))
	return c
}

func (c *Cache) resize(n int) {
	c.slots, c.mask, c.evicted, c.last = make([]cached, n), uint64(n-2), 0, nil
}

// Match returns what [Index.Match] would return, valid until the next call of Match; the caller does not change it.
// A Set or Delete that returned before Match began is seen.
func (c *Cache) Match(name []byte) []Entry {
	x := c.index
	if s := c.last; s != nil && s.names(name) && s.exact == x.exactVersion[shardOf(s.hash)].Load() && s.wild == x.wildVersion.Load() {
		return s.entries // of a publisher that stays with a topic: not even hashed
	}
	hash := maphash.Bytes(x.seed, name)
	// The versions are read before the index is: a change in between makes the result look older than it is, never newer.
	exact, wild := x.exactVersion[shardOf(hash)].Load(), x.wildVersion.Load()
	at := hash & c.mask // the first of two neighbours
	pair := c.slots[at : at+2 : at+2]
	for i := range pair {
		s := &pair[i]
		if s.hash != hash || string(s.name) != string(name) {
			continue
		}
		if !s.recent {
			s.recent, pair[1-i].recent = true, false
		}
		c.last = s
		if s.exact != exact || s.wild != wild {
			return c.fill(s, hash, exact, wild, name)
		}
		return s.entries
	}
	i := 0
	if pair[0].recent {
		i = 1
	}
	if pair[i].name != nil {
		if c.evicted++; c.evicted == len(c.slots) && c.evicted < c.most {
			c.resize(2 * len(c.slots))
			at, i = hash&c.mask, 0
			pair = c.slots[at : at+2 : at+2]
		}
	}
	pair[i].recent, pair[1-i].recent = true, false
	c.last = nil
	return c.fill(&pair[i], hash, exact, wild, name)
}

// names tells whether the slot is that of a name. Most others end with another byte.
func (s *cached) names(name []byte) bool {
	n := len(name)
	return n == len(s.name) && n > 0 && name[n-1] == s.name[n-1] && string(s.name) == string(name)
}

func (c *Cache) fill(s *cached, hash, exact, wild uint64, name []byte) []Entry {
	c.scratch = c.index.match(hash, name, c.scratch[:0])
	if len(name) > cacheName || len(c.scratch) > cacheEntries {
		c.last = nil
		return c.scratch
	}
	if c.last != s { // the slot is another name's from now on
		c.last, s.note = s, 0
	}
	s.hash, s.exact, s.wild = hash, exact, wild
	s.name = append(s.name[:0], name...)
	s.entries = append(s.entries[:0], c.scratch...)
	return s.entries
}
