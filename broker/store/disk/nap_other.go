//go:build !linux

package disk

import "time"

// nap sleeps as short as the runtime can.
func nap() { time.Sleep(10 * time.Microsecond) }
