package loop

import (
	"math"
	"math/bits"
	"time"
)

// delayBuckets is four for each doubling, from 1 µs to more than a minute.
const delayBuckets = 4 * 27

// Delays counts the turns of a loop by how long they took, which is the longest that what happens meanwhile waits for its loop. A quantile
// of it is exact to an eighth. The zero value is empty; the difference of two is that of the time between them.
type Delays struct {
	Buckets [delayBuckets]uint64
	Sum     time.Duration
}

func (d *Delays) add(took time.Duration) {
	d.Sum += took
	d.Buckets[delayBucket(took)]++
}

// delayBucket is where a duration counts: by its two bits behind the first one.
func delayBucket(took time.Duration) int {
	n := uint64(max(took, 0)) >> 8 // 1,024 ns is 4: the first with two bits behind it
	if n < 4 {
		return 0
	}
	exponent := bits.Len64(n) - 3
	return min(exponent*4+int(n>>exponent&3), delayBuckets-1)
}

// DelayBound is the duration from which turns are in bucket i.
func DelayBound(i int) time.Duration {
	if i == 0 {
		return 0
	}
	return time.Duration(uint64(4+i%4)<<(i/4)) << 8
}

// Sub takes away what there was before.
func (d *Delays) Sub(before *Delays) {
	d.Sum -= before.Sum
	for i := range d.Buckets {
		d.Buckets[i] -= before.Buckets[i]
	}
}

// Add adds the turns of another loop.
func (d *Delays) Add(o *Delays) {
	d.Sum += o.Sum
	for i, n := range o.Buckets {
		d.Buckets[i] += n
	}
}

// Count is the number of turns.
func (d *Delays) Count() (n uint64) {
	for _, b := range d.Buckets {
		n += b
	}
	return n
}

// Quantile is how long the part q (0 to 1) of all turns took at most, to an eighth; 0 without turns.
func (d *Delays) Quantile(q float64) time.Duration {
	total := d.Count()
	if total == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(total))), 1)
	for i, n := range d.Buckets {
		if rank <= n {
			low := DelayBound(i)
			return low + (DelayBound(i+1)-low)/2
		}
		rank -= n
	}
	return DelayBound(delayBuckets)
}

// Delays are the turns since the start, by how long they took. For the loop's goroutine only.
func (l *Loop) Delays() *Delays { return &l.delays }
