package record

import (
	"encoding/binary"
	"math"
)

// Reader takes apart what Append and its like put together. After the first thing that is not there
// everything is zero, and OK is false for good. What it gives points into its input.
type Reader struct {
	rest []byte
	bad  bool
}

// NewReader returns a reader of b.
func NewReader(b []byte) Reader { return Reader{rest: b} }

// OK tells that all that was asked for was there.
func (r *Reader) OK() bool { return !r.bad }

// Len is how many bytes are left.
func (r *Reader) Len() int { return len(r.rest) }

// Fail notes that something does not make sense.
func (r *Reader) Fail() { r.rest, r.bad = nil, true }

// End is nil when everything was there and nothing is left, else ErrMalformed.
func (r *Reader) End() error {
	if r.bad || len(r.rest) > 0 {
		return ErrMalformed
	}
	return nil
}

// Byte reads a byte.
func (r *Reader) Byte() byte {
	if len(r.rest) == 0 {
		r.Fail()
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// Uvarint reads a number as of binary.AppendUvarint.
func (r *Reader) Uvarint() uint64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 {
		v := r.rest[0]
		r.rest = r.rest[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Uint32 reads a number as Uvarint does, that fits 32 bits.
func (r *Reader) Uint32() uint32 {
	v := r.Uvarint()
	if v > math.MaxUint32 {
		r.Fail()
		return 0
	}
	return uint32(v)
}

// Varint reads a number as of binary.AppendVarint.
func (r *Reader) Varint() int64 { return int64(unzigzag(r.Uvarint())) }

// Take reads n bytes.
func (r *Reader) Take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.Fail()
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// Bytes reads what AppendString wrote.
func (r *Reader) Bytes() []byte { return r.Take(r.Uvarint()) }
