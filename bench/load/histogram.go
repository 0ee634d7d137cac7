package load

import (
	"math/bits"
	"time"
)

// subBits is the number of bits a bucket keeps of a value: with 7 the error of a
// quantile stays below 1 in 128.
const subBits = 7

// Histogram counts durations in log-linear buckets (the HDR layout), from 1 ns to
// 292 years with an error below 0.8 %. The zero value is empty and ready. It is
// not safe for concurrent use.
type Histogram struct {
	buckets [(64 - subBits) << subBits]uint64
	count   uint64
	sum     uint64
	max     uint64
}

// Record counts one duration; a negative one counts as zero.
func (h *Histogram) Record(d time.Duration) {
	v := uint64(max(d, 0))
	h.buckets[bucketOf(v)]++
	h.count++
	h.sum += v
	h.max = max(h.max, v)
}

// Count is the number of durations recorded.
func (h *Histogram) Count() uint64 { return h.count }

// Max is the longest duration recorded, exactly.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max) }

// Mean is the mean duration, exactly; 0 when empty.
func (h *Histogram) Mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return time.Duration(h.sum / h.count)
}

// Quantile is the duration below or at which the share q (0 to 1) of all durations
// lies, rounded up to its bucket's end; 0 when empty.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.count))
	if rank >= h.count {
		return h.Max()
	}
	var seen uint64
	for i := range h.buckets {
		if seen += h.buckets[i]; seen > rank {
			return min(time.Duration(bucketEnd(i)), h.Max())
		}
	}
	return h.Max()
}

// Reset empties the histogram.
func (h *Histogram) Reset() { *h = Histogram{} }

func bucketOf(v uint64) int {
	shift := bits.Len64(v|1<<subBits) - subBits - 1
	return shift<<subBits + int(v>>shift)
}

// bucketEnd is the largest value of bucket i.
func bucketEnd(i int) uint64 {
	shift := max(i>>subBits-1, 0)
	return uint64(i-shift<<subBits+1)<<shift - 1
}
