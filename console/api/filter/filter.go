// Package filter is the one syntax in which every list of the API is filtered, sorted and paged (docs/api.md). It works on
// whatever a list holds, by the fields that the list declares; it knows no list, does no I/O and has no clock of its own.
//
//	EXPR  = TERM { " " TERM }            all terms must hold
//	TERM  = [ "!" ] ( WORD | FIELD ":" VALUE | FIELD ( ">" | "<" | ">=" | "<=" ) VALUE )
//	VALUE = text, in quotes where it has spaces; * stands for any characters
//
// Numbers take k, M, G and Ki, Mi, Gi; durations are 500ms, 30s, 5m, 2h, 7d; of a time, a duration is how long ago it is. A bare word is part of
// any field that is looked into, in whatever case.
package filter

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unsafe"
)

// The bounds of an expression.
const (
	MaxBytes = 4096
	MaxTerms = 32
)

// Kind is what a field holds.
type Kind uint8

// The kinds.
const (
	Text     Kind = iota // of Field.Text
	Texts                // of Field.Texts: one of them suffices
	Number               // of Field.Number
	Duration             // of Field.Number, in seconds
	Time                 // of Field.Number, in seconds since 1970, 0 = none
	Bool                 // of Field.Number, 0 or 1
)

// Field is one field of a list's items.
type Field[T any] struct {
	Name   string
	Kind   Kind
	Text   func(*T) string
	Append func(b []byte, v *T) []byte // in place of Text, where the text has to be put together
	Texts  func(*T) []string
	Number func(*T) float64
	Word   bool                              // bare words are looked for in it
	Has    func(word string) func(v *T) bool // looks for a bare word; nil = in the text
	// Within reads a value of a text that stands for many, such as a network of addresses; where it is nil or gives nil the value is a text.
	Within func(value string) func(v *T) bool
}

// text reads a field's text. That of one that is put together is in *b, and there until it is used again.
func (f *Field[T]) text(v *T, b *[]byte) string {
	switch {
	case f.Kind == Texts:
		return strings.Join(f.Texts(v), "\x00")
	case f.Append == nil:
		return f.Text(v)
	}
	*b = f.Append((*b)[:0], v)
	return unsafe.String(unsafe.SliceData(*b), len(*b))
}

// Schema are the fields of a list. It is never changed once made.
type Schema[T any] struct {
	fields []Field[T]
	key    Field[T]
}

// New makes a schema. key is a text that tells items apart, and orders those that are otherwise equal.
func New[T any](key Field[T], fields ...Field[T]) *Schema[T] {
	return &Schema[T]{fields, key}
}

// Names are the names of the fields, in the order in which they were declared.
func (s *Schema[T]) Names() []string {
	names := make([]string, len(s.fields))
	for i := range s.fields {
		names[i] = s.fields[i].Name
	}
	return names
}

// Error says what is wrong with an expression, and where.
type Error struct {
	At   int // byte of the expression, from 1
	Text string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("filter, at character %d: %s", e.At, e.Text) }

// Match tells whether an item passes. It is used by one goroutine at a time.
type Match[T any] func(*T) bool

// Parse reads an expression; an empty one lets everything pass. The error is an *Error.
func (s *Schema[T]) Parse(expr string, now time.Time) (Match[T], error) {
	if len(expr) > MaxBytes {
		return nil, &Error{MaxBytes + 1, fmt.Sprintf("it is longer than %d bytes", MaxBytes)}
	}
	var all []Match[T]
	l := lexer{text: expr}
	for {
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		if t == nil {
			break
		}
		if len(all) == MaxTerms {
			return nil, &Error{t.at, fmt.Sprintf("it has more than %d terms", MaxTerms)}
		}
		m, err := s.term(t, now)
		if err != nil {
			return nil, err
		}
		if t.not {
			yes := m
			m = func(v *T) bool { return !yes(v) }
		}
		all = append(all, m)
	}
	return func(v *T) bool {
		for _, m := range all {
			if !m(v) {
				return false
			}
		}
		return true
	}, nil
}

func (s *Schema[T]) field(name string) *Field[T] {
	for i := range s.fields {
		if s.fields[i].Name == name {
			return &s.fields[i]
		}
	}
	return nil
}

func (s *Schema[T]) term(t *term, now time.Time) (Match[T], error) {
	if t.op == "" {
		return s.word(t.value), nil
	}
	f := s.field(t.field)
	if f == nil {
		return nil, &Error{t.at, fmt.Sprintf("there is no field %q; there are %s", t.field, strings.Join(s.Names(), ", "))}
	}
	if f.Kind == Text || f.Kind == Texts {
		if t.op != ":" {
			return nil, &Error{t.opAt, fmt.Sprintf("%s is text: it takes %s:TEXT, not %s", f.Name, f.Name, t.op)}
		}
		if f.Within != nil {
			if in := f.Within(t.value); in != nil {
				return in, nil
			}
		}
		is := pattern(t.value)
		if f.Kind == Text {
			var b []byte
			return func(v *T) bool { return is(f.text(v, &b)) }, nil
		}
		return func(v *T) bool {
			for _, one := range f.Texts(v) {
				if is(one) {
					return true
				}
			}
			return false
		}, nil
	}
	return f.compare(t, now)
}

// compare is a term about a number.
func (f *Field[T]) compare(t *term, now time.Time) (Match[T], error) {
	n, ago, err := f.number(t, now)
	if err != nil {
		return nil, err
	}
	value := f.Number
	if ago { // so long ago, or longer: none is never
		base := float64(now.UnixMilli()) / 1000
		value = func(v *T) float64 {
			if at := f.Number(v); at != 0 {
				return base - at
			}
			return math.NaN()
		}
	}
	switch t.op {
	case ">":
		return func(v *T) bool { return value(v) > n }, nil
	case "<":
		return func(v *T) bool { return value(v) < n }, nil
	case ">=":
		return func(v *T) bool { return value(v) >= n }, nil
	case "<=":
		return func(v *T) bool { return value(v) <= n }, nil
	}
	return func(v *T) bool { return value(v) == n }, nil
}

// number reads the value of a term about a number; ago tells that it is an age.
func (f *Field[T]) number(t *term, now time.Time) (n float64, ago bool, err error) {
	switch f.Kind {
	case Bool:
		switch {
		case t.op != ":":
			return 0, false, &Error{t.opAt, fmt.Sprintf("%s is yes or no: it takes %s:true or %s:false", f.Name, f.Name, f.Name)}
		case t.value == "true" || t.value == "yes":
			return 1, false, nil
		case t.value == "false" || t.value == "no":
			return 0, false, nil
		}
		return 0, false, &Error{t.valueAt, fmt.Sprintf("%s is true or false, not %q", f.Name, t.value)}
	case Duration:
		if d, ok := parseDuration(t.value); ok {
			return d, false, nil
		}
		return 0, false, &Error{t.valueAt, fmt.Sprintf("%q is no duration such as 30s, 5m, 2h or 7d", t.value)}
	case Time:
		if t.op == ":" {
			return 0, false, &Error{t.opAt, fmt.Sprintf("%s is a time: it takes >, <, >= or <=", f.Name)}
		}
		if d, ok := parseDuration(t.value); ok {
			return d, true, nil
		}
		for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
			if at, err := time.ParseInLocation(layout, t.value, now.Location()); err == nil {
				return float64(at.UnixMilli()) / 1000, false, nil
			}
		}
		return 0, false, &Error{t.valueAt, fmt.Sprintf("%q is neither an age such as 5m nor a time such as 2027-01-31T12:00:00Z", t.value)}
	}
	if n, ok := parseNumber(t.value); ok {
		return n, false, nil
	}
	return 0, false, &Error{t.valueAt, fmt.Sprintf("%q is no number such as 20, 1.5k or 64Ki", t.value)}
}

// word looks for a bare word.
func (s *Schema[T]) word(word string) Match[T] {
	has := Contains(word)
	var all []Match[T]
	for i := range s.fields {
		f := &s.fields[i]
		switch {
		case !f.Word:
		case f.Has != nil:
			all = append(all, f.Has(word))
		case f.Kind == Text:
			var b []byte
			all = append(all, func(v *T) bool { return has(f.text(v, &b)) })
		default:
			all = append(all, func(v *T) bool { return slices.ContainsFunc(f.Texts(v), has) })
		}
	}
	return func(v *T) bool {
		for _, m := range all {
			if m(v) {
				return true
			}
		}
		return false
	}
}
