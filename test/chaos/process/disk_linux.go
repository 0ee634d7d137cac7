package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk is a file system of its own in memory, to be filled up and to be made read-only. It needs the right to
// mount, as in a namespace that Isolate made.
type smallDisk struct {
	dir  string
	stop chan struct{}
	done sync.WaitGroup
	err  error // of the filling; behind done
}

// newSmallDisk mounts size bytes at dir.
func newSmallDisk(dir string, size int) (*smallDisk, error) {
	if err := unix.Mount("chaos", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		return nil, fmt.Errorf("mount a small disk: %w", err)
	}
	return &smallDisk{dir: dir}, nil
}

func (d *smallDisk) filler() string { return filepath.Join(d.dir, "filler") }

// fill takes all space there is, and takes again what is given back, until free.
func (d *smallDisk) fill() error {
	f, err := os.Create(d.filler())
	if err != nil {
		return fmt.Errorf("fill the disk: %w", err)
	}
	if err := fillUp(f); err != nil {
		return errors.Join(err, f.Close())
	}
	d.stop = make(chan struct{})
	d.done.Go(func() {
		defer f.Close()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-d.stop:
				return
			case <-tick.C:
				if d.err = fillUp(f); d.err != nil {
					return
				}
			}
		}
	})
	return nil
}

func fillUp(f *os.File) error {
	block := make([]byte, 64<<10)
	for size := len(block); size > 0; {
		_, err := f.Write(block[:size])
		switch {
		case errors.Is(err, unix.ENOSPC):
			size /= 16
		case err != nil:
			return fmt.Errorf("fill the disk: %w", err)
		}
	}
	return nil
}

// free gives the space back.
func (d *smallDisk) free() error {
	close(d.stop)
	d.done.Wait()
	return errors.Join(d.err, os.Remove(d.filler()))
}

// readOnly makes the disk read-only, while nobody writes to it, or writable again.
func (d *smallDisk) readOnly(on bool) error {
	flags := uintptr(unix.MS_REMOUNT)
	if on {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("chaos", d.dir, "tmpfs", flags, ""); err != nil {
		return fmt.Errorf("remount the small disk: %w", err)
	}
	return nil
}

func (d *smallDisk) close() error { return unix.Unmount(d.dir, unix.MNT_DETACH) }
