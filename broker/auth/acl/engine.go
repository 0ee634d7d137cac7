// Package acl decides by rules what a client may publish, subscribe to and receive: it implements auth.Authorizer over
// auth.Rule. It also reads rules, of the configuration and of Mosquitto's ACL files.
//
// Of all rules that fit, the one with the highest priority decides; among equals a denial wins; if none fits, the
// answer is no. A rule fits a publication, or a message to be received, when one of its filters matches the topic name, and
// a subscription when one of its filters covers all of what is asked for, be it to allow or to deny: a denial
// of a part does not refuse the subscription, but keeps its messages back.
//
// The engine does no I/O, starts no goroutine, reads no clock and knows nothing of connections; only File opens files.
package acl

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
)

// Engine is an authorizer by rules. Without rules nothing is allowed. Its methods may be called from any goroutine; asking takes no
// lock, and a change of the rules holds for the very next question.
type Engine struct {
	seed   maphash.Seed
	policy atomic.Pointer[policy]

	mu      sync.Mutex // guards the rest; held while rules change
	sources map[string][]auth.Rule
	changed func()
}

// New returns an engine without rules.
func New() *Engine {
	e := &Engine{seed: maphash.MakeSeed(), sources: make(map[string][]auth.Rule)}
	e.policy.Store(&policy{})
	return e
}

// Set replaces the rules of one source, such as a file or a database; all sources hold together, whatever their order.
// Rules that cannot be understood change nothing and are the error. The rules must not be changed afterwards.
func (e *Engine) Set(source string, rules []auth.Rule) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := maps.Clone(e.sources)
	next[source] = rules
	if len(rules) == 0 {
		delete(next, source)
	}
	var all []auth.Rule
	for _, name := range slices.Sorted(maps.Keys(next)) {
		all = append(all, next[name]...)
	}
	p, err := compile(all)
	if err != nil {
		return err
	}
	e.sources = next
	e.policy.Store(p)
	if e.changed != nil {
		e.changed()
	}
	return nil
}

// OnChange has f called after every change of the rules, on the goroutine that made it; f must not change them itself.
// It is for what was decided before and lasts, such as subscriptions.
func (e *Engine) OnChange(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changed = f
}

// Rules are those of all sources.
func (e *Engine) Rules() []auth.Rule { return slices.Clone(e.policy.Load().rules) }

// Authorize implements auth.Authorizer. An answer that was given before takes no memory and does not depend on the number of rules.
func (e *Engine) Authorize(who *auth.Principal, q *auth.Question) bool {
	v := e.view(who)
	if q.Action == auth.Subscribe { // rare, and not worth the room
		return v.decide(who, q).allows()
	}
	sum := q.Sum(e.seed)
	if allowed, known := v.recall(sum); known {
		return allowed
	}
	allowed := v.decide(who, q).allows()
	v.remember(sum, allowed)
	return allowed
}

// view is what of the present policy concerns a client. It is made when it is first needed.
func (e *Engine) view(who *auth.Principal) *view {
	p := e.policy.Load()
	if v, ok := who.Bound.Load().(*view); ok && v.policy == p {
		return v
	}
	v := p.bind(who)
	who.Bound.Store(v)
	return v
}

// Check tells what is wrong with a rule, nil = nothing.
func Check(r *auth.Rule) error {
	_, err := parse(r)
	return err
}
