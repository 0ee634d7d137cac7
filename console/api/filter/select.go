package filter

import (
	"cmp"
	"slices"
	"strings"
	"unsafe"
)

// selection finds the first items behind a place in an order: it gathers twice as many as are wanted, sorts them and keeps the first half. Of an item
// that is not among the first it reads, as a rule, one field.
type selection[T any] struct {
	s     *Schema[T]
	order []sorting[T]
	limit int
	after *place // nil = from the beginning
	more  bool   // there are others behind them

	items []chosen[T]
	worst *place // what is not before it is not among the first
	a, b  []byte // texts that are compared
}

// chosen is an item, with its value of the field that is sorted by first.
type chosen[T any] struct {
	v      *T
	number float64
	text   string // in place where it had to be put together
	place  []byte // goes on to the next item here when this one is not among the first
}

// offer takes an item, unless it is not among the first.
func (x *selection[T]) offer(v *T) {
	if x.after != nil && x.s.against(x.order, v, x.after, &x.b) <= 0 {
		return
	}
	if x.worst != nil && x.s.against(x.order, v, x.worst, &x.b) >= 0 {
		x.more = true
		return
	}
	if len(x.items) == cap(x.items) {
		x.items = slices.Grow(x.items, 1)
	}
	x.items = x.items[:len(x.items)+1]
	c := &x.items[len(x.items)-1]
	c.v = v
	switch {
	case len(x.order) == 0:
		x.text(c, &x.s.key)
	case x.order[0].ofText():
		x.text(c, x.order[0].field)
	default:
		c.number = x.order[0].field.Number(v)
	}
	if len(x.items) == 2*x.limit {
		x.cut()
	}
}

// text reads a field's text for as long as the selection goes on.
func (x *selection[T]) text(c *chosen[T], f *Field[T]) {
	c.text = cut(f.text(c.v, &x.b))
	if f.Append != nil {
		c.place = append(c.place[:0], c.text...)
		c.text = unsafe.String(unsafe.SliceData(c.place), len(c.place))
	}
}

// cut keeps the first.
func (x *selection[T]) cut() {
	sign := 1
	if len(x.order) > 0 && x.order[0].down {
		sign = -1
	}
	slices.SortFunc(x.items, func(a, b chosen[T]) int {
		if c := cmp.Or(cmp.Compare(a.number, b.number), strings.Compare(a.text, b.text)); c != 0 {
			return sign * c
		}
		return x.s.compare(x.order, a.v, b.v, &x.a, &x.b)
	})
	if len(x.items) > x.limit {
		x.items, x.more = x.items[:x.limit], true
	}
	if len(x.items) == x.limit {
		worst := x.s.placeOf(x.order, x.items[x.limit-1].v)
		x.worst = &worst
	}
}
