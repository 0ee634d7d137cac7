package app

import (
	"context"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/fleet/request"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// requestDoor is what rules and counts call the door that only the listener for responses comes in by.
const requestDoor = "$request"

// requester sends requests of the API.
type requester struct {
	*request.Requests
	policy  auth.Authorizer
	control *broker.Control
}

// openRequests lets the API send requests as messages. Who listens may listen to anything: what for is asked for each request.
func (a *App) openRequests(context.Context) error {
	rule := auth.Rule{
		Name: "that responses are heard", Actions: auth.ActionsOf(auth.Subscribe, auth.Receive),
		Topics: []string{"#"}, Who: auth.Who{Listeners: []string{requestDoor}}, Priority: 1 << 30,
	}
	if err := a.rules.policy.Set("requests", []auth.Rule{rule}); err != nil {
		return err
	}
	inside := a.openInside("requests", requestDoor)
	a.requests = &requester{request.New(request.Options{Dial: inside.dial}), a.rules.policy, a.broker.Control()}
	a.open.add("requests", func(context.Context) error {
		a.requests.Close()
		return inside.Close()
	})
	return nil
}

// RequestAs implements api.Requester. Of a response topic that is named, the asker learns a message: a rule has to let it subscribe there.
func (r *requester) RequestAs(ctx context.Context, who *auth.Principal, m mqtt.Message, responseTopic string) (request.Response, error) {
	if responseTopic != "" {
		for _, action := range []auth.Action{auth.Subscribe, auth.Receive} {
			if !r.policy.Explain(who, &auth.Question{Action: action, QoS: 1, Topic: []byte(responseTopic)}).Allowed {
				return request.Response{}, &request.RefusedError{Reason: mqtt.NotAuthorized}
			}
		}
	}
	publish := func(ctx context.Context, m mqtt.Message) (mqtt.ReasonCode, error) {
		return r.control.PublishAs(ctx, who, m)
	}
	return r.Do(ctx, request.Asked{Message: m, Publish: publish, Topic: responseTopic})
}
