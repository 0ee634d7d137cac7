package faulty_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file/faulty"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file/filetest"
)

func TestSystem(t *testing.T) {
	filetest.Run(t, func(*testing.T) file.System { return faulty.New(1) })
}

func TestJournalSystem(t *testing.T) {
	filetest.Run(t, func(*testing.T) file.System {
		d := faulty.New(1)
		d.Journal(true)
		return d
	})
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("got error %v, want %v", err, target)
	}
}

// put makes a file and leaves it open.
func put(t *testing.T, d *faulty.Disk, name, content string) file.File {
	t.Helper()
	f, err := d.Create(name)
	ok(t, err)
	write(t, f, content, 0)
	return f
}

// keep makes a file that lasts.
func keep(t *testing.T, d *faulty.Disk, name, content string) file.File {
	t.Helper()
	f := put(t, d, name, content)
	ok(t, f.Sync())
	ok(t, d.SyncDir(filepath.Dir(name)))
	return f
}

func write(t *testing.T, f file.File, content string, off int64) {
	t.Helper()
	if _, err := f.WriteAt([]byte(content), off); err != nil {
		t.Fatal(err)
	}
}

// read is the content of a file, "-" when there is none.
func read(t *testing.T, d *faulty.Disk, name string) string {
	t.Helper()
	f, err := d.Open(name, false)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	ok(t, err)
	size, err := f.Size()
	ok(t, err)
	buf := make([]byte, size)
	if _, err := f.ReadAt(buf, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	ok(t, f.Close())
	return string(buf)
}

// outcomes runs a history with many seeds and counts what a power cut leaves of it, in the words of see.
func outcomes(t *testing.T, history func(*faulty.Disk), see func(*faulty.Disk) string) map[string]int {
	t.Helper()
	found := map[string]int{}
	for seed := range uint64(400) {
		d := faulty.New(seed)
		history(d)
		found[see(d.PowerCut())]++
	}
	return found
}

// only wants all of the outcomes and no others.
func only(t *testing.T, got map[string]int, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if got[w] == 0 {
			t.Errorf("a power cut never leaves %q", w)
		}
		delete(got, w)
	}
	for g, n := range got {
		t.Errorf("%d power cuts left %.80q", n, g)
	}
}

func page(c byte, sectors int) string { return strings.Repeat(string(c), 512*sectors) }

// TestSyncedLasts: F228: what Sync and SyncDir said yes to is there after every power cut.
func TestSyncedLasts(t *testing.T) {
	content := page('a', 20) + "end"
	only(t, outcomes(t, func(d *faulty.Disk) { keep(t, d, "x", content) },
		func(d *faulty.Disk) string { return read(t, d, "x") }), content)
	only(t, outcomes(t, func(d *faulty.Disk) {
		f := keep(t, d, "x", content)
		ok(t, f.Truncate(700))
		ok(t, f.Allocate(1000))
		write(t, f, "zz", 699)
		ok(t, f.Sync())
	}, func(d *faulty.Disk) string { return read(t, d, "x") }), content[:699]+"zz"+strings.Repeat("\x00", 299))
}

// TestSectors: each sector that was written since is old, new, between, or torn.
func TestSectors(t *testing.T) {
	kinds := map[string]int{}
	got := outcomes(t, func(d *faulty.Disk) {
		f := keep(t, d, "x", page('a', 4))
		write(t, f, page('b', 2), 512)
		write(t, f, page('c', 2), 1024)
	}, func(d *faulty.Disk) string { return read(t, d, "x") })
	for content, n := range got {
		if len(content) != 2048 {
			t.Fatalf("%d bytes are left of 2048", len(content))
		}
		var kind []string
		for i, allowed := range []string{"a", "ab", "abc", "ac"} {
			s := content[i*512 : i*512+512]
			if strings.Trim(s, allowed) != "" {
				t.Errorf("sector %d holds what was never written there: %.600q", i, s)
			}
			letters := strings.Join(slices.Compact(strings.Split(s, "")), "")
			kind = append(kind, letters)
		}
		kinds[strings.Join(kind, " ")] += n
	}
	for _, k := range []string{"a a a a", "a b c c", "a b a a", "a a c a", "a b b c", "a a a c"} {
		if kinds[k] == 0 {
			t.Errorf("a power cut never leaves %q", k)
		}
	}
	torn := 0
	for k, n := range kinds {
		if len(k) > 7 {
			torn += n
		}
	}
	if torn == 0 {
		t.Error("a power cut never tears a sector")
	}
}

// TestLength: a length that changed is old or new; what came inside was never written is zeros or litter.
func TestLength(t *testing.T) {
	litter := false
	got := outcomes(t, func(d *faulty.Disk) {
		keep(t, d, "other", page('o', 3))
		f := keep(t, d, "x", "abc")
		ok(t, f.Allocate(8192))
	}, func(d *faulty.Disk) string {
		x := read(t, d, "x")
		if strings.Contains(x, page('o', 1)) {
			litter = true
		}
		if len(x) > 512 && strings.Trim(x[512:], "\x00") != "" {
			return "litter"
		}
		return strings.TrimRight(x, "\x00") + fmt.Sprint(len(x))
	})
	only(t, got, "abc3", "abc8192", "litter")
	if !litter {
		t.Error("litter is never a part of another file")
	}
	only(t, outcomes(t, func(d *faulty.Disk) {
		ok(t, keep(t, d, "x", "abcdef").Truncate(2))
	}, func(d *faulty.Disk) string { return read(t, d, "x") }), "abcdef", "ab", "ab\x00\x00\x00\x00") // what is cut is cleared, too
}

// TestEntries: without SyncDir each name is as it was or as it became.
func TestEntries(t *testing.T) {
	see := func(d *faulty.Disk) string { return read(t, d, "x") + read(t, d, "y") }
	create := func(d *faulty.Disk) { ok(t, put(t, d, "x", "1").Sync()) }
	replace := func(d *faulty.Disk) {
		keep(t, d, "x", "1")
		keep(t, d, "y", "2")
		ok(t, d.Rename("x", "y"))
	}
	remove := func(d *faulty.Disk) {
		keep(t, d, "x", "1")
		keep(t, d, "y", "2")
		ok(t, d.Remove("x"))
		ok(t, d.Remove("y"))
	}
	only(t, outcomes(t, create, see), "1-", "--")
	only(t, outcomes(t, replace, see), "12", "-1", "11", "-2")
	only(t, outcomes(t, remove, see), "12", "--", "-2", "1-")

	journal := func(history func(*faulty.Disk)) func(*faulty.Disk) {
		return func(d *faulty.Disk) {
			d.Journal(true)
			history(d)
		}
	}
	only(t, outcomes(t, journal(create), see), "1-")
	only(t, outcomes(t, journal(replace), see), "12", "-1")
	only(t, outcomes(t, journal(remove), see), "12", "--", "-2")

	synced := func(d *faulty.Disk) {
		replace(d)
		ok(t, d.SyncDir("."))
	}
	only(t, outcomes(t, synced, see), "-1")
	between := func(d *faulty.Disk) { // one directory's sync is not the other's
		ok(t, d.MakeDir("a"))
		keep(t, d, "a/x", "1")
		ok(t, d.Rename("a/x", "y"))
		ok(t, d.SyncDir("a"))
	}
	only(t, outcomes(t, between, func(d *faulty.Disk) string { return read(t, d, "a/x") + read(t, d, "y") }), "--", "-1")
}

// TestKill: the page cache outlives the process.
func TestKill(t *testing.T) {
	d := faulty.New(1)
	f := put(t, d, "x", "1")
	put(t, d, "y", "2")
	ok(t, d.Remove("y"))
	next := d.Kill()
	if got := next.Names(); !slices.Equal(got, []string{"x"}) || read(t, next, "x") != "1" {
		t.Errorf("after a kill there is %v", got)
	}
	_, err := f.WriteAt([]byte("z"), 0)
	want(t, err, faulty.ErrKilled)
	want(t, f.Sync(), faulty.ErrKilled)
	want(t, f.Close(), faulty.ErrKilled)
	_, err = f.Size()
	want(t, err, faulty.ErrKilled)
	want(t, d.Rename("x", "y"), faulty.ErrKilled)
	lost := 0
	for range 50 { // and nothing was synced by it
		if read(t, next.Clone().PowerCut(), "x") == "-" {
			lost++
		}
		next = next.Kill()
	}
	if lost == 0 {
		t.Error("a file that was never synced survived every power cut")
	}
}

// TestUnderWay: an operation that a power cut overtakes fails, and has done nothing.
func TestUnderWay(t *testing.T) {
	for op, do := range map[faulty.Op]func(*faulty.Disk, file.File) error{
		faulty.OpWrite:   func(_ *faulty.Disk, f file.File) error { _, err := f.WriteAt([]byte("new"), 0); return err },
		faulty.OpRead:    func(_ *faulty.Disk, f file.File) error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		faulty.OpSync:    func(_ *faulty.Disk, f file.File) error { return f.Sync() },
		faulty.OpRename:  func(d *faulty.Disk, _ file.File) error { return d.Rename("x", "y") },
		faulty.OpCreate:  func(d *faulty.Disk, _ file.File) error { _, err := d.Create("y"); return err },
		faulty.OpSyncDir: func(d *faulty.Disk, _ file.File) error { return d.SyncDir(".") },
	} {
		d := faulty.New(1)
		f := keep(t, d, "x", "old")
		var next *faulty.Disk
		d.Slow(faulty.Match{Op: op}, func() { next = d.PowerCut() })
		want(t, do(d, f), faulty.ErrPowerCut)
		if got := next.Names(); !slices.Equal(got, []string{"x"}) || read(t, next, "x") != "old" {
			t.Errorf("operation %d, overtaken, left %v", op, got)
		}
	}
}

// TestSlow: an operation waits for its hook, the others do not.
func TestSlow(t *testing.T) {
	d := faulty.New(1)
	f := keep(t, d, "x", "old")
	entered, leave := make(chan struct{}), make(chan struct{})
	stop := d.Slow(faulty.Match{Op: faulty.OpSync}, func() {
		entered <- struct{}{}
		<-leave
	})
	synced := make(chan error)
	go func() { synced <- f.Sync() }()
	<-entered
	write(t, f, "new", 0)
	if got := read(t, d, "x"); got != "new" {
		t.Errorf("read %q beside a slow sync", got)
	}
	close(leave)
	ok(t, <-synced)
	stop()
	ok(t, f.Sync())
}

func TestFail(t *testing.T) {
	d := faulty.New(1)
	f := keep(t, d, "log-1", "old")
	d.Fail(faulty.Match{Op: faulty.OpWrite, Name: "log-*", Nth: 2}, syscall.EIO, 1)
	other := put(t, d, "x", "1")
	write(t, f, "1", 0)
	n, err := f.WriteAt([]byte("234"), 1)
	want(t, err, syscall.EIO)
	if n < 0 || n > 2 {
		t.Errorf("a write that failed wrote %d of 3 bytes", n)
	}
	if got, wanted := read(t, d, "log-1"), []string{"1ld", "12d", "123"}[n]; got != wanted {
		t.Errorf("after it the file holds %q, want %q", got, wanted)
	}
	write(t, f, "234", 1)

	stop := d.Fail(faulty.Match{Op: faulty.OpRead | faulty.OpList}, syscall.EIO, 0)
	for range 3 {
		_, err := other.ReadAt(make([]byte, 1), 0)
		want(t, err, syscall.EIO)
		_, err = d.List(".")
		want(t, err, syscall.EIO)
	}
	stop()
	if got := read(t, d, "x"); got != "1" {
		t.Errorf("read %q", got)
	}
	for op, do := range map[faulty.Op]func() error{
		faulty.OpOpen:     func() error { _, err := d.Open("x", true); return err },
		faulty.OpCreate:   func() error { _, err := d.Create("y"); return err },
		faulty.OpRename:   func() error { return d.Rename("x", "y") },
		faulty.OpRemove:   func() error { return d.Remove("x") },
		faulty.OpMakeDir:  func() error { return d.MakeDir("d") },
		faulty.OpSyncDir:  func() error { return d.SyncDir(".") },
		faulty.OpFree:     func() error { _, err := d.Free("."); return err },
		faulty.OpAllocate: func() error { return f.Allocate(99) },
		faulty.OpTruncate: func() error { return f.Truncate(0) },
	} {
		before := d.Done(op)
		d.Fail(faulty.Match{Op: op}, syscall.EIO, 1)
		want(t, do(), syscall.EIO)
		if d.Done(op) != before+1 || d.Done(faulty.OpChange|op) <= before {
			t.Errorf("operation %d was not counted", op)
		}
	}
	if got := d.Names(); !slices.Equal(got, []string{"log-1", "x"}) || read(t, d, "log-1") != "1234" {
		t.Errorf("operations that failed left %v, log-1 %q", got, read(t, d, "log-1"))
	}
}

// TestFailedSync: a Sync that failed has lost what it was to write, and the next one says yes to nothing.
func TestFailedSync(t *testing.T) {
	history := func(drops bool) func(*faulty.Disk) {
		return func(d *faulty.Disk) {
			d.FailedSyncDrops(drops)
			f := keep(t, d, "x", page('a', 2))
			write(t, f, page('b', 2), 0)
			d.Fail(faulty.Match{Op: faulty.OpSync}, syscall.EIO, 1)
			want(t, f.Sync(), syscall.EIO)
			ok(t, f.Sync())
			if read(t, d, "x") != page('b', 2) {
				t.Error("the page cache forgot a write")
			}
		}
	}
	see := func(d *faulty.Disk) string { return read(t, d, "x") }
	a, b := page('a', 1), page('b', 1)
	only(t, outcomes(t, history(true), see), a+a, a+b, b+a, b+b)
	only(t, outcomes(t, history(false), see), b+b)

	again := func(d *faulty.Disk) { // what is written once more is not lost
		history(true)(d)
		f, err := d.Open("x", true)
		ok(t, err)
		write(t, f, page('c', 2), 0)
		ok(t, f.Sync())
	}
	only(t, outcomes(t, again, see), page('c', 2))

	killed := map[string]int{}
	for seed := range uint64(100) {
		d := faulty.New(seed)
		history(true)(d)
		killed[read(t, d.Kill(), "x")]++
	}
	only(t, killed, a+a, a+b, b+a, b+b)
}

// TestFull: F212.
func TestFull(t *testing.T) {
	d := faulty.New(1)
	ok(t, d.MakeDir("d"))
	f := keep(t, d, "d/x", "")
	ok(t, f.Allocate(4*4096))
	d.SetFree(3*4096 + 100)
	if n, err := d.Free("d"); n != 3*4096+100 || err != nil {
		t.Errorf("free: %d, %v", n, err)
	}
	write(t, f, page('a', 32), 0) // allocated: costs nothing
	want(t, f.Allocate(8*4096), syscall.ENOSPC)
	ok(t, f.Allocate(5*4096))
	n, err := f.WriteAt(bytes.Repeat([]byte("b"), 4*4096), 4*4096+10)
	want(t, err, syscall.ENOSPC)
	if size, err := f.Size(); n != 3*4096-10 || size != 7*4096 || err != nil {
		t.Errorf("%d bytes were written on a full disk, the file has %d, %v", n, size, err)
	}
	_, err = d.Create("d/y")
	want(t, err, syscall.ENOSPC)
	want(t, d.MakeDir("e"), syscall.ENOSPC)
	ok(t, d.MakeDir("d"))
	ok(t, f.Sync())

	full := d.Kill()
	if n, err := full.Free("d"); n != 100 || err != nil {
		t.Errorf("after a kill %d bytes are free, %v", n, err)
	}
	f, err = full.Open("d/x", true)
	ok(t, err)
	ok(t, full.Remove("d/x")) // open: keeps its blocks
	if n, err := full.Free("d"); n != 100 || err != nil {
		t.Errorf("with the file removed and open %d bytes are free, %v", n, err)
	}
	ok(t, f.Close())
	if n, err := full.Free("d"); n != 7*4096+100 || err != nil {
		t.Errorf("with the file removed %d bytes are free, %v", n, err)
	}
	f = put(t, full, "d/y", page('a', 16))
	ok(t, f.Truncate(1))
	put(t, full, "d/z", page('a', 8*6))
	ok(t, full.Rename("d/z", "d/y"))
	if n, err := full.Free("d"); n != 100 || err != nil {
		t.Errorf("%d bytes are free, %v", n, err)
	}
	full.SetFree(1 << 30)
	put(t, full, "d/z", page('a', 80))
}

func TestReadOnly(t *testing.T) {
	d := faulty.New(1)
	f := keep(t, d, "x", "old")
	write(t, f, "new", 0)
	d.ReadOnly(true)
	_, err := d.Create("y")
	want(t, err, syscall.EROFS)
	_, err = d.Open("x", true)
	want(t, err, syscall.EROFS)
	_, err = f.WriteAt([]byte("z"), 0)
	want(t, err, syscall.EROFS)
	want(t, f.Truncate(0), syscall.EROFS)
	want(t, f.Allocate(9), syscall.EROFS)
	want(t, d.Remove("x"), syscall.EROFS)
	want(t, d.Rename("x", "y"), syscall.EROFS)
	want(t, d.MakeDir("d"), syscall.EROFS)
	ok(t, d.MakeDir("."))
	ok(t, d.SyncDir("."))
	want(t, f.Sync(), syscall.EROFS)
	if got := read(t, d, "x"); got != "new" {
		t.Errorf("the file holds %q", got)
	}
	next := d.PowerCut()
	if got := read(t, next, "x"); got != "old" {
		t.Errorf("%q is left of what could not be written", got)
	}
	want(t, next.Remove("x"), syscall.EROFS)
	next.ReadOnly(false)
	ok(t, next.Remove("x"))
}

func TestDamage(t *testing.T) {
	d := faulty.New(1)
	keep(t, d, "x", "abcdef")
	ok(t, d.Flip("x", 1, 0))
	ok(t, d.Cut("x", 4))
	want(t, d.Flip("y", 0, 0), fs.ErrNotExist)
	if d.Flip("x", 4, 0) == nil || d.Cut("x", 5) == nil {
		t.Error("damage behind the end is no error")
	}
	for _, d := range []*faulty.Disk{d, d.Clone().PowerCut()} {
		if got := read(t, d, "x"); got != "accd" {
			t.Errorf("the file holds %q", got)
		}
	}
}

// TestClone: two disks after it.
func TestClone(t *testing.T) {
	d := faulty.New(1)
	f := put(t, d, "x", "1")
	put(t, d, "y", "y")
	twin := d.Clone()
	write(t, f, "2", 0)
	ok(t, d.Remove("y"))
	if read(t, twin, "x") != "1" || read(t, twin, "y") != "y" {
		t.Error("the clone changed with the disk")
	}
}

// TestRepeatable: one seed and one history leave one disk.
func TestRepeatable(t *testing.T) {
	run := func(seed uint64) string {
		d := faulty.New(seed)
		var all strings.Builder
		for i := range 8 {
			f := put(t, d, fmt.Sprint(i), page('a', 10))
			ok(t, f.Allocate(10_000))
			if i%2 == 0 {
				ok(t, d.SyncDir("."))
				write(t, f, page('b', 5), 700)
			}
			d.Fail(faulty.Match{Op: faulty.OpSync, Nth: 3}, syscall.EIO, 1)
			_ = f.Sync()
			for k := range 30 {
				write(t, f, fmt.Sprint(k), 100)
			}
			ok(t, f.Truncate(3000))
			d = d.PowerCut()
			for _, name := range d.Names() {
				fmt.Fprintln(&all, name, read(t, d, name))
			}
			ok(t, removeAll(d))
		}
		return all.String()
	}
	first, again := run(7), run(7)
	if first != again {
		t.Error("one seed, two disks")
	}
	if first == run(8) {
		t.Error("two seeds, one disk")
	}
}

func removeAll(d *faulty.Disk) error {
	for _, name := range d.Names() {
		if err := d.Remove(name); err != nil {
			return err
		}
	}
	return d.SyncDir(".")
}
