package tally

import (
	"cmp"
	"container/heap"
	"slices"
)

// Weight is by what a topic is heavy.
type Weight uint8

// The weights.
const (
	ByMessages Weight = iota
	ByBytes
	ByCopies
	ByDrops
	Weights
)

// sketchSize is how many names one loop's sketch holds. What it says of a name is too much by at most the weight of
// all it was told divided by this, and every name that weighs more than that is in it (Metwally, Agrawal, El Abbadi:
// Efficient Computation of Frequent and Top-k Elements in Data Streams, "space saving").
const sketchSize = 1024

// sketch finds the heaviest of any number of names in fixed memory. The zero sketch is ready.
type sketch struct {
	by   map[string]*heavy
	heap lightest
}

type heavy struct {
	name   string
	weight uint64
	error  uint64 // of weight, at most
	at     int
}

func (s *sketch) add(name []byte, weight uint64) {
	if weight == 0 {
		return
	}
	if h := s.by[string(name)]; h != nil {
		h.weight += weight
		heap.Fix(&s.heap, h.at)
		return
	}
	if len(s.heap) < sketchSize {
		s.put(Heavy{string(name), weight, 0})
		return
	}
	h := s.heap[0] // the lightest makes room, and leaves its weight as the error
	delete(s.by, h.name)
	h.name, h.error = string(name), h.weight
	h.weight += weight
	s.by[h.name] = h
	heap.Fix(&s.heap, 0)
}

// put adds a name that the sketch does not have, and has room for.
func (s *sketch) put(x Heavy) {
	if s.by == nil {
		s.by = make(map[string]*heavy)
	}
	h := &heavy{name: x.Name, weight: x.Weight, error: x.Error}
	s.by[h.name] = h
	heap.Push(&s.heap, h)
}

// Heavy is a topic name found by a sketch.
type Heavy struct {
	Name   string
	Weight uint64 // at least that less Error, at most that
	Error  uint64
}

// Heavy returns the heaviest names among those that have no number of their own.
func (t *Topics) Heavy(by Weight) []Heavy {
	list := make([]Heavy, 0, len(t.heavy[by].heap))
	for _, h := range t.heavy[by].heap {
		list = append(list, Heavy{h.name, h.weight, h.error})
	}
	return list
}

// Heaviest merges what several loops found, the heaviest first. A name that a full sketch does not have may weigh there as much
// as its lightest: that much is added to the error. misses is how heavy a name may be that no list has.
func Heaviest(lists [][]Heavy) (all []Heavy, misses uint64) {
	at := make(map[string]int)
	seen := make(map[string]uint64) // the sum of the lightest of the lists that have the name
	lightestOf := func(l []Heavy) uint64 {
		if len(l) < sketchSize {
			return 0
		}
		return slices.MinFunc(l, func(a, b Heavy) int { return cmp.Compare(a.Weight, b.Weight) }).Weight
	}
	total := uint64(0)
	for _, list := range lists {
		light := lightestOf(list)
		total += light
		for _, h := range list {
			i, ok := at[h.Name]
			if !ok {
				i = len(all)
				at[h.Name] = i
				all = append(all, Heavy{Name: h.Name})
			}
			all[i].Weight += h.Weight
			all[i].Error += h.Error
			seen[h.Name] += light
		}
	}
	for i := range all {
		missing := total - seen[all[i].Name]
		all[i].Weight += missing
		all[i].Error += missing
	}
	slices.SortFunc(all, func(a, b Heavy) int { return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Name, b.Name)) })
	return all, total
}

// lightest is a heap of names, the lightest first.
type lightest []*heavy

func (l lightest) Len() int           { return len(l) }
func (l lightest) Less(i, j int) bool { return l[i].weight < l[j].weight }
func (l lightest) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].at, l[j].at = i, j
}

func (l *lightest) Push(x any) {
	h := x.(*heavy)
	h.at = len(*l)
	*l = append(*l, h)
}

func (l *lightest) Pop() any {
	old := *l
	h := old[len(old)-1]
	*l = old[:len(old)-1]
	return h
}
