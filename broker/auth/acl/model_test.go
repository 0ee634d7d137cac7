package acl

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// substituted is the naive meaning of a rule's topic for a client: the filters it stands for.
func substituted(filter string, who *auth.Principal) (all []string) {
	groups := who.Groups
	if !strings.Contains(filter, "{group}") {
		groups = []string{"unused"}
	}
	for _, g := range groups {
		out, ok := filter, true
		for name, v := range map[string]string{"client": who.ClientID, "user": who.Name, "group": g, "claim.c": who.Claims["c"]} {
			hole := "{" + name + "}"
			if strings.Contains(out, hole) {
				ok = ok && v != "" && !strings.ContainsAny(v, "+#/\x00") && (v[0] != '$' || !strings.HasPrefix(filter, hole))
				out = strings.ReplaceAll(out, hole, v)
			}
		}
		if ok {
			all = append(all, out)
		}
	}
	return all
}

// universe is every name that can tell filters of up to three levels of this alphabet apart: z is in none of them.
func universe() (names []string) {
	alphabet := []string{"a", "b", "ab", "", "$x", "z"}
	var grow func(prefix []string)
	grow = func(prefix []string) {
		if n := strings.Join(prefix, "/"); n != "" {
			names = append(names, n)
		}
		if len(prefix) < 4 {
			for _, l := range alphabet {
				grow(append(slices.Clone(prefix), l))
			}
		}
	}
	grow(nil)
	return names
}

// naive is the law, as slowly as it can be said.
func naive(rules []auth.Rule, who *auth.Principal, q *auth.Question, names []string) (best *auth.Rule) {
	for i := range rules {
		r := &rules[i]
		fits := slices.ContainsFunc(r.Topics, func(t string) bool {
			return slices.ContainsFunc(substituted(t, who), func(f string) bool {
				if q.Action != auth.Subscribe {
					return topic.Match(f, string(q.Topic))
				}
				return !slices.ContainsFunc(names, func(n string) bool { return topic.Match(string(q.Topic), n) && !topic.Match(f, n) })
			})
		})
		fits = fits && r.Actions.Has(q.Action) && includes(&r.Who, who)
		fits = fits && (len(r.QoS) == 0 || q.Action == auth.Receive || slices.Contains(r.QoS, q.QoS))
		fits = fits && (r.Retain == nil || q.Action != auth.Publish || *r.Retain == q.Retain)
		if fits && (best == nil || r.Priority > best.Priority || r.Priority == best.Priority && r.Deny && !best.Deny) {
			best = r
		}
	}
	return best
}

// TestEngineAgainstModel: whatever the rules, the engine answers as the one-sentence law read naively: priorities, denials,
// wildcards, placeholders, and what it is for a filter to cover another (F166).
func TestEngineAgainstModel(t *testing.T) {
	names := universe()
	pick := func(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }
	some := func(r *rand.Rand, of ...string) []string {
		if r.IntN(3) > 0 {
			return nil
		}
		return []string{pick(r, of...), pick(r, of...)}
	}
	filter := func(r *rand.Rand, levels ...string) string {
		var f []string
		for range 1 + r.IntN(3) {
			f = append(f, pick(r, levels...))
		}
		if r.IntN(3) == 0 {
			f = append(f[:r.IntN(len(f))], "#")
		}
		if s := strings.Join(f, "/"); s != "" {
			return s
		}
		return "a"
	}
	for seed := range 300 {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		var rules []auth.Rule
		for i := range r.IntN(12) {
			rule := auth.Rule{Name: fmt.Sprint("rule ", i), Deny: r.IntN(3) == 0, Actions: auth.Actions(2 * (1 + r.IntN(7))), Priority: r.IntN(2)}
			for range 1 + r.IntN(2) {
				rule.Topics = append(rule.Topics, filter(r, "a", "b", "", "$x", "+", "+", "{client}", "{user}", "{group}", "a{group}", "{claim.c}b"))
			}
			rule.Who = auth.Who{Clients: some(r, "a", "b*", "*"), Users: some(r, "a", "", "*a"), Groups: some(r, "a", "b")}
			if r.IntN(5) == 0 {
				rule.Who.Claims = map[string]string{"c": pick(r, "a", "*")}
			}
			if r.IntN(4) == 0 {
				rule.QoS = []mqtt.QoS{mqtt.QoS(r.IntN(3))}
			}
			if r.IntN(4) == 0 {
				rule.Retain = new(r.IntN(2) == 0)
			}
			rules = append(rules, rule)
		}
		shared := r.IntN(len(rules) + 1)
		who := &auth.Principal{ClientID: pick(r, "a", "b", "ab", "+", "$x", "a/b", "#"), Identity: &auth.Identity{
			Name: pick(r, "", "a", "b", "$x", "+"), Groups: [][]string{nil, {"a"}, {"a", "b"}, {"b", "#"}}[r.IntN(4)], Rules: rules[shared:],
		}}
		if r.IntN(2) == 0 {
			who.Claims = map[string]string{"c": pick(r, "a", "", "/", "b")}
		}
		e := New()
		if err := e.Set("test", rules[:shared]); err != nil {
			t.Fatal(err)
		}
		for range 15 {
			q := auth.Question{Action: auth.Action(1 + r.IntN(3)), QoS: mqtt.QoS(r.IntN(3)), Retain: r.IntN(2) == 0}
			if q.Action == auth.Subscribe {
				q.Topic = []byte(filter(r, "a", "b", "ab", "", "$x", "+"))
			} else {
				q.Topic = []byte(names[r.IntN(len(names))])
			}
			want := naive(rules, who, &q, names)
			for range 2 { // the second answer comes out of the cache
				if got := e.Authorize(who, &q); got != (want != nil && !want.Deny) {
					t.Fatalf("seed %d: %v %s by %q, groups %q: got %v, want %+v\nrules %+v", seed, q.Action, q.Topic, who.ClientID, who.Groups, got, want, rules)
				}
			}
			d := e.Explain(who, &q)
			if want == nil && d.Rule != "" || want != nil && (d.Rule != want.Name || d.Allowed == want.Deny) || d.Why == "" {
				t.Fatalf("seed %d: explained as %+v, want %+v", seed, d, want)
			}
		}
	}
}

func TestWho(t *testing.T) {
	f := func(pattern, text string, want bool) {
		t.Helper()
		if got := matches(pattern, text); got != want {
			t.Errorf("%q on %q: %v", pattern, text, got)
		}
	}
	f("a", "a", true)
	f("a", "ab", false)
	f("*", "a", true)
	f("*", "", false) // what is not there fits "" alone
	f("", "", true)
	f("", "a", false)
	f("a*c", "abc", true)
	f("a*c", "ac", true)
	f("a*c", "acb", false)
	f("a*a", "a", false)
	f("*b*", "abc", true)
	f("*ab*b", "ab", false)
	f("*ab*b", "abb", true)
	// F165: nothing in a pattern or in what a client calls itself is a regular expression.
	f(".", "a", false)
	f("(a|b)", "a", false)
	f("d*", "d[0-9]+", true)
	f("d.*", "d", false)

	g := func(network, address string, want bool) {
		t.Helper()
		n, err := parseNetwork(network)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := netip.ParseAddr(address)
		if got := within([]netip.Prefix{n}, a); got != want {
			t.Errorf("%s in %s: %v", address, network, got)
		}
	}
	g("127.0.0.0/8", "127.0.0.1", true)
	g("127.0.0.0/8", "::ffff:127.0.0.1", true)
	g("::ffff:127.0.0.0/104", "127.1.2.3", true)
	g("127.0.0.0/8", "", true) // a Unix socket
	g("::1/128", "", true)
	g("0.0.0.0/0", "", false)
	g("0.0.0.0/0", "::1", false)
	g("::1/128", "::1", true)
	g("10.0.0.0/8", "10.2.3.4", true)
	g("10.1.2.3", "10.1.2.3", true)
	g("10.1.2.3", "10.1.2.4", false)
	g("fe80::/10", "fe80::1%eth0", true)

	// Of a client that was not here since the broker started too little is known to be one of these.
	who := &auth.Principal{Identity: &auth.Identity{Name: "u"}, ClientID: "c", Restored: true}
	for _, w := range []auth.Who{
		{Groups: []string{"g"}},
		{CommonNames: []string{""}},
		{Listeners: []string{""}},
		{Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		{Claims: map[string]string{"a": ""}},
	} {
		if includes(&w, who) {
			t.Errorf("%+v includes a client that is away", w)
		}
	}
	if !includes(&auth.Who{Users: []string{"u"}, Clients: []string{"c"}}, who) {
		t.Error("name and client id are known")
	}
}
