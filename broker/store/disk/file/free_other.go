//go:build !linux && !darwin && !freebsd && !dragonfly && !windows

package file

import (
	"math"
	"os"
)

// free does not know: a full disk shows as ENOSPC when it is full.
func free(dir string) (int64, error) {
	if _, err := os.Stat(dir); err != nil {
		return 0, err
	}
	return math.MaxInt64, nil
}
