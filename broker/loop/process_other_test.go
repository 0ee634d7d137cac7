//go:build !linux

package loop

import "time"

func processTime() time.Duration { return 0 }
func residentBytes() int         { return 0 }
