package mqtt

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// hasZero tells whether one of the eight bytes of x is zero.
func hasZero(x uint64) bool { return (x-ones)&^x&highs != 0 }

// validText tells whether s is what MQTT5 1.5.4 calls a UTF-8 Encoded String:
// well-formed, without surrogates and without U+0000.
func validText(s []byte) bool {
	for len(s) >= 8 {
		x := binary.LittleEndian.Uint64(s)
		if x&highs != 0 || hasZero(x) {
			break
		}
		s = s[8:]
	}
	for i, c := range s {
		if c == 0 || c >= utf8.RuneSelf {
			return bytes.IndexByte(s[i:], 0) < 0 && utf8.Valid(s[i:])
		}
	}
	return true
}

// hasWildcard tells whether s contains '+' or '#', which differ in bit 3 only.
func hasWildcard(s []byte) bool {
	for len(s) >= 8 {
		x := binary.LittleEndian.Uint64(s)
		if hasZero((x | 0x08*ones) ^ '+'*ones) {
			return true
		}
		s = s[8:]
	}
	for _, c := range s {
		if c|0x08 == '+' {
			return true
		}
	}
	return false
}
