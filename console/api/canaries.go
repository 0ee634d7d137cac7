package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/fleet/canary"
)

// registerCanaries adds the report of the broker's own test messages. report may be nil.
func registerCanaries(h huma.API, report func() canary.Report) {
	huma.Register(h, serve.Operation("canaries", http.MethodGet, "/canaries", "process", "Whether and how soon the broker delivers its own test messages, at each QoS"),
		func(context.Context, *struct{}) (*answer[canary.Report], error) {
			if report == nil {
				return &answer[canary.Report]{(*canary.Canary)(nil).Report()}, nil
			}
			return &answer[canary.Report]{report()}, nil
		})
}
