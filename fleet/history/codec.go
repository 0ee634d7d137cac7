package history

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/bits"
)

// A file is a header and frames: length and CRC-32C of what follows, four bytes each, then that. What follows begins with its kind.
const (
	frameNames = 1 // series that come into being: they get the next numbers of the file
	frameRow   = 2 // one step's values
)

const (
	magic     = "sapwood history 1\n"
	frameHead = 8
	maxFrame  = 1 << 20
)

// The forms of a run of series in a row.
const (
	runAbsent = iota
	runSame   // as in the row before
	runSingle // lowest, mean and highest are one value
	runTriple
)

var (
	errTorn    = errors.New("a frame is cut off")
	errDamaged = errors.New("a frame is damaged")
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// triple is what is kept of one series in one step: of a counter only its last value, three times.
type triple struct{ mean, low, high float64 }

// frame appends a payload, framed.
func frame(dst, payload []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(payload, castagnoli()))
	return append(dst, payload...)
}

// unframe takes the first frame off b. errTorn says that b ends within it, io.EOF semantics are its caller's: b must not be empty.
func unframe(b []byte) (payload, rest []byte, err error) {
	if len(b) < frameHead {
		return nil, nil, errTorn
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > maxFrame {
		return nil, nil, errDamaged
	}
	if uint32(len(b)-frameHead) < n {
		return nil, nil, errTorn
	}
	payload = b[frameHead : frameHead+n]
	if crc32.Checksum(payload, castagnoli()) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, nil, errDamaged
	}
	return payload, b[frameHead+n:], nil
}

// round makes what is no whole number shorter: to the 24 bits of a float32.
func round(v float64) float64 {
	if whole(v) || math.Abs(v) > math.MaxFloat32 {
		return v
	}
	return float64(float32(v))
}

func whole(v float64) bool { return v == math.Trunc(v) && math.Abs(v) < 1<<52 }

// appendValue writes v by what it differs in from the value before.
func appendValue(dst []byte, v, before float64) []byte {
	if whole(v) && whole(before) {
		d := int64(v) - int64(before)
		return binary.AppendUvarint(dst, uint64(d<<1^d>>63)<<1)
	}
	dst = append(dst, 1)
	return binary.AppendUvarint(dst, bits.ReverseBytes64(math.Float64bits(v)^math.Float64bits(before)))
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// reader takes numbers off a payload.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) value(before float64) float64 {
	u := r.uvarint()
	if u == 1 {
		return math.Float64frombits(math.Float64bits(before) ^ bits.ReverseBytes64(r.uvarint()))
	}
	u >>= 1
	return float64(int64(before) + (int64(u>>1) ^ -int64(u&1)))
}

func (r *reader) text() string { return string(r.view()) }

// view is text without a copy.
func (r *reader) view() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

// triple reads what differs from t.
func (r *reader) triple(form int, t *triple) {
	switch form {
	case runSingle:
		v := r.value(t.mean)
		*t = triple{v, v, v}
	case runTriple:
		*t = triple{r.value(t.mean), r.value(t.low), r.value(t.high)}
	}
}

// skip passes over what triple would read.
func (r *reader) skip(form int) {
	values := 0
	switch form {
	case runSingle:
		values = 1
	case runTriple:
		values = 3
	}
	for i := 0; values > 0; values-- {
		numbers := 1
		if i < len(r.b) && r.b[i] == 1 { // no whole number: what it differs in follows
			numbers = 2
		}
		for ; numbers > 0; numbers-- {
			for i < len(r.b) && r.b[i] >= 0x80 {
				i++
			}
			i++
		}
		if i > len(r.b) {
			r.bad, r.b = true, nil
			return
		}
		r.b = r.b[i:]
		i = 0
	}
}

// row is the encoder of one: values come in the order of the file's numbers.
type row struct {
	b     []byte
	run   []byte // the values of the run that is being made
	form  int
	count uint64
}

func (w *row) begin(buf []byte, step int64) {
	w.b = binary.AppendUvarint(append(buf[:0], frameRow), uint64(step))
	w.run, w.form, w.count = w.run[:0], runAbsent, 0
}

// add takes the next series; now is nil where it has no value.
func (w *row) add(now *triple, before triple) {
	form := runTriple
	switch {
	case now == nil:
		form = runAbsent
	case *now == before:
		form = runSame
	case now.low == now.mean && now.high == now.mean:
		form = runSingle
	}
	if form != w.form {
		w.flush()
		w.form = form
	}
	w.count++
	switch form {
	case runSingle:
		w.run = appendValue(w.run, now.mean, before.mean)
	case runTriple:
		w.run = appendValue(w.run, now.mean, before.mean)
		w.run = appendValue(w.run, now.low, before.low)
		w.run = appendValue(w.run, now.high, before.high)
	}
}

func (w *row) flush() {
	if w.count > 0 {
		w.b = binary.AppendUvarint(w.b, w.count<<2|uint64(w.form))
		w.b = append(w.b, w.run...)
	}
	w.run, w.count = w.run[:0], 0
}

// end returns the payload.
func (w *row) end() []byte {
	if w.form != runAbsent {
		w.flush()
	}
	return w.b
}

// decodeRow reads the rest of a row into last, which has the values of the row before, and calls each for every series that
// has a value. What has no number in ids is passed over. It tells whether the row made sense.
func decodeRow(r *reader, last []triple, ids []int, each func(local int)) bool {
	at := 0
	for len(r.b) > 0 {
		u := r.uvarint()
		n, form := u>>2, int(u&3)
		if n > uint64(len(last)-at) {
			return false
		}
		for range n {
			if ids[at] < 0 {
				r.skip(form)
			} else {
				r.triple(form, &last[at])
			}
			if r.bad {
				return false
			}
			if form != runAbsent && ids[at] >= 0 {
				each(at)
			}
			at++
		}
	}
	return !r.bad
}
