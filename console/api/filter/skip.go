package filter

import (
	"iter"
	"math/rand/v2"
	"slices"
)

const (
	// sampleSize is how many items a long list is estimated by: 32 KiB of them.
	sampleSize = 4096
	// sampleError is four times as far as the number of an item in the sample strays from what it is expected to be.
	sampleError = 128
)

// filtered are the items that pass.
func filtered[T any](items iter.Seq[*T], match Match[T]) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for v := range items {
			if match(v) && !yield(v) {
				return
			}
		}
	}
}

// nearly finds a place in an order with at most skip items up to it, most often less than sampleError in sampleSize of all items before it would be skip;
// and how many those are. To skip into the middle of a long list then takes neither its sorting nor memory for all of it.
func (s *Schema[T]) nearly(order []sorting[T], items iter.Seq[*T], skip int) (*place, int) {
	if skip < sampleSize {
		return nil, 0
	}
	sample, n := make([]*T, 0, sampleSize), 0
	for v := range items {
		if n++; n <= sampleSize {
			sample = append(sample, v)
		} else if i := rand.IntN(n); i < sampleSize {
			sample[i] = v
		}
	}
	var a, b []byte
	slices.SortFunc(sample, func(v, w *T) int { return s.compare(order, v, w, &a, &b) })
	for stray := sampleError; n > 0; stray *= 2 {
		i := min(skip, n)*len(sample)/n - stray
		if i < 0 {
			break
		}
		p, before := s.placeOf(order, sample[i]), 0
		for v := range items {
			if s.against(order, v, &p, &a) <= 0 {
				before++
			}
		}
		if before <= skip {
			return &p, before
		}
	}
	return nil, 0
}
