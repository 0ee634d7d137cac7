//go:build unix

package overload

import "golang.org/x/sys/unix"

// Descriptors is how many files the process may have open, 0 = not known.
func Descriptors() int64 {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || l.Cur > 1<<40 {
		return 0
	}
	return int64(l.Cur)
}
