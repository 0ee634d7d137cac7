package wal

import (
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// memory is a file system in memory. What a crash or a bad disk does to it, tests do to its bytes.
type memory struct {
	mu    sync.Mutex
	files map[string]*memFile
	// fail is asked before everything that writes, with the name of the method and the path.
	fail func(op, name string) error
	free int64 // bytes that may still be allocated or written to new places; < 0 = no limit
}

type memFile struct {
	sys  *memory
	name string
	data []byte
}

func newMemory() *memory { return &memory{files: map[string]*memFile{}, free: -1} }

// clone is a copy of the disk as it is now.
func (m *memory) clone() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newMemory()
	for name, f := range m.files {
		c.files[name] = &memFile{c, name, slices.Clone(f.data)}
	}
	return c
}

// bytes are those of a segment, to be changed in place.
func (m *memory) bytes(t testing.TB, number uint32) []byte {
	f := m.files[filepath.Join("log", segmentName(number))]
	if f == nil {
		t.Fatalf("there is no segment %d; there are %v", number, m.names())
	}
	return f.data
}

func (m *memory) names() (names []string) {
	for name := range m.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (m *memory) may(op, name string) error {
	if m.fail != nil {
		if err := m.fail(op, name); err != nil {
			return &fs.PathError{Op: op, Path: name, Err: err}
		}
	}
	return nil
}

func (m *memory) Open(name string, write bool) (file.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if write {
		if err := m.may("open", name); err != nil {
			return nil, err
		}
	}
	f := m.files[name]
	if f == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f, nil
}

func (m *memory) Create(name string) (file.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.may("create", name); err != nil {
		return nil, err
	}
	if m.files[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	m.files[name] = &memFile{sys: m, name: name}
	return m.files[name], nil
}

func (m *memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.may("rename", to); err != nil {
		return err
	}
	f := m.files[from]
	if f == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	delete(m.files, from)
	m.files[to], f.name = f, to
	return nil
}

func (m *memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.may("remove", name); err != nil {
		return err
	}
	f := m.files[name]
	if f == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	if m.free >= 0 {
		m.free += int64(len(f.data))
	}
	delete(m.files, name)
	return nil
}

func (m *memory) MakeDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.may("makedir", name)
}

func (m *memory) List(dir string) (list []file.Info, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, f := range m.files {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok {
			list = append(list, file.Info{Name: rest, Size: int64(len(f.data))})
		}
	}
	slices.SortFunc(list, func(a, b file.Info) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (m *memory) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.may("syncdir", dir)
}

func (m *memory) Free(string) (int64, error) { return max(m.free, 0), nil }

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	f.sys.mu.Lock()
	defer f.sys.mu.Unlock()
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	f.sys.mu.Lock()
	defer f.sys.mu.Unlock()
	if err := f.sys.may("write", f.name); err != nil {
		n := copy(f.data[min(off, int64(len(f.data))):], b[:len(b)/2]) // half of it came to the disk
		return n, err
	}
	if err := f.grow(off + int64(len(b))); err != nil {
		return 0, err
	}
	return copy(f.data[off:], b), nil
}

func (f *memFile) grow(size int64) error {
	more := size - int64(len(f.data))
	if more <= 0 {
		return nil
	}
	if f.sys.free >= 0 {
		if more > f.sys.free {
			return &fs.PathError{Op: "grow", Path: f.name, Err: syscall.ENOSPC}
		}
		f.sys.free -= more
	}
	f.data = append(f.data, make([]byte, more)...)
	return nil
}

func (f *memFile) Allocate(size int64) error {
	f.sys.mu.Lock()
	defer f.sys.mu.Unlock()
	if err := f.sys.may("allocate", f.name); err != nil {
		return err
	}
	return f.grow(size)
}

func (f *memFile) Truncate(size int64) error {
	f.sys.mu.Lock()
	defer f.sys.mu.Unlock()
	if err := f.sys.may("truncate", f.name); err != nil {
		return err
	}
	if size < int64(len(f.data)) {
		f.data = f.data[:size:size]
		return nil
	}
	return f.grow(size)
}

func (f *memFile) Sync() error {
	f.sys.mu.Lock()
	defer f.sys.mu.Unlock()
	return f.sys.may("sync", f.name)
}

func (f *memFile) Size() (int64, error) {
	f.sys.mu.Lock()
	defer f.sys.mu.Unlock()
	return int64(len(f.data)), nil
}

func (f *memFile) Close() error { return nil }
