package topic

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// million is how many subscriptions or names the benchmarks work on.
const million = 1_000_000

func benchName(i int) string {
	return fmt.Sprintf("site/%04d/device/%06d/temperature", i%1000, i)
}

// benchFilters are the mixes: a share of wildcard filters among a million.
var benchFilters = []struct {
	name   string
	filter func(i int) string
}{
	{"exact", benchName},
	{"mixed10", func(i int) string { // 10 % wildcards, about 3 hits per name
		switch {
		case i%10 != 0:
			return benchName(i)
		case i < 10_000:
			return fmt.Sprintf("site/%04d/#", i/10)
		case i < 20_000:
			return fmt.Sprintf("+/%04d/device/+/temperature", i/10-1000)
		case i%20 == 0:
			return fmt.Sprintf("site/+/device/%06d/temperature", i+1)
		}
		return fmt.Sprintf("site/%04d/device/%06d/#", (i+1)%1000, i+1)
	}},
	{"plus", func(i int) string { return fmt.Sprintf("site/+/device/%06d/temperature", i) }},
	{"hash", func(i int) string { return fmt.Sprintf("site/%04d/device/%06d/#", i%1000, i) }},
}

func liveHeap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func gcTime() time.Duration {
	start := time.Now()
	runtime.GC()
	return time.Since(start)
}

func fillIndex(filter func(int) string) *Index {
	x := NewIndex()
	for i := range million {
		x.Set(filter(i), Entry{ID: uint32(i)})
	}
	return x
}

// benchNames are random names over the whole set (cold) or over 5,000 of them (hot).
func benchNames(over int) [][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	names := make([][]byte, 1<<16)
	distinct := make(map[int][]byte)
	for i := range names {
		n := rng.IntN(over)
		if distinct[n] == nil {
			distinct[n] = []byte(benchName(n * (million / over)))
		}
		names[i] = distinct[n]
	}
	return names
}

// BenchmarkIndex matches against a million subscriptions. "gc-ms" is the wall time of a full collection.
func BenchmarkIndex(b *testing.B) {
	cold, hot := benchNames(million), benchNames(5000)
	for _, mix := range benchFilters {
		b.Run(mix.name, func(b *testing.B) {
			idleGC := gcTime()
			before := liveHeap()
			start := time.Now()
			x := fillIndex(mix.filter)
			insert := time.Since(start)
			heap := liveHeap() - before
			gc := gcTime()
			var dst []Entry
			hits := 0
			match := func(names [][]byte) func(b *testing.B) {
				return func(b *testing.B) {
					b.ReportAllocs()
					hits = 0
					for i := 0; b.Loop(); i++ {
						dst = x.Match(names[i&(1<<16-1)], dst[:0])
						hits += len(dst)
					}
					b.ReportMetric(float64(heap)/million, "heap-B/sub")
					b.ReportMetric(float64(x.Bytes())/million, "B/sub")
					b.ReportMetric(float64(gc-idleGC)/1e6, "gc-ms")
					b.ReportMetric(float64(insert)/million, "insert-ns")
					b.ReportMetric(float64(hits)/float64(b.N), "hits")
				}
			}
			b.Run("cold", match(cold))
			b.Run("hot", match(hot))
			cached := func(b *testing.B) {
				c := NewCache(x, 16384)
				for i := 0; b.Loop(); i++ {
					c.Match(hot[i&(1<<16-1)])
				}
			}
			b.Run("cached", cached)
			for _, rate := range []int{10_000, 100_000} {
				b.Run(fmt.Sprintf("cold/churn%dk", rate/1000), func(b *testing.B) {
					defer churn(x, mix.filter, rate)()
					for i := 0; b.Loop(); i++ {
						dst = x.Match(cold[i&(1<<16-1)], dst[:0])
					}
				})
				b.Run(fmt.Sprintf("cached/churn%dk", rate/1000), func(b *testing.B) {
					defer churn(x, mix.filter, rate)()
					cached(b)
				})
			}
		})
	}
}

// churn unsubscribes and subscribes again, rate pairs a second, in bursts of a millisecond, until it is stopped.
func churn(x *Index, filter func(int) string, rate int) (stop func()) {
	var off atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		rng := rand.New(rand.NewPCG(3, 4))
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for !off.Load() {
			<-tick.C
			for range rate / 1000 {
				i := rng.IntN(million)
				f := filter(i)
				x.Delete(f, uint32(i))
				x.Set(f, Entry{ID: uint32(i)})
			}
		}
	}()
	return func() { off.Store(true); <-ended }
}

// BenchmarkChurn is one unsubscribe and subscribe of a random filter of a million.
func BenchmarkChurn(b *testing.B) {
	for _, mix := range benchFilters {
		b.Run(mix.name, func(b *testing.B) {
			x := fillIndex(mix.filter)
			filters := make([]string, 1<<16)
			rng := rand.New(rand.NewPCG(5, 6))
			ids := make([]uint32, len(filters))
			for i := range filters {
				ids[i] = uint32(rng.IntN(million))
				filters[i] = mix.filter(int(ids[i]))
			}
			before := x.Bytes()
			worst := time.Duration(0)
			for i := 0; b.Loop(); i++ {
				f, id := filters[i&(1<<16-1)], ids[i&(1<<16-1)]
				start := time.Now()
				x.Delete(f, id)
				x.Set(f, Entry{ID: id})
				worst = max(worst, time.Since(start))
			}
			b.ReportMetric(float64(x.Bytes()-before)/million, "growth-B/sub")
			b.ReportMetric(float64(worst)/1e3, "worst-µs")
		})
	}
}

// BenchmarkFanOut matches a filter of 10,000 entries.
func BenchmarkFanOut(b *testing.B) {
	x := NewIndex()
	for i := range 10_000 {
		x.Set("a/b", Entry{ID: uint32(i)})
	}
	var dst []Entry
	for b.Loop() {
		dst = x.Match([]byte("a/b"), dst[:0])
	}
}

// BenchmarkRetained works on a million names; V is a pointer, as in the broker.
func BenchmarkRetained(b *testing.B) {
	names := benchNames(million)
	all := make([]string, million)
	for i := range all {
		all[i] = benchName(i)
	}
	v := new(int)
	idleGC := gcTime()
	before := liveHeap()
	tree := NewRetained[*int]()
	start := time.Now()
	for _, name := range all {
		tree.Set(name, v)
	}
	insert := time.Since(start)
	heap := liveHeap() - before
	gc := gcTime()
	b.Run("get", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			tree.Get(names[i&(1<<16-1)])
		}
		b.ReportMetric(float64(heap)/million, "heap-B/topic")
		b.ReportMetric(float64(tree.Bytes())/million, "B/topic")
		b.ReportMetric(float64(insert)/million, "insert-ns")
		b.ReportMetric(float64(gc-idleGC)/1e6, "gc-ms")
	})
	b.Run("replace", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			tree.Set(all[i*7919%million], v)
		}
	})
	b.Run("churn", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			name := all[i*7919%million]
			tree.Delete([]byte(name))
			tree.Set(name, v)
		}
	})
	for _, filter := range []string{"#", "site/+/device/+/temperature", "site/0007/#"} {
		b.Run("scan/"+filter, func(b *testing.B) {
			visits := 0
			for b.Loop() {
				for c := tree.Scan(filter); !c.Next(1000, func(string, *int) bool { visits++; return true }); {
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(visits), "ns/match")
		})
	}
}

// BenchmarkMassLeave is 10,000 subscriptions of one filter and their end (F102).
func BenchmarkMassLeave(b *testing.B) {
	for _, filter := range []string{"a/b", "a/+"} {
		b.Run(filter, func(b *testing.B) {
			x := NewIndex()
			for b.Loop() {
				for id := range uint32(10_000) {
					x.Set(filter, Entry{ID: id})
				}
				for id := range uint32(10_000) {
					x.Delete(filter, id)
				}
			}
		})
	}
}
