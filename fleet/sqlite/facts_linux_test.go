package sqlite

import (
	"context"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// spent is the CPU time of the process so far.
func spent() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFacts is what a fact costs: CPU to keep and to drop again, and room.
func BenchmarkFacts(b *testing.B) {
	const n = 300_000
	all := fleet(n)
	s := openFactsIn(b, b.TempDir())
	for b.Loop() {
		before, fill := spent(), time.Now()
		for part := range slices.Chunk(all, 200) { // as a fleet that tells a thousand a second
			if err := s.Append(context.Background(), part); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64((spent()-before).Nanoseconds())/float64(len(all))/1000, "µs-CPU/append")
		b.ReportMetric(float64(len(all))/time.Since(fill).Seconds(), "facts/s")
		z, err := s.Size(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(z.Bytes)/float64(len(all)), "B/fact")
		before = spent()
		for {
			n, err := s.Trim(context.Background(), 1<<62, 0, 1000)
			if err != nil {
				b.Fatal(err)
			}
			if n < 1000 {
				break
			}
		}
		b.ReportMetric(float64((spent()-before).Nanoseconds())/float64(len(all))/1000, "µs-CPU/trim")
	}
}
