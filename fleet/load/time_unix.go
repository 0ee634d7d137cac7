//go:build unix

package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// processTime is the processor time that the process has used; false where nobody tells.
func processTime() (time.Duration, bool) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}
