package broker

import (
	"bytes"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// mountFor is what the topics of a client begin with inside the broker, and why it cannot be told. A value that would
// change the shape of a topic fills no placeholder.
func mountFor(template string, who *auth.Principal) (string, *session.Refusal) {
	if !strings.Contains(template, "{") {
		return template, nil
	}
	places := []string{"{client}", who.ClientID, "{user}", who.Name, "{cn}", who.Peer.CommonName()}
	for i := 0; i < len(places); i += 2 {
		place, value := places[i], places[i+1]
		if !strings.Contains(template, place) {
			continue
		}
		if value == "" || strings.ContainsAny(value, "+#/\x00") {
			return "", &session.Refusal{
				Reason: mqtt.NotAuthorized, Text: "this client has no place here",
				Why: "the mount point " + template + " cannot be made for it: " + place + " is empty or has one of + # /",
			}
		}
	}
	return strings.NewReplacer(places...).Replace(template), nil // at once: a value is no template
}

// mount puts the client's mount point in front of the topics in a packet that it sent.
func mount(point string, p *mqtt.Packet) {
	switch p.Type {
	case mqtt.PUBLISH:
		if len(p.Publish.Topic) > 0 { // else an alias stands for it
			p.Publish.Topic = append([]byte(point), p.Publish.Topic...)
		}
		p.Publish.Props.Forward = changeResponseTopic(p.Publish.Props.Forward, func(t []byte) []byte { return append([]byte(point), t...) })
	case mqtt.SUBSCRIBE:
		for i := range p.Subscribe.Filters {
			p.Subscribe.Filters[i].Filter = mountFilter(point, p.Subscribe.Filters[i].Filter)
		}
	case mqtt.UNSUBSCRIBE:
		for i := range p.Unsubscribe.Filters {
			p.Unsubscribe.Filters[i] = mountFilter(point, p.Unsubscribe.Filters[i])
		}
	}
}

// mountFilter leaves a filter that cannot be valid as it is, so that it is refused as without a mount point.
func mountFilter(point string, filter []byte) []byte {
	group := 0
	if rest, shared := bytes.CutPrefix(filter, []byte("$share/")); shared {
		name, inner, _ := bytes.Cut(rest, []byte("/"))
		if len(name) == 0 || len(inner) == 0 {
			return filter
		}
		group = len(filter) - len(inner)
	}
	if len(filter) == 0 {
		return filter
	}
	mounted := append(make([]byte, 0, len(point)+len(filter)), filter[:group]...)
	return append(append(mounted, point...), filter[group:]...)
}

// mountWill does the same to a will, which is a copy.
func mountWill(point string, w *session.Will) {
	w.Msg.Topic = append([]byte(point), w.Msg.Topic...)
	w.Msg.Forward = changeResponseTopic(w.Msg.Forward, func(t []byte) []byte { return append([]byte(point), t...) })
}

// unmount takes the mount point away from what is sent to the client. A response topic elsewhere is none that it could
// publish to, and stays as it is.
func unmount(point string, p *mqtt.Publish) {
	p.Topic = bytes.TrimPrefix(p.Topic, []byte(point))
	p.Props.Forward = changeResponseTopic(p.Props.Forward, func(t []byte) []byte { return bytes.TrimPrefix(t, []byte(point)) })
}

// changeResponseTopic returns the forwarded properties with another response topic, and leaves forward itself alone.
func changeResponseTopic(forward []byte, change func([]byte) []byte) []byte {
	if bytes.IndexByte(forward, byte(mqtt.PropResponseTopic)) < 0 {
		return forward
	}
	var changed []byte
	props := mqtt.MessageProperties{Forward: forward}
	props.Each(func(id mqtt.PropertyID, name, value []byte) bool {
		switch id {
		case mqtt.PropPayloadFormat:
			changed = mqtt.AppendPayloadFormat(changed, value[0] == 1)
		case mqtt.PropContentType:
			changed = mqtt.AppendContentType(changed, value)
		case mqtt.PropResponseTopic:
			changed = mqtt.AppendResponseTopic(changed, change(value))
		case mqtt.PropCorrelationData:
			changed = mqtt.AppendCorrelationData(changed, value)
		case mqtt.PropUser:
			changed = mqtt.AppendUserProperty(changed, name, value)
		}
		return true
	})
	return changed
}
