package api

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/fleet/request"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Requester publishes a request in somebody's name, after every check that a client has to pass, and waits for the response.
type Requester interface {
	// RequestAs waits until ctx ends at most. Where responseTopic is "", one is made up.
	RequestAs(ctx context.Context, who *auth.Principal, m mqtt.Message, responseTopic string) (request.Response, error)
}

// Request is a message that wants to be answered.
type Request struct {
	Topic         string     `json:"topic" minLength:"1" maxLength:"65535"`
	Payload       string     `json:"payload,omitempty" maxLength:"1048576"`
	Encoding      string     `json:"encoding,omitempty" enum:"text,base64" doc:"Of payload; text by default."`
	QoS           int        `json:"qos,omitempty" minimum:"0" maximum:"2" default:"1"`
	Timeout       float64    `json:"timeout_seconds,omitempty" minimum:"0.01" maximum:"60" default:"10" doc:"How long the response may take."`
	ContentType   string     `json:"content_type,omitempty" maxLength:"65535"`
	ResponseTopic string     `json:"response_topic,omitempty" maxLength:"65535" doc:"Where the responder answers, if it cannot read the response topic of a request (MQTT 3.1.1). Its first message after the request is the response. Absent: the request has a response topic of its own, and correlation data."`
	Properties    []Property `json:"user_properties,omitempty" maxItems:"64"`
}

// Responded is the response.
type Responded struct {
	Topic       string     `json:"topic"`
	Payload     string     `json:"payload"`
	Encoding    string     `json:"encoding" enum:"text,base64" doc:"Of payload: base64 where it is no UTF-8."`
	ContentType string     `json:"content_type,omitempty"`
	Properties  []Property `json:"user_properties,omitempty"`
	Took        float64    `json:"took_seconds" doc:"From the request to the response."`
}

func responded(r *request.Response) Responded {
	d := Responded{Topic: r.Topic, Payload: string(r.Payload), Encoding: "text", ContentType: r.ContentType, Took: r.Took.Seconds()}
	if !utf8.Valid(r.Payload) {
		d.Payload, d.Encoding = base64.StdEncoding.EncodeToString(r.Payload), "base64"
	}
	for _, u := range r.User {
		d.Properties = append(d.Properties, Property{string(u.Name), string(u.Value)})
	}
	return d
}

// requested is a request as it comes.
type requested struct{ Body Request }

// Resolve implements huma.Resolver. It runs when the body is read: the server's deadlines are for answers that nobody waits for, and passing
// the one for reading would end the request's context.
func (*requested) Resolve(hc huma.Context) []error {
	_, w := humago.Unwrap(hc)
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // one that cannot be moved is not there
	_ = control.SetWriteDeadline(time.Now().Add(mostPatience + stall))
	return nil
}

// mostPatience is how long a response may take at most; maximum of Request.Timeout says the same.
const mostPatience = 60 * time.Second

func registerRequest(h huma.API, p Requester) {
	o := operation("request", http.MethodPost, "/request", "messages",
		"Publish a request in the name of the API's user, as publish does, and answer with the response",
		http.StatusNotFound, http.StatusConflict, http.StatusGatewayTimeout)
	huma.Register(h, o, func(ctx context.Context, in *requested) (*answer[Responded], error) {
		if p == nil {
			return nil, huma.Error409Conflict("this process publishes nothing")
		}
		q := &in.Body
		m, err := (&Publication{Topic: q.Topic, Payload: q.Payload, Encoding: q.Encoding, QoS: q.QoS, Expiry: q.Timeout, ContentType: q.ContentType, Properties: q.Properties}).message(time.Now())
		if err != nil {
			return nil, err
		}
		if q.ResponseTopic != "" {
			if err := topic.ValidName(q.ResponseTopic); err != nil {
				return nil, huma.Error422UnprocessableEntity("response_topic: " + err.Error())
			}
		}
		ctx, cancel := context.WithTimeout(ctx, time.Duration(q.Timeout*float64(time.Second)))
		defer cancel()
		got, err := p.RequestAs(ctx, principalOf(ctx), m, q.ResponseTopic)
		if err != nil {
			return nil, unrequited(ctx, err)
		}
		return &answer[Responded]{responded(&got)}, nil
	})
}

// unrequited is the answer to a request without a response.
func unrequited(ctx context.Context, err error) error {
	var refused *request.RefusedError
	switch {
	case errors.Is(err, request.ErrTimeout):
		return huma.Error504GatewayTimeout(err.Error())
	case errors.Is(err, request.ErrNobody):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, request.ErrTaken):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, request.ErrBusy):
		return huma.Error429TooManyRequests(err.Error())
	case errors.As(err, &refused) && refused.Reason == mqtt.NotAuthorized:
		return huma.Error403Forbidden("the rules do not let " + callerOf(ctx) + " do this: give user \"" + principalOf(ctx).Name + "\" or listener \"api\" a rule to publish the request, and to subscribe to response_topic if it is said")
	case errors.As(err, &refused):
		return huma.Error422UnprocessableEntity(err.Error())
	}
	return huma.Error503ServiceUnavailable(err.Error())
}
