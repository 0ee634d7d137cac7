package packettext

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// parse reads a line; v is the version of a CONNECT that names none.
func parse(v mqtt.Version, line string) (*mqtt.Packet, error) {
	words, err := split(line)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", line, err)
	}
	if len(words) == 0 {
		return nil, fmt.Errorf("an empty line is no packet")
	}
	p := &mqtt.Packet{}
	for t := mqtt.CONNECT; t <= mqtt.AUTH; t++ {
		if words[0].value == t.String() {
			p.Type = t
		}
	}
	if p.Type == 0 {
		return nil, fmt.Errorf("%s: no packet type", line)
	}
	p.Connect.Version = v
	eat := eater(p)
	for _, w := range words[1:] {
		if err := eat(w); err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
	}
	return p, nil
}

// eater is what takes the words of a packet of p.Type one after the other.
func eater(p *mqtt.Packet) func(word) error {
	switch p.Type {
	case mqtt.CONNECT:
		return func(w word) error { return connect(&p.Connect, w) }
	case mqtt.CONNACK:
		return func(w word) error {
			if w.flag("present") {
				p.Connack.SessionPresent = true
				return nil
			}
			return answer(nil, &p.Connack.Reason, &p.Connack.Props, w)
		}
	case mqtt.PUBLISH:
		return func(w word) error { return publish(&p.Publish, w) }
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		return func(w word) error { return answer(&p.Ack.ID, &p.Ack.Reason, &p.Ack.Props, w) }
	case mqtt.SUBSCRIBE:
		begins := true // a filter, whatever it is called
		return func(w word) error { return subscribe(&p.Subscribe, &begins, w) }
	case mqtt.SUBACK, mqtt.UNSUBACK:
		return func(w word) error { return suback(&p.Suback, w) }
	case mqtt.UNSUBSCRIBE:
		return func(w word) error { return unsubscribe(&p.Unsubscribe, w) }
	case mqtt.DISCONNECT:
		return func(w word) error { return answer(nil, &p.Disconnect.Reason, &p.Disconnect.Props, w) }
	case mqtt.AUTH:
		return func(w word) error { return answer(nil, &p.Auth.Reason, &p.Auth.Props, w) }
	}
	return func(w word) error { return fmt.Errorf("%v does not belong here", w) }
}

func (w word) flag(name string) bool { return w.key == "" && !w.quoted && w.value == name }

// code reads a reason code.
func (w word) code() (mqtt.ReasonCode, error) {
	n, err := strconv.ParseUint(w.value, 0, 8)
	if err != nil || w.key != "" || w.quoted {
		return 0, fmt.Errorf("%v is not a reason code", w)
	}
	return mqtt.ReasonCode(n), nil
}

// answer takes a word of a packet that consists of a packet identifier (nil =
// none), a reason code and properties.
func answer(id *uint16, reason *mqtt.ReasonCode, props *mqtt.Properties, w word) (err error) {
	switch {
	case w.key == "id" && id != nil:
		return set(id, w)
	case w.key == "":
		*reason, err = w.code()
		return err
	}
	return property(props, w)
}

func connect(c *mqtt.Connect, w word) (err error) {
	if w.key == "" {
		return connectFlag(c, w)
	}
	switch w.key {
	case "id":
		c.ClientID = []byte(w.value)
	case "keepalive":
		err = set(&c.KeepAlive, w)
	case "username":
		c.Username, c.HasUser = []byte(w.value), true
	case "password":
		c.Password, c.HasPass = []byte(w.value), true
	case "will":
		will(c).Topic = []byte(w.value)
	case "will-qos":
		err = set(&will(c).QoS, w)
	default:
		if key, ok := strings.CutPrefix(w.key, "will-"); ok {
			w.key = key
			return messageProperty(&will(c).Props, w)
		}
		return property(&c.Props, w)
	}
	return err
}

func connectFlag(c *mqtt.Connect, w word) error {
	switch {
	case w.quoted:
		will(c).Payload = []byte(w.value)
	case w.flag("clean"):
		c.CleanStart = true
	case w.flag("will-retain"):
		will(c).Retain = true
	case w.flag("v3.1"):
		c.Version = mqtt.V31
	case w.flag("v3.1.1"):
		c.Version = mqtt.V311
	case w.flag("v5"):
		c.Version = mqtt.V5
	default:
		return fmt.Errorf("%v does not belong here", w)
	}
	return nil
}

// will is the will of c, which has one from now on.
func will(c *mqtt.Connect) *mqtt.Will {
	if c.Will == nil {
		c.Will = &mqtt.Will{}
	}
	return c.Will
}

func publish(p *mqtt.Publish, w word) error {
	switch {
	case w.key == "qos":
		return set(&p.QoS, w)
	case w.key == "id":
		return set(&p.ID, w)
	case w.key == "topic":
		p.Topic = []byte(w.value)
	case w.flag("dup"):
		p.Dup = true
	case w.flag("retain"):
		p.Retain = true
	case w.key == "" && w.quoted:
		p.Payload = []byte(w.value)
	default:
		return messageProperty(&p.Props, w)
	}
	return nil
}

func subscribe(s *mqtt.Subscribe, begins *bool, w word) error {
	switch {
	case w.flag(","):
		*begins = true
		return nil
	case *begins && w.key == "id":
		return set(&s.ID, w)
	case *begins && w.key != "":
		return property(&s.Props, w)
	case *begins:
		s.Filters = append(s.Filters, mqtt.Subscription{Filter: []byte(w.value)})
		*begins = false
		return nil
	}
	return option(&s.Filters[len(s.Filters)-1].Options, w)
}

func option(o *mqtt.SubOptions, w word) (err error) {
	var n uint64
	switch {
	case w.flag("nl"):
		n = 0x04
	case w.flag("rap"):
		n = 0x08
	case w.key == "qos":
		n, err = w.number(2)
	case w.key == "rh":
		n, err = w.number(2)
		n <<= 4
	default:
		err = fmt.Errorf("%v does not belong here", w)
	}
	*o |= mqtt.SubOptions(n)
	return err
}

func suback(s *mqtt.Suback, w word) error {
	switch {
	case w.flag(","):
		return nil
	case w.key == "id":
		return set(&s.ID, w)
	case w.key != "":
		return property(&s.Props, w)
	}
	code, err := w.code()
	s.Reasons = append(s.Reasons, code)
	return err
}

func unsubscribe(u *mqtt.Unsubscribe, w word) error {
	switch {
	case w.flag(","):
	case w.key == "id":
		return set(&u.ID, w)
	case w.key != "":
		return property(&u.Props, w)
	default:
		u.Filters = append(u.Filters, []byte(w.value))
	}
	return nil
}
