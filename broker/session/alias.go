package session

import (
	"bytes"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// aliases are the topic aliases of one connection, both ways (MQTT5 3.3.2.3.4). They never
// outlive it [MQTT-3.3.2-7].
type aliases struct {
	heard   map[uint16][]byte // set by the client; a topic is never changed, only replaced
	sent    map[string]uint16 // set by us: the first sendMax topics get one
	sendMax uint16
}

// resolveAlias gives p the topic its alias stands for, or notes the alias for p's topic.
func (l *Line) resolveAlias(p *mqtt.Publish) (mqtt.ReasonCode, string) {
	n := p.Props.TopicAlias
	if n == 0 {
		return mqtt.ProtocolError, "a PUBLISH without topic and without topic alias"
	}
	if n > l.rules.TopicAliases { // [MQTT-3.3.2-9]
		return mqtt.TopicAliasInvalid, "a topic alias above the Topic Alias Maximum"
	}
	if l.alias == nil {
		l.alias = &aliases{}
	}
	if len(p.Topic) == 0 {
		name, ok := l.alias.heard[n]
		if !ok {
			return mqtt.ProtocolError, "a topic alias that was not set on this connection"
		}
		p.Topic = name
		return 0, ""
	}
	if len(p.Topic) > l.rules.TopicBytes {
		return mqtt.TopicNameInvalid, "the topic name is too long"
	}
	if l.alias.heard == nil {
		l.alias.heard = make(map[uint16][]byte)
	}
	if !bytes.Equal(l.alias.heard[n], p.Topic) {
		l.alias.heard[n] = bytes.Clone(p.Topic)
	}
	return 0, ""
}

// Alias returns the topic alias to send with topic, 0 = none; known tells that the client knows it
// already, so that the topic itself is left out. To be called once per PUBLISH that really goes out.
func (l *Line) Alias(topic []byte) (alias uint16, known bool) {
	if l.alias == nil || l.alias.sendMax == 0 {
		return 0, false
	}
	if n, ok := l.alias.sent[string(topic)]; ok {
		return n, true
	}
	if len(l.alias.sent) >= int(l.alias.sendMax) {
		return 0, false
	}
	if l.alias.sent == nil {
		l.alias.sent = make(map[string]uint16)
	}
	n := uint16(len(l.alias.sent) + 1)
	l.alias.sent[string(topic)] = n
	return n, false
}

// SendsAliases tells whether Alias may return one.
func (l *Line) SendsAliases() bool { return l.alias != nil && l.alias.sendMax > 0 }
