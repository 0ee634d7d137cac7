package settings

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// loader carries the problems found while a Set is filled.
type loader struct {
	*Set
	src      Source
	problems Problems
}

func (l *loader) bad(from Origin, key, message, fix string) {
	p := Problem{From: from, Key: key, Message: message, Fix: fix}
	if from.Kind == File {
		lines := strings.Split(string(l.src.Data), "\n")
		if from.Line >= 1 && from.Line <= len(lines) {
			p.Source = strings.TrimSuffix(lines[from.Line-1], "\r")
		}
	}
	l.problems = append(l.problems, p)
}

func (l *loader) at(t *token.Token) Origin {
	o := Origin{Kind: File, Name: l.src.File, Line: 1, Col: 1}
	if t != nil && t.Position != nil {
		o.Line, o.Col = t.Position.Line, t.Position.Column
	}
	return o
}

// file reads the YAML document.
func (l *loader) file() {
	if l.src.File == "" {
		return
	}
	f, err := parser.ParseBytes(l.src.Data, 0)
	if err != nil {
		at, message := l.at(nil), err.Error()
		var y yaml.Error
		if errors.As(err, &y) {
			at, message = l.at(y.GetToken()), y.GetMessage()
		}
		l.bad(at, "", "this is not YAML: "+message, "")
		return
	}
	var docs []ast.Node
	for _, d := range f.Docs {
		if d.Body != nil {
			docs = append(docs, d.Body)
		}
	}
	if len(docs) > 1 {
		l.bad(l.at(docs[1].GetToken()), "", "a second document begins here", "keep everything in one")
		return
	}
	if len(docs) == 1 {
		l.node(docs[0], l.root, l.value, "")
	}
}

// node reads one YAML node into one field.
func (l *loader) node(y ast.Node, n *node, v reflect.Value, path string) {
	switch y.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		l.bad(l.at(y.GetToken()), path, "uses an anchor, an alias or a tag", "write the value out")
		return
	case *ast.CommentGroupNode:
		return
	}
	switch n.kind {
	case section:
		l.section(y, n, v, path)
	case list:
		l.list(y, n, v, path)
	default:
		l.leaf(y, n, v, path)
	}
}

func (l *loader) section(y ast.Node, n *node, v reflect.Value, path string) {
	var pairs []*ast.MappingValueNode
	switch y := y.(type) {
	case *ast.NullNode: // everything below is commented out
	case *ast.MappingNode:
		pairs = y.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{y}
	default:
		l.bad(l.at(y.GetToken()), path, "must hold keys, one a line", "the keys here are: "+strings.Join(n.names(), ", "))
		return
	}
	for _, pair := range pairs {
		at := l.at(pair.Key.GetToken())
		name := pair.Key.GetToken().Value
		c := n.child(name)
		if c == nil {
			l.unknown(at, n, path, name)
			continue
		}
		l.origins[join(path, name)] = at
		l.node(pair.Value, c, v.Field(c.field), join(path, name))
	}
}

// unknown reports a key that does not exist, and where it might have been meant to stand.
func (l *loader) unknown(at Origin, n *node, path, name string) {
	fix := ""
	if near := nearest(name, n.names()); near != "" {
		fix = fmt.Sprintf("did you mean %q?", near)
	} else {
		l.root.leaves(l.value, "", func(p string, leaf *node, _ reflect.Value) {
			if leaf.name == name && fix == "" {
				fix = fmt.Sprintf("did you mean %q?", p)
			}
		})
	}
	if fix == "" {
		fix = "the keys here are: " + strings.Join(n.names(), ", ")
	}
	l.bad(at, join(path, name), "is not a setting", fix)
}

// list replaces the default list by the elements of the file.
func (l *loader) list(y ast.Node, n *node, v reflect.Value, path string) {
	seq, ok := y.(*ast.SequenceNode)
	if !ok {
		l.bad(l.at(y.GetToken()), path, "must be a list", `begin each element with "- "`)
		return
	}
	v.Set(reflect.MakeSlice(n.typ, len(seq.Values), len(seq.Values)))
	for i, e := range seq.Values {
		l.origins[index(path, i)] = l.at(e.GetToken())
		l.node(e, n.children[0], v.Index(i), index(path, i))
	}
}

func (l *loader) leaf(y ast.Node, n *node, v reflect.Value, path string) {
	at := l.at(y.GetToken())
	var text string
	switch y := y.(type) {
	case *ast.NullNode:
		l.bad(l.origins[path], path, "has no value", "give it one or remove the line")
		return
	case *ast.StringNode:
		text = y.Value
	case *ast.LiteralNode:
		text = y.Value.Value
	case *ast.SequenceNode:
		if n.typeName() != typeTexts {
			l.bad(at, path, "must be one value, not a list", "")
			return
		}
		texts := make([]string, len(y.Values))
		for i, e := range y.Values {
			texts[i] = e.GetToken().Value
		}
		text = strings.Join(texts, ",")
	case ast.ScalarNode:
		text = y.GetToken().Value
	default:
		l.bad(at, path, "must be one value, not a section", "")
		return
	}
	if err := n.set(v, text); err != nil {
		l.bad(at, path, err.Error(), "")
		return
	}
	l.origins[path] = l.at(y.GetToken())
}

// serviceLink matches the variables that Kubernetes and Docker add for a service of our name.
var serviceLink = regexp.MustCompile(`(^|_)(SERVICE_(HOST|PORT)(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// environ reads the variables under the prefix, an element of a list before the next one.
func (l *loader) environ() {
	type override struct{ name, path, text string }
	var all []override
	for _, entry := range l.src.Environ {
		name, text, _ := strings.Cut(entry, "=")
		rest, ok := strings.CutPrefix(name, l.prefix+"_")
		if !ok || slices.Contains(l.src.Ignore, name) || serviceLink.MatchString(rest) {
			continue
		}
		path, ok := l.root.byEnv(rest)
		if !ok {
			var names []string
			l.root.leaves(l.value, "", func(p string, _ *node, _ reflect.Value) { names = append(names, envName(l.prefix, p)) })
			l.bad(Origin{Kind: Env, Name: name}, "", "no setting has this variable"+didYouMean(name, names), "")
			continue
		}
		all = append(all, override{name, path, text})
	}
	slices.SortFunc(all, func(a, b override) int {
		return cmp.Or(len(a.name)-len(b.name), strings.Compare(a.name, b.name))
	})
	for _, o := range all {
		l.override(Origin{Kind: Env, Name: o.name}, o.path, o.text)
	}
}

// byEnv finds the concrete path that a variable's name, without the prefix, stands for.
func (n *node) byEnv(rest string) (string, bool) {
	switch n.kind {
	case leaf:
		return "", rest == ""
	case list:
		digits, below, _ := strings.Cut(rest, "_")
		if strings.Trim(digits, "0123456789") != "" || digits == "" {
			return "", false
		}
		path, ok := n.children[0].byEnv(below)
		return "[" + digits + "]." + path, ok
	}
	for _, c := range n.children {
		below, ok := strings.CutPrefix(rest, strings.ToUpper(c.name))
		if !ok || (below != "" && below[0] != '_') {
			continue
		}
		if path, ok := c.byEnv(strings.TrimPrefix(below, "_")); ok {
			if path == "" || path[0] == '[' {
				return c.name + path, true
			}
			return c.name + "." + path, true
		}
	}
	return "", false
}

func (l *loader) flags() {
	for _, path := range slices.Sorted(maps.Keys(l.src.Flags)) {
		l.override(Origin{Kind: Flag, Name: l.src.FlagOf[path]}, path, l.src.Flags[path])
	}
}

// override sets one leaf from a variable or a flag.
func (l *loader) override(from Origin, path, text string) {
	n, v, err := l.root.locate(l.value, path)
	if err == nil && n.kind != leaf {
		err = errors.New("is a section, not a setting")
	}
	if err == nil {
		err = n.set(v, text)
	}
	if err != nil {
		l.bad(from, path, err.Error(), "")
		return
	}
	l.origins[path] = from
}

// check asks every section that has rules of its own.
func (l *loader) check(n *node, v reflect.Value, path string) {
	switch n.kind {
	case section:
		switch c := v.Addr().Interface().(type) {
		case Checker:
			c.Check(func(key, message, fix string) {
				key = join(path, key)
				l.bad(l.near(key), key, message, fix)
			})
		case Validator:
			l.validate(c, path)
		}
		for _, c := range n.children {
			l.check(c, v.Field(c.field), join(path, c.name))
		}
	case list:
		for i := range v.Len() {
			l.check(n.children[0], v.Index(i), index(path, i))
		}
	}
}

func (l *loader) validate(v Validator, path string) {
	err := v.Validate()
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, err := range errs {
		if err != nil {
			l.bad(l.near(path), path, err.Error(), "")
		}
	}
}

// near is the origin of the key, or of the nearest section around it that something has set.
func (l *loader) near(key string) Origin {
	for key != "" {
		if o, ok := l.origins[key]; ok {
			return o
		}
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return Origin{Kind: Default}
}
