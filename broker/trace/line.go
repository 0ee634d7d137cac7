package trace

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
)

// Line is a packet, a run of them, or a note, for people and for JSON.
type Line struct {
	At        time.Time `json:"at"`
	Client    string    `json:"client,omitempty"`
	Address   string    `json:"address,omitempty" doc:"Of the client."`
	Direction string    `json:"direction,omitempty" enum:"in,out" doc:"As the broker sees it; absent for a note."`
	Type      string    `json:"type" doc:"The control packet type, or note."`
	ID        uint16    `json:"id,omitempty" doc:"Packet identifier; of a run, the first one."`
	QoS       uint8     `json:"qos,omitempty"`
	Retain    bool      `json:"retain,omitempty"`
	Dup       bool      `json:"dup,omitempty"`
	Topic     string    `json:"topic,omitempty" doc:"Of a PUBLISH, also where an alias stands for it; the first filter of a SUBSCRIBE or UNSUBSCRIBE."`
	Size      int64     `json:"size,omitempty" doc:"Bytes of the packet; of a run, of all."`
	Reason    string    `json:"reason,omitempty"`
	Code      int       `json:"code,omitempty" doc:"The reason code."`
	Count     int       `json:"count,omitempty" doc:"How many packets the line stands for, if more than one."`
	Until     time.Time `json:"until,omitzero" doc:"When the last of them came."`
	Several   bool      `json:"several,omitempty" doc:"The packets have several topics, of which the first is named."`
	Text      string    `json:"text,omitempty" doc:"What a note says; of a packet all there is, as one line, without the payload."`
	Payload   *Payload  `json:"payload,omitempty"`
}

// Payload is what was kept of a payload.
type Payload struct {
	Size      int    `json:"size" doc:"Bytes of the whole payload; of what is kept, where the whole is not known."`
	Encoding  string `json:"encoding" enum:"json,text,hex"`
	Text      string `json:"text"`
	Truncated bool   `json:"truncated,omitempty"`
}

func payloadOf(kept []byte, size int) *Payload {
	if size == 0 {
		return nil
	}
	p := &Payload{Size: size, Truncated: len(kept) < size}
	text := kept
	if p.Truncated { // it may have been cut within a character
		for n := 0; n < utf8.UTFMax-1 && len(text) > 0 && !utf8.Valid(text); n++ {
			text = text[:len(text)-1]
		}
	}
	switch {
	case !p.Truncated && len(kept) > 0 && (kept[0] == '{' || kept[0] == '[') && json.Valid(kept):
		p.Encoding, p.Text = "json", string(kept)
	case utf8.Valid(text) && (len(text) > 0 || len(kept) == 0) && !bytes.ContainsFunc(text, isBinary):
		p.Encoding, p.Text = "text", string(text)
	default:
		p.Encoding, p.Text = "hex", hex.EncodeToString(kept)
	}
	return p
}

// isBinary: what no text has.
func isBinary(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' }

// Line decodes the packet.
func (p *Packet) Line() Line {
	l := Line{At: time.UnixMilli(p.At).UTC(), Client: p.Client, Direction: p.Dir.String(), Topic: p.Topic, Size: int64(p.Size), Text: p.Text}
	if p.Address.IsValid() {
		l.Address = p.Address.String()
	}
	l.reason(p.Reason)
	switch {
	case p.Dir == None:
		l.Type = "note"
		return l
	case p.Bad:
		l.bad(p, p.Text)
		return l
	}
	d, err := p.Decoded()
	if err != nil {
		l.bad(p, err.Error())
		return l
	}
	l.Type = d.Type.String()
	switch d.Type {
	case mqtt.CONNACK:
		l.reason(d.Connack.Reason)
	case mqtt.PUBLISH:
		m := &d.Publish
		l.ID, l.QoS, l.Retain, l.Dup = m.ID, uint8(m.QoS), m.Retain, m.Dup
		l.Payload = payloadOf(m.Payload, len(m.Payload)+p.Size-len(p.Raw))
		m.Payload = nil
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		l.ID = d.Ack.ID
		l.reason(d.Ack.Reason)
	case mqtt.SUBSCRIBE:
		l.ID = d.Subscribe.ID
		if len(d.Subscribe.Filters) > 0 {
			l.Topic = string(d.Subscribe.Filters[0].Filter)
		}
	case mqtt.UNSUBSCRIBE:
		l.ID = d.Unsubscribe.ID
		if len(d.Unsubscribe.Filters) > 0 {
			l.Topic = string(d.Unsubscribe.Filters[0])
		}
	case mqtt.SUBACK, mqtt.UNSUBACK:
		l.ID = d.Suback.ID
		for _, r := range d.Suback.Reasons {
			if r.Failed() {
				l.reason(r)
				break
			}
		}
	case mqtt.DISCONNECT:
		l.reason(d.Disconnect.Reason)
	case mqtt.AUTH:
		l.reason(d.Auth.Reason)
	}
	l.Text = packettext.Format(d)
	return l
}

// reason says nothing of success.
func (l *Line) reason(r mqtt.ReasonCode) {
	if r != mqtt.Success {
		l.Reason, l.Code = r.String(), int(r)
	}
}

// bad is of bytes that are no packet.
func (l *Line) bad(p *Packet, why string) {
	l.Type = "malformed"
	if len(p.Raw) > 0 {
		if t := mqtt.Type(p.Raw[0] >> 4); t != 0 {
			l.Type = t.String()
		}
	}
	l.Text = "malformed, begins with " + hex.EncodeToString(p.Raw) + ": " + why
}

// Line is the entry for people; client is whose it is.
func (e *Entry) Line(client string) Line {
	l := Line{At: time.UnixMilli(e.At).UTC(), Client: client, Direction: e.Dir.String(), ID: e.ID, Size: e.Bytes, Several: e.Several}
	if e.Count > 1 {
		l.Count, l.Until = e.Count, time.UnixMilli(e.Until).UTC()
	}
	l.reason(mqtt.ReasonCode(e.Reason))
	t := mqtt.Type(e.First >> 4)
	if t == 0 {
		l.Type, l.Text, l.ID = "note", e.Topic, 0
		return l
	}
	l.Type = t.String()
	switch t {
	case mqtt.CONNECT:
		l.Address, _, _ = strings.Cut(e.Topic, ", ")
		l.Text = e.Topic
	case mqtt.PUBLISH:
		l.QoS, l.Retain, l.Dup = e.First>>1&3, e.First&1 != 0, e.First&8 != 0
		l.Topic = e.Topic
		if len(e.Payload) > 0 {
			l.Payload = payloadOf(e.Payload, len(e.Payload))
			l.Payload.Truncated = true
		}
	default:
		l.Topic = e.Topic
	}
	return l
}

// Short is the line for a narrow table: what there is to say beside time, direction and type, without the payload.
func (l *Line) Short() string {
	if l.Type == "note" {
		return l.Text
	}
	if text, whole := strings.CutPrefix(l.Text, l.Type); whole { // decoded: all is there
		if l.Topic != "" {
			text = strings.Replace(text, ` topic=""`, " topic="+l.Topic+" by its alias", 1)
		}
		return strings.TrimSpace(text)
	}
	var facts []string
	add := func(when bool, text string) {
		if when {
			facts = append(facts, text)
		}
	}
	add(l.Topic != "", l.Topic)
	add(l.Several, "and others")
	add(l.Type == mqtt.PUBLISH.String(), "qos="+strconv.Itoa(int(l.QoS)))
	add(l.ID != 0, "id="+strconv.Itoa(int(l.ID)))
	add(l.Dup, "dup")
	add(l.Retain, "retain")
	add(l.Reason != "", l.Reason)
	add(l.Topic == "" && l.Text != "", l.Text)
	return strings.Join(facts, " ")
}
