package packettext

import (
	"fmt"
	"strconv"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Format is the line of p. Parse of it gives a packet that encodes to the same
// bytes as p.
func Format(p *mqtt.Packet) string { return string(AppendFormat(nil, p)) }

// AppendFormat appends the line of p.
func AppendFormat(dst []byte, p *mqtt.Packet) []byte {
	w := writer{append(dst, p.Type.String()...)}
	switch p.Type {
	case mqtt.CONNECT:
		w.connect(&p.Connect)
	case mqtt.CONNACK:
		w.words(reason(p.Connack.Reason))
		w.flag("present", p.Connack.SessionPresent)
		w.properties(&p.Connack.Props)
	case mqtt.PUBLISH:
		w.publish(&p.Publish)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		w.number("id", int(p.Ack.ID))
		w.reason(p.Ack.Reason)
		w.properties(&p.Ack.Props)
	case mqtt.SUBSCRIBE:
		w.subscribe(&p.Subscribe)
	case mqtt.SUBACK, mqtt.UNSUBACK:
		w.suback(&p.Suback)
	case mqtt.UNSUBSCRIBE:
		w.unsubscribe(&p.Unsubscribe)
	case mqtt.DISCONNECT:
		w.reason(p.Disconnect.Reason)
		w.properties(&p.Disconnect.Props)
	case mqtt.AUTH:
		w.reason(p.Auth.Reason)
		w.properties(&p.Auth.Props)
	}
	return w.dst
}

// writer collects the words of a line.
type writer struct{ dst []byte }

func (w *writer) words(words ...string) {
	for _, s := range words {
		w.dst = append(append(w.dst, ' '), s...)
	}
}

func (w *writer) number(key string, n int) { w.words(key + "=" + strconv.Itoa(n)) }

func (w *writer) flag(name string, on bool) {
	if on {
		w.words(name)
	}
}

func (w *writer) reason(r mqtt.ReasonCode) {
	if r != mqtt.Success {
		w.words(reason(r))
	}
}

// payload is left out when empty.
func (w *writer) payload(b []byte) {
	if len(b) > 0 {
		w.words(strconv.Quote(string(b)))
	}
}

func reason(r mqtt.ReasonCode) string { return fmt.Sprintf("0x%02X", uint8(r)) }

func (w *writer) connect(c *mqtt.Connect) {
	switch c.Version {
	case mqtt.V31:
		w.words("v3.1")
	case mqtt.V311:
		w.words("v3.1.1")
	default:
		w.words("v" + strconv.Itoa(int(c.Version)))
	}
	w.words("id=" + quote(c.ClientID))
	w.flag("clean", c.CleanStart)
	if c.KeepAlive != 0 {
		w.number("keepalive", int(c.KeepAlive))
	}
	if c.HasUser {
		w.words("username=" + quote(c.Username))
	}
	if c.HasPass {
		w.words("password=" + quote(c.Password))
	}
	w.properties(&c.Props)
	if m := c.Will; m != nil {
		w.words("will=" + quote(m.Topic))
		if m.QoS != 0 {
			w.number("will-qos", int(m.QoS))
		}
		w.flag("will-retain", m.Retain)
		w.message(&m.Props, "will-")
		w.payload(m.Payload)
	}
}

func (w *writer) publish(p *mqtt.Publish) {
	if p.QoS != 0 {
		w.number("qos", int(p.QoS))
		w.number("id", int(p.ID))
	}
	w.flag("dup", p.Dup)
	w.flag("retain", p.Retain)
	w.words("topic=" + quote(p.Topic))
	w.message(&p.Props, "")
	w.payload(p.Payload)
}

func (w *writer) subscribe(s *mqtt.Subscribe) {
	w.number("id", int(s.ID))
	w.properties(&s.Props)
	for i, f := range s.Filters {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		w.words(quote(f.Filter))
		w.number("qos", int(f.Options.QoS()))
		w.flag("nl", f.Options.NoLocal())
		w.flag("rap", f.Options.RetainAsPublished())
		if rh := f.Options.RetainHandling(); rh != 0 {
			w.number("rh", int(rh))
		}
	}
}

func (w *writer) suback(s *mqtt.Suback) {
	w.number("id", int(s.ID))
	for i, r := range s.Reasons {
		if i == 0 {
			w.words(reason(r))
			continue
		}
		w.dst = append(append(w.dst, ','), reason(r)...)
	}
	w.properties(&s.Props)
}

func (w *writer) unsubscribe(u *mqtt.Unsubscribe) {
	w.number("id", int(u.ID))
	w.properties(&u.Props)
	for i, f := range u.Filters {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		w.words(quote(f))
	}
}
