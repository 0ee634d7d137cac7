//go:build !unix

package load

import "time"

// processTime is the processor time that the process has used; false where nobody tells.
func processTime() (time.Duration, bool) { return 0, false }
