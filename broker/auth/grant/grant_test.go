package grant

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

func TestRules(t *testing.T) {
	got, err := Rules("acl", []byte(`[
		{"allow": ["publish", "receive"], "topics": ["a/{client}/#", "{claim.site}/+"], "qos": [0, 1], "retain": "never", "priority": 7},
		{"deny": ["subscribe"], "topics": ["#"], "retain": "only"}]`))
	if err != nil {
		t.Fatal(err)
	}
	never, only := got[0], got[1]
	if never.Name != "acl[0]" || never.Deny || never.Actions != auth.ActionsOf(auth.Publish, auth.Receive) ||
		len(never.Topics) != 2 || len(never.QoS) != 2 || never.QoS[1] != mqtt.QoS(1) || *never.Retain || never.Priority != 7 {
		t.Errorf("got %+v", never)
	}
	if only.Name != "acl[1]" || !only.Deny || only.Actions != auth.ActionsOf(auth.Subscribe) || !*only.Retain {
		t.Errorf("got %+v", only)
	}
	for _, none := range []string{"", "null", "[]"} {
		if got, err := Rules("acl", []byte(none)); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v", none, got, err)
		}
	}
}

// TestBadRules: a rule that is not understood to the last word is none, and spoils the list.
func TestBadRules(t *testing.T) {
	f := func(data, want string) {
		t.Helper()
		got, err := Rules("acl", []byte(data))
		if err == nil || got != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: got %v, %v, want %q", data, got, err, want)
		}
	}
	f(`{}`, "not a list")
	f(`[{}]`, "either allow or deny")
	f(`[{"allow": ["publish"], "deny": ["publish"], "topics": ["a"]}]`, "either allow or deny")
	f(`[{"allow": ["all"], "topics": ["a"]}]`, "no action")
	f(`[{"allow": "publish", "topics": ["a"]}]`, "cannot unmarshal")
	f(`[{"allow": ["publish"]}]`, "1 to 128 topics")
	f(`[{"allow": ["publish"], "topics": ["a#"]}]`, "topic")
	f(`[{"allow": ["publish"], "topics": ["a\u0000"]}]`, "topic")
	f(`[{"allow": ["publish"], "topics": ["{username}/a"]}]`, "no placeholder")
	f(`[{"allow": ["publish"], "topics": ["{claim.}/a"]}]`, "no placeholder")
	f(`[{"allow": ["publish"], "topics": ["{client"]}]`, "without its")
	f(`[{"allow": ["publish"], "topics": ["a"], "qos": [3]}]`, "qos 3")
	f(`[{"allow": ["publish"], "topics": ["a"], "qos": [-1]}]`, "cannot unmarshal")
	f(`[{"allow": ["publish"], "topics": ["a"], "retain": "yes"}]`, "retain")
	f(`[{"allow": ["publish"], "topics": ["a"], "users": ["b"]}]`, "unknown field")
	f(`["allow"]`, "cannot unmarshal")
	f(`[null]`, "either allow or deny")
	f(`[] []`, "not a list")
	f("["+strings.Repeat(`{},`, 256)+"{}]", "257 rules")
}

func TestNames(t *testing.T) {
	f := func(s string, want bool) {
		t.Helper()
		if err := Name(s); (err == nil) != want {
			t.Errorf("%q: %v", s, err)
		}
	}
	f("a device, 7 \u00e9", true)
	f(strings.Repeat("x", 1024), true)
	f(strings.Repeat("x", 1025), false)
	f("", false)
	f("a\x00b", false)
	f("a\nb", false)
	f("\xff", false)
	f("\u0085", false)
}

func TestIdentity(t *testing.T) {
	f := func(id auth.Identity, want string) {
		t.Helper()
		err := Identity(&id)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	many := map[string]string{}
	for i := range 65 {
		many[fmt.Sprint(i)] = ""
	}
	f(auth.Identity{Name: "a", Groups: []string{"g"}, Claims: map[string]string{"site": ""}}, "")
	f(auth.Identity{}, "the name is empty")
	f(auth.Identity{Name: "a", Groups: []string{"g", ""}}, "group 1 is empty")
	f(auth.Identity{Name: "a", Groups: make([]string, 129)}, "129 groups")
	f(auth.Identity{Name: "a", Claims: map[string]string{"": "x"}}, "the name of a claim")
	f(auth.Identity{Name: "a", Claims: map[string]string{"x": "\x00"}}, "claim x contains")
	f(auth.Identity{Name: "a", Claims: many}, "65 claims")
}

// FuzzRules: whatever is sent, what is taken is bounded and has filters that are filters.
func FuzzRules(f *testing.F) {
	for _, seed := range []string{
		`[{"allow": ["publish"], "topics": ["a/{client}/#"], "qos": [1], "retain": "never", "priority": -1}]`,
		`[{"deny": ["subscribe", "receive"], "topics": ["+/{claim.a}", "#"]}]`, `[{"topics": ["{"]}]`, `[[[[[[`, `null`, `[{"allow":["publish"],"topics":["{group}}{#"]}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, err := Rules("f", data)
		if err != nil && rules != nil || len(rules) > MaxRules {
			t.Fatalf("%d rules, %v", len(rules), err)
		}
		for _, r := range rules {
			if r.Actions == 0 || len(r.Topics) == 0 || len(r.Topics) > MaxTopics {
				t.Errorf("got %+v", r)
			}
			for _, text := range r.Topics {
				if filter(text) != nil {
					t.Errorf("took %q", text)
				}
			}
		}
	})
}
