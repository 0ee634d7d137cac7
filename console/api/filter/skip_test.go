package filter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestSkip skips into lists of every length, in every order: the page is what stands there in the sorted list.
func TestSkip(t *testing.T) {
	s := schema()
	for _, n := range []int{0, 1, 50, sampleSize - 1, 3 * sampleSize} {
		all := make([]thing, n)
		for i := range all {
			all[i] = thing{id: fmt.Sprintf("%05d", i), user: fmt.Sprint(i % 3), n: float64(i * 7919 % 101)}
		}
		for _, order := range []string{"", "user,-queue_bytes", "-age"} {
			o, err := s.order(order)
			if err != nil {
				t.Fatal(err)
			}
			sorted := slices.Clone(all)
			slices.SortFunc(sorted, func(a, b thing) int { return s.compare(o, &a, &b, new([]byte), new([]byte)) })
			for _, items := range [][]thing{sorted, shuffled(all)} {
				for _, skip := range []int{0, 1, n / 2, n - 7, n, MaxSkip} {
					if skip < 0 {
						continue
					}
					p, err := s.Page(items, Query{Sort: order, Skip: skip, Limit: 10}, now)
					if err != nil {
						t.Fatal(err)
					}
					want := sorted[min(skip, n):min(skip+10, n)]
					got := make([]thing, len(p.Items))
					for i, v := range p.Items {
						got[i] = *v
					}
					if !slices.EqualFunc(got, want, func(a, b thing) bool { return a.id == b.id }) || p.Matched != n || p.Total != n || (p.Next != "") != (skip+10 < n) {
						t.Fatalf("%d of %d by %q: %d items, %d matched, next %q", skip, n, order, len(got), p.Matched, p.Next)
					}
				}
			}
		}
	}
}

func shuffled(all []thing) []thing {
	all = slices.Clone(all)
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// A cursor goes on from where skip led to, and what passes the filter alone is counted.
func TestSkipAndGoOn(t *testing.T) {
	all := make([]thing, 3*sampleSize)
	for i := range all {
		all[i] = thing{id: fmt.Sprintf("%05d", i), on: i%2 == 0}
	}
	q := Query{Filter: "connected:true", Skip: sampleSize + 100, Limit: 3}
	for i := range 3 {
		p, err := schema().Page(shuffled(all), q, now)
		if err != nil || len(p.Items) != 3 || p.Items[0].id != fmt.Sprintf("%05d", 2*(sampleSize+100+3*i)) {
			t.Fatal(i, p, err)
		}
		q.Cursor, q.Skip = p.Next, 0
	}
}

func TestSkipRefused(t *testing.T) {
	all := []thing{{id: "a"}, {id: "b"}}
	p, err := schema().Page(all, Query{Limit: 1}, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []Query{{Skip: -1}, {Skip: MaxSkip + 1}, {Skip: 1, Cursor: p.Next}} {
		if _, err := schema().Page(all, q, now); err == nil || !strings.Contains(err.Error(), "skip") {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

func BenchmarkSkip(b *testing.B) {
	all := make([]thing, 100_000)
	for i := range all {
		all[i] = thing{id: fmt.Sprintf("client-%06d", i*7919%100_000), user: fmt.Sprint("user", i%100), n: float64(i * 7919 % 100_003)}
	}
	for _, order := range []string{"", "-queue_bytes", "-user"} {
		b.Run(order, func(b *testing.B) {
			for b.Loop() {
				if _, err := schema().Page(all, Query{Sort: order, Skip: len(all) / 2, Limit: 200}, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
