package serve

import (
	"iter"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/filter"
)

// List is a page of a list.
type List[T any] struct {
	Items   []T    `json:"items"`
	Total   int    `json:"total" doc:"In the whole list."`
	Matched int    `json:"matched" doc:"That pass the filter."`
	Next    string `json:"next,omitempty" doc:"Give it as cursor to go on; absent at the end."`
	// Age is of lists that are shared by those who ask at about the same time.
	Age float64 `json:"age_seconds,omitempty" doc:"How old it is which items there are, and in which order; absent = that was looked at for this answer."`
}

// Page answers a query about items, which are shown by show. The error is for who asked.
func Page[T, V any](s *filter.Schema[T], items iter.Seq[*T], q filter.Query, show func(*T) V) (List[V], error) {
	p, err := s.PageOf(items, q, time.Now())
	if err != nil {
		return List[V]{}, huma.Error422UnprocessableEntity(err.Error())
	}
	l := List[V]{Items: make([]V, len(p.Items)), Total: p.Total, Matched: p.Matched, Next: p.Next}
	for i, v := range p.Items {
		l.Items[i] = show(v)
	}
	return l, nil
}

// ShortQuery is what a list takes that fits on one page as a rule.
type ShortQuery struct {
	Filter string `query:"filter" maxLength:"4096" doc:"Terms separated by spaces, all of which must hold, as in every list: field:value, field>n, !term; a bare word is looked for."`
	Sort   string `query:"sort" maxLength:"256" doc:"Fields, separated by commas; - before one = the greatest first."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" doc:"Absent = 1000."`
	Cursor string `query:"cursor" maxLength:"8192" doc:"next of the page before."`
}

// Short answers a query about a list that fits on one page as a rule. The error is for who asked.
func Short[T any](s *filter.Schema[T], items []T, q *ShortQuery) (List[T], error) {
	whole := filter.Query{Filter: q.Filter, Sort: q.Sort, Cursor: q.Cursor, Limit: q.Limit}
	if whole.Limit == 0 {
		whole.Limit = filter.MaxLimit
	}
	return Page(s, filter.Each(items), whole, func(v *T) T { return *v })
}
