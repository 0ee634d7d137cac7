package faulty

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
)

// PowerCut ends every use of this disk, also what is under way, with ErrPowerCut, and returns the disk as the next start of
// the machine finds it: of each file what was synced, and of the rest any part. A sector that was written since is new, old, in a
// state between, or torn; a length that changed is old or new, and what came to be inside by that is zeros or holds
// what others left there. Directories: see Journal. Faults and hooks stay behind; how full the disk is, ReadOnly and
// the like are its own.
func (d *Disk) PowerCut() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	fresh := d.twin()
	d.dead = cmp.Or(d.dead, ErrPowerCut)
	twins := map[*node]*node{}
	left := d.survivors()
	for _, path := range sorted(left) {
		n := left[path]
		if twins[n] == nil {
			twins[n] = d.survive(n)
		}
		fresh.entries[path], fresh.stable[path] = twins[n], twins[n]
	}
	fresh.count()
	return fresh
}

// Kill ends every use of this disk with ErrKilled and returns it as the next process finds it: nothing is lost, but
// for what a failed Sync dropped and the page cache has let go since, and nothing is synced that was not.
func (d *Disk) Kill() *Disk {
	d.mu.Lock()
	d.dead = cmp.Or(d.dead, ErrKilled) // first: what succeeds is in the copy
	d.mu.Unlock()
	fresh := d.Clone()
	for _, path := range sorted(fresh.entries) {
		n := fresh.entries[path]
		for _, i := range sorted(n.lost) {
			if fresh.rand.IntN(2) == 0 {
				n.now.setSector(i, n.stable.sector(i))
				delete(n.lost, i)
			}
		}
	}
	return fresh
}

// Clone is a second disk in the state of this one, page cache included, without its faults and hooks.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	fresh := d.twin()
	twins := map[*node]*node{nil: nil}
	twin := func(n *node) *node {
		if _, ok := twins[n]; !ok {
			twins[n] = n.clone()
		}
		return twins[n]
	}
	for path, n := range d.entries {
		fresh.entries[path] = twin(n)
	}
	for path, n := range d.stable {
		fresh.stable[path] = twin(n)
	}
	for _, c := range d.changes {
		fresh.changes = append(fresh.changes, change{c.step, c.path, twin(c.node)})
	}
	fresh.steps = d.steps
	fresh.count()
	return fresh
}

// twin is a disk with the properties of this one and no files.
func (d *Disk) twin() *Disk {
	fresh := New(0)
	fresh.rand = rand.New(rand.NewPCG(d.rand.Uint64(), 0))
	fresh.dirs = maps.Clone(d.dirs)
	fresh.capacity, fresh.readOnly, fresh.drops, fresh.journal = d.capacity, d.readOnly, d.drops, d.journal
	return fresh
}

// count takes stock after the entries were put in.
func (d *Disk) count() {
	for _, n := range d.entries {
		n.links++
		d.take(n)
	}
}

// survivors are the directory entries after a power cut.
func (d *Disk) survivors() map[string]*node {
	left := maps.Clone(d.stable)
	put := func(c change) {
		if c.node == nil {
			delete(left, c.path)
		} else {
			left[c.path] = c.node
		}
	}
	if d.journal {
		if len(d.changes) > 0 {
			first, last := d.changes[0].step, d.changes[len(d.changes)-1].step
			end := first + d.rand.IntN(last-first+2)
			for _, c := range d.changes {
				if c.step < end {
					put(c)
				}
			}
		}
		return left
	}
	states := map[string][]change{}
	for _, c := range d.changes {
		states[c.path] = append(states[c.path], c)
	}
	for _, path := range sorted(states) {
		if k := d.rand.IntN(len(states[path]) + 1); k > 0 {
			put(states[path][k-1])
		}
	}
	return left
}

// survive is a file after a power cut.
func (d *Disk) survive(n *node) *node {
	fresh := newNode()
	fresh.stable = n.stable.clone()
	c := &fresh.stable
	if d.rand.IntN(2) == 0 {
		before := c.size
		c.resize(n.now.size)
		c.reserve(n.now.room)
		if before < c.size && d.rand.IntN(3) == 0 {
			d.litter(c, before)
		}
	}
	// How many of the sectors came to the medium: none, few, half, nearly all or all.
	share := []int{0, 10, 50, 95, 100}[d.rand.IntN(5)]
	for _, i := range sorted(n.dirty) {
		if i*sectorSize < c.size && d.rand.IntN(100) < share {
			c.setSector(i, d.written(n, i, c.sector(i)))
		}
	}
	c.trim() // a sector that reaches over the end was written whole
	fresh.now = c.clone()
	return fresh
}

// written is what a sector holds that came to the medium: the last state, one between, or a part of the last.
func (d *Disk) written(n *node, i int64, old sector) sector {
	last := n.now.sector(i)
	past := n.dirty[i]
	switch dice := d.rand.IntN(16); {
	case dice < 2 && len(past) > 0:
		return past[d.rand.IntN(len(past))]
	case dice == 2:
		at := 1 + d.rand.IntN(sectorSize-1)
		if d.rand.IntN(2) == 0 {
			copy(last[at:], old[at:])
		} else {
			copy(last[:at], old[:at])
		}
	}
	return last
}

// litter puts into a part of a file that was never written, from a position on, what others had left there: parts
// of other files, or anything.
func (d *Disk) litter(c *content, from int64) {
	first := (from + sectorSize - 1) / sectorSize
	count := (c.size+sectorSize-1)/sectorSize - first
	if count <= 0 {
		return
	}
	if d.rand.IntN(2) == 0 {
		first += d.rand.Int64N(count)
	}
	var others []*node
	for _, path := range sorted(d.entries) {
		if n := d.entries[path]; n.now.size >= sectorSize {
			others = append(others, n)
		}
	}
	for i := first; i < first+64 && i*sectorSize < c.size; i++ {
		var s sector
		if len(others) > 0 && d.rand.IntN(2) == 0 {
			n := others[d.rand.IntN(len(others))]
			s = n.now.sector(d.rand.Int64N(n.now.size / sectorSize))
		} else {
			for k := range s {
				s[k] = byte(d.rand.Uint32())
			}
		}
		c.setSector(i, s)
	}
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
