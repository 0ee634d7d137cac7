package api

import (
	"context"
	"iter"
	"sync"
	"time"

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

// each gives the items of a list.
func each[T any](items []T) iter.Seq[*T] {
	return filter.Each(items)
}

// page answers a query about items, which are shown by show.
func page[T, V any](s *filter.Schema[T], items iter.Seq[*T], q *ListQuery, show func(*T) V) (*answer[serve.List[V]], error) {
	l, err := serve.Page(s, items, filter.Query{Filter: q.Filter, Sort: q.Sort, Cursor: q.Cursor, Skip: q.Skip, Limit: q.Limit}, show)
	if err != nil {
		return nil, err
	}
	return &answer[serve.List[V]]{l}, nil
}

// fresh is how old what viewers share may be.
const fresh = time.Second

// snapshot is a value that costs something to make: those who ask at about the same time get the same one, which nobody changes.
type snapshot[T any] struct {
	make func(context.Context) (T, error)

	mu    sync.Mutex
	at    time.Time
	fresh time.Duration // how long value holds
	old   *time.Timer   // forgets it when nobody asks any more
	value T
}

// kept is how long a value is held that nobody asks for: it may be large.
const kept = 10 * time.Second

// share is how many times as long as it took to make a value is shared: so that those who watch do not keep a processor busier than 1 part in so many.
const share = 20

// get is the value: shared for a second, or share times as long as it took to make, from when it was begun.
func (s *snapshot[T]) get(ctx context.Context) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.at.IsZero() && time.Since(s.at) < s.fresh {
		return s.value, nil
	}
	began := time.Now()
	v, err := s.make(ctx)
	if err == nil {
		s.value, s.at, s.fresh = v, began, max(fresh, share*time.Since(began))
		if s.old == nil {
			s.old = time.AfterFunc(kept, s.forgetOld)
		}
		s.old.Reset(max(kept, s.fresh))
	}
	return v, err
}

func (s *snapshot[T]) forgetOld() {
	s.mu.Lock()
	old := time.Since(s.at) >= min(kept, s.fresh)
	s.mu.Unlock()
	if old {
		s.forget()
	}
}

// forget has the next one who asks get a new value.
func (s *snapshot[T]) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var none T
	s.value, s.at = none, time.Time{}
}
