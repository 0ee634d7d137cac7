package loop

import (
	"testing"
	"time"
)

func TestDelays(t *testing.T) {
	for i := range delayBuckets {
		if got := delayBucket(DelayBound(i)); got != i {
			t.Errorf("the bound %v of bucket %d is in bucket %d", DelayBound(i), i, got)
		}
		if got := delayBucket(DelayBound(i+1) - 1); got != i {
			t.Errorf("what is just below %v is in bucket %d instead of %d", DelayBound(i+1), got, i)
		}
	}
	if DelayBound(delayBuckets) < time.Minute || delayBucket(time.Hour) != delayBuckets-1 || delayBucket(-1) != 0 {
		t.Errorf("the last bound is %v", DelayBound(delayBuckets))
	}
	var d Delays
	if d.Quantile(0.99) != 0 {
		t.Error("no turns, but a quantile")
	}
	for ms := 1; ms <= 1000; ms++ {
		d.add(time.Duration(ms) * time.Millisecond)
	}
	near := func(q float64, want time.Duration) {
		t.Helper()
		if got := d.Quantile(q); got < want*7/8 || got > want*9/8 {
			t.Errorf("quantile %v is %v, want about %v", q, got, want)
		}
	}
	near(0.5, 500*time.Millisecond)
	near(0.99, 990*time.Millisecond)
	before := d
	d.add(time.Second)
	d.Sub(&before)
	if d.Count() != 1 || d.Sum != time.Second {
		t.Errorf("%d turns of %v", d.Count(), d.Sum)
	}
	near(0.5, time.Second)
	d.Add(&before)
	if d.Count() != 1001 {
		t.Errorf("%d turns", d.Count())
	}
}
