// Package conformance proves what the broker does against the specifications and the list of faults, over
// real connections. It is tests alone; docs/conformance.md and docs/faults.md are generated from them.
package conformance

import (
	"os"
	"testing"
)

// TestMain has the scripts run side by side: most of them wait for time to pass, not for a processor.
func TestMain(m *testing.M) { os.Exit(under.Main(m, 64)) }
