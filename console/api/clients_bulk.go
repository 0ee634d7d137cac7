package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/rights"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// actions is how many clients a bulk action reaches in a second at most: who sees that it was wrong can stop it.
const actions = 200

// BulkAction is about all clients that pass a filter.
type BulkAction struct {
	Confirmed
	Filter string `json:"filter" minLength:"1" maxLength:"4096" doc:"Of GET /clients."`
	Reason string `json:"reason,omitempty" maxLength:"1024" doc:"It is told (MQTT 5)."`
}

// BulkBan is a ban of all clients that pass a filter, one by one.
type BulkBan struct {
	BulkAction
	TTL float64 `json:"ttl_seconds,omitempty" minimum:"0" maximum:"3155760000" doc:"How long; 0 = for ever."`
}

// BulkDone is what a bulk action would do, or did.
type BulkDone struct {
	Matched int      `json:"matched" doc:"Clients that pass the filter, of those that the action is about; this is what confirm has to say."`
	Done    int      `json:"done"`
	Gone    int      `json:"gone" doc:"That went by themselves meanwhile."`
	Sample  []string `json:"sample" doc:"Some of their ids."`
	Seconds float64  `json:"seconds"`
}

// bulkOf acts on many clients.
type bulkOf struct {
	api    *API
	live   *clientsOf
	policy rights.Policy
}

// registerClientsBulk adds what is done to many clients at once.
func registerClientsBulk(a *API, h huma.API, live *clientsOf, p rights.Policy) {
	o := &bulkOf{a, live, p}
	describe := func(id, path, summary string) huma.Operation {
		op := serve.Operation(id, http.MethodPost, path, "clients", summary, http.StatusConflict)
		op.Description = fmt.Sprintf("First with preview, which tells how many there are; then with that number as confirm. The answer is lines of progress and one with the "+
			"result. It reaches %d clients a second, one such action runs at a time, and ending the request stops it.", actions)
		op.Responses = serve.Lines[serve.Line[BulkDone]](h)
		return op
	}
	huma.Register(h, describe("clients-disconnect", "/clients/disconnect", "Close the connections of all clients that pass a filter"),
		func(ctx context.Context, in *struct{ Body BulkAction }) (*huma.StreamResponse, error) {
			if p.Clients == nil {
				return nil, huma.Error409Conflict("this process disconnects nobody")
			}
			reason := in.Body.Reason
			if reason == "" {
				reason = "disconnected by an administrator"
			}
			return o.run(ctx, &in.Body, func(c *Client) bool { return c.Connected }, func(ctx context.Context, id string) (bool, error) {
				return p.Clients.Disconnect(ctx, id, reason)
			})
		})
	for _, kind := range []struct {
		id, path, summary string
		quarantine        bool
	}{
		{"clients-ban", "/clients/ban", "Keep all clients that pass a filter out, each by its id", false},
		{"clients-quarantine", "/clients/quarantine", "Put all clients that pass a filter in quarantine, each by its id", true},
	} {
		huma.Register(h, describe(kind.id, kind.path, kind.summary), func(ctx context.Context, in *struct{ Body BulkBan }) (*huma.StreamResponse, error) {
			if p.Bans == nil {
				return nil, huma.Error409Conflict("this process knows no bans")
			}
			ban := rights.Ban{Subject: "client", Quarantine: kind.quarantine, Reason: in.Body.Reason, By: serve.CallerOf(ctx)}
			if in.Body.TTL > 0 {
				ban.Until = time.Now().UTC().Add(time.Duration(in.Body.TTL * float64(time.Second))).Truncate(time.Second)
			}
			return o.run(ctx, &in.Body.BulkAction, func(c *Client) bool { return !kind.quarantine || !c.Quarantined }, func(ctx context.Context, id string) (bool, error) {
				one := ban
				one.Value = id
				_, err := p.Bans.Add(ctx, one)
				return err == nil, err
			})
		})
	}
}

// run finds who an action is about, and does it one by one; act tells false of who is gone.
func (o *bulkOf) run(ctx context.Context, q *BulkAction, about func(*Client) bool, act func(context.Context, string) (bool, error)) (*huma.StreamResponse, error) {
	if err := o.live.there(); err != nil {
		return nil, err
	}
	o.live.rosters.forget() // who acts does so on what is there now
	r, err := o.live.rosters.get(ctx, false)
	if err != nil {
		return nil, err
	}
	defer o.live.rosters.put(r)
	found, err := o.live.schema.Select(r.rows, q.Filter, time.Now())
	if err != nil {
		return nil, huma.Error422UnprocessableEntity(err.Error())
	}
	var ids []string
	for _, c := range found {
		if about(c) {
			ids = append(ids, c.ID)
		}
	}
	d := BulkDone{Matched: len(ids), Sample: append([]string{}, ids[:min(len(ids), sampled)]...)}
	do, err := q.Go(ctx, len(ids))
	if err != nil {
		return nil, err
	}
	if !do {
		ids = nil
	}
	return task(ctx, o.api, "bulk action on clients", func(ctx context.Context, p Progress) (BulkDone, error) {
		began := time.Now()
		err := d.each(ctx, ids, p, act)
		d.Seconds = time.Since(began).Seconds()
		if err != nil {
			err = fmt.Errorf("%w; %d of %d were done", err, d.Done, d.Matched)
		}
		o.live.rosters.forget()
		return d, err
	})
}

// each acts on each, no faster than actions says. What fails for one is done for the others all the same.
func (d *BulkDone) each(ctx context.Context, ids []string, p Progress, act func(context.Context, string) (bool, error)) error {
	pace := time.NewTicker(time.Second / actions)
	defer pace.Stop()
	var failed []error
	for i, id := range ids {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		switch ok, err := act(ctx, id); {
		case err != nil && len(failed) < sampled:
			failed = append(failed, fmt.Errorf("%q: %w", id, err))
		case ok:
			d.Done++
		case err == nil:
			d.Gone++
		}
		p(int64(i+1), int64(len(ids)))
	}
	return errors.Join(failed...)
}
