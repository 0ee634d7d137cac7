package chaos

import (
	"fmt"
	"testing"

	"github.com/sapwood-mqtt/sapwood/test/chaos/section"
)

// writeTable puts a table into docs/reliability.md, between the markers of its name.
func writeTable(t *testing.T, name, table string) {
	t.Helper()
	if err := section.Replace("../../docs/reliability.md", name, table); err != nil {
		t.Fatal(err)
	}
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
