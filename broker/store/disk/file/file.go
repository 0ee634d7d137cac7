// Package file is the file system as the disk engine uses it: a handful of operations, each promising no more than
// POSIX does. What stands behind it may be the operating system or a test that loses power, fills up or fails. It
// knows nothing of logs or sessions.
package file

import (
	"io"
)

// System opens and arranges files. Names are paths. Its methods may be called from any goroutine. An error matches
// fs.ErrNotExist, fs.ErrExist, syscall.ENOSPC and so on by errors.Is.
type System interface {
	// Open opens an existing file for reading and writing; read-only when write is false.
	Open(name string, write bool) (File, error)
	// Create makes a new empty file, readable by its owner alone; one that exists is an error.
	Create(name string) (File, error)
	// Rename gives a file another name, replacing what has it. It lasts once SyncDir has returned.
	Rename(from, to string) error
	// Remove removes a file. It lasts once SyncDir has returned.
	Remove(name string) error
	// MakeDir makes a directory and those above it, for the owner alone, and they last; one that exists is no error.
	MakeDir(name string) error
	// List lists the files of a directory by name; directories are left out.
	List(dir string) ([]Info, error)
	// SyncDir makes creations, renames and removals in a directory last.
	SyncDir(dir string) error
	// Free is how many bytes this process may still write to the file system that dir is on.
	Free(dir string) (int64, error)
}

// File is one open file. ReadAt may be called from any goroutine, the rest by one at a time.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Allocate makes room for the first size bytes, so that writing there cannot fail for space, and makes
	// the file at least as long. What was written stays.
	Allocate(size int64) error
	// Truncate cuts the file, or makes it longer with zeros.
	Truncate(size int64) error
	// Sync makes everything written last (fdatasync). After an error nothing is known about what was
	// written since the last Sync that succeeded, and trying again proves nothing.
	Sync() error
	// Size is the length in bytes.
	Size() (int64, error)
}

// Info is one file of a directory.
type Info struct {
	Name string // without the directory
	Size int64
}
