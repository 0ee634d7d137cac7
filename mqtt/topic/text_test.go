package topic

import (
	"strings"
	"testing"
)

func TestLike(t *testing.T) {
	f := func(pattern, text string, want bool) {
		t.Helper()
		if got := Like(pattern, text); got != want {
			t.Errorf("Like(%q, %q) = %v", pattern, text, got)
		}
	}
	f("", "", true)
	f("", "a", false)
	f("a", "a", true)
	f("a", "ab", false)
	f("*", "", true)
	f("*", "a/b", true)
	f("a*", "a", true)
	f("a*", "ba", false)
	f("*a", "ba", true)
	f("*a", "ab", false)
	f("a*a", "a", false)
	f("a*a", "aa", true)
	f("a*b*c", "a1b2c", true)
	f("a*b*c", "acb", false)
	f("a*b*b", "ab", false)
	f("**", "x", true)
	f("*x*x*", "axbxc", true)
	f("*abc", "ababc", true)
	f(strings.Repeat("*a", 100)+"b", strings.Repeat("a", 65535), false) // in a moment: no pattern makes it go back
}
