//go:build !linux

package file

import (
	"errors"
	"os"
)

func allocate(*os.File, int64) error { return errors.ErrUnsupported }

// sync is more than fsync where that is not enough: on macOS it is F_FULLFSYNC.
func sync(f *os.File) error { return f.Sync() }
