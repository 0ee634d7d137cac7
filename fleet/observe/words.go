package observe

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName is how much of a name stands in a sentence or a detail, in bytes.
const maxName = 256

// clean is a text of somebody else's, so that it shows nothing but itself: control characters, those that turn the direction of
// writing, separators of lines and what is no text are each a replacement character; what is long is cut.
func clean(s string) string {
	bad := func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError
	}
	if len(s) <= maxName && strings.IndexFunc(s, bad) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if b.Len() >= maxName {
			b.WriteString("…")
			break
		}
		if bad(r) {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}

// quote is a name in a sentence.
func quote(s string) string { return `"` + clean(s) + `"` }

// sentence ends a text of somebody else's with a full stop.
func sentence(s string) string {
	s = strings.TrimSpace(clean(s))
	if s == "" || strings.HasSuffix(s, ".") || strings.HasSuffix(s, "…") {
		return s
	}
	return s + "."
}
