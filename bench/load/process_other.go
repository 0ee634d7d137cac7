//go:build !linux

package load

import (
	"errors"
	"fmt"
	"time"
)

func cpuTime(int) (time.Duration, error) {
	return 0, fmt.Errorf("read CPU clock of a process: %w", errors.ErrUnsupported)
}

// ReadUsage samples the process: on Linux only.
func ReadUsage(int) (Usage, error) {
	return Usage{}, fmt.Errorf("sample process: %w", errors.ErrUnsupported)
}
