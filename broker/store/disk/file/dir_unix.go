//go:build !windows

package file

import (
	"errors"
	"os"
	"syscall"
)

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) {
		err = nil // a file system that does not sync directories (SMB, some of FUSE): it has no better promise to give
	}
	return errors.Join(err, f.Close())
}

// plain gives errors the numbers that the contract names; here they have them.
func plain(err error) error { return err }
