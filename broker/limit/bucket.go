package limit

import (
	"sync/atomic"
	"time"
)

// bucket is a token bucket as one number, the time at which it is full again, so that any number of goroutines share
// one without a lock. Times are milliseconds of any clock that does not jump.
type bucket struct {
	each  float64 // how long one takes to flow in, ns
	burst int64   // ns
	full  atomic.Int64
}

// newBucket makes a full bucket, into which rate flows in a second and which holds what flows in burst, but one at least; nil
// for a rate of 0: no limit.
func newBucket(rate int64, burst time.Duration) *bucket {
	if rate <= 0 {
		return nil
	}
	return &bucket{each: float64(time.Second) / float64(rate), burst: max(burst.Nanoseconds(), time.Second.Nanoseconds()/rate)}
}

func (b *bucket) cost(n int64) int64 { return int64(float64(n) * b.each) }

// Wait is how long it takes until n can be taken, in ms, 0 = now. More than the bucket holds can be taken when it is full.
func (b *bucket) Wait(now, n int64) int64 {
	at := now * int64(time.Millisecond)
	missing := b.full.Load() - at
	if missing <= 0 {
		return 0
	}
	if cost := b.cost(n); cost < b.burst {
		missing += cost - b.burst
	}
	if missing <= 0 {
		return 0
	}
	return (missing + int64(time.Millisecond) - 1) / int64(time.Millisecond)
}

// Take takes n out, also if the bucket does not hold as much: then it takes longer until it does again.
func (b *bucket) Take(now, n int64) {
	at, cost := now*int64(time.Millisecond), b.cost(n)
	for {
		full := b.full.Load()
		if b.full.CompareAndSwap(full, max(full, at)+cost) {
			return
		}
	}
}

// idle tells that the bucket is full: forgetting it changes nothing.
func (b *bucket) idle(now int64) bool {
	return b == nil || b.full.Load() <= now*int64(time.Millisecond)
}
