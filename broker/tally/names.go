package tally

import (
	"bytes"
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Topic is the number of a topic name or of a branch; 0 = none. The root is 1, and a branch has a smaller number than
// all that is below it.
type Topic uint32

// Root is the branch that everything is below.
const Root Topic = 1

// Names gives topic names numbers, for all loops: each level of a name is kept once below its branch. Names are never
// forgotten; there is a bound. It may be used from any goroutine; what was given out is read without a lock.
type Names struct {
	limit int
	seed  maphash.Seed
	pages []atomic.Pointer[page] // as many as the limit needs
	n     atomic.Uint32          // nodes that may be read: numbers below it
	text  atomic.Pointer[[][]byte]
	index [64]hashes
	rests atomic.Bool // there is a rest

	mu    sync.Mutex      // guards what follows, and all that is added
	rest  map[Topic]Topic // by branch: where what has no number of its own is counted
	bytes int
}

const (
	pageBits = 12
	pageSize = 1 << pageBits
	textSize = 1 << 16
	restPart = 16 // one name in so many may be that of a rest
)

type page [pageSize]node

// node is a level of a name. It never changes.
type node struct {
	parent Topic
	at     uint32 // in text, in chunks of textSize
	length uint16
	rest   bool
}

// RestName is the last level of what stands for all the names below a branch that have no number of their own.
const RestName = "(other topics)"

// NewNames returns Names of at most limit names and branches, at least 16.
func NewNames(limit int) *Names {
	limit = max(limit, 16)
	n := &Names{limit: limit, seed: maphash.MakeSeed(), rest: make(map[Topic]Topic)}
	n.pages = make([]atomic.Pointer[page], n.most()>>pageBits+1)
	n.text.Store(new([][]byte))
	n.pages[0].Store(new(page))
	n.n.Store(2) // nobody and the root
	return n
}

// Len is how many numbers were given out: all are below it.
func (n *Names) Len() int { return int(n.n.Load()) }

// Limit is how many there may be, but for rests.
func (n *Names) Limit() int { return n.limit }

// most is what no number is above.
func (n *Names) most() int { return n.limit + n.limit/restPart + 2 }

func (n *Names) node(t Topic) *node { return &n.pages[t>>pageBits].Load()[t&(pageSize-1)] }

// Parent is the branch that t stands below.
func (n *Names) Parent(t Topic) Topic { return n.node(t).parent }

// IsRest tells that t stands for the names below its branch that have no number of their own.
func (n *Names) IsRest(t Topic) bool { return n.rests.Load() && n.node(t).rest }

// Level is the last level of t's name, not to be changed.
func (n *Names) Level(t Topic) []byte {
	d := n.node(t)
	if d.length == 0 {
		return nil
	}
	chunk := (*n.text.Load())[d.at/textSize]
	return chunk[d.at%textSize : d.at%textSize+uint32(d.length)]
}

// Append appends t's name to b.
func (n *Names) Append(b []byte, t Topic) []byte {
	if t <= Root {
		return b
	}
	if p := n.Parent(t); p != Root {
		b = append(n.Append(b, p), '/')
	}
	return append(b, n.Level(t)...)
}

// Name is t's name.
func (n *Names) Name(t Topic) string { return string(n.Append(nil, t)) }

// is tells whether t's name is name.
func (n *Names) is(t Topic, name []byte) bool {
	text := *n.text.Load()
	for {
		d := n.node(t)
		before := len(name) - int(d.length)
		if d.rest || before < 0 || d.length > 0 && string(name[before:]) != string(text[d.at/textSize][d.at%textSize:][:d.length]) {
			return false
		}
		if d.parent == Root {
			return before == 0
		}
		if before == 0 || name[before-1] != '/' {
			return false
		}
		name, t = name[:before-1], d.parent
	}
}

// Find returns the number of a name or branch, 0 if it has none.
func (n *Names) Find(name []byte) Topic {
	return n.find(maphash.Bytes(n.seed, name), name)
}

// Below returns the number of a level right below a branch, 0 if it has none.
func (n *Names) Below(branch Topic, level []byte) Topic {
	if branch == Root {
		return n.Find(level)
	}
	return n.Find(append(append(n.Append(nil, branch), '/'), level...))
}

// Nearest returns the number of the name, or of the nearest branch above it that has one.
func (n *Names) Nearest(name []byte) Topic {
	for {
		if t := n.find(maphash.Bytes(n.seed, name), name); t != 0 {
			return t
		}
		i := bytes.LastIndexByte(name, '/')
		if i < 0 {
			return Root
		}
		name = name[:i]
	}
}

func (n *Names) find(hash uint64, name []byte) Topic {
	slots := n.index[hash>>58].slots.Load()
	if slots == nil {
		return 0
	}
	mask := uint32(len(*slots) - 1)
	for at := uint32(hash) & mask; ; at = (at + 1) & mask {
		s := (*slots)[at].Load()
		if s == 0 {
			return 0
		}
		if uint32(s>>32) == uint32(hash) && n.is(Topic(s), name) {
			return Topic(s)
		}
	}
}

// Number returns the number of a name, which gets one if it has none. Where there are as many as there may be it is that of
// the rest of its branch.
func (n *Names) Number(name []byte) Topic {
	if t := n.Find(name); t != 0 {
		return t
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	t := Root
	for end := 0; end <= len(name); end++ {
		if end < len(name) && name[end] != '/' {
			continue
		}
		branch := name[:end]
		hash := maphash.Bytes(n.seed, branch)
		known := n.find(hash, branch)
		if known == 0 {
			if int(n.n.Load()) >= n.limit {
				return n.restOf(t)
			}
			known = n.add(t, name[bytes.LastIndexByte(branch, '/')+1:end], false)
			n.index[hash>>58].insert(uint32(hash), known)
		}
		t = known
	}
	return t
}

// restOf is where what is below a branch and has no number is counted. There are not many: what has none goes to that of the root.
func (n *Names) restOf(branch Topic) Topic {
	if t := n.rest[branch]; t != 0 {
		return t
	}
	if len(n.rest) >= n.limit/restPart && branch != Root {
		return n.restOf(Root)
	}
	t := n.add(branch, []byte(RestName), true)
	n.rest[branch] = t
	return t
}

// add makes a node. It can be read once n.n says so.
func (n *Names) add(parent Topic, level []byte, rest bool) Topic {
	t := Topic(n.n.Load())
	p := n.pages[t>>pageBits].Load()
	if p == nil {
		p = new(page)
		n.pages[t>>pageBits].Store(p)
	}
	text := *n.text.Load()
	if len(level) > len(text)*textSize-n.bytes { // a level is at most 65,535 bytes: it fits into a new chunk
		n.bytes = len(text) * textSize
		text = append(text[:len(text):len(text)], make([]byte, textSize))
		n.text.Store(&text)
	}
	if len(level) > 0 {
		copy(text[n.bytes/textSize][n.bytes%textSize:], level)
	}
	if rest {
		n.rests.Store(true)
	}
	p[t&(pageSize-1)] = node{parent: parent, at: uint32(n.bytes), length: uint16(len(level)), rest: rest}
	n.bytes += len(level)
	n.n.Store(uint32(t) + 1)
	return t
}

// hashes is an open table from hashes to numbers: 32 bits each, 0 = a free slot. It only grows, and may be read while it does.
type hashes struct {
	slots atomic.Pointer[[]atomic.Uint64]
	used  int
}

func (h *hashes) insert(hash uint32, t Topic) {
	slots := h.slots.Load()
	if slots == nil || (h.used+1)*4 > len(*slots)*3 {
		larger := make([]atomic.Uint64, 8)
		if slots != nil {
			larger = make([]atomic.Uint64, 2*len(*slots))
			for i := range *slots {
				if s := (*slots)[i].Load(); s != 0 {
					put(larger, s)
				}
			}
		}
		slots = &larger
	}
	put(*slots, uint64(hash)<<32|uint64(t))
	h.slots.Store(slots)
	h.used++
}

func put(slots []atomic.Uint64, s uint64) {
	mask := uint32(len(slots) - 1)
	at := uint32(s>>32) & mask
	for slots[at].Load() != 0 {
		at = (at + 1) & mask
	}
	slots[at].Store(s)
}
