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
	lines    []string // of the file
	problems Problems
	hidden   []hidden // what no problem may show
}

func (l *loader) bad(from Origin, key, message, fix string) {
	if len(l.problems) == maxProblems {
		return
	}
	p := Problem{From: from, Key: key, Message: message, Fix: fix}
	if from.Kind == File {
		if from.Line >= 1 && from.Line <= len(l.lines) && len(l.lines[from.Line-1]) <= maxShown {
			p.Source = strings.TrimSuffix(l.lines[from.Line-1], "\r")
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
	if l.src.File == "" || !l.bounded() {
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
		l.hideLine(len(l.problems) - 1)
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
		l.hideBelow(y, n)
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
		l.hideBelow(y, n)
		return
	}
	for _, pair := range pairs {
		at := l.at(pair.Key.GetToken())
		name := pair.Key.GetToken().Value
		c := n.child(name)
		if c == nil {
			l.unknown(at, n, path, pair)
			continue
		}
		l.origins[join(path, name)] = at
		l.node(pair.Value, c, v.Field(c.field), join(path, name))
	}
}

// unknown reports a key that does not exist, and where it might have been meant to stand.
func (l *loader) unknown(at Origin, n *node, path string, pair *ast.MappingValueNode) {
	name, fix := pair.Key.GetToken().Value, ""
	var meant *node
	if near := nearest(name, n.names()); near != "" {
		fix, meant = fmt.Sprintf("did you mean %q?", near), n.child(near)
	} else {
		l.root.leaves(l.value, "", func(p string, leaf *node, _ reflect.Value) {
			if leaf.name == name && fix == "" {
				fix, meant = fmt.Sprintf("did you mean %q?", p), leaf
			}
		})
	}
	if fix == "" {
		fix = "the keys here are: " + strings.Join(n.names(), ", ")
	}
	l.bad(at, join(path, name), "is not a setting", fix)
	if meant == nil || meant.kind != leaf { // nobody knows what it holds
		meant = &node{secret: true}
	}
	l.hideBelow(pair.Value, meant)
}

// list replaces the default list by the elements of the file.
func (l *loader) list(y ast.Node, n *node, v reflect.Value, path string) {
	seq, ok := y.(*ast.SequenceNode)
	if !ok {
		l.bad(l.at(y.GetToken()), path, "must be a list", `begin each element with "- "`)
		l.hideBelow(y, n)
		return
	}
	v.Set(reflect.MakeSlice(n.typ, len(seq.Values), len(seq.Values)))
	for i := range seq.Values {
		v.Index(i).Set(n.children[0].fresh())
	}
	for i, e := range seq.Values {
		l.origins[index(path, i)] = l.at(e.GetToken())
		l.node(e, n.children[0], v.Index(i), index(path, i))
	}
}

func (l *loader) leaf(y ast.Node, n *node, v reflect.Value, path string) {
	at := l.at(y.GetToken())
	seq, ok := y.(*ast.SequenceNode)
	if !ok {
		if text, ok := l.scalar(y, n, path); ok {
			l.take(at, n, v, path, text)
		}
		return
	}
	if n.elem == nil {
		l.bad(at, path, "must be one value, not a list", "")
		l.hideBelow(y, n)
		return
	}
	all := reflect.MakeSlice(n.typ, len(seq.Values), len(seq.Values))
	for i, e := range seq.Values {
		if text, ok := l.scalar(e, n, path); ok {
			l.take(l.at(e.GetToken()), n.elem, all.Index(i), path, text)
		}
	}
	if refers := l.origins[path].Refers; refers != "" { // of one of its values
		at.Refers = refers
		l.written[path] = "(refers to " + refers + ")"
	}
	l.origins[path] = at
	v.Set(all)
}

// scalar is the text of one value.
func (l *loader) scalar(y ast.Node, n *node, path string) (string, bool) {
	switch y := y.(type) {
	case *ast.NullNode:
		l.bad(l.near(path), path, "has no value", "give it one or remove the line")
		return "", false
	case *ast.StringNode:
		return y.Value, true
	case *ast.LiteralNode:
		return y.Value.Value, true
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		l.bad(l.at(y.GetToken()), path, "uses an anchor, an alias or a tag", "write the value out")
	case ast.ScalarNode:
		return y.GetToken().Value, true
	default:
		l.bad(l.at(y.GetToken()), path, "must be one value, not a section", "")
	}
	l.hideBelow(y, n)
	return "", false
}

// take sets a leaf, or one value of a list, from its text.
func (l *loader) take(at Origin, n *node, v reflect.Value, path, text string) {
	if n.secret || l.secretAt(path) {
		l.hide(path, text)
	}
	resolved, ok := l.resolve(&at, n, path, text)
	if !ok {
		return
	}
	var err error
	if n.elem != nil && resolved != text { // a reference may hold commas
		err = n.setAll(v, []string{resolved})
	} else {
		err = n.set(v, resolved)
	}
	if err != nil {
		l.bad(at, path, err.Error(), "")
		return
	}
	if l.origins[path].Refers != "" && at.Refers == "" && at.Kind == File {
		at.Refers = l.origins[path].Refers // an earlier value of the same list
	}
	l.origins[path] = at
	delete(l.written, path)
	if resolved != text {
		l.written[path] = text
	}
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
	slices.SortFunc(all, func(a, b override) int { return cmp.Or(naturally(a.path, b.path), strings.Compare(a.path, b.path)) })
	for _, o := range all {
		l.override(Origin{Kind: Env, Name: o.name}, o.path, o.text)
	}
}

// naturally orders paths so that the elements of a list come in their order.
func naturally(a, b string) int {
	for a != "" && b != "" {
		i := 0
		for i < min(len(a), len(b)) && a[i] == b[i] && a[i] != '[' {
			i++
		}
		if i == len(a) || i == len(b) || a[i] != '[' || b[i] != '[' {
			return strings.Compare(a[i:], b[i:])
		}
		x, restA, _ := strings.Cut(a[i+1:], "]")
		y, restB, _ := strings.Cut(b[i+1:], "]")
		if c := cmp.Or(len(x)-len(y), strings.Compare(x, y)); c != 0 {
			return c
		}
		a, b = restA, restB
	}
	return 0
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
	n, v, err := l.root.locate(l.value, path, true)
	if err == nil && n.kind != leaf {
		err = errors.New("is a section, not a setting")
	}
	if err != nil {
		l.bad(from, path, err.Error(), "")
		return
	}
	l.take(from, n, v, path, text)
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
		case Verifier:
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

func (l *loader) validate(v Verifier, path string) {
	err := v.Verify()
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
