package settings

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// reference is ${kind:name}; a second dollar before it makes it plain text.
var reference = regexp.MustCompile(`\$?\$\{([a-z]+):([^{}]*)\}`)

var errNoRefer = errors.New("references are not read here")

// resolve puts what references stand for in their place, and tells at whom.
func (l *loader) resolve(at *Origin, n *node, path, text string) (string, bool) {
	one := n
	if n.elem != nil {
		one = n.elem
	}
	if one.typeName() != typeText || !strings.Contains(text, "${") {
		return text, true
	}
	ok := true
	var from []string
	resolved := reference.ReplaceAllStringFunc(text, func(ref string) string {
		if strings.HasPrefix(ref, "$$") {
			return ref[1:]
		}
		kind, name, _ := strings.Cut(ref[2:len(ref)-1], ":")
		value, err := l.refer(kind, name)
		if err != nil {
			l.bad(l.place(*at, ref), path, fmt.Sprintf("refers to %s, but %v", ref, err), "")
			ok = false
			return ""
		}
		l.hide(path, value)
		if kind == "env" {
			kind = "variable"
		} else if kind == "file" && !slices.Contains(l.files, name) {
			l.files = append(l.files, name)
		}
		from = append(from, kind+" "+name)
		return value
	})
	at.Refers = strings.Join(from, ", ")
	return resolved, ok
}

func (l *loader) refer(kind, name string) (string, error) {
	switch {
	case kind != "file" && kind != "env" && kind != "credential":
		return "", fmt.Errorf("there are only ${file:...}, ${env:...} and ${credential:...}; $${%s:...} is plain text", kind)
	case name == "":
		return "", errors.New("it names nothing")
	case l.src.Refer == nil:
		return "", errNoRefer
	}
	return l.src.Refer(kind, name)
}

// place is where a reference stands in the file: in its value's first line, or below in a longer text.
func (l *loader) place(at Origin, ref string) Origin {
	if at.Kind != File {
		return at
	}
	for i := max(at.Line-1, 0); i < len(l.lines); i++ {
		line, skip := l.lines[i], 0
		if i == at.Line-1 {
			for skip < len(line) && len([]rune(line[:skip])) < at.Col-1 {
				skip++
			}
		}
		if found := strings.Index(line[skip:], ref); found >= 0 {
			at.Line, at.Col = i+1, len([]rune(line[:skip+found]))+1
			return at
		}
	}
	return at
}

// hidden is a text that problems must not show: about the same key as a value, about others if it is long
// enough not to be a word of theirs.
type hidden struct {
	key, text string
}

const longEnough = 4

// hide keeps a text, and each of its lines, out of what is said.
func (l *loader) hide(key, text string) {
	for line := range strings.SplitSeq(text, "\n") {
		for _, form := range []string{line, string(mustJSON(line))} { // as it is and as messages quote it
			form = strings.TrimSpace(strings.Trim(strings.TrimSpace(form), `"`))
			if form != "" {
				l.hidden = append(l.hidden, hidden{key, form})
			}
		}
	}
}

// secretAt tells whether a path belongs to a secret.
func (l *loader) secretAt(path string) bool {
	n, _, err := l.root.locate(l.value, path, false)
	return err == nil && n.secret
}

// hasSecret tells whether something below n is a secret.
func (n *node) hasSecret() bool {
	return n.secret || slices.ContainsFunc(n.children, (*node).hasSecret)
}

// hideBelow keeps the values of a part of the file out of the problem that was found last, if they might be secrets.
func (l *loader) hideBelow(y ast.Node, n *node) {
	if !n.hasSecret() {
		return
	}
	last := &l.problems[len(l.problems)-1]
	ast.Walk(visitor(func(y ast.Node) {
		if _, scalar := y.(ast.ScalarNode); !scalar {
			return
		}
		t := y.GetToken()
		l.hide(last.Key, t.Value)
		l.hide(last.Key, t.Origin)
	}), y)
}

type visitor func(ast.Node)

// Visit calls the function for every node.
func (v visitor) Visit(n ast.Node) ast.Visitor {
	v(n)
	return v
}

// hideLine shortens the line of a problem with the YAML itself, unless all that it can hold is known to be no secret.
func (l *loader) hideLine(i int) {
	p := &l.problems[i]
	p.Message = quoted.ReplaceAllStringFunc(p.Message, func(q string) string {
		if known, secret := l.root.called(strings.Trim(q, `"`)); known && !secret {
			return q
		}
		return `"` + Redacted + `"`
	})
	key, _, pair := strings.Cut(p.Source, ":")
	if !pair {
		p.Source = Redacted
		return
	}
	for word := range strings.FieldsFuncSeq(p.Source, func(r rune) bool { return strings.ContainsRune(" \t\"'-,:{}[]", r) }) {
		if _, secret := l.root.called(word); secret {
			p.Source = key + ": " + Redacted
			return
		}
	}
	if known, _ := l.root.called(strings.Trim(key, " \t\"'-")); !known {
		p.Source = key + ": " + Redacted
	}
}

var quoted = regexp.MustCompile(`"[^"]*"`)

// called tells whether a setting has this name, and whether one of them is a secret.
func (n *node) called(name string) (known, secret bool) {
	for _, c := range n.children {
		k, s := c.called(name)
		known, secret = known || k, secret || s
		if c.name == name {
			known, secret = true, secret || c.hasSecret()
		}
	}
	return known, secret
}

// redacted are the problems without the texts that are hidden.
func (l *loader) redacted() Problems {
	slices.SortFunc(l.hidden, func(a, b hidden) int { return cmp.Or(len(b.text)-len(a.text), strings.Compare(a.text, b.text)) })
	l.hidden = slices.Compact(l.hidden)
	for i := range l.problems {
		p := &l.problems[i]
		var anywhere, values, quotes []string
		for _, h := range l.hidden {
			if len(h.text) >= longEnough {
				anywhere = append(anywhere, h.text, Redacted)
			} else if h.key == p.Key { // where values stand, and nowhere else
				values = append(values, h.text, Redacted)
				quotes = append(quotes, `"`+h.text+`"`, Redacted, "is "+h.text+",", "is "+Redacted+",")
			}
		}
		short := strings.NewReplacer(values...)
		if key, value, ok := strings.Cut(p.Source, ":"); ok {
			p.Source = key + ":" + short.Replace(value)
		}
		p.Message = strings.NewReplacer(quotes...).Replace(p.Message)
		everywhere := strings.NewReplacer(anywhere...)
		p.Message, p.Fix, p.Source = everywhere.Replace(p.Message), everywhere.Replace(p.Fix), everywhere.Replace(p.Source)
	}
	return l.problems
}
