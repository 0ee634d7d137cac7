package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/fleet/why"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Reasons tell why things are as they are.
type Reasons interface {
	// Client tells how a client is, and why.
	Client(ctx context.Context, id string) (why.Answer, error)
	// Message tells why a client did not get the messages of a topic; a topic that is none is an error.
	Message(ctx context.Context, topic, client string) (why.Answer, error)
	// Route tells who would receive a message now; a topic that is none is an error.
	Route(ctx context.Context, m broker.Routing) ([]broker.Recipient, error)
}

// Recipients are those that have subscribed to what is published to a topic.
type Recipients struct {
	Topic    string                 `json:"topic"`
	Receive  int                    `json:"receive" doc:"Copies that would be sent or queued: a group of a shared subscription gets one."`
	Items    []broker.Recipient     `json:"items"`
	Outcomes map[broker.Outcome]int `json:"outcomes" doc:"How many subscriptions have which outcome."`
}

// registerReasons adds the questions why. reasons may be nil.
func registerReasons(h huma.API, reasons Reasons) {
	if reasons == nil {
		reasons = nobody{}
	}
	said := func(a why.Answer, err error) (*answer[why.Answer], error) {
		if err != nil {
			return nil, unanswered(err)
		}
		return &answer[why.Answer]{a}, nil
	}
	huma.Register(h, serve.Operation("client-why", http.MethodGet, "/clients/{id}/why", "clients", "Why a client is disconnected, silent or slow"),
		func(ctx context.Context, in *struct {
			ID string `path:"id"`
		},
		) (*answer[why.Answer], error) {
			return said(reasons.Client(ctx, in.ID))
		})
	huma.Register(h, serve.Operation("why-not", http.MethodGet, "/why-not", "clients", "Why a client did not get the messages of a topic"),
		func(ctx context.Context, in *struct {
			Topic  string `query:"topic" required:"true" minLength:"1" maxLength:"65535"`
			Client string `query:"client" required:"true" minLength:"1"`
		},
		) (*answer[why.Answer], error) {
			return said(reasons.Message(ctx, in.Topic, in.Client))
		})
	huma.Register(h, serve.Operation("route", http.MethodGet, "/route", "topics", "Who would receive a message of a topic, at which QoS and by which rule, and who would not although it has subscribed"),
		func(ctx context.Context, in *struct {
			Topic     string `query:"topic" required:"true" minLength:"1" maxLength:"65535"`
			QoS       int    `query:"qos" minimum:"0" maximum:"2" default:"1" doc:"Of the message."`
			Publisher string `query:"publisher" doc:"The client id of its publisher, where that matters (No Local)."`
		},
		) (*answer[Recipients], error) {
			all, err := reasons.Route(ctx, broker.Routing{Topic: in.Topic, QoS: mqtt.QoS(in.QoS), Publisher: in.Publisher})
			if err != nil {
				return nil, unanswered(err)
			}
			r := Recipients{Topic: in.Topic, Items: append([]broker.Recipient{}, all...), Outcomes: map[broker.Outcome]int{}}
			served := map[string]bool{} // groups
			for i := range all {
				x := &all[i]
				r.Outcomes[x.Outcome]++
				if gets := x.Outcome == broker.WouldSend || x.Outcome == broker.WouldQueue || x.Outcome == broker.WouldShare; gets && !served[x.Filter] {
					r.Receive++
					served[x.Filter] = x.Group != ""
				}
			}
			return &answer[Recipients]{r}, nil
		})
}

// unanswered is a question that could not be answered: the topic is none, or the broker stops.
func unanswered(err error) error {
	if errors.Is(err, broker.ErrClosed) {
		return huma.Error503ServiceUnavailable(err.Error())
	}
	return huma.Error422UnprocessableEntity(err.Error())
}

// nobody is there to be asked.
type nobody struct{}

func (nobody) Client(context.Context, string) (why.Answer, error) {
	return why.Answer{}, broker.ErrClosed
}

func (nobody) Message(context.Context, string, string) (why.Answer, error) {
	return why.Answer{}, broker.ErrClosed
}

func (nobody) Route(context.Context, broker.Routing) ([]broker.Recipient, error) {
	return nil, broker.ErrClosed
}
