package acl_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

func TestConfig(t *testing.T) {
	f := func(r acl.RuleConfig, want auth.Rule) {
		t.Helper()
		r.Check(func(key, message, _ string) { t.Errorf("%s %s", key, message) })
		cfg := acl.Config{Rules: []acl.RuleConfig{r}}
		got := cfg.Compile()[0]
		want.Topics = r.Topics
		if want.Name == "" {
			want.Name = "authorization.rules[0]"
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	on := []string{"a"}
	pub := auth.ActionsOf(auth.Publish)
	f(acl.RuleConfig{Name: "n", Allow: []string{"publish"}, Topics: on, Priority: 3}, auth.Rule{Name: "n", Actions: pub, Priority: 3})
	f(acl.RuleConfig{Deny: []string{"retain"}, Topics: on}, auth.Rule{Deny: true, Actions: pub, Retain: new(true)})
	f(acl.RuleConfig{Allow: []string{"retain", "receive"}, Topics: on, Retain: "any"}, auth.Rule{Actions: auth.ActionsOf(auth.Publish, auth.Receive), Retain: new(true)})
	f(acl.RuleConfig{Allow: []string{"retain", "publish"}, Topics: on}, auth.Rule{Actions: pub})
	f(acl.RuleConfig{Allow: []string{"publish"}, Topics: on, Retain: "only"}, auth.Rule{Actions: pub, Retain: new(true)})
	f(acl.RuleConfig{Allow: []string{"publish"}, Topics: on, Retain: "never", QoS: []string{"0", "2"}}, auth.Rule{Actions: pub, Retain: new(false), QoS: []mqtt.QoS{0, 2}})
	f(acl.RuleConfig{Allow: []string{"subscribe"}, Topics: on, Claims: []string{"a=b=c", "d="}}, auth.Rule{
		Actions: auth.ActionsOf(auth.Subscribe), Who: auth.Who{Claims: map[string]string{"a": "b=c", "d": ""}},
	})

	g := func(r acl.RuleConfig, want string) {
		t.Helper()
		var got []string
		r.Check(func(key, message, fix string) { got = append(got, key+" "+message+": "+fix) })
		if len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := acl.New().Set("x", (&acl.Config{Rules: []acl.RuleConfig{r}}).Compile()); err == nil {
			t.Errorf("%q: the engine takes it", want)
		}
	}
	p := []string{"publish"}
	g(acl.RuleConfig{Allow: p, Deny: p, Topics: on}, "deny stands beside allow: make two rules of it")
	g(acl.RuleConfig{Topics: on}, "allow is missing, and so is deny: say")
	g(acl.RuleConfig{Allow: []string{"write"}, Topics: on}, `allow names "write", which is no action: there are publish`)
	g(acl.RuleConfig{Allow: p}, "topics is empty: name topic filters")
	g(acl.RuleConfig{Allow: p, Topics: []string{"a/#/b"}}, "'#' at byte 2 is not the last level: wildcards fill")
	g(acl.RuleConfig{Allow: p, Topics: []string{"a/{clientid}"}}, "{clientid} stands for nothing")
	g(acl.RuleConfig{Allow: p, Topics: []string{"a/{client"}}, "a placeholder has no end")
	g(acl.RuleConfig{Allow: p, Topics: on, QoS: []string{"3"}}, `qos holds "3": there are`)
	g(acl.RuleConfig{Allow: p, Topics: on, Addresses: []string{"10.0.0.0/33"}}, `addresses holds "10.0.0.0/33", which is no network: write it as`)
	g(acl.RuleConfig{Allow: p, Topics: on, Claims: []string{"role"}}, `claims holds "role": write each claim once, as name=value`)
	g(acl.RuleConfig{Allow: p, Topics: on, Claims: []string{"a=1", "a=2"}}, `claims holds "a=2"`)
	g(acl.RuleConfig{Allow: []string{"receive"}, Topics: on, Retain: "only"}, "retain is about publications, but the rule is not")
	g(acl.RuleConfig{Deny: []string{"retain"}, Topics: on, Retain: "never"}, "retain is never, but deny names retain: remove")

	d := acl.DefaultConfig()
	if d.ACLFile = "x"; len(d.Compile()) != 0 {
		t.Error("the default rule holds beside an ACL file")
	}
	// A brace itself.
	e := engine(t, auth.Rule{Name: "r", Actions: pub, Topics: []string{"a{{b}/{{client}"}})
	ask(t, e, someone("c", ""), "publish a{b}/{client}", true)
	ask(t, e, someone("c", ""), "publish a{b}/c", false)
}

func TestExpectations(t *testing.T) {
	e := engine(t, auth.Rule{Name: "own", Actions: everything, Topics: []string{"d/{cn}/#", "with space/x"}, Who: auth.Who{Listeners: []string{"tls"}}},
		auth.Rule{Name: "no retain", Deny: true, Actions: auth.ActionsOf(auth.Publish), Topics: []string{"#"}, Retain: new(true)},
		auth.Rule{Name: "qos", Deny: true, Actions: everything, Topics: []string{"#"}, QoS: []mqtt.QoS{2}})
	got, err := e.Test([]acl.Expectation{{
		Subject: acl.Subject{Client: "c", CN: "dev", Listener: "tls", Address: "192.0.2.1"},
		May:     []string{"publish d/dev/x", "subscribe $share/g/d/dev/#", "publish qos=1  with space/x", "publish other"},
		MayNot:  []string{"retain d/dev/x", "publish qos=2 d/dev/x", "receive d/other"},
	}})
	failed := ""
	for _, r := range got {
		if r.Failed() {
			failed += r.Question
		}
	}
	if err != nil || len(got) != 7 || failed != "publish other" {
		t.Errorf("%+v, %v", got, err)
	}
	f := func(x acl.Expectation, want string) {
		t.Helper()
		if _, err := e.Test([]acl.Expectation{x}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f(acl.Expectation{}, "neither may nor may_not")
	f(acl.Expectation{May: []string{"write a"}}, "begins with none of")
	f(acl.Expectation{May: []string{"publish"}}, "topic name is empty")
	f(acl.Expectation{May: []string{"publish a/#"}}, "wildcard")
	f(acl.Expectation{May: []string{"subscribe a#"}}, "does not fill its level")
	f(acl.Expectation{May: []string{"subscribe $share/g"}}, "$share")
	f(acl.Expectation{May: []string{"publish qos=3 a"}}, "qos=2")
	f(acl.Expectation{Subject: acl.Subject{Address: "localhost"}, May: []string{"publish a"}}, "write it as 192.0.2.7")
}
