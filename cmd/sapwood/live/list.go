// Package live is the commands that look at what a running broker holds, and change it: clients, sessions, topics, retained messages. They act
// through its public API alone.
package live

import (
	"fmt"
	"strconv"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
)

// count is a number for people, in few characters.
func count[N int | int64 | uint64 | uint32 | float32 | float64](n N) string {
	v := float64(n)
	for _, u := range []string{"", "k", "M", "G"} {
		switch {
		case v < 10 && v != float64(int64(v)):
			return strconv.FormatFloat(v, 'f', 1, 64) + u
		case v < 1000 || u == "" && v < 10000:
			return strconv.FormatFloat(v, 'f', 0, 64) + u
		}
		v /= 1000
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + "T"
}

// size is a number of bytes for people, in the units of the configuration.
func size[N int | int64 | uint64 | uint32 | float64](n N) string { return screen.Bytes(int64(n)) }

// ago is how long ago a time is, for people.
func ago(t *time.Time) string {
	if t == nil {
		return "-"
	}
	switch d := time.Since(*t); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(int(d.Seconds()), 0))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
