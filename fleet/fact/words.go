package fact

import (
	"fmt"
	"time"
)

// Moment is how a detail of a fact writes a time, as time.Format wants it.
const Moment = "2006-01-02T15:04:05.000Z07:00"

// Span is a duration for people: two units at most, nothing below a millisecond.
func Span(d time.Duration) string {
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

// Bytes is a number of bytes for people.
func Bytes[T int | int64 | uint64](n T) string {
	switch f := float64(n); {
	case n < 10_000:
		return Many(n, "byte")
	case n < 10<<20:
		return fmt.Sprintf("%.0f KiB", f/(1<<10))
	case n < 10<<30:
		return fmt.Sprintf("%.0f MiB", f/(1<<20))
	default:
		return fmt.Sprintf("%.0f GiB", f/(1<<30))
	}
}

// Many is so many of a thing whose plural has an s.
func Many[T int | int64 | uint64](n T, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
