package observe

import (
	"fmt"
	"strings"
	"time"
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

// span is a duration for people: two units at most.
func span(d time.Duration) string {
	d = max(d, 0)
	two := func(a time.Duration, nameA string, b time.Duration, nameB string) string {
		s := fmt.Sprintf("%d %s", d/a, nameA)
		if rest := d % a / b; rest > 0 {
			s += fmt.Sprintf(" %d %s", rest, nameB)
		}
		return s
	}
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return two(time.Minute, "min", time.Second, "s")
	case d < 2*day:
		return two(time.Hour, "h", time.Minute, "min")
	}
	return two(day, "days", time.Hour, "h")
}

// bytes is a size for people.
func bytes[T int | int64 | uint64](n T) string {
	switch f := float64(n); {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 10<<20:
		return fmt.Sprintf("%.0f KiB", f/(1<<10))
	case n < 10<<30:
		return fmt.Sprintf("%.0f MiB", f/(1<<20))
	default:
		return fmt.Sprintf("%.0f GiB", f/(1<<30))
	}
}

// count is so many of a thing: its plural has an s.
func count[T int | uint64](n T, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// sentence ends a text of somebody else's with a full stop.
func sentence(s string) string {
	s = strings.TrimSpace(clean(s))
	if s == "" || strings.HasSuffix(s, ".") || strings.HasSuffix(s, "…") {
		return s
	}
	return s + "."
}
