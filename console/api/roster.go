package api

import (
	"context"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/filter"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

const (
	// fresh is how old what is shown may be.
	fresh = time.Second
	// asking and watching bound what reading all clients costs: 1 part in so many of the time, while somebody asks for them again and again, and while
	// somebody only watches, for whom answers once a second are to stay below 1 % of a processor with all else that they take.
	asking, watching = 20, 200
	// oldest is the age of an order at which it is made anew whatever it costs.
	oldest = time.Minute
	// kept is how long a list is held that nobody asks for: it is large.
	kept = 10 * time.Second
	// maxPages is how many pages of a list are remembered.
	maxPages = 64
)

// roster is all clients as they were at a moment, and the pages that were chosen of them: who asks for the same page again gets it without a search.
type roster struct {
	rows []Client // never changed
	at   time.Time
	made time.Duration // what reading the clients took

	users int // see rosters

	mu     sync.Mutex
	pages  map[pageQuery]filter.Page[Client]
	chosen time.Duration // what choosing the pages took
}

// pageQuery is what a page is remembered by.
type pageQuery struct {
	sessions bool // only those that outlive their connection, or whose client is away
	filter.Query
}

// page is what is asked for, as of the moment of the roster.
func (r *roster) page(s *filter.Schema[Client], q pageQuery) (filter.Page[Client], error) {
	r.mu.Lock()
	p, ok := r.pages[q]
	r.mu.Unlock()
	if ok {
		return p, nil
	}
	began := time.Now()
	p, err := s.PageOf(func(yield func(*Client) bool) {
		for i := range r.rows {
			if c := &r.rows[i]; (!q.sessions || c.Durable || !c.Connected) && !yield(c) {
				return
			}
		}
	}, q.Query, r.at)
	if err != nil {
		return p, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chosen += time.Since(began)
	if r.pages == nil || len(r.pages) == maxPages {
		r.pages = make(map[pageQuery]filter.Page[Client])
	}
	r.pages[q] = p
	return p, nil
}

// holds is how old the roster may become for those who watch, and for those who ask.
func (r *roster) holds(watched bool) time.Duration {
	long := asking * r.made
	if watched {
		r.mu.Lock()
		long = watching * (r.made + r.chosen)
		r.mu.Unlock()
	}
	return min(max(fresh, long), oldest)
}

// rosters has all who ask at about the same time share one roster.
type rosters struct {
	read func(ctx context.Context, old []Client) ([]Client, error)

	mu    sync.Mutex
	last  *roster     // nil = none is held
	spare []Client    // of a roster that nobody uses: the next one is made in its place, as each is many megabytes
	old   *time.Timer // forgets both
}

// get is the roster as it is, or another. Who has it gives it back by put.
func (s *rosters) get(ctx context.Context, watched bool) (*roster, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil || time.Since(s.last.at) >= s.last.holds(watched) {
		s.drop()
		r, spare := &roster{at: time.Now()}, s.spare
		s.spare = nil
		var err error
		if r.rows, err = s.read(ctx, spare); err != nil {
			return nil, huma.Error503ServiceUnavailable(err.Error())
		}
		r.made = time.Since(r.at)
		s.last = r
	}
	if s.old == nil {
		s.old = time.AfterFunc(kept, s.forget)
	}
	s.old.Reset(kept)
	s.last.users++
	return s.last, nil
}

// put gives a roster back. Nothing of it may be used any more.
func (s *rosters) put(r *roster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.users--; r.users == 0 && r != s.last && s.last != nil {
		s.spare = r.rows
	}
}

// drop has the next one who asks get another roster.
func (s *rosters) drop() {
	if s.last != nil && s.last.users == 0 {
		s.spare = s.last.rows
	}
	s.last = nil
}

// forget drops what is held, memory and all.
func (s *rosters) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.spare = nil, nil
}

// clientsQuery is what a list of clients is asked.
type clientsQuery struct {
	ListQuery
	Watch bool `query:"watch" doc:"For who asks again and again: which clients there are, and their order, may be as old as keeps the cost of that below 0.5 % of the time, at most a minute; age_seconds tells. The rows themselves are those of now."`
}

// registerLists adds the lists of clients.
func (o *clientsOf) registerLists(h huma.API) {
	huma.Register(h, serve.Operation("clients", http.MethodGet, "/clients", "clients", "Clients that are connected, or whose session waits; a page at a time", http.StatusConflict),
		func(ctx context.Context, in *clientsQuery) (*answer[serve.List[ClientRow]], error) {
			return o.list(ctx, in, false)
		})
	huma.Register(h, serve.Operation("sessions", http.MethodGet, "/sessions", "clients", "Sessions that outlive their connection, or whose client is away", http.StatusConflict),
		func(ctx context.Context, in *clientsQuery) (*answer[serve.List[ClientRow]], error) {
			return o.list(ctx, in, true)
		})
}

func (o *clientsOf) list(ctx context.Context, in *clientsQuery, sessions bool) (*answer[serve.List[ClientRow]], error) {
	if err := o.there(); err != nil {
		return nil, err
	}
	r, err := o.rosters.get(ctx, in.Watch)
	if err != nil {
		return nil, err
	}
	defer o.rosters.put(r)
	p, err := r.page(o.schema, pageQuery{sessions, in.query()})
	if err != nil {
		return nil, huma.Error422UnprocessableEntity(err.Error())
	}
	age := time.Since(r.at)
	l := serve.List[ClientRow]{Items: make([]ClientRow, len(p.Items)), Total: p.Total, Matched: p.Matched, Next: p.Next, Age: math.Round(age.Seconds()*1000) / 1000}
	for i, c := range p.Items {
		l.Items[i] = clientRow(c)
	}
	if age > fresh {
		err = o.renew(ctx, l.Items)
	}
	return &answer[serve.List[ClientRow]]{l}, err
}

// renew makes of rows what they are now. Who is gone stays as it was, and is said to be gone.
func (o *clientsOf) renew(ctx context.Context, rows []ClientRow) error {
	ids := make([]string, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	now, err := o.Some(ctx, ids)
	if err != nil {
		return huma.Error503ServiceUnavailable(err.Error())
	}
	for i := range rows {
		if c := &now[i]; c.ID != "" {
			rows[i] = clientRow(c)
			continue
		}
		rows[i].Gone, rows[i].Connected = true, false
	}
	return nil
}
