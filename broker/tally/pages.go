package tally

import (
	"bytes"
	"cmp"
	"container/heap"
	"slices"
)

// Order is by what topics are sorted.
type Order uint8

// The orders. All but ByName begin with the greatest.
const (
	ByName Order = iota
	MostMessages
	MostBytes
	MostCopies
	MostDropped
	MostDenied
	MostUnheard
	HighestRate
	Largest
	Latest
	MostTopics
)

// Query asks a View for topics.
type Query struct {
	Branch  Topic                  // below it, 0 = anywhere
	Flat    bool                   // all names below; else the levels right below, each with what is below it
	Word    []byte                 // the name has it; nil = any
	Accept  func(Topic, *Sum) bool // nil = all; not with the name: that costs
	Order   Order
	Reverse bool
	After   int // how many to pass over
	Limit   int // 0 = 100
}

// Found is one topic or branch of an answer.
type Found struct {
	Topic    Topic
	Sum      Sum
	Children int // levels right below it, of a branch
}

// Select answers a query: what was found, and how many match in all. Branches are those of View.Branches; they are looked at
// unless q.Flat. It takes some milliseconds per million topics, without a name.
func (v *View) Select(branches []Sum, q *Query) (list []Found, matched int) {
	limit := q.Limit
	if limit <= 0 {
		limit = 100
	}
	within := q.Branch
	if within == 0 {
		within = Root
	}
	sums := branches
	var inside []bool
	if q.Flat {
		sums = v.Own
		if within != Root {
			inside = make([]bool, len(sums))
		}
	}
	best := &worst{v: v, q: q}
	var name []byte
	for t := Root + 1; int(t) < len(sums); t++ {
		p := v.Names.Parent(t)
		if inside != nil {
			inside[t] = p == within || inside[p]
		}
		s := &sums[t]
		switch {
		case !q.Flat && p != within, inside != nil && !inside[t], s.Messages == 0 && s.Denied == 0 && s.Refused == 0 && s.Dropped == 0:
			continue
		case q.Accept != nil && !q.Accept(t, s):
			continue
		}
		if q.Word != nil {
			name = v.Names.Append(name[:0], t)
			if !bytes.Contains(name, q.Word) {
				continue
			}
		}
		matched++
		best.offer(Found{Topic: t, Sum: *s}, q.After+limit)
	}
	list = best.found
	slices.SortFunc(list, best.compare)
	list = list[min(q.After, len(list)):]
	v.count(list)
	return list, matched
}

// count fills in how many levels stand right below what was found.
func (v *View) count(list []Found) {
	at := make(map[Topic]int, len(list))
	for i := range list {
		at[list[i].Topic] = i
	}
	for t := Root + 1; int(t) < len(v.Own); t++ {
		if i, ok := at[v.Names.Parent(t)]; ok {
			list[i].Children++
		}
	}
}

// worst keeps the best of what it is offered, as a heap with the worst first.
type worst struct {
	v     *View
	q     *Query
	found []Found
}

// compare is negative if a comes before b.
func (w *worst) compare(a, b Found) int {
	n := 0
	x, y := &a.Sum, &b.Sum
	switch w.q.Order {
	case ByName:
		n = w.byName(a.Topic, b.Topic)
	case MostMessages:
		n = cmp.Compare(y.Messages, x.Messages)
	case MostBytes:
		n = cmp.Compare(y.Bytes, x.Bytes)
	case MostCopies:
		n = cmp.Compare(y.Copies, x.Copies)
	case MostDropped:
		n = cmp.Compare(y.Dropped, x.Dropped)
	case MostDenied:
		n = cmp.Compare(y.Denied, x.Denied)
	case MostUnheard:
		n = cmp.Compare(y.Unheard, x.Unheard)
	case HighestRate:
		n = cmp.Compare(y.Rates.Now, x.Rates.Now)
	case Largest:
		n = cmp.Compare(y.Largest, x.Largest)
	case Latest:
		n = cmp.Compare(y.Last, x.Last)
	case MostTopics:
		n = cmp.Compare(y.Topics, x.Topics)
	}
	if w.q.Reverse {
		n = -n
	}
	return cmp.Or(n, cmp.Compare(a.Topic, b.Topic))
}

func (w *worst) byName(a, b Topic) int {
	if a == b {
		return 0
	}
	if w.v.Names.Parent(a) == w.v.Names.Parent(b) {
		return bytes.Compare(w.v.Names.Level(a), w.v.Names.Level(b))
	}
	var x, y [256]byte
	return bytes.Compare(w.v.Names.Append(x[:0], a), w.v.Names.Append(y[:0], b))
}

func (w *worst) offer(f Found, most int) {
	if len(w.found) < most {
		heap.Push(w, f)
		return
	}
	if w.compare(f, w.found[0]) < 0 {
		w.found[0] = f
		heap.Fix(w, 0)
	}
}

// Len implements heap.Interface.
func (w *worst) Len() int { return len(w.found) }

// Less implements heap.Interface.
func (w *worst) Less(i, j int) bool { return w.compare(w.found[i], w.found[j]) > 0 }

// Swap implements heap.Interface.
func (w *worst) Swap(i, j int) { w.found[i], w.found[j] = w.found[j], w.found[i] }

// Push implements heap.Interface.
func (w *worst) Push(x any) { w.found = append(w.found, x.(Found)) }

// Pop implements heap.Interface.
func (w *worst) Pop() any {
	last := w.found[len(w.found)-1]
	w.found = w.found[:len(w.found)-1]
	return last
}
