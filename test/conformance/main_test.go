// Package conformance proves what the broker does against the specifications and the list of faults, over
// real connections. It is tests alone; docs/conformance.md and docs/faults.md are generated from them.
package conformance

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
)

// TestMain has the scripts run side by side: most of them wait for time to pass, not for a processor.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/conformance:", err)
		code = 1
	}
	os.Exit(code)
}

// scratch is a directory for as long as the tests run.
var scratch string

func run(m *testing.M) (code int, err error) {
	if scratch, err = os.MkdirTemp("", "conformance-"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	return m.Run(), nil
}
