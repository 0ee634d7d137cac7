package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// OS is the file system of the operating system. Files are made with mode 0600, directories with 0700.
func OS() System { return system{} }

type system struct{}

func (system) Open(name string, write bool) (File, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	return open(name, flag)
}

func (system) Create(name string) (File, error) { return open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL) }

func open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, plain(err)
	}
	return osFile{f}, nil
}

func (system) Rename(from, to string) error { return plain(os.Rename(from, to)) }

func (system) Remove(name string) error { return plain(os.Remove(name)) }

// MakeDir also syncs the directories that got a new entry, the lowest last.
func (system) MakeDir(name string) error {
	var made []string
	for dir := filepath.Clean(name); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		made = append(made, dir)
	}
	if err := os.MkdirAll(name, 0o700); err != nil {
		return plain(err)
	}
	for i := len(made) - 1; i >= 0; i-- {
		if err := syncDir(filepath.Dir(made[i])); err != nil {
			return err
		}
	}
	return nil
}

func (system) List(dir string) ([]Info, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, plain(err)
	}
	var list []Info
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed since
		case err != nil:
			return nil, plain(err)
		default:
			list = append(list, Info{Name: e.Name(), Size: info.Size()})
		}
	}
	return list, nil
}

func (system) SyncDir(dir string) error { return syncDir(dir) }

func (system) Free(dir string) (int64, error) {
	n, err := free(dir)
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return n, nil
}

// osFile adds to os.File what it lacks.
type osFile struct{ f *os.File }

func (f osFile) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

func (f osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.f.WriteAt(p, off)
	return n, plain(err)
}

func (f osFile) Allocate(size int64) error {
	err := allocate(f.f, size)
	if errors.Is(err, errors.ErrUnsupported) {
		err = overwrite(f.f, size)
	}
	if err != nil {
		return fmt.Errorf("allocate %d bytes of %s: %w", size, f.f.Name(), plain(err))
	}
	return nil
}

func (f osFile) Truncate(size int64) error { return plain(f.f.Truncate(size)) }

func (f osFile) Sync() error {
	if err := sync(f.f); err != nil {
		return fmt.Errorf("sync %s: %w", f.f.Name(), plain(err))
	}
	return nil
}

func (f osFile) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, plain(err)
	}
	return info.Size(), nil
}

func (f osFile) Close() error { return plain(f.f.Close()) }

// overwrite makes room for the first size bytes where the system has no call for it: it writes back
// what is there, which fills holes too, and zeros behind it.
func overwrite(f *os.File, size int64) error {
	const step = 1 << 20
	buf := make([]byte, min(step, size))
	for off := int64(0); off < size; off += step {
		part := buf[:min(step, size-off)]
		n, err := f.ReadAt(part, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		clear(part[n:])
		if _, err := f.WriteAt(part, off); err != nil {
			return err
		}
	}
	return nil
}
