package fact

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

func TestOverlap(t *testing.T) {
	f := func(a, b string, want bool) {
		t.Helper()
		if Overlap(a, b) != want || Overlap(b, a) != want {
			t.Errorf("%q and %q: %v and %v, want %v", a, b, Overlap(a, b), Overlap(b, a), want)
		}
	}
	f("a/b/c", "a/#", true)
	f("a/b/c", "a/b/#", true)
	f("a/b/c/d", "a/b/c/#", true)
	f("a/b", "a/b/#", true)
	f("a/b", "a/b/c", false)
	f("a/b/#", "a/b/c/#", true)
	f("a/+/c", "a/b/#", true)
	f("a/+/c", "+/b/c", true)
	f("a/+/c", "+/b/d", false)
	f("a", "ab", false)
	f("a/#", "ab", false)
	f("#", "$SYS/x", false)
	f("+/x", "$SYS/x", false)
	f("$SYS/#", "$SYS/x", true)
	f("$share/g/a/#", "a/b", true)
	f("$share/g", "a", false)
	f("/", "+/+", true)
	f("/", "+", false)
	f("", "#", false)
	f("", "", false)
}

// names draws a topic name or filter of few letters, so that many overlap.
func names(wildcards bool) *rapid.Generator[string] {
	levels := []string{"a", "b", "", "$a", "ab"}
	if wildcards {
		levels = append(levels, "+", "+")
	}
	return rapid.Custom(func(t *rapid.T) string {
		all := rapid.SliceOfN(rapid.SampledFrom(levels), 1, 5).Draw(t, "levels")
		if wildcards && rapid.Bool().Draw(t, "branch") {
			all = append(all[:len(all)-1], "#")
		}
		return strings.Join(all, "/")
	}).Filter(func(s string) bool { return s != "" })
}

// With a name, Overlap is the matching of MQTT; two filters overlap if there is a name that both match; and whatever overlaps is found
// where Keys says that an index has to look.
func TestOverlapIsMatching(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name, f, g := names(false).Draw(t, "name"), names(true).Draw(t, "filter"), names(true).Draw(t, "other")
		if got, want := Overlap(name, f), topic.Match(f, name); got != want {
			t.Fatalf("%q and %q: %v, but matching says %v", name, f, got, want)
		}
		if topic.Match(f, name) && topic.Match(g, name) && !Overlap(f, g) {
			t.Fatalf("%q and %q both match %q", f, g, name)
		}
		for _, pair := range [][2]string{{name, f}, {f, name}, {f, g}} {
			if Overlap(pair[0], pair[1]) && !indexed(pair[0], pair[1]) {
				keys, branch := Keys(pair[0])
				t.Fatalf("%q overlaps %q, which has the key %q, but looks at %q and below %v", pair[0], pair[1], Key(pair[1]), keys, branch)
			}
		}
	})
}

// indexed tells whether the search for one topic finds the key of another.
func indexed(search, topic string) bool {
	keys, branch := Keys(search)
	return slices.Contains(keys, Key(topic)) || branch != nil && strings.HasPrefix(Key(topic), *branch)
}

// Any text at all is found at its key, and what is looked at once is not looked at twice.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{"a/b", "a/#", "$share/g/+/x", "//", "#", "a/#/b", "$share", "\xff/+"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if Overlap(a, b) != Overlap(b, a) {
			t.Errorf("%q and %q overlap one way", a, b)
		}
		if Overlap(a, b) && !indexed(a, b) {
			t.Errorf("%q does not find %q", a, b)
		}
		keys, branch := Keys(a)
		for i, k := range keys {
			if slices.Contains(keys[i+1:], k) || branch != nil && strings.HasPrefix(k, *branch) {
				t.Errorf("%q looks twice at %q", a, k)
			}
		}
	})
}

func FuzzClip(f *testing.F) {
	f.Add("äöü", 3)
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = max(0, n)
		if c := clip(s, n); len(c) > n || !strings.HasPrefix(s, c) || len(s) <= n && c != s {
			t.Errorf("%q at %d: %q", s, n, c)
		}
	})
}
