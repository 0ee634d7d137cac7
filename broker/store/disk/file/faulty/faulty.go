// Package faulty is a disk in memory that does to a file.System what real ones do: it loses power and forgets what was
// not synced, in any order that POSIX allows, it fills up, fails, turns read-only, is slow, and rots. It is for
// tests. Given a seed and one sequence of operations it does the same every time. It knows nothing of what is in the files.
package faulty

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// Why every operation fails once the process or the machine that used this disk is gone.
var (
	ErrPowerCut = errors.New("the power is cut")
	ErrKilled   = errors.New("the process was killed")
)

// Disk is a simulated disk with a page cache. Make one with New. All methods may be called from any goroutine.
//
// What is written to a file is in the page cache until its Sync; what is created, renamed and removed in a directory
// is there until its SyncDir. Processes that run see the page cache; what PowerCut leaves is another matter.
type Disk struct {
	mu      sync.Mutex
	rand    *rand.Rand
	dead    error            // why nobody may use this disk any more; nil = in use
	dirs    map[string]bool  // last at once, as file.System says of MakeDir
	entries map[string]*node // what processes see
	stable  map[string]*node // what the medium has
	changes []change         // what makes entries of stable, in order
	steps   int              // numbers the operations in changes

	capacity int64 // bytes of all blocks; of which used are taken
	used     int64
	readOnly bool
	drops    bool // FailedSyncDrops
	journal  bool // Journal
	rules    []*rule
	done     map[Op]int
}

var _ file.System = (*Disk)(nil)

// change is one directory entry that got another file, or none, and has not been synced.
type change struct {
	step int // entries of one operation have one number
	path string
	node *node
}

// plenty is the capacity of a disk that SetFree was not called for.
const plenty = 1 << 50

// New makes an empty disk. It has the directories that MakeDir makes, the root and the working directory.
func New(seed uint64) *Disk {
	return &Disk{
		rand:     rand.New(rand.NewPCG(seed, 0)),
		dirs:     map[string]bool{".": true, string(filepath.Separator): true},
		entries:  map[string]*node{},
		stable:   map[string]*node{},
		capacity: plenty,
		drops:    true,
		done:     map[Op]int{},
	}
}

// Open implements file.System.
func (d *Disk) Open(name string, write bool) (file.File, error) {
	name = filepath.Clean(name)
	if err := d.enter(OpOpen, name); err != nil {
		return nil, failed("open", name, err)
	}
	defer d.mu.Unlock()
	n := d.entries[name]
	switch {
	case n == nil && d.dirs[name]:
		return nil, failed("open", name, syscall.EISDIR)
	case n == nil:
		return nil, failed("open", name, fs.ErrNotExist)
	case write && d.readOnly:
		return nil, failed("open", name, syscall.EROFS)
	}
	return d.handle(n, name, write), nil
}

// Create implements file.System.
func (d *Disk) Create(name string) (file.File, error) {
	name = filepath.Clean(name)
	if err := d.enter(OpCreate, name); err != nil {
		return nil, failed("create", name, err)
	}
	defer d.mu.Unlock()
	switch {
	case d.entries[name] != nil || d.dirs[name]:
		return nil, failed("create", name, fs.ErrExist)
	case !d.dirs[filepath.Dir(name)]:
		return nil, failed("create", name, fs.ErrNotExist)
	case d.readOnly:
		return nil, failed("create", name, syscall.EROFS)
	case d.free() < blockSize:
		return nil, failed("create", name, syscall.ENOSPC)
	}
	n := newNode()
	d.steps++
	d.set(name, n)
	return d.handle(n, name, true), nil
}

// Rename implements file.System.
func (d *Disk) Rename(from, to string) error {
	from, to = filepath.Clean(from), filepath.Clean(to)
	if err := d.enter(OpRename, from); err != nil {
		return failed("rename", from, err)
	}
	defer d.mu.Unlock()
	n := d.entries[from]
	switch {
	case d.dirs[from] || d.dirs[to]:
		return failed("rename", from, syscall.EISDIR) // no more than the engine needs
	case n == nil || !d.dirs[filepath.Dir(to)]:
		return failed("rename", from, fs.ErrNotExist)
	case d.readOnly:
		return failed("rename", from, syscall.EROFS)
	case from == to:
		return nil
	}
	d.steps++
	d.set(to, n)
	d.set(from, nil)
	return nil
}

// Remove implements file.System.
func (d *Disk) Remove(name string) error {
	name = filepath.Clean(name)
	if err := d.enter(OpRemove, name); err != nil {
		return failed("remove", name, err)
	}
	defer d.mu.Unlock()
	switch {
	case d.dirs[name]:
		return failed("remove", name, syscall.EISDIR) // no more than the engine needs
	case d.entries[name] == nil:
		return failed("remove", name, fs.ErrNotExist)
	case d.readOnly:
		return failed("remove", name, syscall.EROFS)
	}
	d.steps++
	d.set(name, nil)
	return nil
}

// MakeDir implements file.System.
func (d *Disk) MakeDir(name string) error {
	name = filepath.Clean(name)
	if err := d.enter(OpMakeDir, name); err != nil {
		return failed("mkdir", name, err)
	}
	defer d.mu.Unlock()
	var missing []string
	for dir := name; !d.dirs[dir] && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if d.entries[dir] != nil {
			return failed("mkdir", dir, syscall.ENOTDIR)
		}
		missing = append(missing, dir)
	}
	switch {
	case len(missing) > 0 && d.readOnly:
		return failed("mkdir", name, syscall.EROFS)
	case len(missing) > 0 && d.free() < blockSize:
		return failed("mkdir", name, syscall.ENOSPC)
	}
	for _, dir := range missing {
		d.dirs[dir] = true
	}
	return nil
}

// List implements file.System.
func (d *Disk) List(dir string) ([]file.Info, error) {
	dir = filepath.Clean(dir)
	if err := d.enter(OpList, dir); err != nil {
		return nil, failed("list", dir, err)
	}
	defer d.mu.Unlock()
	if !d.dirs[dir] {
		return nil, failed("list", dir, fs.ErrNotExist)
	}
	var list []file.Info
	for name, n := range d.entries {
		if filepath.Dir(name) == dir {
			list = append(list, file.Info{Name: filepath.Base(name), Size: n.now.size})
		}
	}
	slices.SortFunc(list, func(a, b file.Info) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// SyncDir implements file.System.
func (d *Disk) SyncDir(dir string) error {
	dir = filepath.Clean(dir)
	if err := d.enter(OpSyncDir, dir); err != nil {
		return failed("sync", dir, err)
	}
	defer d.mu.Unlock()
	if !d.dirs[dir] {
		return failed("sync", dir, fs.ErrNotExist)
	}
	ours := func(c change) bool { return d.journal || filepath.Dir(c.path) == dir }
	if d.readOnly && slices.ContainsFunc(d.changes, ours) {
		return failed("sync", dir, syscall.EROFS)
	}
	d.keep(ours)
	return nil
}

// Free implements file.System.
func (d *Disk) Free(dir string) (int64, error) {
	dir = filepath.Clean(dir)
	if err := d.enter(OpFree, dir); err != nil {
		return 0, failed("statfs", dir, err)
	}
	defer d.mu.Unlock()
	if !d.dirs[dir] {
		return 0, failed("statfs", dir, fs.ErrNotExist)
	}
	return d.free(), nil
}

// set gives an entry a file, or none.
func (d *Disk) set(path string, n *node) {
	if old := d.entries[path]; old != nil {
		old.links--
		d.reclaim(old)
	}
	if n == nil {
		delete(d.entries, path)
	} else {
		n.links++
		d.entries[path] = n
	}
	d.changes = append(d.changes, change{d.steps, path, n})
}

// keep makes the changes that pass last.
func (d *Disk) keep(pass func(change) bool) {
	d.changes = slices.DeleteFunc(d.changes, func(c change) bool {
		if !pass(c) {
			return false
		}
		if c.node == nil {
			delete(d.stable, c.path)
		} else {
			d.stable[c.path] = c.node
		}
		return true
	})
}

func (d *Disk) free() int64 { return max(0, d.capacity-d.used) }

// take counts the blocks that a file came to have (or gave back).
func (d *Disk) take(n *node) {
	blocks := n.now.blocks()
	d.used += (blocks - n.counted) * blockSize
	n.counted = blocks
}

// reclaim gives back the blocks of a file that has no name and that nobody has open.
func (d *Disk) reclaim(n *node) {
	if n.links == 0 && n.open == 0 {
		d.used -= n.counted * blockSize
		n.counted = 0
	}
}

func failed(op, name string, err error) error {
	if errors.Is(err, ErrPowerCut) || errors.Is(err, ErrKilled) {
		return fmt.Errorf("%s %s: %w", op, name, err)
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
