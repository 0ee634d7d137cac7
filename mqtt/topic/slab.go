package topic

import (
	"math/bits"
	"unsafe"
)

const (
	pageUnits  = 1024
	runClasses = 7                     // runs of 1, 2, 4 ... 64 units
	longestRun = 1 << (runClasses - 1) // units
)

// slab hands out runs of 1 to 64 units, rounded up to a power of two, which never move. A unit is `per` elements of T.
// Memory is taken in pages, so that growth copies nothing; freed runs are kept by size and used again; when all runs
// are free the pages but one are given back. Unit 0 always exists and is never handed out: the owner may use it as it
// likes, and 0 can mean "none". What alloc returns is not cleared.
type slab[T any] struct {
	per   int
	pages [][]T
	next  uint32 // the first unit that was never handed out
	live  uint32 // runs handed out
	free  [runClasses][]uint32
}

func newSlab[T any](per int) slab[T] {
	s := slab[T]{per: per}
	s.addPage()
	s.next = 1
	return s
}

func (s *slab[T]) addPage() { s.pages = append(s.pages, make([]T, pageUnits*s.per)) }

// runClass is the class of a run that has room for n units.
func runClass(n int) int { return bits.Len(uint(n - 1)) }

// alloc hands out a run with room for n <= longestRun units.
func (s *slab[T]) alloc(n int) uint32 {
	s.live++
	class := runClass(n)
	for c := class; c < runClasses; c++ {
		last := len(s.free[c]) - 1
		if last < 0 {
			continue
		}
		u := s.free[c][last]
		s.free[c] = s.free[c][:last]
		for c > class { // too long: give the second half back, until it fits
			c--
			s.free[c] = append(s.free[c], u+1<<c)
		}
		return u
	}
	size := uint32(1) << class
	end := uint32(len(s.pages)) * pageUnits
	if s.next+size > end {
		for s.next < end { // a run does not cross pages: the rest of this one serves shorter runs
			c := bits.Len32(end-s.next) - 1
			s.free[c] = append(s.free[c], s.next)
			s.next += 1 << c
		}
		s.addPage()
	}
	u := s.next
	s.next += size
	return u
}

// release takes back a run that was handed out for n units, or any number of the same class.
func (s *slab[T]) release(u uint32, n int) {
	if s.live--; s.live == 0 && len(s.pages) > 1 {
		clear(s.pages[1:])
		s.pages = s.pages[:1]
		s.next = 1
		s.free = [runClasses][]uint32{}
		return
	}
	c := runClass(n)
	s.free[c] = append(s.free[c], u)
}

// at returns the first element of unit u. The pointer stays good until u is released.
func (s *slab[T]) at(u uint32) *T {
	return &s.pages[u/pageUnits][int(u%pageUnits)*s.per]
}

// run returns n elements from the beginning of unit u; they must lie within its run.
func (s *slab[T]) run(u uint32, n int) []T {
	from := int(u%pageUnits) * s.per
	return s.pages[u/pageUnits][from : from+n : from+n]
}

func (s *slab[T]) bytes() int {
	var element T
	n := len(s.pages)*pageUnits*s.per*int(unsafe.Sizeof(element)) + cap(s.pages)*24
	for c := range s.free {
		n += cap(s.free[c]) * 4
	}
	return n
}
