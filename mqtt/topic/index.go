package topic

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"
)

const (
	shards    = 256
	shardBits = 8
)

// Index answers which subscriptions match a topic name. Filters without wildcards lie in a sharded hash table, those
// with wildcards in a trie; both are integers and bytes in flat arrays, in which the garbage collector has nothing to
// walk.
//
// It is made by [NewIndex] and safe for concurrent use. A filter is any byte string of at most [MaxBytes] for which
// [ValidFilter] is true; one that is not valid harms nobody, but what it matches is not defined.
type Index struct {
	seed    maphash.Seed
	entries atomic.Int64
	// A version counts the changes of one part of the index, within that part's lock. Caches compare versions without
	// a lock. One for the whole index would make every change empty every cache.
	exactVersion [shards]atomic.Uint64
	wildVersion  atomic.Uint64
	wildEntries  atomic.Int64
	exact        [shards]exact
	wild         *wild
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	seed := maphash.MakeSeed()
	x := &Index{seed: seed, wild: newWild(seed)}
	for i := range x.exactVersion {
		x.exactVersion[i].Store(1) // an empty cache slot has 0
	}
	return x
}

func shardOf(hash uint64) int { return int(hash >> (64 - shardBits)) }

// Set adds the entry to a filter, or replaces the filter's entry with the same ID [MQTT-3.8.4-3]. A Match that begins
// after Set has returned sees it. It panics if the filter is longer than [MaxBytes].
func (x *Index) Set(filter string, e Entry) (replaced bool) {
	if len(filter) > MaxBytes {
		panic("topic: Index.Set: filter longer than MaxBytes")
	}
	text := append(make([]byte, 0, 128), filter...)
	if wildcard(text) {
		replaced = x.setWild(text, e)
	} else {
		replaced = x.setExact(text, e)
	}
	if !replaced {
		x.entries.Add(1)
	}
	return replaced
}

func (x *Index) setExact(filter []byte, e Entry) bool {
	hash := maphash.Bytes(x.seed, filter)
	i := shardOf(hash)
	s := &x.exact[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	x.exactVersion[i].Add(1)
	return s.set(uint32(hash), filter, e)
}

func (x *Index) setWild(filter []byte, e Entry) bool {
	x.wild.mu.Lock()
	defer x.wild.mu.Unlock()
	x.wildVersion.Add(1)
	replaced := x.wild.set(filter, e)
	if !replaced {
		x.wildEntries.Add(1)
	}
	return replaced
}

// Delete takes the entry with this ID away from exactly this filter [MQTT-3.10.4-1].
func (x *Index) Delete(filter string, id uint32) (existed bool) {
	text := append(make([]byte, 0, 128), filter...)
	if wildcard(text) {
		existed = x.deleteWild(text, id)
	} else {
		existed = x.deleteExact(text, id)
	}
	if existed {
		x.entries.Add(-1)
	}
	return existed
}

func (x *Index) deleteExact(filter []byte, id uint32) bool {
	hash := maphash.Bytes(x.seed, filter)
	i := shardOf(hash)
	s := &x.exact[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	existed := s.delete(uint32(hash), filter, id)
	if existed {
		x.exactVersion[i].Add(1)
	}
	return existed
}

func (x *Index) deleteWild(filter []byte, id uint32) bool {
	x.wild.mu.Lock()
	defer x.wild.mu.Unlock()
	existed := x.wild.delete(filter, id)
	if existed {
		x.wildVersion.Add(1)
		x.wildEntries.Add(-1)
	}
	return existed
}

// Match appends to dst the entries of all filters that match the name, one for each filter: an ID that subscribed to
// several of them occurs several times. The order is not defined. It allocates only to grow dst.
func (x *Index) Match(name []byte, dst []Entry) []Entry {
	return x.match(maphash.Bytes(x.seed, name), name, dst)
}

func (x *Index) match(hash uint64, name []byte, dst []Entry) []Entry {
	s := &x.exact[shardOf(hash)]
	s.mu.RLock()
	if _, ref := s.find(uint32(hash), name); ref != 0 {
		dst = s.appendTo(dst, s.roster(ref))
	}
	s.mu.RUnlock()
	if x.wildEntries.Load() == 0 {
		return dst
	}
	x.wild.mu.RLock()
	dst = x.wild.match(name, dst)
	x.wild.mu.RUnlock()
	return dst
}

// Len is the number of entries.
func (x *Index) Len() int { return int(x.entries.Load()) }

// Bytes is the memory that the index holds. It looks at every part of the index: for a statistic, not for a hot path.
func (x *Index) Bytes() int {
	n := 0
	for i := range x.exact {
		s := &x.exact[i]
		s.mu.RLock()
		n += s.bytes()
		s.mu.RUnlock()
	}
	x.wild.mu.RLock()
	n += x.wild.bytes()
	x.wild.mu.RUnlock()
	return n
}

// wildcard says whether a filter has a wildcard.
func wildcard(filter []byte) bool {
	return bytes.IndexByte(filter, '+') >= 0 || bytes.IndexByte(filter, '#') >= 0
}
