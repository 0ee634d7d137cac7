package topic

import (
	"hash/maphash"
	"math/rand/v2"
	"sync"
)

// Retained is a tree from topic names to values, made by [NewRetained] and safe for concurrent use. Its nodes and
// edges are integers in flat arrays; only the values are seen by the garbage collector, if they hold pointers.
//
// A name is any byte string of at most [MaxBytes] for which [ValidName] is true.
type Retained[V any] struct {
	mu     sync.RWMutex
	count  int
	nodes  slab[nameNode]
	values slab[V]
	edges  edges
	levels levels

	// pins counts the open cursors that stand on a node: it must not be freed. Changed with pinMu and mu held for
	// reading, or with mu held for writing.
	pinMu sync.Mutex
	pins  map[uint32]int
}

// nameNode is a prefix of names. Node 0 is the empty prefix, and as a link it means none. A new child goes in front
// of its siblings, so that a cursor on its way through them neither misses one nor meets one twice. An edge leads to
// each node that has siblings; an only child needs none.
type nameNode struct {
	parent, level uint32
	first         uint32 // child
	next, prev    uint32 // siblings
	value         uint32 // of the name that is this prefix
}

// NewRetained returns an empty tree.
func NewRetained[V any]() *Retained[V] {
	return &Retained[V]{
		nodes:  newSlab[nameNode](1),
		values: newSlab[V](1),
		edges:  edges{seed: rand.Uint64()},
		levels: newLevels(maphash.MakeSeed()),
		pins:   make(map[uint32]int),
	}
}

// child returns the child of a node along a level, or 0.
func (t *Retained[V]) child(node, level uint32) uint32 {
	first := t.nodes.at(node).first
	if first == 0 {
		return 0
	}
	if n := t.nodes.at(first); n.next == 0 {
		if n.level == level {
			return first
		}
		return 0
	}
	hash := t.edges.hash(node, level)
	part, h := t.edges.index.of(hash), uint32(hash)
	for at, c := part.first(h); c != 0; at, c = part.next(h, at) {
		if n := t.nodes.at(c); n.parent == node && n.level == level {
			return c
		}
	}
	return 0
}

// along returns the child of a node along a text, or 0.
func (t *Retained[V]) along(node uint32, text []byte) uint32 {
	first := t.nodes.at(node).first
	if first == 0 {
		return 0
	}
	if n := t.nodes.at(first); n.next == 0 { // to compare is cheaper than to find the level's number
		if string(t.levels.text(n.level)) == string(text) {
			return first
		}
		return 0
	}
	level := t.levels.find(text)
	if level == 0 {
		return 0
	}
	return t.child(node, level)
}

// find returns the node of a name; if there is none it makes it, or without create returns 0.
func (t *Retained[V]) find(name []byte, create bool) uint32 {
	node := uint32(0)
	for from := 0; ; {
		end := cutLevel(name, from)
		text := name[from:end]
		next := t.along(node, text)
		if next == 0 {
			if !create {
				return 0
			}
			next = t.add(node, t.levels.use(text))
		}
		if node = next; end == len(name) {
			return node
		}
		from = end + 1
	}
}

func (t *Retained[V]) add(parent, level uint32) uint32 {
	u := t.nodes.alloc(1)
	p := t.nodes.at(parent)
	*t.nodes.at(u) = nameNode{parent: parent, level: level, next: p.first}
	if p.first != 0 {
		first := t.nodes.at(p.first)
		if first.prev = u; first.next == 0 {
			t.link(p.first, first)
		}
		t.link(u, t.nodes.at(u))
	}
	p.first = u
	return u
}

func (t *Retained[V]) link(node uint32, n *nameNode) {
	hash := t.edges.hash(n.parent, n.level)
	t.edges.index.of(hash).insert(uint32(hash), node)
}

func (t *Retained[V]) unlink(node uint32, n *nameNode) {
	hash := t.edges.hash(n.parent, n.level)
	t.edges.index.of(hash).drop(uint32(hash), node)
}

// prune frees the node and those above it, as far as they hold nothing and no cursor stands on them.
func (t *Retained[V]) prune(node uint32) {
	for node != 0 {
		n := *t.nodes.at(node)
		if n.first != 0 || n.value != 0 || t.pins[node] > 0 {
			return
		}
		parent := t.nodes.at(n.parent)
		if n.prev != 0 {
			t.nodes.at(n.prev).next = n.next
		} else {
			parent.first = n.next
		}
		if n.next != 0 {
			t.nodes.at(n.next).prev = n.prev
		}
		if first := parent.first; first != 0 { // it had siblings
			t.unlink(node, &n)
			if only := t.nodes.at(first); only.next == 0 {
				t.unlink(first, only)
			}
		}
		t.levels.drop(n.level)
		t.nodes.release(node, 1)
		node = n.parent
	}
}

// Set keeps v under the name and returns what was there. It panics if the name is longer than [MaxBytes].
func (t *Retained[V]) Set(name string, v V) (old V, had bool) {
	if len(name) > MaxBytes {
		panic("topic: Retained.Set: name longer than MaxBytes")
	}
	text := append(make([]byte, 0, 128), name...)
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes.at(t.find(text, true))
	if n.value != 0 {
		p := t.values.at(n.value)
		old, *p = *p, v
		return old, true
	}
	n.value = t.values.alloc(1)
	*t.values.at(n.value) = v
	t.count++
	return old, false
}

// Get returns what is kept under the name.
func (t *Retained[V]) Get(name []byte) (v V, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.nodes.at(t.find(name, false)) // node 0 has no value
	if n.value == 0 {
		return v, false
	}
	return *t.values.at(n.value), true
}

// Delete forgets the name and returns what was there.
func (t *Retained[V]) Delete(name []byte) (old V, had bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	node := t.find(name, false)
	n := t.nodes.at(node)
	if n.value == 0 {
		return old, false
	}
	p := t.values.at(n.value)
	var zero V
	old, *p = *p, zero
	t.values.release(n.value, 1)
	n.value = 0
	t.count--
	t.prune(node)
	return old, true
}

// Len is the number of names.
func (t *Retained[V]) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.count
}

// Bytes is the memory that the tree holds, the values included as far as V itself goes.
func (t *Retained[V]) Bytes() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.nodes.bytes() + t.values.bytes() + t.edges.index.bytes() + t.levels.bytes()
}
