package settings

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

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

// inName are the marks of a path that a variable's name cannot have.
var inName = strings.NewReplacer("[]", "_N", ".", "_", "[", "_", "]", "")

// envName turns a path into the name of its environment variable.
func envName(prefix, path string) string {
	return prefix + "_" + strings.ToUpper(inName.Replace(path))
}

func (n *node) keys(path string, f func(path string, leaf *node)) {
	switch n.kind {
	case section:
		for _, c := range n.children {
			c.keys(join(path, c.name), f)
		}
	case list:
		n.children[0].keys(path+"[]", f)
	default:
		f(path, n)
	}
}
