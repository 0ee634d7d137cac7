package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// Listener is one place where clients connect, with its present figures.
type Listener struct {
	Name                string               `json:"name" doc:"What rules and explanations call it."`
	URL                 string               `json:"url"`
	Authentication      []string             `json:"authentication" doc:"The backends that are asked who a client is, in this order; empty = nobody, and everybody is anonymous."`
	Warning             string               `json:"warning,omitempty" doc:"What is open to other machines, by leave of the configuration."`
	Connections         int                  `json:"connections" doc:"Also those that are no clients yet."`
	Addresses           int                  `json:"addresses" doc:"That limits are kept for."`
	WaitingForHandshake int                  `json:"waiting_for_handshake" doc:"TLS clients whose handshake waits for room."`
	Handshaking         int                  `json:"handshaking"`
	Turned              map[string]uint64    `json:"turned_away" doc:"Connections that were not accepted since the start, by reason."`
	TLS                 *transport.TLSStatus `json:"tls,omitempty" doc:"What it shows and believes; absent = no TLS."`
}

// Backend is what happened at one that is asked who clients are, since it was opened.
type Backend struct {
	Name      string            `json:"name"`
	Asked     uint64            `json:"asked" doc:"Also those that were answered from memory."`
	Accepted  uint64            `json:"accepted"`
	Refused   uint64            `json:"refused"`
	Unknown   uint64            `json:"unknown" doc:"Passed on to the next one."`
	Failed    uint64            `json:"failed" doc:"It could not be told, so that the client was refused."`
	CacheHits uint64            `json:"cache_hits"`
	Open      bool              `json:"circuit_open" doc:"It fails and is not asked at present."`
	LastError string            `json:"last_error,omitempty"`
	More      map[string]uint64 `json:"more,omitempty" doc:"Figures of this kind of backend alone."`
}

// Doors tell where clients come in. The functions may be nil.
type Doors struct {
	Listeners func() []Listener
	Backends  func() []Backend
}

// registerDoors adds what is about listeners and who is asked there.
func registerDoors(h huma.API, d Doors) {
	huma.Register(h, serve.Operation("listeners", http.MethodGet, "/listeners", "process", "Where clients connect, with what TLS shows there and until when, and present figures"),
		func(context.Context, *struct{}) (*answer[[]Listener], error) { return list(d.Listeners), nil })
	huma.Register(h, serve.Operation("authentication", http.MethodGet, "/authentication", "process", "The backends that are asked who clients are, and what they said"),
		func(context.Context, *struct{}) (*answer[[]Backend], error) { return list(d.Backends), nil })
}

func list[T any](f func() []T) *answer[[]T] {
	all := []T{}
	if f != nil {
		all = append(all, f()...)
	}
	return &answer[[]T]{all}
}
