package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
)

// TestRoute: who would receive a message, at which QoS, by which rule, and who would not.
func TestRoute(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		policy := acl.New()
		every := auth.ActionsOf(auth.Publish, auth.Subscribe, auth.Receive)
		if err := policy.Set("test", []auth.Rule{
			{Name: "all", Actions: every, Topics: []string{"#"}},
			{Name: "not b", Actions: auth.ActionsOf(auth.Receive), Deny: true, Topics: []string{"a/#"}, Who: auth.Who{Clients: []string{"b"}}},
		}); err != nil {
			t.Fatal(err)
		}
		s := serve(t, broker.Options{Shards: shards, Authz: policy})
		for id, filter := range map[string]string{"a": "a/+ qos=2", "b": "a/# qos=1", "c": "x/# qos=0", "e": "$share/g/a/b qos=1", "f": "$share/g/a/b qos=1", "n": "a/b qos=1 nl"} {
			s.client("id=" + id).subscribe(filter)
		}
		gone := s.client("id=d expiry=100")
		gone.subscribe("a/b qos=1")
		gone.send("DISCONNECT")
		gone.gone()
		s.until("d is gone", func(st broker.Stats) bool { return st.Disconnects == 1 })
		f := func(m broker.Routing, want string) {
			t.Helper()
			all, err := s.View().Route(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range all {
				got = append(got, fmt.Sprintf("%s:%d:%s", r.Client, r.QoS, r.Outcome))
			}
			if have := strings.Join(got, " "); have != want {
				t.Errorf("%+v: %s, want %s", m, have, want)
			}
		}
		f(broker.Routing{Topic: "a/b", QoS: 1, Publisher: "n"}, "a:1:sent b:1:denied d:1:queued e:1:shared f:1:shared n:1:skipped")
		f(broker.Routing{Topic: "a/b", QoS: 0}, "a:0:sent b:0:denied d:0:dropped e:0:shared f:0:shared n:0:sent")
		f(broker.Routing{Topic: "y"}, "")
		// A group gets one copy, and who is away none of it while another is there.
		s.client("id=sa").subscribe("$share/h/h/1 qos=1")
		away := s.client("id=sb expiry=100")
		away.subscribe("$share/h/h/1 qos=1")
		f(broker.Routing{Topic: "h/1", QoS: 1}, "sa:1:shared sb:1:shared")
		away.send("DISCONNECT")
		away.gone()
		s.until("sb is gone", func(st broker.Stats) bool { return st.Disconnects == 2 })
		f(broker.Routing{Topic: "h/1", QoS: 1}, "sa:1:sent sb:1:skipped")
		if _, err := s.View().Route(t.Context(), broker.Routing{Topic: "a/#"}); err == nil {
			t.Error("a filter is routed")
		}
	})
}
