package disk

import "golang.org/x/sys/unix"

// nap sleeps as short as the system can: some 60 µs. A timer of the runtime would take a millisecond.
func nap() {
	t := unix.Timespec{Nsec: 5000}
	_ = unix.Nanosleep(&t, nil) // cut short is short as well
}
