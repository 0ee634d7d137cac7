package acl

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// policy is a set of rules, ready to be asked. It is never changed.
type policy struct {
	rules    []auth.Rule
	everyone *audience              // of the rules that hold for everybody
	named    map[naming][]*audience // of rules that name who is meant
	others   []*audience            // that have to be asked one by one
}

// audience is the rules for the same clients.
type audience struct {
	who  *auth.Who
	root node
}

// naming is one exact value by which audiences are found.
type naming struct {
	what  placeholder
	value string
}

// compile readies rules.
func compile(rules []auth.Rule) (*policy, error) { return compileFrom(rules, 0) }

func compileFrom(rules []auth.Rule, order int) (*policy, error) {
	p := &policy{rules: rules, named: make(map[naming][]*audience)}
	ready := make([]*rule, len(rules))
	var errs []error
	for i := range rules {
		filters, err := parse(&rules[i])
		if err != nil && len(errs) < 10 {
			errs = append(errs, err)
		}
		ready[i] = &rule{Rule: &rules[i], order: order + i, filters: filters}
		for _, q := range rules[i].QoS {
			ready[i].qos |= 1 << q
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	slices.SortFunc(ready, func(a, b *rule) int {
		if a.before(b) {
			return -1
		}
		return 1
	})
	audiences := make(map[string]*audience)
	var key []byte
	for _, r := range ready {
		key = appendKey(key[:0], &r.Who)
		a := audiences[string(key)]
		if a == nil {
			a = &audience{who: &r.Who}
			audiences[string(key)] = a
			p.file(a)
		}
		for i, levels := range r.filters {
			a.root.put(levels, end{r, i})
		}
		r.filters = nil
	}
	return p, nil
}

// parse takes the filters of a rule apart and tells all that is wrong with it.
func parse(r *auth.Rule) (filters [][]level, err error) {
	var errs []error
	if len(r.Topics) == 0 {
		errs = append(errs, errors.New("it names no topics"))
	}
	if r.Actions == 0 {
		errs = append(errs, errors.New("it names no actions"))
	}
	for _, t := range r.Topics {
		levels, err := parseFilter(t)
		if err != nil {
			errs = append(errs, err)
		}
		filters = append(filters, levels)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("%s: %w", r.Name, err)
	}
	return filters, nil
}

// file puts an audience where it is found.
func (p *policy) file(a *audience) {
	w := a.who
	for _, by := range []struct {
		what   placeholder
		values []string
	}{{client, w.Clients}, {user, w.Users}, {commonName, w.CommonNames}, {group, w.Groups}} {
		if len(by.values) == 0 || slices.ContainsFunc(by.values, isPattern) {
			continue
		}
		for _, v := range by.values {
			n := naming{by.what, v}
			p.named[n] = append(p.named[n], a)
		}
		return
	}
	for _, name := range slices.Sorted(maps.Keys(w.Claims)) {
		if v := w.Claims[name]; !isPattern(v) {
			n := naming{claim, name + "=" + v}
			p.named[n] = append(p.named[n], a)
			return
		}
	}
	if len(w.Listeners) == 0 && len(w.Addresses) == 0 && len(w.Claims) == 0 && len(w.Clients)+len(w.Users)+len(w.CommonNames)+len(w.Groups) == 0 {
		p.everyone = a
		return
	}
	p.others = append(p.others, a)
}

// appendKey makes a text of a Who that only equal ones have.
func appendKey(to []byte, w *auth.Who) []byte {
	for _, list := range [][]string{w.Users, w.Groups, w.Clients, w.CommonNames, w.Listeners} {
		for _, s := range list {
			to = append(append(to, s...), 0)
		}
		to = append(to, 1)
	}
	for _, a := range w.Addresses {
		to = append(a.AppendTo(to), 0)
	}
	to = append(to, 1)
	for _, name := range slices.Sorted(maps.Keys(w.Claims)) {
		to = append(append(append(append(to, name...), 0), w.Claims[name]...), 0)
	}
	return to
}

func isPattern(s string) bool { return strings.Contains(s, "*") }

// matches tells whether a text fits a pattern, in which * stands for any characters. What is not there (an anonymous
// client's name, the common name without a certificate) fits "" alone.
func matches(pattern, text string) bool {
	if text == "" {
		return pattern == ""
	}
	return topic.Like(pattern, text)
}

func anyMatches(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, text) })
}

// includes tells whether a client is one of those that are meant. Of one that was not here since the broker started only
// the name is known: it is none of those that have to have anything else.
func includes(w *auth.Who, who *auth.Principal) bool {
	if who.Restored && len(w.Groups)+len(w.CommonNames)+len(w.Listeners)+len(w.Addresses)+len(w.Claims) > 0 {
		return false
	}
	switch {
	case len(w.Clients) > 0 && !anyMatches(w.Clients, who.ClientID),
		len(w.Users) > 0 && !anyMatches(w.Users, who.Name),
		len(w.CommonNames) > 0 && !anyMatches(w.CommonNames, who.Peer.CommonName()),
		len(w.Listeners) > 0 && !anyMatches(w.Listeners, who.Peer.Listener),
		len(w.Addresses) > 0 && !within(w.Addresses, who.Peer.Address.Addr()),
		len(w.Groups) > 0 && !slices.ContainsFunc(who.Groups, func(g string) bool { return anyMatches(w.Groups, g) }):
		return false
	}
	for name, pattern := range w.Claims {
		if v, ok := who.Claims[name]; !ok || !matches(pattern, v) {
			return false
		}
	}
	return true
}

// within tells whether one of the networks holds an address. A Unix socket has none: it is of this machine, as the
// loopback addresses are.
func within(networks []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool {
		n = unmapped(n)
		if !a.IsValid() {
			return n.Addr().IsLoopback()
		}
		return n.Contains(a)
	})
}

// unmapped is a network of IPv4 addresses as such, however it is written.
func unmapped(n netip.Prefix) netip.Prefix {
	if a := n.Addr(); a.Is4In6() && n.Bits() >= 96 {
		return netip.PrefixFrom(a.Unmap(), n.Bits()-96)
	}
	return n
}
