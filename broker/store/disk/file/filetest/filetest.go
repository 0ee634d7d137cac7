// Package filetest is the suite that every file.System passes. It knows none of them, and asks for nothing that
// one of the systems we build for does not do.
package filetest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// Run tests systems that make returns. Each test has a directory of its own in the name space of the operating system
// (t.TempDir), which is made in the system before.
func Run(t *testing.T, make func(*testing.T) file.System) {
	for name, test := range map[string]func(*testing.T, box){
		"create and open":           createAndOpen,
		"read and write":            readAndWrite,
		"allocate":                  allocate,
		"truncate":                  truncate,
		"sync":                      syncKeeps,
		"rename":                    rename,
		"remove":                    remove,
		"list":                      list,
		"directories":               directories,
		"free":                      free,
		"closed":                    closed,
		"reading beside the writer": concurrent,
	} {
		t.Run(name, func(t *testing.T) {
			b := box{t, make(t), filepath.Join(t.TempDir(), "a", "b")}
			b.ok(b.MakeDir(b.dir))
			test(t, b)
		})
	}
}

// box is a system with a directory in it.
type box struct {
	t *testing.T
	file.System
	dir string
}

func (b box) in(name string) string { return filepath.Join(b.dir, name) }

func (b box) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b box) want(err, target error) {
	b.t.Helper()
	if !errors.Is(err, target) {
		b.t.Errorf("got error %v, want %v", err, target)
	}
}

// create makes a file that is closed at the end of the test.
func (b box) create(name string) file.File {
	b.t.Helper()
	f, err := b.Create(b.in(name))
	b.ok(err)
	b.t.Cleanup(func() { _ = f.Close() })
	return f
}

// put makes a closed file with a content.
func (b box) put(name, content string) {
	b.t.Helper()
	f, err := b.Create(b.in(name))
	b.ok(err)
	b.write(f, content, 0)
	b.ok(f.Close())
}

func (b box) write(f file.File, s string, off int64) {
	b.t.Helper()
	n, err := f.WriteAt([]byte(s), off)
	if n != len(s) || err != nil {
		b.t.Fatalf("WriteAt(%q, %d) = %d, %v", s, off, n, err)
	}
}

// holds checks the whole content of an open file.
func (b box) holds(f file.File, want string) {
	b.t.Helper()
	size, err := f.Size()
	b.ok(err)
	got := make([]byte, size)
	n, err := f.ReadAt(got, 0)
	if n != len(got) || err != nil && !errors.Is(err, io.EOF) {
		b.t.Fatalf("ReadAt of %d bytes = %d, %v", size, n, err)
	}
	if string(got) != want {
		b.t.Errorf("the file holds %q, want %q", got, want)
	}
}

func (b box) fileHolds(name, want string) {
	b.t.Helper()
	f, err := b.Open(b.in(name), false)
	b.ok(err)
	b.holds(f, want)
	b.ok(f.Close())
}

func (b box) lists(want ...file.Info) {
	b.t.Helper()
	got, err := b.List(b.dir)
	b.ok(err)
	slices.SortFunc(got, func(x, y file.Info) int { return bytes.Compare([]byte(x.Name), []byte(y.Name)) })
	if !slices.Equal(got, want) {
		b.t.Errorf("the directory lists %v, want %v", got, want)
	}
}

func createAndOpen(t *testing.T, b box) {
	_, err := b.Open(b.in("x"), true)
	b.want(err, fs.ErrNotExist)
	_, err = b.Create(b.in("none/x"))
	b.want(err, fs.ErrNotExist)

	b.put("x", "content")
	_, err = b.Create(b.in("x"))
	b.want(err, fs.ErrExist)
	b.fileHolds("x", "content")

	f, err := b.Open(b.in("x"), true)
	b.ok(err)
	b.write(f, "C", 0)
	b.ok(f.Close())
	b.fileHolds("x", "Content")

	f, err = b.Open(b.in("x"), false)
	b.ok(err)
	if _, err := f.WriteAt([]byte("c"), 0); err == nil {
		t.Error("a file opened for reading was written")
	}
	b.ok(f.Close())
	b.fileHolds("x", "Content")
}

func readAndWrite(t *testing.T, b box) {
	f := b.create("x")
	b.holds(f, "")
	b.write(f, "ab", 4) // the gap is zeros
	b.holds(f, "\x00\x00\x00\x00ab")
	b.write(f, "wxyz", 2)
	b.holds(f, "\x00\x00wxyz")

	buf := make([]byte, 4)
	if n, err := f.ReadAt(buf, 1); n != 4 || err != nil || string(buf) != "\x00wxy" {
		t.Errorf("ReadAt in the middle = %d, %v, %q", n, err, buf)
	}
	if n, err := f.ReadAt(buf, 4); n != 2 || !errors.Is(err, io.EOF) || string(buf[:2]) != "yz" {
		t.Errorf("ReadAt over the end = %d, %v, %q", n, err, buf[:n])
	}
	if n, err := f.ReadAt(buf, 60); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("ReadAt behind the end = %d, %v", n, err)
	}
	if _, err := f.ReadAt(buf, -1); err == nil {
		t.Error("ReadAt at -1 is no error")
	}
	if n, err := f.WriteAt(nil, 0); n != 0 || err != nil {
		t.Errorf("WriteAt of nothing = %d, %v", n, err)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	b.write(f, string(big), 3)
	b.holds(f, "\x00\x00w"+string(big))
}

func allocate(t *testing.T, b box) {
	f := b.create("x")
	b.write(f, "abc", 0)
	b.ok(f.Allocate(8))
	b.holds(f, "abc\x00\x00\x00\x00\x00")
	b.ok(f.Allocate(4)) // never shorter
	b.holds(f, "abc\x00\x00\x00\x00\x00")
	b.write(f, "de", 7)
	b.holds(f, "abc\x00\x00\x00\x00de")
	b.ok(f.Allocate(3 << 20))
	size, err := f.Size()
	b.ok(err)
	if size != 3<<20 {
		t.Errorf("size %d after Allocate(%d)", size, 3<<20)
	}
	buf := make([]byte, 9)
	if _, err := f.ReadAt(buf, 0); err != nil || string(buf) != "abc\x00\x00\x00\x00de" {
		t.Errorf("Allocate changed what was written: %q, %v", buf, err)
	}
}

func truncate(_ *testing.T, b box) {
	f := b.create("x")
	b.write(f, "abcdef", 0)
	b.ok(f.Truncate(3))
	b.holds(f, "abc")
	b.ok(f.Truncate(5)) // what was cut does not come back
	b.holds(f, "abc\x00\x00")
	b.ok(f.Truncate(0))
	b.write(f, "z", 1)
	b.holds(f, "\x00z")
}

func syncKeeps(_ *testing.T, b box) {
	f := b.create("x")
	b.write(f, "abc", 0)
	b.ok(f.Sync())
	b.write(f, "de", 3)
	b.ok(f.Sync())
	b.ok(f.Sync())
	b.holds(f, "abcde")
	b.ok(f.Close())
	b.fileHolds("x", "abcde")
}

func rename(_ *testing.T, b box) {
	b.put("x", "new")
	b.put("y", "older")
	b.ok(b.Rename(b.in("x"), b.in("y"))) // replaces
	b.ok(b.SyncDir(b.dir))
	b.lists(file.Info{Name: "y", Size: 3})
	b.fileHolds("y", "new")
	b.ok(b.Rename(b.in("y"), b.in("z")))
	b.lists(file.Info{Name: "z", Size: 3})
	b.want(b.Rename(b.in("y"), b.in("x")), fs.ErrNotExist)
	b.ok(b.MakeDir(b.in("d")))
	b.ok(b.Rename(b.in("z"), b.in("d/z")))
	b.lists()
	b.fileHolds("d/z", "new")
}

func remove(_ *testing.T, b box) {
	b.put("x", "old content")
	b.ok(b.Remove(b.in("x")))
	b.ok(b.SyncDir(b.dir))
	b.lists()
	_, err := b.Open(b.in("x"), true)
	b.want(err, fs.ErrNotExist)
	b.want(b.Remove(b.in("x")), fs.ErrNotExist)
	b.put("x", "new")
	b.fileHolds("x", "new")
}

func list(_ *testing.T, b box) {
	b.lists()
	b.put("c", "123")
	b.put("a", "")
	b.put("b", "1")
	b.ok(b.MakeDir(b.in("d")))
	b.put("d/e", "x")
	b.lists(file.Info{Name: "a"}, file.Info{Name: "b", Size: 1}, file.Info{Name: "c", Size: 3})
	_, err := b.List(b.in("none"))
	b.want(err, fs.ErrNotExist)
}

func directories(_ *testing.T, b box) {
	b.ok(b.MakeDir(b.dir)) // exists
	b.ok(b.MakeDir(b.in("d/e/f")))
	b.put("d/e/x", "1")
	b.fileHolds("d/e/x", "1")
	for _, dir := range []string{"", "d", "d/e", "d/e/f"} {
		b.ok(b.SyncDir(b.in(dir)))
	}
	b.want(b.SyncDir(b.in("none")), fs.ErrNotExist)
}

func free(t *testing.T, b box) {
	n, err := b.Free(b.dir)
	b.ok(err)
	if n <= 0 {
		t.Errorf("%d bytes are free", n)
	}
	if _, err := b.Free(b.in("none")); err == nil {
		t.Error("a directory that is not there has free space")
	}
}

func closed(t *testing.T, b box) {
	f := b.create("x")
	b.write(f, "abc", 0)
	b.ok(f.Close())
	_, err := f.ReadAt(make([]byte, 1), 0)
	b.want(err, fs.ErrClosed)
	_, err = f.WriteAt([]byte("z"), 0)
	b.want(err, fs.ErrClosed)
	if f.Sync() == nil {
		t.Error("a closed file was synced")
	}
	if f.Close() == nil {
		t.Error("a file was closed twice")
	}
	b.fileHolds("x", "abc")
}

// concurrent reads what stands while more is written behind it: with -race it proves the contract of File.
func concurrent(t *testing.T, b box) {
	f := b.create("x")
	b.write(f, "0123456789", 0)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			buf := make([]byte, 10)
			for range 100 {
				if _, err := f.ReadAt(buf, 0); err != nil || string(buf) != "0123456789" {
					t.Errorf("read %q, %v", buf, err)
					return
				}
			}
		})
	}
	for i := range int64(100) {
		b.write(f, "more", 10+4*i)
		b.ok(f.Sync())
	}
	readers.Wait()
}
