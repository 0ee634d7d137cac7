package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// Facts are what happened.
type Facts interface {
	Query(ctx context.Context, q fact.Query) (fact.Page, error)
	Watch(q fact.Query) FactFeed // of those to come
}

// FactFeed gives facts as they are recorded.
type FactFeed interface {
	// Next waits for some; lost says how many were missed since the last call because they were not taken in time.
	Next(ctx context.Context) (facts []fact.Fact, lost uint64, err error)
	Close()
}

// FactFilter says which facts are asked for; what is absent does not narrow.
type FactFilter struct {
	Client  []string `query:"client,explode" maxItems:"50" doc:"Any of these clients."`
	Kind    []string `query:"kind,explode" maxItems:"50" doc:"Any of these kinds, also separated by commas."`
	Topic   string   `query:"topic" doc:"Facts about this topic and the branches that it is in; with wildcards, about all that overlaps with the filter."`
	User    string   `query:"user"`
	Address string   `query:"address" doc:"Without the port."`
	Reason  string   `query:"reason"`
	Text    string   `query:"text" doc:"Part of the sentence, in any case."`
	Since   string   `query:"since" doc:"A time (RFC 3339), or how long ago: 15m, 24h, 7d."`
	Until   string   `query:"until" doc:"As since; excluded."`
}

// query is the filter as the recorder understands it.
func (f *FactFilter) query(now time.Time) (q fact.Query, err error) {
	q = fact.Query{Clients: f.Client, Topic: f.Topic, User: f.User, Address: f.Address, Reason: f.Reason, Text: f.Text}
	for _, list := range f.Kind {
		for k := range strings.SplitSeq(list, ",") {
			if !slices.Contains(fact.Kinds(), fact.Kind(k)) {
				return q, huma.Error422UnprocessableEntity(fmt.Sprintf("there is no kind %q of facts", k))
			}
			q.Kinds = append(q.Kinds, fact.Kind(k))
		}
	}
	if q.From, err = moment("since", f.Since, now); err != nil {
		return q, err
	}
	q.To, err = moment("until", f.Until, now)
	return q, err
}

// moment is a time, or how long ago it was.
func moment(name, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, huma.Error422UnprocessableEntity(fmt.Sprintf("%s is %q, but must be a time such as 2026-01-31T12:00:00Z, or how long ago, such as 15m or 7d", name, text))
}

// FactPage is a page of facts.
type FactPage struct {
	Items []fact.Fact `json:"items"`
	Next  string      `json:"next,omitempty" doc:"For cursor; absent at the end. A page may have fewer items than the limit, even none, and still a next one."`
}

// number reads an id as a cursor or a Last-Event-ID.
func number(name, text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, huma.Error422UnprocessableEntity(name + " is not one that this API gave")
	}
	return n, nil
}

// registerEvents adds what is about facts.
func registerEvents(a *API, h huma.API, facts Facts) {
	there := func() error {
		if facts == nil {
			return huma.Error409Conflict("this process records nothing")
		}
		return nil
	}
	huma.Register(h, serve.Operation("events", http.MethodGet, "/events", "events", "What happened, the newest first", http.StatusConflict),
		func(ctx context.Context, in *struct {
			FactFilter
			Order  string `query:"order" enum:"newest,oldest" default:"newest" doc:"Which come first."`
			Limit  int    `query:"limit" minimum:"1" maximum:"10000" default:"100"`
			Cursor string `query:"cursor" doc:"As next of the page before."`
		},
		) (*answer[FactPage], error) {
			if err := there(); err != nil {
				return nil, err
			}
			q, err := in.query(time.Now())
			if err != nil {
				return nil, err
			}
			at, err := number("cursor", in.Cursor)
			if err != nil {
				return nil, err
			}
			q.Limit, q.Oldest = in.Limit, in.Order == "oldest"
			if q.Oldest {
				q.After = at
			} else {
				q.Before = at
			}
			found, err := facts.Query(ctx, q)
			if err != nil {
				return nil, huma.Error503ServiceUnavailable(err.Error())
			}
			page := FactPage{Items: found.Facts}
			if page.Items == nil {
				page.Items = []fact.Fact{}
			}
			if found.Next != 0 {
				page.Next = strconv.FormatUint(found.Next, 10)
			}
			return &answer[FactPage]{page}, nil
		})
	stream := serve.Operation("events-stream", http.MethodGet, "/events/stream", "events", "What happens, as it happens", http.StatusConflict)
	stream.Description = "Server-sent events: `fact` with a fact, its id as the event's; `gone` with `lost`, how many the viewer was too slow for. Who comes back with Last-Event-ID first gets what it missed."
	stream.Responses = eventStream()
	huma.Register(h, stream, func(ctx context.Context, in *struct {
		FactFilter
		Last string `header:"Last-Event-ID" doc:"The id of the last fact that was seen."`
	},
	) (*huma.StreamResponse, error) {
		if err := there(); err != nil {
			return nil, err
		}
		q, err := in.query(time.Now())
		if err != nil {
			return nil, err
		}
		if q.After, err = number("Last-Event-ID", in.Last); err != nil {
			return nil, err
		}
		return a.view(ctx, func(ctx context.Context, w *sse) { follow(ctx, w, facts, q) })
	})
}

// follow sends facts until the viewer, or the process, ends: those of the past after an id or a time, if the query names one, then all that come.
func follow(ctx context.Context, w *sse, facts Facts, q fact.Query) {
	since := q
	q.From, q.After = time.Time{}, 0
	feed := facts.Watch(q) // before the past is read, so that nothing falls between
	defer feed.Close()
	seen := since.After
	if since.After > 0 || !since.From.IsZero() {
		since.Oldest, since.Limit = true, 1000
		for {
			page, err := facts.Query(ctx, since)
			if err != nil || w.facts(page.Facts, &seen) != nil {
				return
			}
			if since.After = page.Next; page.Next == 0 {
				break
			}
		}
	}
	for {
		beat, cancel := context.WithTimeout(ctx, heartbeat)
		found, lost, err := feed.Next(beat)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			err = w.beat()
		}
		if err == nil && lost > 0 {
			err = w.send(gone(lost))
		}
		if err == nil {
			err = w.facts(found, &seen)
		}
		if err != nil {
			return
		}
	}
}

// facts sends those that the viewer has not seen.
func (w *sse) facts(found []fact.Fact, seen *uint64) error {
	var frame []byte
	for i := range found {
		if found[i].ID > *seen {
			frame = appendFact(frame, &found[i])
			*seen = found[i].ID
		}
	}
	if len(frame) == 0 {
		return nil
	}
	return w.send(frame)
}

// appendFact appends a fact as an event.
func appendFact(frame []byte, f *fact.Fact) []byte {
	text, err := json.Marshal(f)
	if err != nil {
		return frame // a time beyond the year 9999
	}
	return appendEvent(frame, f.ID, "fact", text)
}

// gone is the event that tells how many facts a viewer missed.
func gone(lost uint64) []byte {
	return appendEvent(nil, 0, "gone", fmt.Appendf(nil, `{"lost":%d}`, lost))
}
