package filter

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// term is one term as it was written.
type term struct {
	not         bool
	field, op   string // op "" = a bare word
	value       string
	at          int // where it begins, from 1, and so on
	opAt        int
	valueAt     int
	valueQuoted bool
}

// lexer cuts an expression into terms.
type lexer struct {
	text string
	pos  int
}

// next is the next term, nil at the end.
func (l *lexer) next() (*term, error) {
	for l.pos < len(l.text) && isSpace(l.text[l.pos]) {
		l.pos++
	}
	if l.pos == len(l.text) {
		return nil, nil
	}
	t := &term{at: l.pos + 1}
	if l.text[l.pos] == '!' {
		t.not = true
		l.pos++
	}
	if l.pos == len(l.text) || isSpace(l.text[l.pos]) {
		return nil, &Error{t.at, "nothing follows !"}
	}
	if n := fieldLength(l.text[l.pos:]); n > 0 {
		t.field = l.text[l.pos : l.pos+n]
		l.pos += n
		t.opAt = l.pos + 1
		n = 1
		if l.text[l.pos] != ':' && strings.HasPrefix(l.text[l.pos+1:], "=") {
			n = 2
		}
		t.op = l.text[l.pos : l.pos+n]
		l.pos += n
	}
	t.valueAt = l.pos + 1
	err := l.value(t)
	return t, err
}

// fieldLength is how long the field's name is that a term begins with; 0 = it begins with none.
func fieldLength(text string) int {
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c == '_', i > 0 && c >= '0' && c <= '9':
		case i > 0 && (c == ':' || c == '<' || c == '>'):
			return i
		default:
			return 0
		}
	}
	return 0
}

// value reads up to the next space, or what is in quotes; there \ makes of the next character a plain one.
func (l *lexer) value(t *term) error {
	if l.pos < len(l.text) && l.text[l.pos] == '"' {
		t.valueQuoted = true
		var b strings.Builder
		for l.pos++; l.pos < len(l.text); l.pos++ {
			switch c := l.text[l.pos]; {
			case c == '\\' && l.pos+1 < len(l.text):
				l.pos++
				b.WriteByte(l.text[l.pos])
			case c == '"':
				l.pos++
				t.value = b.String()
				if l.pos < len(l.text) && !isSpace(l.text[l.pos]) {
					return &Error{l.pos + 1, "a space has to follow the closing quote"}
				}
				return nil
			default:
				b.WriteByte(c)
			}
		}
		return &Error{t.valueAt, "the quote is not closed"}
	}
	from := l.pos
	for l.pos < len(l.text) && !isSpace(l.text[l.pos]) {
		l.pos++
	}
	t.value = l.text[from:l.pos]
	if t.value == "" && t.op != ":" {
		return &Error{t.valueAt, "a value has to follow " + t.op}
	}
	return nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// parseNumber reads a number with its unit.
func parseNumber(s string) (float64, bool) {
	scale := 1.0
	for _, u := range [...]struct {
		unit  string
		scale float64
	}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}} {
		if rest, ok := strings.CutSuffix(s, u.unit); ok {
			s, scale = rest, u.scale
			break
		}
	}
	if !plain(s) {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n * scale, err == nil
}

// parseDuration reads a duration, in seconds.
func parseDuration(s string) (float64, bool) {
	if days, ok := strings.CutSuffix(s, "d"); ok && plain(days) {
		n, err := strconv.ParseFloat(days, 64)
		return n * 86400, err == nil
	}
	if plain(s) { // seconds
		n, err := strconv.ParseFloat(s, 64)
		return n, err == nil
	}
	d, err := time.ParseDuration(s)
	return d.Seconds(), err == nil
}

// plain tells that s is a decimal number, which infinities and hexadecimal ones are not.
func plain(s string) bool {
	return s != "" && strings.Trim(s, "+-.0123456789") == "" && len(s) <= 32
}

// pattern is a text in which * stands for any characters.
func pattern(p string) func(string) bool {
	if !strings.Contains(p, "*") {
		return func(s string) bool { return s == p }
	}
	return func(s string) bool { return topic.Like(p, s) }
}

// Contains tells whether a text has the word in it, in whatever case; other than ASCII is folded only where the word has it.
func Contains(word string) func(string) bool {
	for i := range len(word) {
		if word[i] >= utf8.RuneSelf {
			lower := strings.ToLower(word)
			return func(s string) bool { return strings.Contains(strings.ToLower(s), lower) }
		}
	}
	if word == "" {
		return func(string) bool { return true }
	}
	lower := strings.ToLower(word)
	first, other := lower[0], strings.ToUpper(lower[:1])[0]
	return func(s string) bool {
		for i := 0; i+len(lower) <= len(s); i++ {
			if c := s[i]; c != first && c != other {
				continue
			}
			j := 1
			for j < len(lower) && fold(s[i+j]) == lower[j] {
				j++
			}
			if j == len(lower) {
				return true
			}
		}
		return false
	}
}

func fold(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
