package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// Queues are what waits for clients, as far as the API changes it. A client that is not there is broker.ErrNoClient.
type Queues interface {
	RemoveQueued(ctx context.Context, id string, position uint64) error
	RequeueQueued(ctx context.Context, id string, position uint64) error
	PurgeQueue(ctx context.Context, id string, preview bool) (broker.Purged, error)
}

// Purged is what a queue is, or would be, rid of.
type Purged struct {
	Messages int   `json:"messages" doc:"QoS 0 included; this is what confirm has to say."`
	Bytes    int64 `json:"bytes" doc:"As they count in the queue."`
	Stay     int   `json:"stay" doc:"That were sent and are not settled."`
	Done     bool  `json:"done" doc:"false with preview."`
}

// waiting is a request about one message of a queue.
type waiting struct {
	Identified
	Position uint64 `path:"position" minimum:"1" doc:"Of GET /clients/{id}/queue."`
}

// registerQueues adds what is done to messages that wait. q may be nil.
func registerQueues(h huma.API, q Queues) {
	one := func(do func(context.Context, string, uint64) error) func(context.Context, *waiting) (*struct{}, error) {
		return func(ctx context.Context, in *waiting) (*struct{}, error) {
			if q == nil {
				return nil, serve.Missing("client", in.ID)
			}
			return nil, stays(in.ID, do(ctx, in.ID, in.Position))
		}
	}
	var remove, requeue func(context.Context, string, uint64) error
	if q != nil {
		remove, requeue = q.RemoveQueued, q.RequeueQueued
	}
	huma.Register(h, serve.Deleted(serve.Operation("client-queue-remove", http.MethodDelete, "/clients/{id}/queue/{position}", "clients",
		"Take one message out of a queue; it is dropped and counted", http.StatusNotFound, http.StatusConflict)), one(remove))
	huma.Register(h, serve.Deleted(serve.Operation("client-queue-requeue", http.MethodPost, "/clients/{id}/queue/{position}/requeue", "clients",
		"Give a message of a shared subscription to another member", http.StatusNotFound, http.StatusConflict)), one(requeue))
	huma.Register(h, serve.Operation("client-queue-purge", http.MethodDelete, "/clients/{id}/queue", "clients",
		"Empty a queue: first with preview, then with the number of messages that it told", http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *struct {
			Identified
			Preview bool `query:"preview" doc:"Only tell how many there are."`
			Confirm int  `query:"confirm" minimum:"-1" default:"-1" doc:"How many the preview told; -1 = not said. If there are others by now, nothing is done."`
		},
		) (*answer[Purged], error) {
			if q == nil {
				return nil, serve.Missing("client", in.ID)
			}
			x, err := q.PurgeQueue(ctx, in.ID, true)
			if err != nil {
				return nil, stays(in.ID, err)
			}
			c := Confirmed{Preview: in.Preview}
			if in.Confirm >= 0 {
				c.Confirm = &in.Confirm
			}
			do, err := c.Go(ctx, x.Messages)
			if err == nil && do {
				x, err = q.PurgeQueue(ctx, in.ID, false)
				err = stays(in.ID, err)
			}
			if err != nil {
				return nil, err
			}
			return &answer[Purged]{Purged{x.Messages, x.Bytes, x.Stay, do}}, nil
		})
}

// stays is the answer to what could not be done to a queue.
func stays(id string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, broker.ErrNoClient):
		return serve.Missing("client", id)
	case errors.Is(err, broker.ErrNoMessage):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, broker.ErrInFlight), errors.Is(err, broker.ErrNoGroup), errors.Is(err, broker.ErrNobody):
		return huma.Error409Conflict(err.Error())
	}
	return huma.Error503ServiceUnavailable(err.Error())
}
