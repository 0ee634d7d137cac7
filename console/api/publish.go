package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Publisher publishes in somebody's name, after every check that a client has to pass.
type Publisher interface {
	PublishAs(ctx context.Context, who *auth.Principal, m mqtt.Message) (mqtt.ReasonCode, error)
}

// Property is a user property of MQTT 5.
type Property struct {
	Name  string `json:"name" maxLength:"65535"`
	Value string `json:"value" maxLength:"65535"`
}

// Publication is a message to publish.
type Publication struct {
	Topic         string     `json:"topic" minLength:"1" maxLength:"65535"`
	Payload       string     `json:"payload,omitempty" maxLength:"1048576"`
	Encoding      string     `json:"encoding,omitempty" enum:"text,base64" doc:"Of payload; text by default."`
	QoS           int        `json:"qos,omitempty" minimum:"0" maximum:"2"`
	Retain        bool       `json:"retain,omitempty"`
	Expiry        float64    `json:"expiry_seconds,omitempty" minimum:"0" maximum:"4294967295" doc:"0 = never."`
	ContentType   string     `json:"content_type,omitempty" maxLength:"65535"`
	ResponseTopic string     `json:"response_topic,omitempty" maxLength:"65535"`
	Correlation   string     `json:"correlation_data,omitempty" maxLength:"65535" doc:"In base64."`
	Properties    []Property `json:"user_properties,omitempty" maxItems:"64"`
}

// Published is what the publisher's acknowledgement would say.
type Published struct {
	Reason string `json:"reason"`
	Code   int    `json:"code" doc:"Of MQTT 5; 16 = nobody has subscribed."`
}

// message makes a message of a publication.
func (p *Publication) message(now time.Time) (m mqtt.Message, err error) {
	refuse := func(what string) (mqtt.Message, error) { return m, huma.Error422UnprocessableEntity(what) }
	if err := topic.ValidName(p.Topic); err != nil {
		return refuse("topic: " + err.Error())
	}
	m = mqtt.Message{Topic: []byte(p.Topic), Payload: []byte(p.Payload), QoS: mqtt.QoS(p.QoS), Retain: p.Retain}
	if p.Encoding == "base64" {
		if m.Payload, err = base64.StdEncoding.DecodeString(p.Payload); err != nil {
			return refuse("payload: " + err.Error())
		}
	}
	if p.Expiry > 0 {
		m.Expires = now.Add(time.Duration(p.Expiry * float64(time.Second))).UnixMilli()
	}
	if err := wire("content_type", p.ContentType); err != nil {
		return m, err
	}
	if p.ContentType != "" {
		m.Forward = mqtt.AppendContentType(m.Forward, p.ContentType)
	}
	if p.ResponseTopic != "" {
		if err := topic.ValidName(p.ResponseTopic); err != nil {
			return refuse("response_topic: " + err.Error())
		}
		m.Forward = mqtt.AppendResponseTopic(m.Forward, p.ResponseTopic)
	}
	if p.Correlation != "" {
		data, err := base64.StdEncoding.DecodeString(p.Correlation)
		if err != nil {
			return refuse("correlation_data: " + err.Error())
		}
		m.Forward = mqtt.AppendCorrelationData(m.Forward, data)
	}
	for _, u := range p.Properties {
		if err := wire("user_properties", u.Name, u.Value); err != nil {
			return m, err
		}
		m.Forward = mqtt.AppendUserProperty(m.Forward, u.Name, u.Value)
	}
	return m, nil
}

// wire refuses texts that MQTT cannot carry (MQTT5 1.5.4): subscribers would have to close their connection. JSON has UTF-8 only.
func wire(field string, texts ...string) error {
	for _, s := range texts {
		switch {
		case len(s) > 0xFFFF:
			return huma.Error422UnprocessableEntity(fmt.Sprintf("%s: it has %d bytes, and MQTT carries %d", field, len(s), 0xFFFF))
		case strings.ContainsRune(s, 0):
			return huma.Error422UnprocessableEntity(field + ": a character of code 0 is not allowed in MQTT")
		}
	}
	return nil
}

// principalOf is who a request comes from, as rules know it.
func principalOf(ctx context.Context) *auth.Principal {
	name := strings.TrimPrefix(serve.CallerOf(ctx), "operator ")
	p := &auth.Principal{Identity: &auth.Identity{Name: name, By: "api"}, ClientID: "api:" + name}
	p.Peer.Listener = "api"
	return p
}

func registerPublish(h huma.API, p Publisher) {
	huma.Register(h, serve.Operation("publish", http.MethodPost, "/publish", "messages",
		"Publish a message in the name of the API's user, after the checks that a client has to pass", http.StatusForbidden, http.StatusConflict),
		func(ctx context.Context, in *struct{ Body Publication }) (*answer[Published], error) {
			if p == nil {
				return nil, huma.Error409Conflict("this process publishes nothing")
			}
			m, err := in.Body.message(time.Now())
			if err != nil {
				return nil, err
			}
			reason, err := p.PublishAs(ctx, principalOf(ctx), m)
			switch {
			case err != nil:
				return nil, huma.Error503ServiceUnavailable(err.Error())
			case reason == mqtt.NotAuthorized:
				return nil, huma.Error403Forbidden("the rules do not let " + serve.CallerOf(ctx) + " publish this: give user \"" + principalOf(ctx).Name + "\" or listener \"api\" a rule")
			}
			return &answer[Published]{Published{reason.String(), int(reason)}}, nil
		})
}
