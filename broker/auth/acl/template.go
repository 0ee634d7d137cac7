package acl

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// placeholder is what of a client stands in a topic.
type placeholder byte

const (
	literal placeholder = iota
	client
	user
	commonName
	group
	claim
)

// part is a piece of a level: a text, or what stands for one.
type part struct {
	what placeholder
	text string // the literal, or the name of the claim
}

// level is one level of a rule's filter. Without parts it is just text.
type level struct {
	text  string
	parts []part
}

// parseFilter takes a rule's topic filter apart. "{{" stands for a brace.
func parseFilter(filter string) ([]level, error) {
	var levels []level
	plain := make([]string, 0, 8) // the filter with something in the place of every placeholder
	for text := range strings.SplitSeq(filter, "/") {
		l, err := parseLevel(text)
		if err != nil {
			return nil, fmt.Errorf("topic %q: %w", filter, err)
		}
		shown := l.text
		if l.parts != nil {
			shown = ""
			for _, p := range l.parts {
				if p.what == literal {
					shown += p.text
				} else {
					shown += "x"
				}
			}
		}
		levels, plain = append(levels, l), append(plain, shown)
	}
	if err := topic.ValidFilter(strings.Join(plain, "/")); err != nil {
		return nil, fmt.Errorf("topic %q: %w", filter, err)
	}
	return levels, nil
}

func parseLevel(text string) (level, error) {
	if !strings.Contains(text, "{") {
		return level{text: text}, nil
	}
	var parts []part
	lit := ""
	named := false
	for text != "" {
		before, rest, found := strings.Cut(text, "{")
		lit += before
		if !found {
			break
		}
		if strings.HasPrefix(rest, "{") {
			lit, text = lit+"{", rest[1:]
			continue
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return level{}, errors.New(`a placeholder has no end; a brace itself is written "{{"`)
		}
		p, err := placeholderNamed(name)
		if err != nil {
			return level{}, err
		}
		if lit != "" {
			parts, lit = append(parts, part{text: lit}), ""
		}
		parts, text, named = append(parts, p), after, true
	}
	if !named {
		return level{text: lit}, nil
	}
	if lit != "" {
		parts = append(parts, part{text: lit})
	}
	return level{parts: parts}, nil
}

func placeholderNamed(name string) (part, error) {
	switch name {
	case "client":
		return part{what: client}, nil
	case "user":
		return part{what: user}, nil
	case "cn":
		return part{what: commonName}, nil
	case "group":
		return part{what: group}, nil
	}
	if of, ok := strings.CutPrefix(name, "claim."); ok && of != "" {
		return part{what: claim, text: of}, nil
	}
	return part{}, fmt.Errorf("{%s} stands for nothing; there are {client}, {user}, {cn}, {group} and {claim.NAME}", name)
}

// noGroup says that none was chosen yet for {group}.
const noGroup = -1

// value is what a part stands for with a client; false when there is no such text, or it could change what the rule
// means: nothing is ever inserted that holds a wildcard or a separator.
func (p *part) value(who *auth.Principal, chosen int) (string, bool) {
	v := ""
	switch p.what {
	case literal:
		return p.text, true
	case client:
		v = who.ClientID
	case user:
		v = who.Name
	case commonName:
		v = who.Peer.CommonName()
	case group:
		v = who.Groups[chosen]
	case claim:
		v = who.Claims[p.text]
	}
	return v, v != "" && !strings.ContainsAny(v, "+#/\x00")
}

// is tells whether a level of a topic name is what the parts say for this client. The first level of a name never gets
// its '$' from a client: those are the server's topics.
func is(parts []part, who *auth.Principal, chosen int, text []byte, first bool) bool {
	for i := range parts {
		v, ok := parts[i].value(who, chosen)
		if !ok || first && i == 0 && v[0] == '$' && parts[i].what != literal {
			return false
		}
		if len(text) < len(v) || string(text[:len(v)]) != v {
			return false
		}
		text = text[len(v):]
	}
	return len(text) == 0
}

// cut is where the level of a topic that begins at from ends.
func cut(topic []byte, from int) int {
	if i := bytes.IndexByte(topic[from:], '/'); i >= 0 {
		return from + i
	}
	return len(topic)
}
