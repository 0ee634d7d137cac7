package file

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func allocate(f *os.File, size int64) error {
	return again(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
}

// sync is fdatasync: it leaves the times of the file alone, which saves the journal a write.
func sync(f *os.File) error {
	return again(func() error { return unix.Fdatasync(int(f.Fd())) })
}

// again repeats a call that a signal interrupted; the runtime sends itself signals.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
