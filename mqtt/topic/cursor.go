package topic

// Cursor walks the names of a [Retained] tree that match a filter, in slices, while the tree changes. It belongs to
// one goroutine and is made by [Retained.Scan].
//
// It visits every name that is there all the time from Scan until it is done exactly once, and no name twice. Its
// memory is the filter and the name it stands on, however many names match.
type Cursor[V any] struct {
	tree   *Retained[V]
	filter []wantLevel
	multi  bool // the filter ends with "#", which is not in filter
	round  uint32

	node   uint32 // where it stands: visited already
	depth  int    // of node
	spent  bool   // what lies below node has been visited too
	pinned bool   // node is counted in tree.pins
	done   bool
	name   []byte // of node
}

// wantLevel is a level of the filter. The number of a literal level is good while the tree is locked, so it is looked
// up at most once in each round, that is, call of Next.
type wantLevel struct {
	text  string
	plus  bool
	round uint32
	id    uint32
}

// Scan returns a cursor over the names that the filter matches; the filter is valid ([ValidFilter]). A leading
// wildcard passes names that begin with '$' [MQTT-4.7.2-1]. Call Next until it returns true, or else Close.
func (t *Retained[V]) Scan(filter string) *Cursor[V] {
	c := &Cursor[V]{tree: t, filter: make([]wantLevel, 0, Levels(filter))}
	text := []byte(filter)
	for from := 0; ; {
		end := cutLevel(text, from)
		level := filter[from:end]
		if level == "#" && end == len(filter) {
			c.multi = true
			return c
		}
		c.filter = append(c.filter, wantLevel{text: level, plus: level == "+"})
		if end == len(filter) {
			return c
		}
		from = end + 1
	}
}

// Next takes at most budget steps, each to one node of the tree, and calls visit for each match on the way. It returns
// true when there is nothing left, and the cursor is closed then. It returns false when the budget is used up or visit
// has returned false: the next call goes on behind the name that was visited last.
//
// visit runs under the tree's read lock: it must be short and must not call any method of the tree or of a cursor on it.
func (c *Cursor[V]) Next(budget int, visit func(name string, v V) (more bool)) (done bool) {
	if c.done {
		return true
	}
	if left := c.run(budget, visit); left != 0 {
		c.tree.unpin(left)
	}
	return c.done
}

// Close gives the cursor up. It does nothing if the cursor is done.
func (c *Cursor[V]) Close() {
	c.done = true
	if c.pinned {
		c.pinned = false
		c.tree.unpin(c.node)
	}
}

// run walks under the read lock. If the node that the cursor has left holds nothing any more it is returned, still
// pinned, for unpin to free it.
func (c *Cursor[V]) run(budget int, visit func(string, V) bool) (left uint32) {
	t := c.tree
	t.mu.RLock()
	defer t.mu.RUnlock()
	before, pinned := c.node, c.pinned
	defer func() { left = c.movePin(before, pinned) }() // also if visit panics
	c.round++
	for ; budget > 0 && !c.done; budget-- {
		if !c.step() || !c.matches() {
			continue
		}
		n := t.nodes.at(c.node)
		if n.value != 0 && !visit(string(c.name), *t.values.at(n.value)) {
			break
		}
	}
	return 0
}

// movePin pins the node on which the cursor stands now instead of the one before.
func (c *Cursor[V]) movePin(before uint32, pinned bool) (left uint32) {
	t := c.tree
	t.pinMu.Lock()
	defer t.pinMu.Unlock()
	if c.pinned = !c.done && c.node != 0; c.pinned { // the root needs no pin
		t.pins[c.node]++
	}
	if !pinned {
		return 0
	}
	if n := t.nodes.at(before); t.pins[before] == 1 && n.first == 0 && n.value == 0 {
		return before
	}
	t.uncount(before)
	return 0
}

// uncount takes one pin away. The caller holds what changing pins takes.
func (t *Retained[V]) uncount(node uint32) {
	if t.pins[node]--; t.pins[node] == 0 {
		delete(t.pins, node)
	}
}

// unpin takes one pin away and frees the node if nothing else keeps it.
func (t *Retained[V]) unpin(node uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.uncount(node)
	t.prune(node)
}

// step moves the cursor by one: down to the first child that the filter admits, else to the next such sibling, else
// up. It returns true if the cursor has come down or across to a node.
func (c *Cursor[V]) step() (entered bool) {
	if !c.spent {
		if child := c.firstChild(); child != 0 {
			return c.enter(child)
		}
		c.spent = true
		return false
	}
	if c.depth == 0 {
		c.done = true
		return false
	}
	n := c.tree.nodes.at(c.node)
	c.name = c.name[:max(0, len(c.name)-len(c.tree.levels.text(n.level))-1)]
	c.depth--
	if c.wildcard(c.depth) && n.next != 0 {
		return c.enter(n.next)
	}
	c.node = n.parent
	return false
}

// enter stands on a child of a node whose name is c.name and whose depth is c.depth.
func (c *Cursor[V]) enter(node uint32) bool {
	text := c.tree.levels.text(c.tree.nodes.at(node).level)
	if c.depth > 0 {
		c.name = append(c.name, '/')
	}
	c.name = append(c.name, text...)
	c.node = node
	c.depth++
	// What a leading wildcard must not match is passed as if it were visited.
	c.spent = c.depth == 1 && c.wildcard(0) && hidden(text)
	return !c.spent
}

// wildcard says whether the filter admits every level at this depth.
func (c *Cursor[V]) wildcard(depth int) bool {
	return depth >= len(c.filter) || c.filter[depth].plus
}

func (c *Cursor[V]) firstChild() uint32 {
	if c.depth == len(c.filter) && !c.multi {
		return 0
	}
	n := c.tree.nodes.at(c.node)
	if c.wildcard(c.depth) || n.first == 0 {
		return n.first
	}
	want := &c.filter[c.depth]
	if want.round != c.round {
		want.round, want.id = c.round, c.tree.levels.find([]byte(want.text))
	}
	if want.id == 0 {
		return 0
	}
	return c.tree.child(c.node, want.id)
}

// matches says whether the node's name is one that the filter matches, and not only leads to one. "a/#" matches "a".
func (c *Cursor[V]) matches() bool {
	return c.depth == len(c.filter) || c.multi && c.depth > len(c.filter)
}
