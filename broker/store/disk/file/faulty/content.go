package faulty

import "maps"

const (
	sectorSize = 512  // what a disk writes whole, if it does
	blockSize  = 4096 // what a file system gives out
)

type (
	sector [sectorSize]byte
	block  [blockSize]byte
)

// content is what a file holds, once as processes see it and once as the medium has it. A block that is missing is
// zeros; behind size everything is.
type content struct {
	size  int64
	room  int64 // blocks from the start that Allocate made sure of
	extra int64 // blocks of data behind those
	data  map[int64]*block
}

func (c *content) clone() content {
	twin := *c
	twin.data = maps.Clone(c.data)
	for i, b := range c.data {
		fresh := *b
		twin.data[i] = &fresh
	}
	return twin
}

// blocks is how many blocks the file takes.
func (c *content) blocks() int64 { return c.room + c.extra }

// reserve changes how many blocks from the start are sure.
func (c *content) reserve(blocks int64) {
	c.room, c.extra = blocks, 0
	for i := range c.data {
		if i >= blocks {
			c.extra++
		}
	}
}

func (c *content) has(i int64) bool { return i < c.room || c.data[i] != nil }

// read fills p, whatever the size.
func (c *content) read(p []byte, off int64) {
	for len(p) > 0 {
		at := off % blockSize
		n := min(int64(len(p)), blockSize-at)
		if b := c.data[off/blockSize]; b != nil {
			copy(p[:n], b[at:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+n
	}
}

// write leaves the size alone.
func (c *content) write(p []byte, off int64) {
	for len(p) > 0 {
		b := c.data[off/blockSize]
		if b == nil {
			b = new(block)
			c.data[off/blockSize] = b
			if off/blockSize >= c.room {
				c.extra++
			}
		}
		n := copy(b[off%blockSize:], p)
		p, off = p[n:], off+int64(n)
	}
}

func (c *content) sector(i int64) (s sector) {
	c.read(s[:], i*sectorSize)
	return s
}

func (c *content) setSector(i int64, s sector) {
	if s != (sector{}) || c.data[i*sectorSize/blockSize] != nil {
		c.write(s[:], i*sectorSize)
	}
}

// inBlocks is how many blocks hold that many bytes.
func inBlocks(size int64) int64 { return (size + blockSize - 1) / blockSize }

// trim clears what a sector that was written whole left behind the end.
func (c *content) trim() {
	if b := c.data[c.size/blockSize]; b != nil {
		clear(b[c.size%blockSize:])
	}
}

// resize cuts, or makes longer with zeros.
func (c *content) resize(size int64) {
	if size < c.size {
		for i := range c.data {
			if i*blockSize >= size {
				delete(c.data, i)
			}
		}
		c.reserve(min(c.room, inBlocks(size)))
	}
	c.size = size
	c.trim()
}

// node is a file, whatever its names.
type node struct {
	now    content // the page cache over the medium: what processes see
	stable content // what a power cut leaves for sure
	// dirty are the sectors of now that are still to be written, with what they held before the last write and after the one
	// that made them dirty: a part of that, picked at random, where there was much.
	dirty map[int64][]sector
	// lost are those that a failed Sync counted as written and that were not.
	lost map[int64]bool

	links   int   // names
	open    int   // handles
	counted int64 // blocks that the disk counts as used
}

func newNode() *node {
	return &node{
		now: content{data: map[int64]*block{}}, stable: content{data: map[int64]*block{}},
		dirty: map[int64][]sector{}, lost: map[int64]bool{},
	}
}

func (n *node) clone() *node {
	return &node{
		now: n.now.clone(), stable: n.stable.clone(),
		dirty: maps.Clone(n.dirty), lost: maps.Clone(n.lost), // what a sector held is never changed
	}
}

// unsynced tells whether a power cut could change the file.
func (n *node) unsynced() bool {
	return len(n.dirty) > 0 || n.now.size != n.stable.size || n.now.room != n.stable.room
}

// versions is how many states of a dirty sector are remembered.
const versions = 8

// soil notes that the sectors of a range are about to be written.
func (d *Disk) soil(n *node, off, length int64) {
	for i := off / sectorSize; i*sectorSize < off+length; i++ {
		past, dirty := n.dirty[i]
		if dirty {
			old := n.now.sector(i)
			if len(past) < versions {
				past = append(past[:len(past):len(past)], old)
			} else {
				past = append([]sector(nil), past...)
				past[d.rand.IntN(versions)] = old
			}
		}
		n.dirty[i] = past
		delete(n.lost, i)
	}
}

// flush writes everything to the medium.
func (n *node) flush() {
	n.stable.resize(n.now.size)
	for i := range n.dirty {
		n.stable.setSector(i, n.now.sector(i))
	}
	n.stable.reserve(n.now.room)
	clear(n.dirty)
}

// resize is Truncate as processes see it.
func (d *Disk) resize(n *node, size int64) {
	if size < n.now.size {
		for _, i := range sorted(n.now.data) {
			if from := max(i*blockSize, size); from < (i+1)*blockSize {
				d.soil(n, from, (i+1)*blockSize-from)
			}
		}
	}
	n.now.resize(size)
	d.take(n)
}
