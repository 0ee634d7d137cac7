package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// tracer writes one line per packet, for -d. It shows no payload and no
// credentials.
func tracer(w io.Writer, v mqtt.Version) func(client.Direction, []byte) {
	var mu sync.Mutex
	return func(d client.Direction, b []byte) {
		arrow := "<-"
		if d == client.Sent {
			arrow = "->"
		}
		text := "a packet that is not MQTT"
		if h, n, err := mqtt.ParseHeader(b); err == nil {
			var p mqtt.Packet // decoding moves bytes about: into a copy
			if err := p.Decode(v, h, append([]byte(nil), b[n:]...), mqtt.Limits{}); err == nil {
				text = describe(&p, len(b))
			} else {
				text = fmt.Sprintf("%v, %d bytes: %v", h.Type, len(b), err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(w, "%s %s %s\n", time.Now().Format("15:04:05.000"), arrow, text)
	}
}

// describe is one packet of so many bytes in one line.
func describe(p *mqtt.Packet, size int) string {
	var facts []string
	add := func(format string, args ...any) { facts = append(facts, fmt.Sprintf(format, args...)) }
	reason := func(r mqtt.ReasonCode) { add("%v (0x%02X)", r, uint8(r)) }
	id := func(n uint16) { add("id %d", n) }
	switch p.Type {
	case mqtt.CONNECT:
		add("MQTT %v, client id %q, clean start %v, keep-alive %d s", p.Connect.Version, p.Connect.ClientID,
			p.Connect.CleanStart, p.Connect.KeepAlive)
	case mqtt.CONNACK:
		reason(p.Connack.Reason)
		add("session present %v", p.Connack.SessionPresent)
	case mqtt.PUBLISH:
		m := &p.Publish
		add("%s", screen.Printable(string(m.Topic)))
		if m.Props.TopicAlias != 0 {
			add("alias %d", m.Props.TopicAlias)
		}
		add("QoS %d", m.QoS)
		if m.QoS > 0 {
			id(m.ID)
		}
		if m.Retain {
			add("retain")
		}
		if m.Dup {
			add("duplicate")
		}
		add("payload %d bytes", len(m.Payload))
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		id(p.Ack.ID)
		reason(p.Ack.Reason)
	case mqtt.SUBSCRIBE:
		id(p.Subscribe.ID)
		for _, f := range p.Subscribe.Filters {
			add("%s at QoS %d", screen.Printable(string(f.Filter)), f.Options.QoS())
		}
	case mqtt.UNSUBSCRIBE:
		id(p.Unsubscribe.ID)
	case mqtt.SUBACK, mqtt.UNSUBACK:
		id(p.Suback.ID)
		for _, r := range p.Suback.Reasons {
			reason(r)
		}
	case mqtt.DISCONNECT:
		reason(p.Disconnect.Reason)
	}
	add("%d bytes", size)
	return p.Type.String() + " " + strings.Join(facts, ", ")
}
