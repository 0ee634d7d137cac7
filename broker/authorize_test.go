package broker_test

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// policy is an engine with these rules.
func policy(t testing.TB, rules ...auth.Rule) *acl.Engine {
	t.Helper()
	e := acl.New()
	if err := e.Set("test", rules); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestDeniedPublish: a v5 client is told of what it can be told; an older one has it acknowledged, or loses the connection
// without an acknowledgement [MQTT311 MQTT-3.3.5-2]. The identifier of a QoS 2 message that was not allowed is free again.
func TestDeniedPublish(t *testing.T) {
	t.Parallel()
	var ev events
	s := serve(t, broker.Options{Shards: 2, Events: ev.hooks(), Authz: policy(t,
		auth.Rule{Name: "all", Actions: everything, Topics: []string{"#"}}, auth.Rule{Name: "not no", Deny: true, Actions: everything, Topics: []string{"no/#"}})})
	sub := s.client("id=sub")
	sub.subscribe("# qos=2")
	five, old := s.client("id=five"), s.client("v3.1.1 id=old clean")
	five.send("PUBLISH topic=no", "PUBLISH qos=1 id=1 topic=no", "PUBLISH qos=2 id=2 topic=no", "PUBLISH qos=2 id=2 topic=yes", "SUBSCRIBE id=3 no/# qos=1, $share/g/no/x qos=0, # qos=0")
	five.expect("PUBACK id=1 0x87", "PUBREC id=2 0x87", "PUBREC id=2", "SUBACK id=3 0x87,0x87,0x00")
	sub.expect("PUBLISH topic=yes")
	old.send("PUBLISH topic=no", "PUBLISH qos=1 id=1 topic=no", "PUBLISH qos=2 id=2 topic=no", "PUBREL id=2", "SUBSCRIBE id=3 no/x qos=1, yes qos=1")
	old.expect("PUBACK id=1", "PUBREC id=2", "PUBCOMP id=2", "SUBACK id=3 0x80,0x01")
	if n := s.stats().Denied; n != 9 {
		t.Errorf("%d counted", n)
	}
	if err := s.Control().DisconnectDenied(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"PUBLISH topic=no", "PUBLISH qos=1 id=1 topic=no", "PUBLISH qos=2 id=2 topic=no"} {
		c := s.client("v3.1.1 id=strict")
		c.send(line, "PINGREQ")
		c.expect("closed")
		five.send("PUBLISH qos=1 id=1 topic=no")
		five.expect("PUBACK id=1 0x87")
	}
	again := s.client("v3.1.1 id=strict")
	again.send("PUBLISH qos=2 id=2 topic=yes", "PUBREL id=2")
	again.expect("PUBREC id=2", "PUBCOMP id=2")
	sub.expect("PUBLISH topic=yes")
	ev.has(t, `denied five no 0x87 publish : not no the rule "not no" denies client "five" (anonymous) to publish "no": its topic "no/#" matches`,
		`denied five no/x 0x87 subscribe : not no`, `denied old no 0x87 publish`)
}

// TestReservedTopics: what is the server's own cannot be published to in any spelling, whatever the rules say, by packet, will or
// API; to subscribe to it is a matter of rules (F169).
func TestReservedTopics(t *testing.T) {
	t.Parallel()
	everybody := auth.Rule{Name: "all", Actions: everything, Topics: []string{"#", "$SYS/#", "$CONTROL/#", "+/+", "{client}/#", "$sys/#", "$SYS.x"}}
	for name, e := range map[string]auth.Authorizer{"rules": policy(t, everybody), "none": nil} {
		var ev events
		s := serve(t, broker.Options{Shards: 2, Authz: e, Events: ev.hooks()})
		c := s.client("id=$SYS")
		n := uint64(0)
		for _, topic := range []string{"$SYS", "$SYS/", "$SYS/x", "$sys/x", "$Sys/x", "$SYS.x", "$SYS*", "$SYS>", "$SYSTEM/x", "$CONTROL", "$CONTROL/a/v1", "$control/a", "$CONTROL.a", "$SYS//x"} {
			c.send("PUBLISH qos=1 id=1 topic=" + strconv.Quote(topic))
			c.expect("PUBACK id=1 0x87")
			will := s.dial(mqtt.V5)
			will.send(`CONNECT id=w will=` + strconv.Quote(topic) + ` "x"`)
			will.expect("CONNACK 0x87", "closed")
			who := &auth.Principal{Identity: &auth.Identity{}, ClientID: "api"}
			if reason, err := s.Control().PublishAs(t.Context(), who, mqtt.Message{Topic: []byte(topic)}); reason != mqtt.NotAuthorized || err != nil {
				t.Errorf("%s: %s: %v, %v", name, topic, reason, err)
			}
			n += 3
		}
		if got := s.stats().Denied; got != n {
			t.Errorf("%s: %d of %d counted", name, got, n)
		}
		// What only looks like it, and what an engine below would make something of, is a topic like another.
		c.subscribe("# qos=0")
		for _, topic := range []string{"SYS", "a.$SYS", "$", "$S", ".", "*", ">", "a.b.>", "JS.API"} {
			c.send("PUBLISH qos=1 id=1 topic=" + strconv.Quote(topic))
			if strings.HasPrefix(topic, "$") {
				if name == "none" {
					c.expect("PUBACK id=1 0x10") // "#" does not match it [MQTT-4.7.2-1]
				} else {
					c.expect("PUBACK id=1 0x87")
				}
				continue
			}
			c.expect("PUBLISH", "PUBACK id=1")
		}
		ev.has(t, "denied $SYS $SYS/x 0x87 publish :  $SYS and $CONTROL are the server's own")
	}
	s := serve(t, broker.Options{Shards: 2, SysEvery: time.Hour, Authz: policy(t, auth.Rule{Name: "all", Actions: everything, Topics: []string{"#", "+/#", "{client}/#"}},
		auth.Rule{Name: "ops", Actions: everything, Topics: []string{"$SYS/#"}, Who: auth.Who{Clients: []string{"ops"}}})})
	c, ops := s.client("id=$SYS"), s.client("id=ops")
	c.send("SUBSCRIBE id=1 $SYS/# qos=0, $share/g/$SYS/# qos=0, # qos=0")
	c.expect("SUBACK 0x87,0x87,0x00")
	ops.subscribe("$SYS/broker/version qos=0")
	ops.expect("PUBLISH topic=$SYS/broker/version retain")
	c.idle()
}

// TestTenants: what a client may not touch looks the same whether it is there or not: topics with subscribers, retained messages and groups
// (F172). A client id that is taken is refused in words that do not say so; that it is refused at all shows it to who may have any client id,
// and to nobody whose account is bound to its own.
func TestTenants(t *testing.T) {
	s := serve(t, broker.Options{Shards: 1, Authz: policy(t, auth.Rule{Name: "own", Actions: everything, Topics: []string{"{client}/#", "shared"}})})
	b := s.client("id=b")
	b.subscribe("b/# qos=1, $share/g/b/x qos=1")
	b.send(`PUBLISH retain qos=1 id=1 topic=b/x "x"`)
	b.expect("PUBLISH topic=b/x", "PUBLISH topic=b/x", "PUBACK id=1")
	a := s.client("id=a")
	for _, there := range []string{"b/x", "none/x"} {
		a.send("SUBSCRIBE id=1 "+there+" qos=1, $share/g/"+there+" qos=1", "PUBLISH qos=1 id=2 topic="+there, "PUBLISH retain qos=1 id=3 topic="+there,
			"UNSUBSCRIBE id=4 "+there, "UNSUBSCRIBE id=5 $share/g/"+there)
		a.expect("SUBACK id=1 0x87,0x87", "PUBACK id=2 0x87", "PUBACK id=3 0x87", "UNSUBACK id=4 0x11", "UNSUBACK id=5 0x11")
	}
	// Where both may publish, who listens without leave is not to be noticed.
	s = serve(t, broker.Options{Shards: 1, Authz: policy(t, auth.Rule{Name: "own", Actions: auth.ActionsOf(auth.Publish, auth.Subscribe), Topics: []string{"#"}})})
	a, b = s.client("id=a"), s.client("id=b")
	b.subscribe("t qos=1")
	a.send("PUBLISH qos=1 id=1 topic=t", "PUBLISH qos=1 id=1 topic=u")
	a.expect("PUBACK id=1 0x10", "PUBACK id=1 0x10")
}

// bound lets every user in under client ids of its own only.
type bound struct{}

func (bound) Authenticate(_ context.Context, a *auth.Attempt) (*auth.Identity, error) {
	u := accounts.User{Name: string(a.Username), ClientID: string(a.Username) + "-*"}
	return u.Admit(a.ClientID, time.Now())
}

// TestClientIDs: who may have client ids of its own only gets the same answer to every other, whether somebody has it or not; and no answer
// says that somebody has it (F172).
func TestClientIDs(t *testing.T) {
	s := serve(t, broker.Options{Authn: bound{}})
	s.client("id=b-1 username=b expiry=100")
	answer := func(s *served, words string) string {
		p := s.dial(mqtt.V5)
		p.send("CONNECT " + words)
		return p.next()
	}
	if taken, free := answer(s, "id=b-1 username=a"), answer(s, "id=b-2 username=a"); taken != free || !alike(free, "CONNACK 0x87") {
		t.Errorf("taken: %s, free: %s", taken, free)
	}
	s = serve(t, broker.Options{Authn: named{}})
	s.client("id=x username=b expiry=100")
	if got := answer(s, "id=x username=a"); !alike(got, "CONNACK 0x87") || strings.Contains(got, "belong") {
		t.Error(got)
	}
}

// TestPolicySwap: while messages flow, a change holds for every message that is published after it, in both directions, without the subscriber
// doing anything.
func TestPolicySwap(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		all := auth.Rule{Name: "all", Actions: everything, Topics: []string{"#"}}
		no := auth.Rule{Name: "no", Deny: true, Actions: auth.ActionsOf(auth.Receive), Topics: []string{"t"}, Who: auth.Who{Clients: []string{"sub"}}}
		e := policy(t, all)
		s := serve(t, broker.Options{Shards: shards, Authz: e})
		sub, pub := s.client("id=sub"), s.client("id=pub")
		sub.subscribe("# qos=1")
		n := 0
		for round := range 50 {
			rules := []auth.Rule{all}
			if round%2 == 1 {
				rules = append(rules, no)
			}
			if err := e.Set("test", rules); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				n++
				pub.send(fmt.Sprintf(`PUBLISH qos=1 id=1 topic=t "%d"`, n))
				pub.send(fmt.Sprintf(`PUBLISH qos=1 id=2 topic=u "%d"`, n))
				pub.expect("PUBACK id=1", "PUBACK id=2")
				if round%2 == 0 {
					sub.expect(fmt.Sprintf(`PUBLISH topic=t "%d"`, n))
				}
				sub.expect(fmt.Sprintf(`PUBLISH topic=u "%d"`, n))
			}
		}
		if d := s.stats().Dropped[session.Denied]; d != 125 {
			t.Errorf("%d denied", d)
		}
	})
}

// TestRulesAfterRestart: after a restart only the names of clients are known. Their messages wait and are asked about when they come back, as
// their subscriptions are; a will that CONNECT allowed is published, unless a rule clearly denies it.
func TestRulesAfterRestart(t *testing.T) {
	t.Parallel()
	here := auth.Rule{Name: "here", Actions: everything, Topics: []string{"#"}, Who: auth.Who{Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
	for _, x := range []struct {
		deny  auth.Actions
		wills int
		rests bool
		comes bool
	}{
		{0, 1, false, true},
		{auth.ActionsOf(auth.Publish), 0, false, true},
		{auth.ActionsOf(auth.Subscribe), 1, true, true},
		{auth.ActionsOf(auth.Receive), 1, false, false},
	} {
		st := mem.New()
		first := serve(t, broker.Options{Shards: 2, Store: st, Authz: policy(t, here)})
		c := first.client("id=subject expiry=100")
		c.subscribe("t qos=1")
		first.client(`id=submarine expiry=100 will=w will-delay=50 will-qos=1 "x"`)
		if err := first.close(); err != nil {
			t.Fatal(err)
		}
		rules := []auth.Rule{here}
		if x.deny != 0 {
			rules = append(rules, auth.Rule{Name: "deny", Deny: true, Actions: x.deny, Topics: []string{"#"}, Who: auth.Who{Clients: []string{"sub*"}}})
		}
		s := serve(t, broker.Options{Shards: 2, Store: st, Authz: policy(t, rules...)})
		if _, err := s.Control().Reauthorize(t.Context()); err != nil {
			t.Fatal(err)
		}
		w := s.client("id=witness")
		w.subscribe("w qos=1")
		w.send("PUBLISH qos=1 id=1 topic=t")
		if ack := w.next(); ack != "PUBACK id=1" { // it waits
			t.Error(ack)
		}
		if d, err := s.View().MayReceive(t.Context(), "subject", "t"); err != nil || !d.Allowed {
			t.Errorf("%+v, %v", d, err)
		}
		if err := s.Control().EndSession(t.Context(), "submarine", "test"); err != nil {
			t.Fatal(err)
		}
		s.until("the will has come due", func(st broker.Stats) bool { return st.Wills == 1 })
		if x.wills > 0 {
			w.expect("PUBLISH topic=w")
		}
		w.idle()
		c = s.client("id=subject expiry=100")
		if x.comes {
			c.expect("PUBLISH topic=t")
		}
		s.until("all was sent or denied", func(st broker.Stats) bool { return x.comes || st.Dropped[session.Denied] == 1 })
		c.idle()
		d, err := s.View().Client(t.Context(), "subject")
		if err != nil || len(d.Filters) != 1 || (len(d.Resting) == 1) != x.rests {
			t.Errorf("%+v: %+v, %v", x, d, err)
		}
	}
}

// TestReidentify: with another identity, other rules hold, for subscriptions too.
func TestReidentify(t *testing.T) {
	s := serve(t, broker.Options{Shards: 2, Authz: policy(t, auth.Rule{Name: "staff", Actions: everything, Topics: []string{"t/#"}, Who: auth.Who{Groups: []string{"staff"}}},
		auth.Rule{Name: "all", Actions: auth.ActionsOf(auth.Publish, auth.Receive), Topics: []string{"#"}})})
	c := s.client("id=c")
	c.send("SUBSCRIBE id=1 t/x qos=0")
	c.expect("SUBACK 0x87")
	groups := func(names ...string) {
		t.Helper()
		n, err := s.Control().Reidentify(t.Context(), func(p *auth.Principal) *auth.Identity { return &auth.Identity{Groups: names} })
		if n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	groups("staff")
	c.subscribe("t/x qos=0")
	c.send("PUBLISH qos=1 id=1 topic=t/x")
	c.expect("PUBLISH topic=t/x", "PUBACK id=1")
	groups()
	c.send("PUBLISH qos=1 id=1 topic=t/x")
	c.expect("PUBACK id=1 0x10")
	groups("staff")
	c.send("PUBLISH qos=1 id=1 topic=t/x")
	c.expect("PUBLISH topic=t/x", "PUBACK id=1")
}
