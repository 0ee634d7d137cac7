// Package topic knows MQTT topic names and topic filters: which are valid, which filter matches which name, who
// subscribed to what ([Index], [Cache]), and what is kept under which name ([Retained]).
//
// It holds handles and values and never looks into them: what an [Entry] or a retained value means is the broker's
// business. It imports the standard library only, starts no goroutine, reads no clock and does no I/O.
//
// Names and filters are compared byte by byte; nothing is normalised [MQTT-4.7.3-4].
package topic

import (
	"errors"
	"fmt"
)

// MaxBytes is the longest topic name or filter that the protocol can carry, in bytes [MQTT-4.7.3-3].
const MaxBytes = 65535

var (
	errEmptyName   = errors.New("topic name is empty")
	errEmptyFilter = errors.New("topic filter is empty")
)

// ValidName says whether name may stand in a PUBLISH: 1 to 65,535 bytes, no U+0000 and no wildcard character
// (MQTT 5 and 3.1.1, section 4.7). That it is well-formed UTF-8 is checked by the decoder. The error says what is
// wrong and at which byte, counted from 0.
func ValidName[S ~string | ~[]byte](name S) error {
	if len(name) == 0 {
		return errEmptyName
	}
	if len(name) > MaxBytes {
		return fmt.Errorf("topic name has %d bytes, more than %d", len(name), MaxBytes)
	}
	for i := 0; i < len(name); i++ {
		// All three forbidden bytes are at or below '+', most others above it: one comparison for most bytes.
		if c := name[i]; c <= '+' && (c == '+' || c == '#' || c == 0) {
			if c == 0 {
				return fmt.Errorf("topic name: U+0000 at byte %d", i)
			}
			return fmt.Errorf("topic name: wildcard '%c' at byte %d", c, i)
		}
	}
	return nil
}

// ValidFilter says whether filter may stand in a SUBSCRIBE: 1 to 65,535 bytes, no U+0000, '+' only as a whole level,
// '#' only as the whole last level (MQTT 5 and 3.1.1, section 4.7). The error says what is wrong and at which byte,
// counted from 0. A filter that begins with "$share/" is a plain filter to it; see [ParseShared].
func ValidFilter[S ~string | ~[]byte](filter S) error {
	if len(filter) == 0 {
		return errEmptyFilter
	}
	if len(filter) > MaxBytes {
		return fmt.Errorf("topic filter has %d bytes, more than %d", len(filter), MaxBytes)
	}
	for i := 0; i < len(filter); i++ {
		c := filter[i]
		if c > '+' || c != '+' && c != '#' && c != 0 {
			continue
		}
		last := i == len(filter)-1
		switch {
		case c == 0:
			return fmt.Errorf("topic filter: U+0000 at byte %d", i)
		case i > 0 && filter[i-1] != '/', !last && filter[i+1] != '/':
			return fmt.Errorf("topic filter: '%c' at byte %d does not fill its level", c, i)
		case c == '#' && !last:
			return fmt.Errorf("topic filter: '#' at byte %d is not the last level", i)
		}
	}
	return nil
}

// Levels is the number of levels of a name or filter: one more than it has separators.
func Levels[S ~string | ~[]byte](s S) int {
	n := 1
	for i := 0; i < len(s); i++ {
		if s[i] == '/' {
			n++
		}
	}
	return n
}

// Match says whether a valid filter matches a valid name (MQTT 5 and 3.1.1, section 4.7). A filter that begins with
// a wildcard does not match a name that begins with '$' [MQTT-4.7.2-1]. It takes one pass and no memory.
func Match[F, N ~string | ~[]byte](filter F, name N) bool {
	if hidden(name) && len(filter) > 0 && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	f, n := 0, 0
	for { // f and n are at the beginning of a level
		switch {
		case f == len(filter)-1 && filter[f] == '#':
			return true
		case f < len(filter) && filter[f] == '+' && (f+1 == len(filter) || filter[f+1] == '/'):
			f++
			for n < len(name) && name[n] != '/' {
				n++
			}
		default:
			for f < len(filter) && n < len(name) && filter[f] == name[n] && name[n] != '/' {
				f++
				n++
			}
		}
		// If the levels were equal, each stands at its end: a separator, or nothing.
		switch {
		case n == len(name):
			return f == len(filter) || f+2 == len(filter) && filter[f] == '/' && filter[f+1] == '#'
		case f == len(filter) || filter[f] != '/' || name[n] != '/':
			return false
		}
		f++
		n++
	}
}

// hidden says whether a leading wildcard passes the name by [MQTT-4.7.2-1].
func hidden[S ~string | ~[]byte](name S) bool { return len(name) > 0 && name[0] == '$' }

const sharePrefix = "$share/"

// ParseShared takes the filter of a SUBSCRIBE apart. "$share/group/inner" is a shared subscription (MQTT 5, section
// 4.8.2): the group has at least one character and none of '/', '+', '#', and a valid filter follows it. Any other
// filter is returned as inner, with shared false. In both cases inner is valid if err is nil.
func ParseShared(filter string) (group, inner string, shared bool, err error) {
	if len(filter) < len(sharePrefix) || filter[:len(sharePrefix)] != sharePrefix {
		return "", filter, false, ValidFilter(filter)
	}
	if len(filter) > MaxBytes {
		return "", "", true, ValidFilter(filter)
	}
	i := len(sharePrefix)
	for ; i < len(filter) && filter[i] != '/'; i++ {
		switch filter[i] {
		case '+', '#', 0:
			return "", "", true, fmt.Errorf("shared subscription: %q in the share name at byte %d", filter[i], i)
		}
	}
	switch {
	case i == len(sharePrefix):
		return "", "", true, errors.New("shared subscription: the share name is empty")
	case i == len(filter):
		return "", "", true, errors.New("shared subscription: no '/' and topic filter after the share name")
	}
	group, inner = filter[len(sharePrefix):i], filter[i+1:]
	if err := ValidFilter(inner); err != nil {
		return "", "", true, fmt.Errorf("shared subscription, after byte %d: %w", i, err)
	}
	return group, inner, true, nil
}
