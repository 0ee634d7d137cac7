// Package screen is how commands show things to people and to other programs: tables, progress, lines of JSON. It knows
// nothing of what it shows.
package screen

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
)

// Terminal is w if a person looks at it, else nil.
func Terminal(w io.Writer) *os.File {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return f
}

// ProgressBar shows how far a task is on one line, if w is a terminal; end clears it. unit writes an amount.
func ProgressBar(w io.Writer, task string, unit func(int64) string) (show func(done, total int64), end func()) {
	f := Terminal(w)
	if f == nil {
		return func(int64, int64) {}, func() {}
	}
	var last time.Time
	show = func(done, total int64) {
		if now := time.Now(); now.Sub(last) >= 100*time.Millisecond {
			last = now
			fmt.Fprintf(f, "\r%s\x1b[K", progressText(task, unit, done, total))
		}
	}
	return show, func() { fmt.Fprint(f, "\r\x1b[K") }
}

// progressText is the line that a progress bar shows; it has no end to show while the total is not known (0).
func progressText(task string, unit func(int64) string, done, total int64) string {
	if total <= 0 {
		return fmt.Sprintf("%s  %s", task, unit(done))
	}
	const width = 30
	share := min(float64(done)/float64(total), 1)
	full := int(share * width)
	return fmt.Sprintf("%s  [%s%s] %3.0f %%  %s of %s", task, strings.Repeat("#", full), strings.Repeat(" ", width-full),
		math.Floor(share*100), unit(done), unit(total))
}

// Bytes writes a size for people.
func Bytes(n int64) string {
	units := [...]string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if f < 10 {
		return fmt.Sprintf("%.1f %s", f, units[i])
	}
	return fmt.Sprintf("%.0f %s", f, units[i])
}
