package faulty

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// Op is a kind of operation; several may be joined with |.
type Op uint16

// The kinds of operations that can fail or be slow.
const (
	OpOpen Op = 1 << iota
	OpCreate
	OpRename
	OpRemove
	OpMakeDir
	OpList
	OpSyncDir
	OpFree
	OpRead
	OpWrite
	OpAllocate
	OpTruncate
	OpSync

	// OpChange is every operation that a power cut could fall before, in or behind with a difference.
	OpChange = OpCreate | OpRename | OpRemove | OpMakeDir | OpSyncDir | OpWrite | OpAllocate | OpTruncate | OpSync
)

// Match picks operations. Its zero value is all of them.
type Match struct {
	Op   Op     // 0 = any
	Name string // as in filepath.Match, of the last element of the (old) name; "" = any
	Nth  int    // the first one meant, counted from 1 among those that match otherwise; 0 is 1
}

// rule is what happens to the operations that match.
type rule struct {
	Match
	seen int
	err  error
	left int // how often err is still returned; negative = for ever
	hook func()
}

func (r *rule) hits(op Op, name string) bool {
	if r.Op != 0 && r.Op&op == 0 {
		return false
	}
	if r.Name != "" {
		if ok, err := filepath.Match(r.Name, filepath.Base(name)); err != nil || !ok {
			return false
		}
	}
	r.seen++
	return r.seen >= r.Nth
}

// Fail makes operations fail with err, times times; 0 is for ever. A Write that fails has written a part, the rest of them
// has done nothing; for Sync see FailedSyncDrops. What it returns ends the fault.
func (d *Disk) Fail(m Match, err error, times int) (stop func()) {
	if times <= 0 {
		times = -1
	}
	return d.add(&rule{Match: m, err: err, left: times})
}

// Slow calls hook before operations, in the goroutine of each; they go on when it returns. It may block, and it may
// cut the power. What it returns ends that; hooks that run go on.
func (d *Disk) Slow(m Match, hook func()) (stop func()) {
	return d.add(&rule{Match: m, hook: hook})
}

func (d *Disk) add(r *rule) (stop func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rules = append(d.rules, r)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.rules = slices.DeleteFunc(d.rules, func(x *rule) bool { return x == r })
	}
}

// Done is how many operations of the kinds were begun.
func (d *Disk) Done(kinds Op) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for op, k := range d.done {
		if op&kinds != 0 {
			n += k
		}
	}
	return n
}

// enter begins an operation: hooks run, then faults strike. With no error the disk is locked.
func (d *Disk) enter(op Op, name string) error {
	d.mu.Lock()
	d.done[op]++
	var hooks []func()
	var err error
	for _, r := range d.rules {
		if r.left == 0 && r.hook == nil || !r.hits(op, name) {
			continue
		}
		if r.hook != nil {
			hooks = append(hooks, r.hook)
		} else if err == nil {
			err = r.err
			r.left--
		}
	}
	if len(hooks) > 0 {
		d.mu.Unlock()
		for _, hook := range hooks {
			hook()
		}
		d.mu.Lock()
	}
	if d.dead != nil {
		err = d.dead
	}
	if err != nil {
		d.mu.Unlock()
	}
	return err
}

// gone tells that there is no disk any more.
func gone(err error) bool { return errors.Is(err, ErrPowerCut) || errors.Is(err, ErrKilled) }

// SetFree sets how many bytes can still be taken from the disk, in blocks of 4096. Then Allocate, WriteAt where
// nothing is allocated, Create and MakeDir fail with ENOSPC; removing files gives room.
func (d *Disk) SetFree(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = d.used + bytes
}

// ReadOnly makes everything that changes fail with EROFS, also a Sync of what was written before, as when a
// system mounts a disk read-only for its errors; or takes that back.
func (d *Disk) ReadOnly(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.readOnly = on
}

// FailedSyncDrops says what becomes of a file whose Sync failed. On, as Linux does and as it is from the start: what was not written
// counts as written, processes go on seeing it, no later Sync writes it, and a crash loses it. Off: it stays to be written.
func (d *Disk) FailedSyncDrops(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drops = on
}

// Journal says what becomes of directories. Off, as it is from the start, is all that POSIX promises: each entry that was
// changed since SyncDir is as it was or as it became, whatever the others are; that of a new file may be missing though the file
// was synced, and a file that was renamed may have both names or none. On, as ext4 and XFS do: changes survive in
// their order, a rename whole, and each Sync and SyncDir makes all of them last.
func (d *Disk) Journal(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.journal = on
}

// Flip changes a bit of a file (0 to 7), in the page cache and on the medium.
func (d *Disk) Flip(name string, offset int64, bit uint) error {
	return d.damage(name, func(n *node) error {
		if offset < 0 || offset >= n.now.size {
			return fmt.Errorf("flip a bit of %s: it has %d bytes", name, n.now.size)
		}
		for _, c := range []*content{&n.now, &n.stable} {
			var b [1]byte
			c.read(b[:], offset)
			b[0] ^= 1 << bit
			if offset < c.size {
				c.write(b[:], offset)
			}
		}
		return nil
	})
}

// Cut shortens a file, in the page cache and on the medium.
func (d *Disk) Cut(name string, size int64) error {
	return d.damage(name, func(n *node) error {
		if size < 0 || size > n.now.size {
			return fmt.Errorf("cut %s: it has %d bytes", name, n.now.size)
		}
		n.now.resize(size)
		n.stable.resize(min(size, n.stable.size))
		for i := range n.dirty {
			if i*sectorSize >= size {
				delete(n.dirty, i)
			}
		}
		d.take(n)
		return nil
	})
}

func (d *Disk) damage(name string, do func(*node) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.entries[filepath.Clean(name)]
	if n == nil {
		return failed("damage", name, fs.ErrNotExist)
	}
	return do(n)
}

// Names lists all files, sorted.
func (d *Disk) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sorted(d.entries)
}
