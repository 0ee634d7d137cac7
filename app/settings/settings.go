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
	"strconv"
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

// Validator is the shorter form of a Checker: one error, or several joined, about the section.
type Validator interface {
	Validate() error
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

// Explain gives the settings at or under path, all of them for "". The error names the nearest key
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

// kind is the shape of a node.
type kind int

const (
	leaf kind = iota
	section
	list // of sections
)

// node is one struct field and what is below it. A list has one child without a name: its element.
type node struct {
	kind     kind
	name     string
	field    int // index in the parent struct
	typ      reflect.Type
	doc      string
	unit     string
	exceeded string
	oneOf    []string
	min, max string
	secret   bool
	restart  bool
	elem     *node // of a leaf that is a list: how one of its values is written
	children []*node
}

// describe builds the tree of a struct type.
func describe(t reflect.Type) *node {
	n := &node{typ: t, kind: leaf}
	switch {
	case t.Kind() == reflect.Struct && !isText(t):
		n.kind = section
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if name == "" || name == "-" {
				continue
			}
			c := describe(f.Type)
			c.name, c.field = name, i
			c.tags(f)
			n.children = append(n.children, c)
		}
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && !isText(t.Elem()):
		n.kind = list
		n.children = []*node{describe(t.Elem())}
	case t.Kind() == reflect.Slice && !isText(t):
		n.elem = describe(t.Elem())
		if n.elem.kind != leaf || n.elem.elem != nil {
			panic(fmt.Sprintf("settings: cannot describe a field of type %v", t))
		}
	default:
		if n.typeName() == "" {
			panic(fmt.Sprintf("settings: cannot describe a field of type %v", t))
		}
	}
	return n
}

// tags reads what the tags of a field say about it. What they say about a list of values holds for each of them.
func (n *node) tags(f reflect.StructField) {
	n.doc, n.exceeded = f.Tag.Get("doc"), f.Tag.Get("exceeded")
	if d, ok := reflect.Zero(f.Type).Interface().(Documenter); ok && n.doc == "" {
		n.doc = d.Doc()
	}
	one := n
	if n.elem != nil {
		one = n.elem
		one.name = n.name
	}
	if unit := f.Tag.Get("unit"); unit != one.typeName() { // a duration counts in durations
		one.unit, n.unit = unit, unit
	}
	one.min, one.max = f.Tag.Get("min"), f.Tag.Get("max")
	if of := f.Tag.Get("enum"); of != "" {
		one.oneOf, n.oneOf = strings.Split(of, ","), strings.Split(of, ",")
	}
	n.mark(f.Tag.Get("secret") == "true", f.Tag.Get("reload") == "restart")
}

// mark hands down what holds for a whole section.
func (n *node) mark(secret, restart bool) {
	n.secret, n.restart = n.secret || secret, n.restart || restart
	for _, c := range n.children {
		c.mark(secret, restart)
	}
}

// fresh is a new value of the node with its defaults.
func (n *node) fresh() reflect.Value {
	v := reflect.New(n.typ).Elem()
	n.setDefaults(v)
	return v
}

// setDefaults asks the inner sections first, so that an outer one may know better.
func (n *node) setDefaults(v reflect.Value) {
	if n.kind != section {
		return
	}
	for _, c := range n.children {
		c.setDefaults(v.Field(c.field))
	}
	if d, ok := v.Addr().Interface().(Defaulter); ok {
		d.SetDefaults()
	}
}

// key is the public description of a leaf.
func (n *node) key(path, prefix string) Key {
	return Key{
		Path: path, Env: envName(prefix, path), Type: n.typeName(), Unit: n.unit,
		OneOf: n.oneOf, Doc: n.doc, Exceeded: n.exceeded, Secret: n.secret, Restart: n.restart,
	}
}

// child finds a section's child by name.
func (n *node) child(name string) *node {
	i := slices.IndexFunc(n.children, func(c *node) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return n.children[i]
}

// names lists a section's keys.
func (n *node) names() []string {
	var names []string
	for _, c := range n.children {
		names = append(names, c.name)
	}
	return names
}

// leaves calls f for every leaf below n, in order, with its concrete path.
func (n *node) leaves(v reflect.Value, path string, f func(path string, n *node, v reflect.Value)) {
	switch n.kind {
	case section:
		for _, c := range n.children {
			c.leaves(v.Field(c.field), join(path, c.name), f)
		}
	case list:
		for i := range v.Len() {
			n.children[0].leaves(v.Index(i), index(path, i), f)
		}
	default:
		f(path, n, v)
	}
}

// refer puts values in the place of the keys that texts name in braces. n describes the whole of v.
func (n *node) refer(v reflect.Value) {
	var pairs []string
	n.leaves(v, "", func(path string, n *node, v reflect.Value) { pairs = append(pairs, "{"+path+"}", n.show(v)) })
	n.rewrite(strings.NewReplacer(pairs...))
}

func (n *node) rewrite(r *strings.Replacer) {
	n.doc, n.exceeded = r.Replace(n.doc), r.Replace(n.exceeded)
	for _, c := range n.children {
		c.rewrite(r)
	}
}

// locate finds the leaf at a concrete path. With grow it lengthens a list by one where the path asks for the
// element after its last.
func (n *node) locate(v reflect.Value, path string, grow bool) (*node, reflect.Value, error) {
	for path != "" {
		var step string
		if n.kind == list {
			at, rest, _ := strings.Cut(strings.TrimPrefix(path, "["), "]")
			i, err := strconv.Atoi(at)
			if err != nil || i > v.Len() || i == v.Len() && !grow {
				return nil, v, fmt.Errorf("does not exist: the list has %d, so the next element is [%d]", v.Len(), v.Len())
			}
			if i == v.Len() {
				v.Set(reflect.Append(v, n.children[0].fresh()))
			}
			n, v, path = n.children[0], v.Index(i), strings.TrimPrefix(rest, ".")
			continue
		}
		if i := strings.IndexAny(path, ".["); i >= 0 {
			step, path = path[:i], strings.TrimPrefix(path[i:], ".")
		} else {
			step, path = path, ""
		}
		c := n.child(step)
		if c == nil {
			return nil, v, fmt.Errorf("no setting is called %q%s", step, didYouMean(step, n.names()))
		}
		n, v = c, v.Field(c.field)
	}
	return n, v, nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// envName turns a path into the name of its environment variable.
func envName(prefix, path string) string {
	path = strings.ReplaceAll(path, "[]", "[N]")
	name := strings.NewReplacer(".", "_", "[", "_", "]", "").Replace(path)
	return prefix + "_" + strings.ToUpper(name)
}
