package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// printer writes messages, each with one Write.
type printer struct {
	to     io.Writer
	form   func(*printer, *mqtt.Publish)
	end    string
	colour bool
	now    func() time.Time
	buf    bytes.Buffer
}

func newPrinter(c *subCmd, to io.Writer) *printer {
	p := &printer{to: to, end: "\n", now: time.Now, form: (*printer).plain}
	if c.NoNewline {
		p.end = ""
	}
	switch {
	case c.Verbose:
		p.form = (*printer).verbose
	case c.JSON:
		p.form = (*printer).json
	case c.Pretty:
		p.form = (*printer).pretty
		p.colour = isTerminal(to) && os.Getenv("NO_COLOR") == ""
	}
	return p
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *printer) print(m *mqtt.Publish) error {
	p.buf.Reset()
	p.form(p, m)
	_, err := p.to.Write(p.buf.Bytes())
	return err
}

func (p *printer) plain(m *mqtt.Publish) {
	p.buf.Write(m.Payload)
	p.buf.WriteString(p.end)
}

func (p *printer) verbose(m *mqtt.Publish) {
	p.buf.WriteString(screen.Printable(string(m.Topic)))
	p.buf.WriteByte(' ')
	p.plain(m)
}

// messageJSON is a message as --json prints it. Bytes that are not UTF-8 stand
// in the _base64 field in place of the other.
type messageJSON struct {
	Time       time.Time       `json:"time"`
	Topic      string          `json:"topic"`
	Payload    *string         `json:"payload,omitempty"`
	Base64     []byte          `json:"payload_base64,omitempty"`
	QoS        mqtt.QoS        `json:"qos"`
	Retain     bool            `json:"retain"`
	Dup        bool            `json:"dup"`
	Properties *propertiesJSON `json:"properties,omitempty"`
}

type propertiesJSON struct {
	UTF8        bool       `json:"payload_format_utf8,omitempty"`
	Expiry      *uint32    `json:"message_expiry,omitempty"` // seconds
	ContentType string     `json:"content_type,omitempty"`
	Response    string     `json:"response_topic,omitempty"`
	Correlation *string    `json:"correlation_data,omitempty"`
	Base64      []byte     `json:"correlation_data_base64,omitempty"`
	IDs         []uint32   `json:"subscription_ids,omitempty"`
	User        []userJSON `json:"user_properties,omitempty"`
}

type userJSON struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (p *printer) json(m *mqtt.Publish) {
	line := messageJSON{
		Time: p.now(), Topic: string(m.Topic), QoS: m.QoS, Retain: m.Retain, Dup: m.Dup,
		Properties: propertiesOf(m),
	}
	line.Payload, line.Base64 = textOrBytes(m.Payload)
	e := json.NewEncoder(&p.buf)
	e.SetEscapeHTML(false)
	_ = e.Encode(line) // into memory, of fields that all encode
}

func textOrBytes(b []byte) (*string, []byte) {
	if utf8.Valid(b) {
		s := string(b)
		return &s, nil
	}
	return nil, b
}

// propertiesOf is nil if m has none.
func propertiesOf(m *mqtt.Publish) *propertiesJSON {
	if len(m.Props.Forward) == 0 && !m.Props.HasExpiry && len(m.Props.SubscriptionIDs) == 0 {
		return nil
	}
	out := &propertiesJSON{UTF8: m.Props.UTF8, IDs: m.Props.SubscriptionIDs}
	if m.Props.HasExpiry {
		out.Expiry = &m.Props.Expiry
	}
	for id, named := range each(m) {
		switch id {
		case mqtt.PropContentType:
			out.ContentType = named.Value
		case mqtt.PropResponseTopic:
			out.Response = named.Value
		case mqtt.PropCorrelationData:
			out.Correlation, out.Base64 = textOrBytes([]byte(named.Value))
		case mqtt.PropUser:
			out.User = append(out.User, named)
		}
	}
	return out
}

// each goes through the properties that pass through the broker unaltered.
func each(m *mqtt.Publish) func(yield func(mqtt.PropertyID, userJSON) bool) {
	return func(yield func(mqtt.PropertyID, userJSON) bool) {
		m.Props.Each(func(id mqtt.PropertyID, name, value []byte) bool {
			return yield(id, userJSON{string(name), string(value)})
		})
	}
}

// The colours of pretty.
const (
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	plain = "\x1b[0m"
)

func (p *printer) paint(colour, s string) string {
	if !p.colour {
		return s
	}
	return colour + s + plain
}

func (p *printer) pretty(m *mqtt.Publish) {
	facts := []string{"QoS " + strconv.Itoa(int(m.QoS))}
	if m.Retain {
		facts = append(facts, "retained")
	}
	if m.Dup {
		facts = append(facts, "duplicate")
	}
	facts = append(facts, strconv.Itoa(len(m.Payload))+" B")
	fmt.Fprintf(&p.buf, "%s  %s  %s\n", p.paint(dim, p.now().Format("15:04:05.000")),
		p.paint(bold, screen.Printable(string(m.Topic))), p.paint(dim, strings.Join(facts, ", ")))
	p.prettyProperties(m)
	if len(m.Payload) > 0 {
		text := strings.TrimRight(prettyPayload(m.Payload), "\n")
		p.buf.WriteString("  " + strings.ReplaceAll(text, "\n", "\n  ") + "\n")
	}
}

func (p *printer) prettyProperties(m *mqtt.Publish) {
	line := func(name, value string) {
		fmt.Fprintf(&p.buf, "  %s %s\n", p.paint(dim, name+":"), screen.Printable(value))
	}
	if m.Props.HasExpiry {
		line("expires in", strconv.FormatUint(uint64(m.Props.Expiry), 10)+" s")
	}
	for _, id := range m.Props.SubscriptionIDs {
		line("subscription id", strconv.FormatUint(uint64(id), 10))
	}
	for id, named := range each(m) {
		switch id {
		case mqtt.PropContentType:
			line("content type", named.Value)
		case mqtt.PropResponseTopic:
			line("response topic", named.Value)
		case mqtt.PropCorrelationData:
			if !isText([]byte(named.Value)) {
				named.Value = "hex " + hex.EncodeToString([]byte(named.Value))
			}
			line("correlation data", named.Value)
		case mqtt.PropPayloadFormat:
			if m.Props.UTF8 {
				line("payload format", "UTF-8")
			}
		case mqtt.PropUser:
			line("user property", named.Name+" = "+named.Value)
		}
	}
}

// prettyBytes bounds the hex dump of a payload.
const prettyBytes = 1024

func prettyPayload(b []byte) string {
	if isText(b) {
		var out bytes.Buffer
		if first := bytes.TrimLeft(b, " \t\r\n"); len(first) > 0 && (first[0] == '{' || first[0] == '[') &&
			json.Indent(&out, b, "", "  ") == nil {
			return out.String()
		}
		return strings.ReplaceAll(string(b), "\r", "")
	}
	if len(b) > prettyBytes {
		return hex.Dump(b[:prettyBytes]) + fmt.Sprintf("... %d more bytes\n", len(b)-prettyBytes)
	}
	return hex.Dump(b)
}

// isText tells whether a terminal can show b without being told to do anything.
func isText(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsFunc(b, func(r rune) bool {
		return r != '\n' && r != '\t' && r != '\r' && screen.IsControl(r)
	})
}
