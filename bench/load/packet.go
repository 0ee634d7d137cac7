package load

import (
	"fmt"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// template is a PUBLISH of which every copy differs in two places only.
type template struct {
	frame []byte
	id    int // offset of the packet identifier; 0 at QoS 0
	stamp int // offset of the payload's stamp; 0 if the payload is empty
}

// publishTemplate is the template of the run's messages to one topic.
func publishTemplate(o Options, topic string, retain bool) template {
	return newTemplate(o, mqtt.Publish{Topic: []byte(topic), QoS: o.QoS, Retain: retain, Payload: make([]byte, o.Payload)})
}

// emptyTemplate clears a retained topic.
func emptyTemplate(o Options, topic string) template {
	return newTemplate(o, mqtt.Publish{Topic: []byte(topic), QoS: o.QoS, Retain: true})
}

func newTemplate(o Options, p mqtt.Publish) template {
	head := p.AppendHead(nil, o.Version)
	t := template{frame: append(head, p.Payload...)}
	if len(p.Payload) > 0 {
		t.stamp = len(head)
	}
	if p.QoS > 0 {
		t.id = len(head) - 2
		if o.Version == mqtt.V5 {
			t.id-- // the property length, one byte of zero
		}
	}
	return t
}

// forever is the session expiry interval of a session that does not expire
// (MQTT5 3.1.2.11.2).
const forever = 0xFFFFFFFF

func connectPacket(o Options, cl *client) []byte {
	c := mqtt.Connect{
		Version:    o.Version,
		CleanStart: cl.cleanStart,
		ClientID:   []byte(cl.id),
		Username:   []byte(o.Username),
		Password:   []byte(o.Password),
		HasUser:    o.Username != "",
		HasPass:    o.Password != "",
	}
	if o.Version == mqtt.V5 && !cl.cleanStart {
		c.Props.Has = c.Props.Has.With(mqtt.PropSessionExpiry)
		c.Props.SessionExpiry = forever
	}
	return c.AppendTo(nil)
}

// filtersPerPacket keeps a SUBSCRIBE small enough for any broker's limit.
const filtersPerPacket = 100

func subscribePackets(v mqtt.Version, qos mqtt.QoS, filters []string) [][]byte {
	var packets [][]byte
	for len(filters) > 0 {
		n := min(filtersPerPacket, len(filters))
		s := mqtt.Subscribe{ID: uint16(len(packets) + 1)}
		for _, f := range filters[:n] {
			s.Filters = append(s.Filters, mqtt.Subscription{Filter: []byte(f), Options: mqtt.SubOptions(qos)})
		}
		packets = append(packets, s.AppendTo(nil, v))
		filters = filters[n:]
	}
	return packets
}

// decode reads a packet that is not worth a fast way.
func decode(head byte, body []byte, v mqtt.Version) (mqtt.Packet, error) {
	var p mqtt.Packet
	h := mqtt.Header{Type: mqtt.Type(head >> 4), Flags: head & 0x0F, Length: len(body)}
	err := p.Decode(v, h, body, mqtt.Limits{UserProperties: 100, PropertyBytes: 1 << 16})
	return p, err
}

func checkSuback(head byte, body []byte, v mqtt.Version) error {
	p, err := decode(head, body, v)
	if err != nil {
		return err
	}
	for _, reason := range p.Suback.Reasons {
		if reason.Failed() {
			return fmt.Errorf("subscription refused: %w", reason)
		}
	}
	return nil
}

func versionName(v mqtt.Version) string {
	switch v {
	case mqtt.V31:
		return "3.1"
	case mqtt.V311:
		return "3.1.1"
	}
	return "5.0"
}
