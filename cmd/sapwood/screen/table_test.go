package screen

import (
	"strings"
	"testing"
)

// Where there is no room for a sentence it stands below; what is no sentence is cut.
func TestNarrow(t *testing.T) {
	f := func(width int, text, want string) {
		t.Helper()
		var b strings.Builder
		tb := NewTable(&b, "TIME", "CLIENT", "TEXT")
		tb.width = width
		tb.Row("10:00", "auto-d8d3cbdaa6c6a0b2810", text)
		if err := tb.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, got, _ := strings.Cut(b.String(), "\n"); got != want {
			t.Errorf("%d wide:\n%s\nwant\n%s", width, got, want)
		}
	}
	const head = "10:00  auto-d8d3cbdaa6c6a0b2810"
	f(0, "Connected from 127.0.0.1 with MQTT 5.0.", head+"  Connected from 127.0.0.1 with MQTT 5.0.\n")
	f(80, "Connected from 127.0.0.1 with MQTT 5.0.", head+"  Connected from 127.0.0.1 with MQTT 5.0.\n")
	f(40, "Connected from 127.0.0.1 with MQTT 5.0, äöü.", head+"\n    Connected from 127.0.0.1 with MQTT\n    5.0, äöü.\n")
	f(40, "Yes, so.", head+"\n    Yes, so.\n")
	f(41, "Yes, so.", head+"  Yes, so.\n")
	f(40, "127.0.0.1:44252", head+"  127.0.…\n")
	f(8, "Connected from 127.0.0.1", "10:00  …\n")
	var b strings.Builder
	tb := NewTable(&b, "WHEN", "WHY").Whole()
	tb.width = 50
	tb.Row("10:00", "Disconnected by the client, in good order, after 3 s.")
	if err := tb.Flush(); err != nil || b.String() != "WHEN   WHY\n10:00\n    Disconnected by the client, in good order,\n    after 3 s.\n" {
		t.Errorf("%v\n%s", err, &b)
	}
}

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
