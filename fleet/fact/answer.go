package fact

import (
	"context"
	"slices"
)

// Query answers from what is kept and from what is still to be kept: from everything that was recorded before, however long the store
// takes to keep it.
func (r *Recorder) Query(ctx context.Context, q Query) (Page, error) {
	r.turn()
	q = q.Normal()
	pending := r.keep.pending()
	kept := q
	for _, facts := range pending { // by id they come after all that is only in the store
		if len(facts) > 0 {
			if kept.Before == 0 || kept.Before > facts[0].ID {
				kept.Before = facts[0].ID
			}
			break
		}
	}
	if q.Oldest {
		p, err := r.o.Store.Query(ctx, kept)
		if err == nil && p.Next == 0 {
			p.take(&q, pending)
		}
		return p, err
	}
	var p Page
	if !p.take(&q, pending) {
		return p, nil
	}
	kept.Limit -= len(p.Facts)
	if kept.Limit == 0 { // what else there is the next page says
		p.Next = p.Facts[len(p.Facts)-1].ID
		return p, nil
	}
	more, err := r.o.Store.Query(ctx, kept)
	return Page{append(p.Facts, more.Facts...), more.Next}, err
}

// take takes what a query asks for of facts whose ids grow into the page, and tells whether more may follow.
func (p *Page) take(q *Query, facts [2][]Fact) bool {
	match := func(f *Fact) bool { return !q.Match(f) || p.Take(q, f) }
	if q.Oldest {
		for _, part := range facts {
			for i := range part {
				if !match(&part[i]) {
					return false
				}
			}
		}
		return true
	}
	for _, part := range [2][]Fact{facts[1], facts[0]} {
		for i := range slices.Backward(part) {
			if !match(&part[i]) {
				return false
			}
		}
	}
	return true
}
