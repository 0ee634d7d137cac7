package rights

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// registerBans adds what is about bans and quarantine.
func registerBans(h huma.API, b Bans) {
	there := func() error {
		if b == nil {
			return huma.Error409Conflict("this process knows no bans")
		}
		return nil
	}
	listed := banSchema()
	huma.Register(h, serve.Operation("bans", http.MethodGet, "/bans", "bans", "Who is kept out, or in quarantine, by subject and value", http.StatusConflict),
		func(ctx context.Context, in *serve.ShortQuery) (*answer[serve.List[Ban]], error) {
			if err := there(); err != nil {
				return nil, err
			}
			list, err := b.List(ctx)
			if err != nil {
				return nil, serve.Failure(err)
			}
			return short(listed, list, in)
		})
	type made struct {
		Ban Ban `json:"ban"`
		Met int `json:"met" doc:"Clients that were connected and are not any more, or are in quarantine now."`
	}
	huma.Register(h, serve.Operation("ban-add", http.MethodPost, "/bans", "bans", "Keep somebody out, or put it in quarantine, for a time or for ever", http.StatusConflict),
		func(ctx context.Context, in *struct {
			Body struct {
				Ban
				TTL float64 `json:"ttl_seconds,omitempty" minimum:"0" maximum:"3155760000" doc:"How long, in place of until."`
			}
		},
		) (*answer[made], error) {
			if err := there(); err != nil {
				return nil, err
			}
			ban := in.Body.Ban
			if in.Body.TTL > 0 {
				ban.Until = time.Now().UTC().Add(time.Duration(in.Body.TTL * float64(time.Second))).Truncate(time.Second)
			}
			if !ban.Until.IsZero() && !ban.Until.After(time.Now()) {
				return nil, huma.Error422UnprocessableEntity("the ban would be over already")
			}
			ban.By = serve.CallerOf(ctx)
			met, err := b.Add(ctx, ban)
			if err != nil {
				return nil, huma.Error422UnprocessableEntity(err.Error())
			}
			return &answer[made]{made{ban, met}}, nil
		})
	huma.Register(h, serve.Operation("ban", http.MethodGet, "/bans/{subject}/{value}", "bans", "One ban", http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *struct {
			Subject string `path:"subject" enum:"client,user,address,pattern"`
			Value   string `path:"value"`
		},
		) (*answer[Ban], error) {
			if err := there(); err != nil {
				return nil, err
			}
			list, err := b.List(ctx)
			if i := slices.IndexFunc(list, func(o Ban) bool { return o.Subject == in.Subject && o.Value == in.Value }); err == nil && i >= 0 {
				return &answer[Ban]{list[i]}, nil
			} else if err == nil {
				err = huma.Error404NotFound(fmt.Sprintf("there is no ban of %s %q", in.Subject, in.Value))
			}
			return nil, serve.Failure(err)
		})
	huma.Register(h, serve.Deleted(serve.Operation("ban-remove", http.MethodDelete, "/bans/{subject}/{value}", "bans", "Let somebody in again", http.StatusNotFound, http.StatusConflict)),
		func(ctx context.Context, in *struct {
			Subject string `path:"subject" enum:"client,user,address,pattern"`
			Value   string `path:"value"`
		},
		) (*struct{}, error) {
			if err := there(); err != nil {
				return nil, err
			}
			ok, err := b.Remove(ctx, in.Subject, in.Value)
			if err == nil && !ok {
				err = huma.Error404NotFound(fmt.Sprintf("there is no ban of %s %q", in.Subject, in.Value))
			}
			return nil, serve.Failure(err)
		})
}
