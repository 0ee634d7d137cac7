package acl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
)

// Explain implements auth.Authorizer: which rule decides, and why. who need not be connected; ClientID, Identity and
// Peer say whom the question is about.
func (e *Engine) Explain(who *auth.Principal, q *auth.Question) auth.Decision {
	v := e.view(who)
	if v.err != nil {
		return auth.Decision{Why: fmt.Sprintf("the rules that came with the identity of %s cannot be understood, so nothing is allowed: %v", called(who), v.err)}
	}
	s := v.decide(who, q)
	what := fmt.Sprintf("%s %q", q.Action, q.Topic)
	if s.best.rule == nil {
		return auth.Decision{Why: fmt.Sprintf("no rule lets %s %s%s", called(who), what, v.near(who, q))}
	}
	r, filter := s.best.rule, s.best.rule.Topics[s.best.filter]
	verb, does := "allows", "matches"
	if r.Deny {
		verb = "denies"
	}
	if q.Action == auth.Subscribe {
		does = "covers"
	}
	why := fmt.Sprintf("%s %s %s to %s: its topic %q %s", named(r.Name), verb, called(who), what, filter, does)
	if about := describe(&r.Who); about != "" {
		why += ", it is about " + about
	}
	if r.Priority != 0 {
		why += fmt.Sprintf(", and it has priority %d", r.Priority)
	}
	return auth.Decision{Allowed: !r.Deny, Rule: r.Name, Why: why}
}

// near names what comes close where no rule fits a subscription: a rule for a part of it.
func (v *view) near(who *auth.Principal, q *auth.Question) string {
	if q.Action != auth.Subscribe {
		return ""
	}
	name := strings.NewReplacer("+", "x", "#", "x").Replace(string(q.Topic))
	again := auth.Question{Action: auth.Subscribe, QoS: q.QoS, Topic: []byte(name)}
	if s := v.decide(who, &again); s.allows() {
		return fmt.Sprintf("; %s allows some of its topics, but no rule covers all of them", named(s.best.rule.Name))
	}
	return ""
}

// named is a rule for people. One that nobody named is called by its number.
func named(rule string) string {
	if strings.HasPrefix(rule, "rule ") {
		return rule
	}
	return fmt.Sprintf("the rule %q", rule)
}

// called is a client for people.
func called(who *auth.Principal) string {
	if who.Name == "" {
		return fmt.Sprintf("client %q (anonymous)", who.ClientID)
	}
	return fmt.Sprintf("client %q (user %q)", who.ClientID, who.Name)
}

// describe says whom a rule is about, "" = everybody.
func describe(w *auth.Who) string {
	var of []string
	say := func(what string, values []string) {
		if len(values) > 3 {
			values = append(slices.Clone(values[:3]), "...")
		}
		if len(values) > 0 {
			of = append(of, what+" "+strings.Join(values, " or "))
		}
	}
	say("client", w.Clients)
	say("user", w.Users)
	say("group", w.Groups)
	say("common name", w.CommonNames)
	say("listener", w.Listeners)
	var nets []string
	for _, a := range w.Addresses {
		nets = append(nets, a.String())
	}
	say("address", nets)
	for _, name := range slices.Sorted(maps.Keys(w.Claims)) {
		of = append(of, "claim "+name+"="+w.Claims[name])
	}
	return strings.Join(of, " and ")
}
