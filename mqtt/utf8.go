package mqtt

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// validText tells whether s is what MQTT5 1.5.4 calls a UTF-8 Encoded String:
// well-formed, without surrogates and without U+0000.
func validText(s []byte) bool {
	return plain(s, 0) || utf8.Valid(s) && bytes.IndexByte(s, 0) < 0
}

// plainTopic tells whether s is ASCII without U+0000 and without a wildcard, as
// nearly every topic name is.
func plainTopic(s []byte) bool { return plain(s, '+') }

func hasWildcard(s []byte) bool {
	return bytes.IndexByte(s, '+') >= 0 || bytes.IndexByte(s, '#') >= 0
}

// plain tells whether s is ASCII without U+0000 and without wild, eight bytes a
// step. wild is compared with bit 3 of each byte set: '+' stands for '#' too,
// which differs in that bit only, and 0 for nothing.
func plain(s []byte, wild uint64) bool {
	if len(s) < 8 {
		for _, c := range s {
			if c-1 >= 0x7F || uint64(c|0x08) == wild {
				return false
			}
		}
		return true
	}
	wild *= ones
	for len(s) > 8 {
		if odd(binary.LittleEndian.Uint64(s), wild) {
			return false
		}
		s = s[min(8, len(s)-8):] // the last step overlaps
	}
	return !odd(binary.LittleEndian.Uint64(s), wild)
}

const ones = 0x0101010101010101

// odd tells whether a byte of x is 0, above 0x7F, or with bit 3 set that of wild.
func odd(x, wild uint64) bool {
	y := (x | 0x08*ones) ^ wild
	return (x|(x-ones)|(y-ones)&^y)&(0x80*ones) != 0
}
