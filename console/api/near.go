package api

import (
	"cmp"
	"slices"
)

// nearest are at most three of the names that are much like a word, the likest first: by the pairs of letters that both have.
func nearest(word string, names []string) []string {
	type alike struct {
		name  string
		share float64 // 1 = all pairs
	}
	var all []alike
	for _, name := range names {
		left := pairsOf(name)
		shared := 0
		for pair, n := range pairsOf(word) {
			shared += min(n, left[pair])
		}
		if share := 2 * float64(shared) / float64(max(1, len(word)+len(name)-2)); share >= 0.5 {
			all = append(all, alike{name, share})
		}
	}
	slices.SortFunc(all, func(a, b alike) int { return cmp.Or(cmp.Compare(b.share, a.share), cmp.Compare(a.name, b.name)) })
	var near []string
	for _, a := range all[:min(3, len(all))] {
		near = append(near, a.name)
	}
	return near
}

func pairsOf(s string) map[string]int {
	m := map[string]int{}
	for i := 2; i <= len(s); i++ {
		m[s[i-2:i]]++
	}
	return m
}
