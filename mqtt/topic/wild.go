package topic

import (
	"hash/maphash"
	"math/rand/v2"
	"sync"
)

// wildNode is a prefix of wildcard filters. Node 0 is the empty prefix, and as a link it means none.
type wildNode struct {
	parent, level uint32 // level is 0 if the last level of the prefix is '+'
	plus          uint32 // the child whose level is '+'
	// Of the children with a literal level one is held here, with its level: most nodes have no more, and to compare a
	// level is cheaper than to look up an edge. The edges lead to the others.
	only, onlyLevel uint32
	kids            uint32 // children that the edges lead to
	own             roster // of the filter that is this prefix
	multi           roster // of the filter that is this prefix and "#"
}

func (n *wildNode) empty() bool {
	return n.plus == 0 && n.only == 0 && n.kids == 0 && n.own.n == 0 && n.multi.n == 0
}

// wild holds the filters with wildcards: a trie whose nodes and edges are integers in flat arrays.
type wild struct {
	mu     sync.RWMutex
	nodes  slab[wildNode]
	edges  edges
	levels levels
	rosters
	walks sync.Pool // of *walk
}

func newWild(seed maphash.Seed) *wild {
	return &wild{
		nodes:  newSlab[wildNode](1),
		edges:  edges{seed: rand.Uint64()},
		levels: newLevels(seed),
		walks:  sync.Pool{New: func() any { return new(walk) }},
	}
}

// child returns the child of a node along a literal level, or 0.
func (w *wild) child(node, level uint32) uint32 {
	n := w.nodes.at(node)
	if n.onlyLevel == level {
		return n.only
	}
	if n.kids == 0 {
		return 0
	}
	hash := w.edges.hash(node, level)
	t, h := w.edges.index.of(hash), uint32(hash)
	for at, c := t.first(h); c != 0; at, c = t.next(h, at) {
		if n := w.nodes.at(c); n.parent == node && n.level == level {
			return c
		}
	}
	return 0
}

// find returns the node of a filter; multi says that the filter goes on with "#". With create it makes what is
// missing, else it returns false if something is.
func (w *wild) find(filter []byte, create bool) (node uint32, multi, ok bool) {
	for from := 0; ; {
		end := cutLevel(filter, from)
		text := filter[from:end]
		if end == len(filter) && string(text) == "#" {
			return node, true, true
		}
		var next uint32
		if string(text) == "+" {
			if next = w.nodes.at(node).plus; next == 0 && create {
				next = w.add(node, 0)
				w.nodes.at(node).plus = next
			}
		} else {
			next = w.literal(node, text, create)
		}
		if next == 0 {
			return 0, false, false
		}
		node = next
		if end == len(filter) {
			return node, false, true
		}
		from = end + 1
	}
}

func (w *wild) literal(node uint32, text []byte, create bool) uint32 {
	if level := w.levels.find(text); level != 0 {
		if c := w.child(node, level); c != 0 {
			return c
		}
	}
	if !create {
		return 0
	}
	level := w.levels.use(text)
	c := w.add(node, level)
	n := w.nodes.at(node)
	if n.only == 0 {
		n.only, n.onlyLevel = c, level
		return c
	}
	n.kids++
	hash := w.edges.hash(node, level)
	w.edges.index.of(hash).insert(uint32(hash), c)
	return c
}

func (w *wild) add(parent, level uint32) uint32 {
	u := w.nodes.alloc(1)
	*w.nodes.at(u) = wildNode{parent: parent, level: level}
	return u
}

func (w *wild) roster(node uint32, multi bool) *roster {
	n := w.nodes.at(node)
	if multi {
		return &n.multi
	}
	return &n.own
}

func (w *wild) set(filter []byte, e Entry) (replaced bool) {
	node, multi, _ := w.find(filter, true)
	return w.rosters.set(w.roster(node, multi), e)
}

func (w *wild) delete(filter []byte, id uint32) (existed bool) {
	node, multi, ok := w.find(filter, false)
	if !ok || !w.rosters.remove(w.roster(node, multi), id) {
		return false
	}
	w.prune(node)
	return true
}

// prune frees the node and those above it, as far as they lead nowhere.
func (w *wild) prune(node uint32) {
	for node != 0 {
		n := *w.nodes.at(node)
		if !n.empty() {
			return
		}
		parent := w.nodes.at(n.parent)
		switch node {
		case parent.plus:
			parent.plus = 0
		case parent.only:
			parent.only, parent.onlyLevel = 0, 0
		default:
			parent.kids--
			hash := w.edges.hash(n.parent, n.level)
			w.edges.index.of(hash).drop(uint32(hash), node)
		}
		if n.level != 0 {
			w.levels.drop(n.level)
		}
		w.nodes.release(node, 1)
		node = n.parent
	}
}

// walk is the scratch memory of one match.
type walk struct {
	name    []nameLevel
	pending []branch
}

// nameLevel is a level of the name that the walk has come to. id is 0 if no filter has it, unknown until it is needed.
type nameLevel struct {
	from, end int
	id        uint32
}

// branch is a '+' child to be visited later, below depth levels.
type branch struct {
	node  uint32
	depth int
}

const (
	unknown   = ^uint32(0) // not a level: it would lie beyond 64 GB of text
	walkSpare = 1024       // levels; longer scratch memory is not kept
)

// match appends the entries of all filters that match. Each node is visited at most once, whatever the filters are;
// depth costs a few bytes of scratch memory per level, not stack.
func (w *wild) match(name []byte, dst []Entry) []Entry {
	k := w.walks.Get().(*walk)
	k.name, k.pending = k.name[:0], k.pending[:0]
	guarded := hidden(name) // only at depth 0: no wildcard may take the first level [MQTT-4.7.2-1]
	node, depth := uint32(0), 0
	for {
		n := w.nodes.at(node)
		if n.multi.n != 0 && !guarded {
			dst = w.appendTo(dst, n.multi)
		}
		var plus, literal uint32
		if depth > 0 && k.name[depth-1].end == len(name) {
			dst = w.appendTo(dst, n.own)
		} else {
			if depth == len(k.name) {
				k.advance(name)
			}
			if !guarded {
				plus = n.plus
			}
			literal = w.along(node, n, name, &k.name[depth])
		}
		guarded = false
		switch {
		case literal != 0:
			depth++
			if plus != 0 {
				k.pending = append(k.pending, branch{plus, depth})
			}
			node = literal
		case plus != 0:
			depth++
			node = plus
		case len(k.pending) > 0:
			last := len(k.pending) - 1
			node, depth = k.pending[last].node, k.pending[last].depth
			k.pending = k.pending[:last]
		default:
			if cap(k.name) <= walkSpare {
				w.walks.Put(k)
			}
			return dst
		}
	}
}

// along returns the child of a node along a level of the name, or 0. It learns the level's number on the way.
func (w *wild) along(node uint32, n *wildNode, name []byte, l *nameLevel) uint32 {
	if n.only == 0 && n.kids == 0 || l.id == 0 {
		return 0
	}
	if l.id == unknown {
		text := name[l.from:l.end]
		if n.only != 0 && string(w.levels.text(n.onlyLevel)) == string(text) {
			l.id = n.onlyLevel
			return n.only
		}
		if n.kids == 0 {
			return 0
		}
		if l.id = w.levels.find(text); l.id == 0 {
			return 0
		}
	}
	return w.child(node, l.id)
}

// advance cuts the next level off the name.
func (k *walk) advance(name []byte) {
	from := 0
	if n := len(k.name); n > 0 {
		from = k.name[n-1].end + 1
	}
	k.name = append(k.name, nameLevel{from, cutLevel(name, from), unknown})
}

func (w *wild) bytes() int {
	return w.nodes.bytes() + w.edges.index.bytes() + w.levels.bytes() + w.rosters.bytes()
}
