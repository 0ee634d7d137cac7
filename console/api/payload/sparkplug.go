package payload

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"
)

// The wire types of protobuf.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

// field reads one field of protobuf: its number, its kind, and its value as a number or as bytes.
func (r *reader) field() (number uint64, kind byte, n uint64, b []byte) {
	tag := r.varint()
	number, kind = tag>>3, byte(tag&7)
	switch kind {
	case wireVarint:
		n = r.varint()
	case wire64:
		if b := r.take(8); b != nil {
			n = binary.LittleEndian.Uint64(b)
		}
	case wire32:
		if b := r.take(4); b != nil {
			n = uint64(binary.LittleEndian.Uint32(b))
		}
	case wireBytes:
		b = r.take(r.varint())
	default:
		r.fail()
	}
	return number, kind, n, b
}

// is makes sure that a field is of its kind.
func (r *reader) is(kind, want byte) bool {
	if kind != want {
		r.fail()
	}
	return r.err == nil
}

// sparkplug reads a payload of Sparkplug B (sparkplug_b.proto: Payload).
func sparkplug(b []byte, most int) (text string, cut, ok bool) {
	r := reader{b: b, p: printer{most: most}}
	r.p.byte('{')
	metrics, some := false, false
	for r.err == nil && len(r.b) > 0 {
		number, kind, n, v := r.field()
		if r.err != nil {
			break
		}
		if metrics && number != 2 { // they follow each other
			r.p.text("\n  ]")
			metrics = false
		}
		if some && (number != 2 || !metrics) {
			r.p.byte(',')
		}
		switch number {
		case 1:
			if r.is(kind, wireVarint) {
				r.p.text("\n  \"timestamp\": " + clock(n))
			}
		case 2:
			if !r.is(kind, wireBytes) {
				break
			}
			if !metrics {
				r.p.text("\n  \"metrics\": [")
				metrics = true
			} else {
				r.p.byte(',')
			}
			r.metric(v)
		case 3:
			if r.is(kind, wireVarint) {
				r.p.text("\n  \"seq\": " + strconv.FormatUint(n, 10))
			}
		case 4:
			if r.is(kind, wireBytes) {
				r.p.text("\n  \"uuid\": ")
				r.p.quote(string(v))
			}
		case 5:
			if r.is(kind, wireBytes) {
				r.p.text("\n  \"body\": ")
				r.p.bytes(v)
			}
		default:
			r.fail()
		}
		some = true
	}
	if metrics {
		r.p.text("\n  ]")
	}
	r.p.text("\n}")
	if r.err != nil || !some {
		return "", false, false
	}
	text, cut = r.p.result()
	return text, cut, true
}

// clock is a time in milliseconds as Sparkplug has it, for people.
func clock(ms uint64) string {
	return strconv.Quote(time.UnixMilli(int64(min(ms, math.MaxInt64))).UTC().Format("2006-01-02T15:04:05.000Z"))
}

// metric reads one metric and writes it in one line.
func (r *reader) metric(b []byte) {
	m := reader{b: b, p: printer{most: r.p.most}}
	sep, datatype := "{", uint64(0)
	name := func(s string) { m.p.text(sep + "\"" + s + "\": "); sep = ", " }
	for m.err == nil && len(m.b) > 0 {
		number, kind, n, v := m.field()
		if m.err != nil {
			break
		}
		switch {
		case number == 1 && m.is(kind, wireBytes):
			name("name")
			m.p.quote(string(v))
		case number == 2 && m.is(kind, wireVarint):
			name("alias")
			m.p.text(strconv.FormatUint(n, 10))
		case number == 3 && m.is(kind, wireVarint):
			name("timestamp")
			m.p.text(clock(n))
		case number == 4 && m.is(kind, wireVarint):
			datatype = n
			name("datatype")
			m.p.text(strconv.Quote(typeName(n)))
		case number >= 5 && number <= 7 && m.is(kind, wireVarint):
			name([]string{"historical", "transient", "null"}[number-5])
			m.p.text(strconv.FormatBool(n != 0))
		case number >= 10 && number <= 16:
			name("value")
			m.value(number, kind, n, v, datatype)
		case (number == 8 || number == 9 || number >= 17 && number <= 19) && m.is(kind, wireBytes):
			name(map[uint64]string{8: "metadata", 9: "properties", 17: "dataset", 18: "template", 19: "extension"}[number])
			m.p.bytes(v)
		default:
			m.fail()
		}
	}
	if m.err != nil {
		r.fail()
		return
	}
	if sep == "{" {
		m.p.byte('{')
	}
	m.p.byte('}')
	text, cut := m.p.result()
	r.p.text("\n    " + text)
	r.p.full = r.p.full || cut
}

// value writes the value of a metric; signed types come as two's complement of 32 or 64 bits.
func (r *reader) value(number uint64, kind byte, n uint64, b []byte, datatype uint64) {
	want := map[uint64]byte{10: wireVarint, 11: wireVarint, 12: wire32, 13: wire64, 14: wireVarint, 15: wireBytes, 16: wireBytes}[number]
	if !r.is(kind, want) {
		return
	}
	switch number {
	case 10:
		if datatype >= 1 && datatype <= 3 {
			r.p.text(strconv.FormatInt(int64(int32(uint32(n))), 10))
			return
		}
		r.p.text(strconv.FormatUint(n, 10))
	case 11:
		switch datatype {
		case 4:
			r.p.text(strconv.FormatInt(int64(n), 10))
		case 13:
			r.p.text(clock(n))
		default:
			r.p.text(strconv.FormatUint(n, 10))
		}
	case 12:
		r.float(float64(math.Float32frombits(uint32(n))), 32)
	case 13:
		r.float(math.Float64frombits(n), 64)
	case 14:
		r.p.text(strconv.FormatBool(n != 0))
	case 15:
		r.p.quote(string(b))
	case 16:
		r.p.bytes(b)
	}
}

// typeName names a data type of Sparkplug B.
func typeName(n uint64) string {
	names := [...]string{
		"Unknown", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float", "Double", "Boolean", "String", "DateTime",
		"Text", "UUID", "DataSet", "Bytes", "File", "Template",
	}
	if n < uint64(len(names)) {
		return names[n]
	}
	return strconv.FormatUint(n, 10)
}
