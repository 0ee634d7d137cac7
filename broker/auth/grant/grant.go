// Package grant reads what a server beside the broker, or a token, says about a client: its name, groups, claims and
// rules. It is a part that backends have in common. Everything is bounded and checked whole: what is not understood to
// the last word is an error, since half a rule may allow what the whole would not. It asks nobody and keeps nothing.
package grant

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// What may come with one identity.
const (
	MaxText   = 1024 // bytes of a name, a group, a claim's name or value
	MaxGroups = 128
	MaxClaims = 64
	MaxRules  = 256
	MaxTopics = 128 // of one rule
	MaxTopic  = 4096
)

// Name checks a text that names somebody or something: 1 to 1024 bytes of UTF-8 without control characters, U+0000 above all.
func Name(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > MaxText:
		return fmt.Errorf("has %d bytes, more than %d", len(s), MaxText)
	}
	return text(s)
}

func text(s string) error {
	if len(s) > MaxText {
		return fmt.Errorf("has %d bytes, more than %d", len(s), MaxText)
	}
	if !utf8.ValidString(s) {
		return errors.New("is not UTF-8")
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("contains a control character")
	}
	return nil
}

// Groups checks a list of group names.
func Groups(list []string) error {
	if len(list) > MaxGroups {
		return fmt.Errorf("%d groups, more than %d", len(list), MaxGroups)
	}
	for i, g := range list {
		if err := Name(g); err != nil {
			return fmt.Errorf("group %d %w", i, err)
		}
	}
	return nil
}

// Claims checks a set of claims.
func Claims(set map[string]string) error {
	if len(set) > MaxClaims {
		return fmt.Errorf("%d claims, more than %d", len(set), MaxClaims)
	}
	for name, value := range set {
		if err := Name(name); err != nil {
			return fmt.Errorf("the name of a claim %w", err)
		}
		if err := text(value); err != nil {
			return fmt.Errorf("claim %s %w", name, err)
		}
	}
	return nil
}

// Identity checks all that came with an identity; the rules were checked by Rules.
func Identity(id *auth.Identity) error {
	if err := Name(id.Name); err != nil {
		return fmt.Errorf("the name %w", err)
	}
	if err := Groups(id.Groups); err != nil {
		return err
	}
	return Claims(id.Claims)
}

// rule is how a rule is written in JSON.
type rule struct {
	Allow    []string   `json:"allow"`
	Deny     []string   `json:"deny"`
	Topics   []string   `json:"topics"`
	QoS      []mqtt.QoS `json:"qos"`
	Retain   string     `json:"retain"`
	Priority int        `json:"priority"`
}

// Rules reads a JSON list of rules, which are named from[0], from[1] and so on:
//
//	[{"allow": ["publish"], "topics": ["devices/{client}/#"], "qos": [0, 1], "retain": "never", "priority": 5}]
//
// Each has either allow or deny with at least one of publish, subscribe and receive, and at least one topic filter. Nothing, or null,
// is no rules.
func Rules(from string, data []byte) ([]auth.Rule, error) {
	var list []json.RawMessage
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%s is not a list of rules: %w", from, err)
	}
	if len(list) > MaxRules {
		return nil, fmt.Errorf("%s has %d rules, more than %d", from, len(list), MaxRules)
	}
	rules := make([]auth.Rule, len(list))
	for i, one := range list {
		r, err := Rule(fmt.Sprintf("%s[%d]", from, i), one)
		if err != nil {
			return nil, err
		}
		rules[i] = r
	}
	return rules, nil
}

// Rule reads one rule.
func Rule(name string, data []byte) (auth.Rule, error) {
	var r rule
	if err := Strict(data, &r); err != nil {
		return auth.Rule{}, fmt.Errorf("%s: %w", name, err)
	}
	out, err := r.rule(name)
	if err != nil {
		return auth.Rule{}, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

func (r *rule) rule(name string) (auth.Rule, error) {
	out := auth.Rule{Name: name, Deny: len(r.Deny) > 0, QoS: r.QoS, Topics: r.Topics, Priority: r.Priority}
	if (len(r.Allow) > 0) == out.Deny {
		return out, errors.New("needs either allow or deny, with at least one action")
	}
	for _, word := range append(r.Allow, r.Deny...) {
		a, ok := actions(word)
		if !ok {
			return out, fmt.Errorf("%q is no action: publish, subscribe or receive", word)
		}
		out.Actions |= auth.ActionsOf(a)
	}
	if len(r.Topics) == 0 || len(r.Topics) > MaxTopics {
		return out, fmt.Errorf("needs 1 to %d topics", MaxTopics)
	}
	for _, f := range r.Topics {
		if err := filter(f); err != nil {
			return out, fmt.Errorf("topic %q: %w", f, err)
		}
	}
	for _, q := range r.QoS {
		if q > 2 {
			return out, fmt.Errorf("qos %d: there are 0, 1 and 2", q)
		}
	}
	switch r.Retain {
	case "", "any":
	case "only", "never":
		only := r.Retain == "only"
		out.Retain = &only
	default:
		return out, fmt.Errorf("retain %q: any, only or never", r.Retain)
	}
	return out, nil
}

func actions(word string) (auth.Action, bool) {
	for _, a := range [...]auth.Action{auth.Publish, auth.Subscribe, auth.Receive} {
		if a.String() == word {
			return a, true
		}
	}
	return 0, false
}

// filter checks a topic filter in which placeholders may stand for what a client is.
func filter(f string) error {
	if len(f) > MaxTopic || !utf8.ValidString(f) {
		return fmt.Errorf("is not UTF-8 of at most %d bytes", MaxTopic)
	}
	var plain strings.Builder
	for rest := f; rest != ""; {
		before, after, found := strings.Cut(rest, "{")
		plain.WriteString(before)
		if !found {
			break
		}
		name, after, closed := strings.Cut(after, "}")
		claim, isClaim := strings.CutPrefix(name, "claim.")
		switch {
		case !closed:
			return errors.New("a { without its }")
		case isClaim && claim != "", name == "client", name == "user", name == "cn", name == "group":
			plain.WriteByte('x')
		default:
			return fmt.Errorf("{%s} is no placeholder: {client}, {user}, {cn}, {group} and {claim.NAME} are", name)
		}
		rest = after
	}
	return topic.ValidFilter(plain.String())
}

// Strict reads one JSON value whose every member v knows, with nothing after it.
func Strict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}
