package screen

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	var b strings.Builder
	tb := NewTable(&b, "NAME", "NOTE")
	tb.width = 12
	tb.Row("ä", "a long note that does not fit")
	tb.Row("long name", "")
	if err := tb.Flush(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "ä          …\n") || !strings.Contains(b.String(), "long name\n") {
		t.Errorf("%q", b.String())
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if n := len([]rune(line)); n > 12 {
			t.Errorf("%d wide: %q", n, line)
		}
	}
}
