package acl

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Config is what the configuration file says about what clients may do.
type Config struct {
	Rules         []RuleConfig `yaml:"rules" doc:"Of all rules that fit, the one with the highest priority decides; among equals a denial wins; if none fits, the answer is no."`
	ACLFile       string       `yaml:"acl_file" doc:"A Mosquitto ACL file, whose rules hold beside these. With one, the default rule does not hold."`
	DeniedPublish string       `yaml:"denied_publish" enum:"ignore,disconnect" doc:"What a client before MQTT 5, which cannot be told, gets for a message that it may not publish: ignore acknowledges and drops it, disconnect closes the connection. Both count it."`
}

// RuleConfig is one rule of the configuration file. An empty list is no condition; of several values one suffices.
type RuleConfig struct {
	Name        string   `yaml:"name" doc:"How explanations call it; by default its place in the file."`
	Allow       []string `yaml:"allow" doc:"What it allows: publish, subscribe, receive, retain (publish retained messages)."`
	Deny        []string `yaml:"deny" doc:"What it denies, instead of allow."`
	Topics      []string `yaml:"topics" doc:"Topic filters. {client}, {user}, {cn}, {group} and {claim.NAME} stand for the client's own, and fit nothing where it has none or one with a wildcard or a separator."`
	Users       []string `yaml:"users" doc:"Whom it is about; in this and the next four * stands for any characters."`
	Groups      []string `yaml:"groups" doc:"Groups of which the client is in one."`
	Clients     []string `yaml:"clients" doc:"Client ids."`
	CommonNames []string `yaml:"common_names" doc:"Common names of client certificates."`
	Listeners   []string `yaml:"listeners" doc:"Names of listeners."`
	Addresses   []string `yaml:"addresses" doc:"Networks such as 10.0.0.0/8, or addresses. Unix sockets belong to the loopback networks."`
	Claims      []string `yaml:"claims" doc:"Each name=value, all of which have to hold."`
	QoS         []string `yaml:"qos" doc:"0, 1, 2: of the publication, or asked for by the subscription. Empty is all."`
	Retain      string   `yaml:"retain" enum:"any,only,never" doc:"Publications that it is about: any, only retained ones, or never those."`
	Priority    int      `yaml:"priority" doc:"The highest decides." min:"0"`
}

// SetDefaults gives a rule that the file begins its defaults.
func (r *RuleConfig) SetDefaults() { r.Retain = "any" }

// DefaultConfig lets clients of this machine do everything.
func DefaultConfig() Config {
	return Config{
		Rules: []RuleConfig{{
			Name: "this machine", Allow: []string{"publish", "subscribe", "receive"}, Topics: []string{"#", "$SYS/#"},
			Addresses: []string{"127.0.0.0/8", "::1/128"}, Retain: "any",
		}},
		DeniedPublish: "ignore",
	}
}

// Compile returns the rules of the file. That they are right is what Check is for; what it would complain about leads to
// an error of Engine.Set, never to fewer conditions.
func (c *Config) Compile() []auth.Rule {
	if c.ACLFile != "" && reflect.DeepEqual(c.Rules, DefaultConfig().Rules) {
		return nil
	}
	var rules []auth.Rule
	for i := range c.Rules {
		r := c.Rules[i].rule()
		if r.Name == "" {
			r.Name = fmt.Sprintf("authorization.rules[%d]", i)
		}
		rules = append(rules, r)
	}
	return rules
}

// rule makes the rule. One that is wrong has no topics, so that it cannot be used.
func (r *RuleConfig) rule() auth.Rule {
	out := auth.Rule{
		Name: r.Name, Deny: len(r.Deny) > 0, Topics: r.Topics, Priority: r.Priority,
		Who: auth.Who{Users: r.Users, Groups: r.Groups, Clients: r.Clients, CommonNames: r.CommonNames, Listeners: r.Listeners},
	}
	r.Check(func(string, string, string) { out.Topics = nil })
	words := append(slices.Clone(r.Allow), r.Deny...)
	for _, w := range words {
		a, _ := actionNamed(w)
		out.Actions |= auth.ActionsOf(a)
	}
	only := r.Retain == "only" || slices.Contains(words, "retain") && !slices.Contains(words, "publish")
	if only || r.Retain == "never" {
		out.Retain = &only
	}
	for _, q := range r.QoS {
		if q != "" {
			out.QoS = append(out.QoS, mqtt.QoS(q[0]-'0'))
		}
	}
	for _, a := range r.Addresses {
		p, _ := parseNetwork(a)
		out.Who.Addresses = append(out.Who.Addresses, p)
	}
	for _, c := range r.Claims {
		name, value, _ := strings.Cut(c, "=")
		if out.Who.Claims == nil {
			out.Who.Claims = make(map[string]string)
		}
		out.Who.Claims[name] = value
	}
	return out
}

// actionNamed is the action that a word of the configuration stands for; "retain" is publish, under a condition.
func actionNamed(word string) (auth.Action, bool) {
	switch word {
	case "publish", "retain":
		return auth.Publish, true
	case "subscribe":
		return auth.Subscribe, true
	case "receive":
		return auth.Receive, true
	}
	return 0, false
}

// parseNetwork reads a CIDR or a single address.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, err
	}
	return unmapped(p.Masked()), nil
}

// Check says what is wrong with a rule, with what would put it right.
func (r *RuleConfig) Check(bad func(key, message, fix string)) {
	switch {
	case len(r.Allow) > 0 && len(r.Deny) > 0:
		bad("deny", "stands beside allow", "make two rules of it")
	case len(r.Allow)+len(r.Deny) == 0:
		bad("allow", "is missing, and so is deny", "say what the rule is about, such as allow: [publish, subscribe, receive]")
	}
	publishes := false
	for _, list := range []struct {
		key   string
		words []string
	}{{"allow", r.Allow}, {"deny", r.Deny}} {
		for _, w := range list.words {
			a, ok := actionNamed(w)
			if !ok {
				bad(list.key, fmt.Sprintf("names %q, which is no action", w), "there are publish, subscribe, receive and retain")
			}
			publishes = publishes || a == auth.Publish
			if w == "retain" && r.Retain == "never" {
				bad("retain", "is never, but "+list.key+" names retain", "remove one of them")
			}
		}
	}
	if (r.Retain == "only" || r.Retain == "never") && !publishes {
		bad("retain", "is about publications, but the rule is not", "remove it, or add publish")
	}
	if len(r.Topics) == 0 {
		bad("topics", "is empty", `name topic filters, such as devices/{client}/#, or "#" for all`)
	}
	for _, t := range r.Topics {
		if _, err := parseFilter(t); err != nil {
			bad("topics", "has a filter that is none: "+err.Error(), "wildcards fill a whole level, # the last; placeholders are {client}, {user}, {cn}, {group} and {claim.NAME}")
		}
	}
	for _, q := range r.QoS {
		if q != "0" && q != "1" && q != "2" {
			bad("qos", fmt.Sprintf("holds %q", q), "there are 0, 1 and 2")
		}
	}
	for _, a := range r.Addresses {
		if _, err := parseNetwork(a); err != nil {
			bad("addresses", fmt.Sprintf("holds %q, which is no network", a), "write it as 10.0.0.0/8, fd00::/8 or 192.0.2.7")
		}
	}
	named := map[string]bool{}
	for _, c := range r.Claims {
		name, _, ok := strings.Cut(c, "=")
		if !ok || name == "" || named[name] {
			bad("claims", fmt.Sprintf("holds %q", c), "write each claim once, as name=value")
		}
		named[name] = true
	}
}
