package api

import (
	"iter"

	"github.com/sapwood-mqtt/sapwood/console/api/filter"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// ListQuery is what every list takes.
type ListQuery struct {
	Filter string `query:"filter" maxLength:"4096" doc:"Terms separated by spaces, all of which must hold: field:value (* stands for any characters), field>n, <, >=, <=, !term; a bare word is looked for. docs/api.md has it all." example:"press queued>100 !user:test*"`
	Sort   string `query:"sort" maxLength:"256" doc:"Fields, separated by commas; - before one = the greatest first." example:"-queue_bytes"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor string `query:"cursor" maxLength:"8192" doc:"next of the page before."`
	Skip   int    `query:"skip" minimum:"0" maximum:"10000000" doc:"Leave so many out from the beginning; not with cursor."`
}

func (q *ListQuery) query() filter.Query {
	return filter.Query{Filter: q.Filter, Sort: q.Sort, Cursor: q.Cursor, Skip: q.Skip, Limit: q.Limit}
}

// each gives the items of a list.
func each[T any](items []T) iter.Seq[*T] {
	return filter.Each(items)
}

// page answers a query about items, which are shown by show.
func page[T, V any](s *filter.Schema[T], items iter.Seq[*T], q *ListQuery, show func(*T) V) (*answer[serve.List[V]], error) {
	l, err := serve.Page(s, items, q.query(), show)
	if err != nil {
		return nil, err
	}
	return &answer[serve.List[V]]{l}, nil
}
