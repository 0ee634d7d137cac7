// Package lock keeps a data directory to one process. It is a lock of the operating system on the file "lock", which
// ends with the process however it ends; what the file says only tells people and tools who holds it. It knows
// nothing of what the directory holds.
package lock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Name is the file in the data directory that is locked.
const Name = "lock"

// Holder is the process that has a data directory.
type Holder struct {
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Started time.Time `json:"started"`
	// HTTP is the address of its API; empty = none, or none yet.
	HTTP string `json:"http,omitempty"`
}

// HeldError is why Lock refuses: another process has the directory. Its PID is 0 when that process has not said who
// it is.
type HeldError struct {
	Dir string
	Holder
}

// Error names the holder.
func (e *HeldError) Error() string {
	who := "another process"
	if e.PID != 0 {
		layout := "15:04"
		if time.Since(e.Started) > 12*time.Hour {
			layout = "2006-01-02 15:04"
		}
		who = fmt.Sprintf("pid %d on host %s since %s", e.PID, e.Host, e.Started.Local().Format(layout))
		if e.HTTP != "" {
			who += " (http " + e.HTTP + ")"
		}
	}
	return fmt.Sprintf("data directory %s is in use by %s; stop it, or give this one another --data", e.Dir, who)
}

// Lock is a data directory that is ours until Release.
type Lock struct {
	f      *os.File
	holder Holder
}

// size is the length of the file: all of it is written at once, so that a reader sees the old text or the new.
const size = 1024

// Acquire makes the directory ours, and makes the directory itself where it is missing. While another process has it the
// error is a *HeldError. What a dead process left is no obstacle. That the holder cannot be written down, on a disk that is
// full or read-only, is none either.
func Acquire(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, Name), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, syscall.EROFS) {
		f, err = os.Open(filepath.Join(dir, Name))
	}
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := patiently(f); err != nil {
		defer f.Close()
		if errors.Is(err, errHeld) {
			held := &HeldError{Dir: dir}
			held.Holder, _ = read(f) // unreadable: nobody is named
			return nil, held
		}
		return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	host, _ := os.Hostname() // empty: the pid still says enough
	l := &Lock{f, Holder{PID: os.Getpid(), Host: host, Started: time.Now()}}
	_ = l.write() // the lock counts, not what it says
	return l, nil
}

// errHeld is what tryLock finds when somebody else has a lock that excludes ours.
var errHeld = errors.New("held")

// patiently gives those who only look (Who) the moment that they need.
func patiently(f *os.File) error {
	var err error
	for range 10 {
		if err = tryLock(f, true); !errors.Is(err, errHeld) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return err
}

// Announce adds the address of the holder's API to what the file says. One at a time.
func (l *Lock) Announce(http string) error {
	l.holder.HTTP = http
	return l.write()
}

func (l *Lock) write() error {
	text, err := json.Marshal(l.holder)
	if err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	if len(text) >= size {
		return fmt.Errorf("write lock: %d bytes about the holder are more than %d", len(text), size-1)
	}
	page := bytes.Repeat([]byte{' '}, size)
	copy(page, text)
	page[size-1] = '\n'
	if _, err := l.f.WriteAt(page, 0); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return nil
}

// Release gives the directory back. The file stays: removing it would let two processes lock two files of one name.
func (l *Lock) Release() error {
	if err := l.f.Close(); err != nil {
		return fmt.Errorf("unlock data directory: %w", err)
	}
	return nil
}

// Who tells which process has a data directory; false when none has. A holder that has not said who it is has PID 0. It does not keep anybody from locking it.
func Who(dir string) (Holder, bool, error) {
	f, err := os.Open(filepath.Join(dir, Name))
	if errors.Is(err, fs.ErrNotExist) {
		return Holder{}, false, nil
	}
	if err != nil {
		return Holder{}, false, fmt.Errorf("read lock: %w", err)
	}
	defer f.Close()
	switch err := tryLock(f, false); {
	case err == nil:
		return Holder{}, false, nil
	case !errors.Is(err, errHeld):
		return Holder{}, false, fmt.Errorf("read lock: %w", err)
	}
	h, err := read(f)
	return h, true, err
}

// read is empty for a holder that has not (yet) said who it is.
func read(f *os.File) (h Holder, err error) {
	text := make([]byte, size)
	n, err := f.ReadAt(text, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Holder{}, fmt.Errorf("read lock: %w", err)
	}
	if json.Unmarshal(text[:n], &h) != nil {
		return Holder{}, nil
	}
	return h, nil
}
