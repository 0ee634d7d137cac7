package payload

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"
)

var errBad = errors.New("not of this encoding")

// reader reads a value and writes it much as JSON. After a failure everything it reads is 0.
type reader struct {
	b     []byte
	p     printer
	err   error
	depth int
	rich  bool // a text was in it: few bytes hold one by chance
}

// decoded is b as one value of an encoding, ok = all of b is one, and one that says something.
func decoded(b []byte, most int, value func(*reader)) (text string, cut, ok bool) {
	if len(b) < 2 {
		return "", false, false
	}
	r := reader{b: b, p: printer{most: most}}
	value(&r)
	if r.err != nil || len(r.b) > 0 || !r.rich {
		return "", false, false
	}
	text, cut = r.p.result()
	return text, cut, true
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = errBad
	}
	r.b = nil
}

func (r *reader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uint reads a big-endian number of n bytes.
func (r *reader) uint(n int) uint64 {
	v := uint64(0)
	for _, c := range r.take(uint64(n)) {
		v = v<<8 | uint64(c)
	}
	return v
}

// string reads a text, which has to be one: UTF-8 with printable characters.
func (r *reader) string(n uint64) {
	b := r.take(n)
	if !utf8.Valid(b) {
		r.fail()
		return
	}
	for _, c := range string(b) {
		if unicode.IsControl(c) && c != '\n' && c != '\r' && c != '\t' {
			r.fail()
			return
		}
	}
	r.rich = r.rich || n > 0
	r.p.quote(string(b))
}

// list reads n values, or with n < 0 as many as come before stop; pairs tells that they are keys with values.
func (r *reader) list(n int64, pairs bool, value func(*reader), stop byte) {
	open, end := byte('['), byte(']')
	if pairs {
		open, end = '{', '}'
	}
	r.p.byte(open)
	if r.depth++; r.depth > maxDepth || n > int64(len(r.b)) { // each takes a byte at least
		r.fail()
	}
	some := false
	for i := int64(0); r.err == nil && i != n; i++ {
		if n < 0 && len(r.b) > 0 && r.b[0] == stop {
			r.b = r.b[1:]
			break
		}
		if some {
			r.p.byte(',')
		}
		some = true
		r.p.line(r.depth)
		value(r)
		if pairs {
			r.p.text(": ")
			value(r)
		}
	}
	r.depth--
	if some {
		r.p.line(r.depth)
	}
	r.p.byte(end)
}

func (r *reader) float(f float64, bits int) {
	r.p.text(strconv.FormatFloat(f, 'g', -1, bits))
}

// cbor reads one data item of RFC 8949.
func (r *reader) cbor() {
	head := r.byte()
	major, low := head>>5, head&31
	if major == 7 {
		r.cborSimple(low)
		return
	}
	n, endless := uint64(low), false
	switch {
	case low >= 24 && low <= 27:
		n = r.uint(1 << (low - 24))
	case low == 31 && major >= 2 && major <= 5:
		endless = true
	case low > 27:
		r.fail()
	}
	if r.err != nil {
		return
	}
	count := int64(-1)
	if !endless {
		count = int64(min(n, math.MaxInt64))
	}
	switch major {
	case 0:
		r.p.text(strconv.FormatUint(n, 10))
	case 1:
		if n == math.MaxUint64 {
			r.p.text("-18446744073709551616")
			return
		}
		r.p.text("-" + strconv.FormatUint(n+1, 10))
	case 2, 3:
		switch {
		case endless:
			r.list(-1, false, (*reader).cbor, 0xff)
		case major == 2:
			r.p.bytes(r.take(n))
		default:
			r.string(n)
		}
	case 4:
		r.list(count, false, (*reader).cbor, 0xff)
	case 5:
		r.list(count, true, (*reader).cbor, 0xff)
	case 6:
		r.p.text(strconv.FormatUint(n, 10) + "(")
		if r.depth++; r.depth > maxDepth {
			r.fail()
			return
		}
		r.cbor()
		r.depth--
		r.p.byte(')')
	}
}

func (r *reader) cborSimple(low byte) {
	switch low {
	case 20:
		r.p.text("false")
	case 21:
		r.p.text("true")
	case 22:
		r.p.text("null")
	case 23:
		r.p.text("undefined")
	case 25:
		r.float(half(uint16(r.uint(2))), 32)
	case 26:
		r.float(float64(math.Float32frombits(uint32(r.uint(4)))), 32)
	case 27:
		r.float(math.Float64frombits(r.uint(8)), 64)
	default:
		r.fail()
	}
}

// half is the value of a number of 16 bits (RFC 8949, appendix D).
func half(h uint16) float64 {
	exp, mant := int(h>>10)&31, float64(h&1023)
	var v float64
	switch exp {
	case 0:
		v = math.Ldexp(mant, -24)
	case 31:
		if v = math.Inf(1); mant != 0 {
			v = math.NaN()
		}
	default:
		v = math.Ldexp(mant+1024, exp-25)
	}
	if h>>15 == 1 {
		return -v
	}
	return v
}

// msgpack reads one value of MessagePack.
func (r *reader) msgpack() {
	c := r.byte()
	if r.err != nil {
		return
	}
	value := (*reader).msgpack
	switch {
	case c <= 0x7f:
		r.p.text(strconv.Itoa(int(c)))
	case c <= 0x8f:
		r.list(int64(c&15), true, value, 0)
	case c <= 0x9f:
		r.list(int64(c&15), false, value, 0)
	case c <= 0xbf:
		r.string(uint64(c & 31))
	case c == 0xc0:
		r.p.text("null")
	case c == 0xc2:
		r.p.text("false")
	case c == 0xc3:
		r.p.text("true")
	case c >= 0xc4 && c <= 0xc6:
		r.p.bytes(r.take(r.uint(1 << (c - 0xc4))))
	case c >= 0xc7 && c <= 0xc9:
		r.extension(r.uint(1 << (c - 0xc7)))
	case c == 0xca:
		r.float(float64(math.Float32frombits(uint32(r.uint(4)))), 32)
	case c == 0xcb:
		r.float(math.Float64frombits(r.uint(8)), 64)
	case c >= 0xcc && c <= 0xcf:
		r.p.text(strconv.FormatUint(r.uint(1<<(c-0xcc)), 10))
	case c >= 0xd0 && c <= 0xd3:
		n := 1 << (c - 0xd0)
		r.p.text(strconv.FormatInt(int64(r.uint(n)<<(64-8*n))>>(64-8*n), 10))
	case c >= 0xd4 && c <= 0xd8:
		r.extension(1 << (c - 0xd4))
	case c >= 0xd9 && c <= 0xdb:
		r.string(r.uint(1 << (c - 0xd9)))
	case c == 0xdc, c == 0xdd:
		r.list(int64(r.uint(2<<(c-0xdc))), false, value, 0)
	case c == 0xde, c == 0xdf:
		r.list(int64(r.uint(2<<(c-0xde))), true, value, 0)
	case c >= 0xe0:
		r.p.text(strconv.Itoa(int(int8(c))))
	default:
		r.fail()
	}
}

func (r *reader) extension(n uint64) {
	kind := int8(r.byte())
	r.p.text("ext(" + strconv.Itoa(int(kind)) + ", ")
	r.p.bytes(r.take(n))
	r.p.byte(')')
}

// varint reads a number of protobuf.
func (r *reader) varint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}
