package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// Damage is a part of the log that is missing or not what was written.
type Damage struct {
	File   string // its path
	Offset int64
	Bytes  int64
	What   string // a sentence about it
	Aside  string // the path of the copy in quarantine; "" = there is none
}

// String says what and where.
func (d Damage) String() string {
	return fmt.Sprintf("%s: %d bytes at %d: %s", d.File, d.Bytes, d.Offset, d.What)
}

// DamageError is why a record cannot be read: it is not what was written, or not there.
type DamageError struct{ Damage }

// Error says what and where.
func (e *DamageError) Error() string { return "read record: " + e.Damage.String() }

// setAside copies damaged bytes into the quarantine and returns the path of the copy. When that fails ("") the damage
// is reported all the same: a start must not fail for a disk that is full.
func (d *folder) setAside(from file.File, number uint32, off, end int64) string {
	if d.o.Quarantine == "" || off >= end {
		return ""
	}
	name := filepath.Join(d.o.Quarantine, fmt.Sprintf("%08d-%d.bin", number, off))
	err := d.sys.MakeDir(d.o.Quarantine)
	var to file.File
	if err == nil {
		to, err = d.sys.Create(name)
	}
	switch {
	case errors.Is(err, fs.ErrExist): // by a start before this one
		return name
	case err == nil:
		err = errors.Join(copyBytes(to, from, off, end), to.Close(), d.sys.SyncDir(d.o.Quarantine))
		if err != nil {
			err = errors.Join(err, d.sys.Remove(name))
		}
	}
	if err != nil {
		d.log.Warn("damaged bytes could not be set aside", "file", segmentName(number), "offset", off, "bytes", end-off, "error", err)
		return ""
	}
	return name
}

// copyBytes copies [off, end) into a file of its own, and syncs that.
func copyBytes(to, from file.File, off, end int64) error {
	w := window{file: from, size: end}
	for at := off; at < end; {
		b := w.from(at, 1)
		if _, err := to.WriteAt(b, at-off); err != nil {
			return err
		}
		at += int64(len(b))
	}
	return to.Sync()
}
