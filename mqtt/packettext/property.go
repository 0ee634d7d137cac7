package packettext

import (
	"fmt"
	"strconv"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// name is a property and its key in a line.
type name struct {
	id  mqtt.PropertyID
	key string
}

// names lists the properties of all packets but PUBLISH and will in the order
// they are written; user properties follow.
func names() []name {
	return []name{
		{mqtt.PropSessionExpiry, "expiry"},
		{mqtt.PropReceiveMaximum, "receive-max"},
		{mqtt.PropMaximumQoS, "max-qos"},
		{mqtt.PropRetainAvailable, "retain-available"},
		{mqtt.PropMaximumPacketSize, "max-packet"},
		{mqtt.PropAssignedClientID, "assigned-id"},
		{mqtt.PropTopicAliasMaximum, "alias-max"},
		{mqtt.PropWildcardSubAvailable, "wildcard-available"},
		{mqtt.PropSubIDAvailable, "subid-available"},
		{mqtt.PropSharedSubAvailable, "shared-available"},
		{mqtt.PropServerKeepAlive, "server-keepalive"},
		{mqtt.PropRequestResponseInfo, "request-response"},
		{mqtt.PropRequestProblemInfo, "request-problem"},
		{mqtt.PropResponseInfo, "response-info"},
		{mqtt.PropServerReference, "server-ref"},
		{mqtt.PropAuthMethod, "auth-method"},
		{mqtt.PropAuthData, "auth-data"},
		{mqtt.PropSubscriptionID, "subid"},
		{mqtt.PropReasonString, "reason"},
	}
}

// field is a pointer to where p keeps the property.
func field(p *mqtt.Properties, id mqtt.PropertyID) any {
	switch id {
	case mqtt.PropSessionExpiry:
		return &p.SessionExpiry
	case mqtt.PropReceiveMaximum:
		return &p.ReceiveMaximum
	case mqtt.PropMaximumQoS:
		return &p.MaximumQoS
	case mqtt.PropRetainAvailable:
		return &p.RetainAvailable
	case mqtt.PropMaximumPacketSize:
		return &p.MaximumPacketSize
	case mqtt.PropAssignedClientID:
		return &p.AssignedClientID
	case mqtt.PropTopicAliasMaximum:
		return &p.TopicAliasMaximum
	case mqtt.PropWildcardSubAvailable:
		return &p.WildcardSubAvailable
	case mqtt.PropSubIDAvailable:
		return &p.SubIDAvailable
	case mqtt.PropSharedSubAvailable:
		return &p.SharedSubAvailable
	case mqtt.PropServerKeepAlive:
		return &p.ServerKeepAlive
	case mqtt.PropRequestResponseInfo:
		return &p.RequestResponseInfo
	case mqtt.PropRequestProblemInfo:
		return &p.RequestProblemInfo
	case mqtt.PropResponseInfo:
		return &p.ResponseInfo
	case mqtt.PropServerReference:
		return &p.ServerReference
	case mqtt.PropAuthMethod:
		return &p.AuthMethod
	case mqtt.PropAuthData:
		return &p.AuthData
	case mqtt.PropSubscriptionID:
		return &p.SubscriptionID
	}
	return &p.ReasonString
}

// properties writes p, each property preceded by a space.
func (w *writer) properties(p *mqtt.Properties) {
	for _, n := range names() {
		if value, set := show(field(p, n.id)); set || p.Has.Has(n.id) {
			w.words(n.key + "=" + value)
		}
	}
	for _, u := range p.User {
		w.words("user=" + quote(u.Name) + "=" + quote(u.Value))
	}
}

// show is the value at the pointer, and whether it is not the zero value.
func show(at any) (value string, set bool) {
	switch at := at.(type) {
	case *uint32:
		return strconv.FormatUint(uint64(*at), 10), *at != 0
	case *uint16:
		return strconv.Itoa(int(*at)), *at != 0
	case *mqtt.QoS:
		return strconv.Itoa(int(*at)), *at != 0
	case *bool:
		if *at {
			return "1", true
		}
		return "0", false
	}
	s := *at.(*[]byte)
	return quote(s), s != nil
}

// property reads one property of p.
func property(p *mqtt.Properties, w word) error {
	if w.key == "user" && w.pair {
		p.User = append(p.User, mqtt.UserProperty{Name: []byte(w.value), Value: []byte(w.second)})
		return nil
	}
	for _, n := range names() {
		if n.key == w.key && !w.pair {
			p.Has = p.Has.With(n.id)
			return set(field(p, n.id), w)
		}
	}
	return fmt.Errorf("%v does not belong here", w)
}

func set(at any, w word) (err error) {
	var n uint64
	switch at := at.(type) {
	case *uint32:
		n, err = w.number(32)
		*at = uint32(n)
	case *uint16:
		n, err = w.number(16)
		*at = uint16(n)
	case *mqtt.QoS:
		n, err = w.number(2)
		*at = mqtt.QoS(n)
	case *bool:
		n, err = w.number(1)
		*at = n == 1
	case *[]byte:
		*at = []byte(w.value)
	}
	return err
}

// message writes the properties of a PUBLISH or, with the prefix "will-", a will.
func (w *writer) message(m *mqtt.MessageProperties, prefix string) {
	if m.HasExpiry {
		w.number(prefix+"expiry", int(m.Expiry))
	}
	if m.WillDelay != 0 {
		w.number(prefix+"delay", int(m.WillDelay))
	}
	if m.TopicAlias != 0 {
		w.number("alias", int(m.TopicAlias))
	}
	for _, id := range m.SubscriptionIDs {
		w.number("subid", int(id))
	}
	m.Each(func(id mqtt.PropertyID, name, value []byte) bool {
		switch id {
		case mqtt.PropPayloadFormat:
			w.number(prefix+"utf8", int(value[0]))
		case mqtt.PropContentType:
			w.words(prefix + "content-type=" + quote(value))
		case mqtt.PropResponseTopic:
			w.words(prefix + "response-topic=" + quote(value))
		case mqtt.PropCorrelationData:
			w.words(prefix + "correlation=" + quote(value))
		case mqtt.PropUser:
			w.words(prefix + "user=" + quote(name) + "=" + quote(value))
		}
		return true
	})
}

// messageProperty reads one property of a PUBLISH or, without its prefix, a will.
func messageProperty(m *mqtt.MessageProperties, w word) (err error) {
	if w.pair != (w.key == "user") {
		return fmt.Errorf("%v does not belong here", w)
	}
	var n uint64
	switch w.key {
	case "expiry":
		n, err = w.number(32)
		m.Expiry, m.HasExpiry = uint32(n), true
	case "delay":
		n, err = w.number(32)
		m.WillDelay = uint32(n)
	case "alias":
		n, err = w.number(16)
		m.TopicAlias = uint16(n)
	case "subid":
		n, err = w.number(28)
		m.SubscriptionIDs = append(m.SubscriptionIDs, uint32(n))
	case "utf8":
		n, err = w.number(1)
		m.UTF8 = n == 1
		m.Forward = mqtt.AppendPayloadFormat(m.Forward, m.UTF8)
	case "content-type":
		m.Forward = mqtt.AppendContentType(m.Forward, w.value)
	case "response-topic":
		m.Forward = mqtt.AppendResponseTopic(m.Forward, w.value)
	case "correlation":
		m.Forward = mqtt.AppendCorrelationData(m.Forward, w.value)
	case "user":
		m.Forward = mqtt.AppendUserProperty(m.Forward, w.value, w.second)
	default:
		err = fmt.Errorf("%v does not belong here", w)
	}
	return err
}
