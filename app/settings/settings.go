// Package settings fills a struct of settings from a YAML file, the environment and flags,
// remembers where each value came from, and can explain, check, describe and print them all.
//
// It knows nothing about Sapwood: everything it says it reads from struct tags. A field takes part
// when it has a yaml tag; doc, unit, exceeded, enum, min and max say the rest, secret:"true" keeps a value
// out of everything that the package says, and reload:"restart" marks what a running process cannot change. A
// doc text may name another setting in braces, {log.level}: its value stands there when the text is shown. It
// opens no file and reads no environment of its own: both are handed in.
package settings

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Key describes one setting, as the tags of its struct field tell it.
type Key struct {
	Path     string   `json:"key"`                // "limits.max_packet_size"; "[]" stands for any element of a list
	Env      string   `json:"env"`                // the environment variable that overrides it
	Type     string   `json:"type"`               // size, duration, boolean, integer, number, text, or "list of" one of them
	Unit     string   `json:"unit,omitempty"`     // what a number counts
	OneOf    []string `json:"one_of,omitempty"`   // the only values it takes, if they can be listed
	Doc      string   `json:"doc"`                // what it does
	Exceeded string   `json:"exceeded,omitempty"` // what happens at the limit, with the reason code
	Secret   bool     `json:"secret,omitempty"`   // its value is never shown
	Restart  bool     `json:"restart,omitempty"`  // a change holds from the next start on, not from the next reload
}

// Setting is one key with its value and where that value came from. The value of a secret is Redacted, and one that
// refers to a file, a variable or a credential is shown as it refers to it.
type Setting struct {
	Key
	Value   string `json:"value"`
	Default string `json:"default"`
	From    Origin `json:"from"`
}

// Source is what Load reads, weakest first: the defaults already in the struct, the file, the
// environment, the flags.
type Source struct {
	File    string            // name of the file, for messages; "" when there is none
	Data    []byte            // its contents
	Prefix  string            // of the environment variables, such as "SAPWOOD"
	Environ []string          // as os.Environ gives it
	Ignore  []string          // variables under the prefix that are not settings
	Flags   map[string]string // key path to text
	FlagOf  map[string]string // key path to the flag's name, for messages

	// Refer gives what a text ${kind:name} stands for, where kind is file, env or credential; nil refuses them all.
	Refer func(kind, name string) (string, error)
}

// Set is a loaded struct of settings. It is read-only and safe for concurrent use.
type Set struct {
	root     *node
	value    reflect.Value
	defaults map[string]string
	origins  map[string]Origin
	prefix   string
	written  map[string]string // texts with references, as they were written
	files    []string          // that references named
}

// Redacted stands in the place of every secret that is set.
const Redacted = "***"

// Defaulter is implemented by a section whose zero value is not its default, so that it has one as the element of
// a list too.
type Defaulter interface {
	SetDefaults()
}

// Checker is implemented by a section that has rules across its fields or beyond its tags. Check
// calls bad for each rule that does not hold, with the key relative to the section, what is wrong
// and what would put it right.
type Checker interface {
	Check(bad func(key, message, fix string))
}

// Documenter is implemented by the type of a setting whose text is kept elsewhere than in a doc tag. Doc is
// asked of the zero value.
type Documenter interface {
	Doc() string
}

// Verifier is the shorter form of a Checker: one error, or several joined, about the section. Its method is not called Validate, because
// the command line's library has one of that name and type, by which it would keep all methods of all types (see cmd/sapwood/parse.go).
type Verifier interface {
	Verify() error
}

// Load fills the struct that into points to, whose present contents are the defaults. The error,
// if any, is a Problems with everything that is wrong, not only the first. Load panics on a struct
// that it cannot describe, which is a mistake in the program.
func Load(into any, src Source) (*Set, error) {
	value := reflect.ValueOf(into).Elem()
	s := &Set{
		root:     describe(value.Type()),
		value:    value,
		defaults: map[string]string{},
		origins:  map[string]Origin{},
		prefix:   src.Prefix,
		written:  map[string]string{},
	}
	s.root.leaves(value, "", func(path string, n *node, v reflect.Value) { s.defaults[path] = n.show(v) })

	l := &loader{Set: s, src: src, lines: strings.Split(string(src.Data), "\n")}
	l.file()
	l.environ()
	l.flags()
	if len(l.problems) == 0 {
		l.check(s.root, value, "")
	}
	if len(l.problems) > 0 {
		return nil, l.redacted()
	}
	s.root.refer(value)
	return s, nil
}

// Files are the files that the values refer to, besides the file of settings.
func (s *Set) Files() []string { return slices.Clone(s.files) }

// show is a value as it may be shown.
func (s *Set) show(path string, n *node, v reflect.Value) string {
	if text, ok := s.written[path]; ok && !n.secret {
		return text
	}
	return n.show(v)
}

// Explain gives the settings at or under path, all of them for ""; under an empty list, those that an element would begin with. The error names the nearest key
// when there is none such.
func (s *Set) Explain(path string) ([]Setting, error) {
	var found []Setting
	var paths []string
	s.root.leaves(s.value, "", func(p string, n *node, v reflect.Value) {
		paths = append(paths, p)
		if path != "" && p != path && !strings.HasPrefix(p, path+".") && !strings.HasPrefix(p, path+"[") {
			return
		}
		found = append(found, Setting{
			Key:     n.key(p, s.prefix),
			Value:   s.show(p, n, v),
			Default: s.defaultOf(p),
			From:    s.From(p),
		})
	})
	if len(found) == 0 {
		if n, v, err := s.root.locate(s.value, path, false); err == nil && n.kind == list && v.Len() == 0 {
			n.children[0].leaves(n.children[0].fresh(), index(path, 0), func(p string, n *node, v reflect.Value) {
				found = append(found, Setting{Key: n.key(p, s.prefix), Value: n.show(v), Default: n.show(v), From: s.From(p)})
			})
			return found, nil
		}
		return nil, fmt.Errorf("no setting is called %q%s", path, didYouMean(path, paths))
	}
	return found, nil
}

// From tells where the value at path came from. What nothing has set is a default.
func (s *Set) From(path string) Origin {
	if o, ok := s.origins[path]; ok {
		return o
	}
	return Origin{Kind: Default}
}

// defaultOf is what holds at path when nothing sets it: of a list's further element, what a new one begins with.
func (s *Set) defaultOf(path string) string {
	if d, ok := s.defaults[path]; ok {
		return d
	}
	holder := s.root.fresh()
	text := ""
	if n, v, err := s.root.locate(holder, anyElement.ReplaceAllString(path, "[0]"), true); err == nil {
		text = n.show(v)
	}
	return text
}

var anyElement = regexp.MustCompile(`\[\d+\]`)

// Keys describes every setting of the struct that v points to; "[]" in a path stands for any element of a list.
func Keys(v any, prefix string) []Key {
	value := reflect.ValueOf(v).Elem()
	n := describe(value.Type())
	n.refer(value)
	var all []Key
	n.keys("", func(path string, leaf *node) { all = append(all, leaf.key(path, prefix)) })
	return all
}
