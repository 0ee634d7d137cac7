// Package payload shows what is in a message to people: JSON, text, CBOR, MessagePack, Sparkplug B, or hexadecimal. It says what it took the bytes
// for, and takes them for nothing that they are not as a whole. It does no I/O, keeps nothing, and its work and its answer are bounded.
package payload

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The encodings.
const (
	JSON        = "json"
	Text        = "text"
	Hex         = "hex"
	CBOR        = "cbor"
	MessagePack = "msgpack"
	Sparkplug   = "sparkplug"
)

// The bounds.
const (
	DefaultText = 64 << 10 // bytes of Shown.Text
	MaxText     = 1 << 20
	// maxLook is how long a payload may be that is looked through as a whole; of a longer one the head is shown.
	maxLook  = 1 << 20
	maxDepth = 32
)

// Shown is a payload for people.
type Shown struct {
	Size      int    `json:"size" doc:"Bytes of the payload."`
	Encoding  string `json:"encoding" enum:"json,text,hex,cbor,msgpack,sparkplug" doc:"What it was taken for. hex is shown where it is nothing else as a whole."`
	Text      string `json:"text" doc:"JSON is indented; CBOR, MessagePack and Sparkplug B are written much as JSON, bytes as h'00ff'."`
	Truncated bool   `json:"truncated,omitempty" doc:"The text is not all of it."`
}

// Show decodes a payload. The topic tells Sparkplug B from other protobuf. most bounds the text, in bytes; 0 = DefaultText.
func Show(topic string, b []byte, most int) Shown {
	if most <= 0 {
		most = DefaultText
	}
	most = min(most, MaxText)
	s := Shown{Size: len(b)}
	whole := len(b) <= maxLook
	switch {
	case whole && structured(b) && json.Valid(b):
		s.Encoding = JSON
		s.Text, s.Truncated = pretty(b, most)
		return s
	case isText(b, whole):
		s.Encoding = Text
		s.Text, s.Truncated = cutText(b, most)
		return s
	}
	if whole {
		if strings.HasPrefix(topic, "spBv1.0/") {
			if text, cut, ok := sparkplug(b, most); ok {
				s.Encoding, s.Text, s.Truncated = Sparkplug, text, cut
				return s
			}
		}
		c, cCut, isC := decoded(b, most, (*reader).cbor)
		m, mCut, isM := decoded(b, most, (*reader).msgpack)
		switch {
		case isC && isM: // it may be either
		case isC:
			s.Encoding, s.Text, s.Truncated = CBOR, c, cCut
			return s
		case isM:
			s.Encoding, s.Text, s.Truncated = MessagePack, m, mCut
			return s
		}
	}
	s.Encoding = Hex
	s.Text, s.Truncated = dump(b, most)
	return s
}

// structured tells that b, if it is JSON, is more than one number or word.
func structured(b []byte) bool {
	t := strings.TrimLeft(string(b[:min(len(b), 64)]), " \t\r\n")
	return t != "" && (t[0] == '{' || t[0] == '[')
}

// isText tells that b is UTF-8 without control characters but for those that part lines and cells. Of a long payload the head is looked at, which may
// end in the middle of a character.
func isText(b []byte, whole bool) bool {
	if !whole {
		b = b[:maxLook]
		for i := 0; i < utf8.UTFMax && len(b) > 0; i++ {
			if r, _ := utf8.DecodeLastRune(b); r != utf8.RuneError {
				break
			}
			b = b[:len(b)-1]
		}
	}
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 || unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' {
			return false
		}
		b = b[n:]
	}
	return true
}

// cutText is the head of b, at the end of a character.
func cutText(b []byte, most int) (string, bool) {
	if len(b) <= most {
		return string(b), false
	}
	for most > 0 && !utf8.RuneStart(b[most]) {
		most--
	}
	return string(b[:most]), true
}

// dump is the head of b as hexdump -C shows it: 16 bytes a line.
func dump(b []byte, most int) (string, bool) {
	const perLine = 79 // characters, of 16 bytes
	n := min(len(b), max(most/perLine, 1)*16)
	return hex.Dump(b[:n]), n < len(b)
}

// pretty indents valid JSON.
func pretty(b []byte, most int) (string, bool) {
	p := printer{most: most}
	depth, text := 0, false
	for i := 0; i < len(b) && !p.full; i++ {
		c := b[i]
		switch {
		case text:
			p.byte(c)
			if c == '\\' && i+1 < len(b) {
				i++
				p.byte(b[i])
			}
			text = c != '"'
		case c == '"':
			p.byte(c)
			text = true
		case c == ' ', c == '\t', c == '\r', c == '\n':
		case c == '{', c == '[':
			p.byte(c)
			if next := after(b, i); next == '}' || next == ']' {
				continue
			}
			depth++
			p.line(depth)
		case c == '}', c == ']':
			if last := before(b, i); last != '{' && last != '[' {
				depth--
				p.line(depth)
			}
			p.byte(c)
		case c == ',':
			p.byte(c)
			p.line(depth)
		case c == ':':
			p.text(": ")
		default:
			p.byte(c)
		}
	}
	return p.result()
}

func after(b []byte, i int) byte {
	for i++; i < len(b); i++ {
		if c := b[i]; c > ' ' {
			return c
		}
	}
	return 0
}

func before(b []byte, i int) byte {
	for i--; i >= 0; i-- {
		if c := b[i]; c > ' ' {
			return c
		}
	}
	return 0
}

// printer writes up to a number of bytes.
type printer struct {
	b    strings.Builder
	most int
	full bool // something was left out
}

func (p *printer) byte(c byte) {
	if p.full || p.b.Len() >= p.most {
		p.full = true
		return
	}
	p.b.WriteByte(c)
}

func (p *printer) text(s string) {
	if p.full {
		return
	}
	if room := p.most - p.b.Len(); len(s) > room {
		s, p.full = s[:room], true
	}
	p.b.WriteString(s)
}

func (p *printer) line(depth int) {
	p.byte('\n')
	for range min(depth, 64) {
		p.text("  ")
	}
}

// quote writes a text as JSON does.
func (p *printer) quote(s string) {
	if len(s) > p.most {
		s, _ = cutText([]byte(s), p.most)
	}
	q, err := json.Marshal(s)
	if err != nil { // a string always can be
		return
	}
	p.text(string(q))
}

// bytes writes bytes as h'00ff'.
func (p *printer) bytes(b []byte) {
	n := min(len(b), p.most)
	p.text("h'" + hex.EncodeToString(b[:n]) + "'")
}

// result is what was written, to the end of a character.
func (p *printer) result() (string, bool) {
	s := p.b.String()
	if p.full {
		for i := 0; i < utf8.UTFMax && s != ""; i++ {
			if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n != 1 {
				break
			}
			s = s[:len(s)-1]
		}
	}
	return s, p.full
}
