package acl_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
)

var everything = auth.ActionsOf(auth.Publish, auth.Subscribe, auth.Receive)

func engine(t testing.TB, rules ...auth.Rule) *acl.Engine {
	t.Helper()
	e := acl.New()
	if err := e.Set("test", rules); err != nil {
		t.Fatal(err)
	}
	return e
}

func someone(client, user string, groups ...string) *auth.Principal {
	return &auth.Principal{ClientID: client, Identity: &auth.Identity{Name: user, Groups: groups}}
}

func question(t testing.TB, text string) *auth.Question {
	t.Helper()
	q, err := acl.ParseQuestion(text)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// ask asks twice: the second answer is a remembered one.
func ask(t testing.TB, e *acl.Engine, who *auth.Principal, text string, want bool) {
	t.Helper()
	for range 2 {
		if e.Authorize(who, question(t, text)) != want {
			t.Errorf("%s by %q: %v; %s", text, who.ClientID, !want, e.Explain(who, question(t, text)).Why)
			return
		}
	}
}

// TestPlaceholdersNeverInject: a client whose id or name holds a wildcard or a separator, or that begins with '$', gets nothing out
// of a rule that inserts it (F164).
func TestPlaceholdersNeverInject(t *testing.T) {
	e := engine(t,
		auth.Rule{Name: "r", Actions: everything, Topics: []string{"c/{client}/#", "u/{user}", "part/x-{user}-y/#", "g/{group}/{group}", "{client}/#", "k/{claim.site}/#"}},
		auth.Rule{Name: "none", Deny: true, Actions: everything, Topics: []string{"c/{client}/no"}})
	for _, evil := range []string{"+", "#", "a/b", "/", "a+", "#a", "\x00", "a\x00b", "+/#"} {
		who := someone(evil, evil, evil)
		who.Claims = map[string]string{"site": evil}
		for _, text := range []string{
			"publish c/other/x", "subscribe c/+/x", "subscribe c/#", "publish u/other", "receive u/a/b", "subscribe u/+",
			"subscribe part/+/#", "publish g/a/a", "publish anything", "subscribe #", "subscribe +/#", "publish k/a/b", "receive k/a",
		} {
			ask(t, e, who, text, false)
		}
	}
	ask(t, e, someone("$SYS", ""), "subscribe $SYS/#", false)
	ask(t, e, someone("$SYS", ""), "publish c/$SYS/x", true)
	good := someone("dev.*[1]", "joe", "g1", "g2")
	good.Claims = map[string]string{"site": "north"}
	for _, text := range []string{
		"publish c/dev.*[1]/x", "publish c/dev.*[1]", "subscribe c/dev.*[1]/+", "publish u/joe", "receive part/x-joe-y/z", "subscribe dev.*[1]/#",
		"publish g/g1/g1", "publish g/g2/g2", "receive k/north/a",
	} {
		ask(t, e, good, text, true)
	}
	for _, text := range []string{"publish c/devXX[1]/x", "publish g/g1/g2", "publish u/jo", "publish part/x--y/z", "publish part/x-joe-yy/z", "publish c/dev.*[1]/no", "publish k/south"} {
		ask(t, e, good, text, false)
	}
	ask(t, e, someone("", ""), "publish part/x--y/z", false) // an empty text fills nothing
}

// TestPrecedence: priority first, then denial, whatever the order of the rules, how special a filter is, or whether a user or a
// group is named (F166).
func TestPrecedence(t *testing.T) {
	rules := []auth.Rule{
		{Name: "all", Actions: everything, Topics: []string{"#"}},
		{Name: "not secret", Deny: true, Actions: everything, Topics: []string{"+/secret/#"}},
		{Name: "joe's", Actions: everything, Topics: []string{"a/secret/joe"}, Who: auth.Who{Users: []string{"joe"}}},
		{Name: "staff's", Actions: everything, Topics: []string{"a/secret/staff"}, Who: auth.Who{Groups: []string{"staff"}}, Priority: 1},
		{Name: "but not joe", Deny: true, Actions: everything, Topics: []string{"a/secret/staff"}, Who: auth.Who{Users: []string{"joe"}}, Priority: 1},
	}
	joe, ann := someone("1", "joe", "staff"), someone("2", "ann", "staff")
	f := func(who *auth.Principal, text string, allowed bool, rule string) {
		t.Helper()
		for range 2 { // also the other way around
			for i, j := 0, len(rules)-1; i < j; i, j = i+1, j-1 {
				rules[i], rules[j] = rules[j], rules[i]
			}
			e := engine(t, rules...)
			if d := e.Explain(who, question(t, text)); d.Allowed != allowed || d.Rule != rule || !strings.Contains(d.Why, rule) {
				t.Errorf("%s: %+v", text, d)
			}
			ask(t, e, who, text, allowed)
		}
	}
	f(joe, "publish a/b", true, "all")
	f(joe, "publish a/secret/x", false, "not secret")
	f(joe, "publish a/secret/joe", false, "not secret")
	f(ann, "publish a/secret/staff", true, "staff's")
	f(joe, "publish a/secret/staff", false, "but not joe")
	f(ann, "subscribe #", true, "all") // a denial of a part does not refuse it
	f(ann, "receive a/secret/x", false, "not secret")
	f(ann, "subscribe a/secret/+", false, "not secret")
	f(ann, "publish $SYS/x", false, "")
}

// TestLocalClients: nothing but rules tells who may; a client of the same machine is allowed what the default rule says, and nothing
// once there are others (F170).
func TestLocalClients(t *testing.T) {
	local := func(address string) *auth.Principal {
		who, err := (&acl.Subject{Client: "c", Address: address}).Principal()
		if err != nil {
			t.Fatal(err)
		}
		return who
	}
	cfg := acl.DefaultConfig()
	e := engine(t, cfg.Compile()...)
	for _, address := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "unix"} {
		ask(t, e, local(address), "publish a", true)
		ask(t, e, local(address), "subscribe $SYS/#", true)
	}
	ask(t, e, local("192.0.2.1"), "publish a", false)
	cfg.Rules = []acl.RuleConfig{{Allow: []string{"receive"}, Topics: []string{"b"}}}
	e = engine(t, cfg.Compile()...)
	for _, address := range []string{"127.0.0.1", "::1", "unix", "192.0.2.1"} {
		ask(t, e, local(address), "publish a", false)
		ask(t, e, local(address), "receive b", true)
	}
}

// TestChange: a change holds with the next question, also while others ask, and a bad one changes nothing and fails closed for the rules that
// come with an identity (F173).
func TestChange(t *testing.T) {
	e := engine(t)
	who := someone("c", "u")
	ask(t, e, who, "publish a", false)
	allow := auth.Rule{Name: "r", Actions: everything, Topics: []string{"a"}}
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					e.Authorize(who, &auth.Question{Action: auth.Publish, Topic: fmt.Append(nil, "t", i%100)})
				}
			}
		})
	}
	for range 100 {
		if err := e.Set("more", []auth.Rule{allow}); err != nil {
			t.Fatal(err)
		}
		ask(t, e, who, "publish a", true)
		if err := e.Set("more", nil); err != nil {
			t.Fatal(err)
		}
		ask(t, e, who, "publish a", false)
	}
	close(stop)
	all.Wait()
	if err := e.Set("more", []auth.Rule{allow}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []auth.Rule{
		{Name: "bad", Actions: everything, Topics: []string{"a/#/b"}},
		{Name: "bad", Actions: everything},
		{Name: "bad", Topics: []string{"a"}},
		{Name: "bad", Actions: everything, Topics: []string{"{x}"}},
		{Name: "bad", Actions: everything, Topics: []string{"{client"}},
	} {
		if err := e.Set("more", []auth.Rule{bad}); err == nil || !strings.Contains(err.Error(), "bad") {
			t.Errorf("%+v: %v", bad, err)
		}
		ask(t, e, who, "publish a", true)
		own := someone("c", "u")
		own.Rules = []auth.Rule{bad, allow}
		ask(t, e, own, "publish a", false)
		if d := e.Explain(own, question(t, "publish a")); d.Allowed || !strings.Contains(d.Why, "cannot be understood") {
			t.Errorf("%+v", d)
		}
	}
	if n := len(e.Rules()); n != 1 {
		t.Errorf("%d rules", n)
	}
	told := 0
	e.OnChange(func() { told++ })
	if e.Set("more", nil) != nil || e.Set("more", []auth.Rule{{}}) == nil || told != 1 {
		t.Errorf("told %d times of one change", told)
	}
}

// TestCacheGrows: a client that asks about many topics is remembered, and every answer stays right.
func TestCacheGrows(t *testing.T) {
	e := engine(t, auth.Rule{Name: "r", Actions: everything, Topics: []string{"even/+"}})
	who := someone("c", "u")
	for round := range 20 {
		for i := range 500 {
			text := fmt.Sprintf("publish %s/%d", []string{"even", "odd"}[i%2], i)
			if got := e.Authorize(who, question(t, text)); got != (i%2 == 0) {
				t.Fatalf("round %d: %s: %v", round, text, got)
			}
		}
	}
}

func TestExplain(t *testing.T) {
	e := engine(t,
		auth.Rule{Name: "rule 1", Actions: everything, Topics: []string{"x", "devices/{client}/#"}, Who: auth.Who{Groups: []string{"devices", "b", "c", "d"}, Claims: map[string]string{"site": "n*"}}, Priority: 3},
		auth.Rule{Name: "open", Actions: everything, Topics: []string{"open/+"}})
	who := someone("d1", "joe", "devices")
	who.Claims = map[string]string{"site": "north"}
	f := func(who *auth.Principal, text, want string) {
		t.Helper()
		if got := e.Explain(who, question(t, text)).Why; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	f(who, "publish devices/d1/t", `rule 1 allows client "d1" (user "joe") to publish "devices/d1/t": its topic "devices/{client}/#" matches, it is about group devices or b or c or ... and claim site=n*, and it has priority 3`)
	f(who, "publish devices/d2/t", `no rule lets client "d1" (user "joe") publish "devices/d2/t"`)
	f(someone("a", ""), "subscribe open/#", `no rule lets client "a" (anonymous) subscribe "open/#"; the rule "open" allows some of its topics, but no rule covers all of them`)
	f(someone("a", ""), "subscribe +/y", `no rule lets client "a" (anonymous) subscribe "+/y"`)
	f(who, "subscribe devices/d1/#", `rule 1 allows client "d1" (user "joe") to subscribe "devices/d1/#": its topic "devices/{client}/#" covers, it is about group devices or b or c or ... and claim site=n*, and it has priority 3`)
}
