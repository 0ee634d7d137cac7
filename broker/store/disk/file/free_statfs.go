//go:build linux || darwin || freebsd || dragonfly

package file

import "golang.org/x/sys/unix"

// free leaves out what is reserved for root, also when root asks.
func free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
