package conformance

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// users knows everybody whose password is the user name backwards.
type users struct{}

func (users) Authenticate(_ context.Context, a *auth.Attempt) (*auth.Identity, error) {
	if !a.HasUser || len(a.Password) == 0 || a.Username[0] != a.Password[len(a.Password)-1] {
		return nil, auth.ErrUnknown
	}
	return &auth.Identity{Name: a.Username}, nil
}

// rules denies what is in it: "publish secret/#" as action and topic prefix, until told otherwise.
type rules struct {
	mu   sync.Mutex
	deny map[string]bool
}

func (r *rules) set(rule string, deny bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deny[rule] = deny
}

func (r *rules) Explain(p *auth.Principal, q *auth.Question) auth.Decision {
	return auth.Decision{Allowed: r.Authorize(p, q), Why: "the test says so"}
}

func (r *rules) Authorize(p *auth.Principal, q *auth.Question) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := [...]string{auth.Publish: "publish ", auth.Subscribe: "subscribe ", auth.Receive: "receive "}[q.Action]
	if p.ClientID == "bystander" {
		return true
	}
	for rule, denied := range r.deny {
		if what, ok := strings.CutPrefix(rule, name); ok && denied && strings.HasPrefix(string(q.Topic), strings.TrimSuffix(what, "#")) {
			return false
		}
	}
	return true
}

func guarded(t *testing.T, deny ...string) (*served, *rules) {
	t.Helper()
	r := &rules{deny: map[string]bool{}}
	for _, d := range deny {
		r.set(d, true)
	}
	return serve(t, broker.Options{Authz: r}), r
}

// A CONNECT that is refused leaves nothing behind: neither its will nor what came behind it (F037, F038)
// [MQTT5 MQTT-3.1.4-2] [MQTT5 MQTT-3.1.4-6] [MQTT311 MQTT-3.1.4-5] [MQTT311 MQTT-3.2.2-5].
func TestRefusedByAuthentication(t *testing.T) {
	t.Parallel()
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		var refusals []broker.Refused
		b := serve(t, broker.Options{Authn: users{}, Shards: 1, Events: func(e broker.Event) {
			if r, ok := e.(broker.Refused); ok {
				refusals = append(refusals, r)
			}
		}})
		c := dial(t, b.addr, "watcher", v)
		c.exchange("CONNECT id=watcher clean username=w password=w", "CONNACK 0x00")
		c.exchange("SUBSCRIBE id=1 # qos=1", "SUBACK id=1 0x01")
		bad := dial(t, b.addr, "bad", v)
		bad.send(`CONNECT id=bad clean username=u password=x will=w "never"`, `PUBLISH qos=1 id=1 retain topic=t "smuggled"`, "SUBSCRIBE id=2 # qos=0")
		bad.expect("CONNACK 0x86")
		bad.expectClosed()
		bad.drop()
		nobody := dial(t, b.addr, "nobody", v)
		nobody.send(`CONNECT id=nobody clean will=w "never"`)
		nobody.expect("CONNACK 0x86")
		nobody.expectClosed()
		nobody.drop()
		b.until("both are gone", func(s broker.Stats) bool { return s.Sockets == 1 })
		c.barrier()
		c.exchange("PINGREQ", "PINGRESP")
		s := b.stats()
		if s.Refused[mqtt.BadUserNameOrPassword] != 2 || s.Retained != 0 || s.Wills != 0 || s.Sessions != 1 || len(refusals) != 2 {
			t.Errorf("%v: %d refused, %d retained, %d wills, %d sessions, %d events", v,
				s.Refused[mqtt.BadUserNameOrPassword], s.Retained, s.Wills, s.Sessions, len(refusals))
		}
	}
}

// A session belongs to the identity that made it; nobody else takes it over, ends it or gets its messages (F040).
func TestForeignTakeover(t *testing.T) {
	t.Parallel()
	b := serve(t, broker.Options{Authn: users{}})
	owner := dial(t, b.addr, "owner", mqtt.V5)
	owner.exchange("CONNECT id=device expiry=300 username=alice password=a", "CONNACK 0x00")
	owner.exchange("SUBSCRIBE id=1 t qos=1", "SUBACK id=1 0x01")
	thief := func(clean string) {
		t.Helper()
		c := dial(t, b.addr, "thief", mqtt.V5)
		c.exchange("CONNECT id=device expiry=300 username=mallory password=m"+clean, "CONNACK 0x87")
		c.expectClosed()
	}
	thief("")
	thief(" clean")
	owner.exchange("PINGREQ", "PINGRESP")
	owner.drop()
	b.until("the owner is away", func(s broker.Stats) bool { return s.Connected == 0 })
	other := dial(t, b.addr, "other", mqtt.V5)
	other.exchange("CONNECT id=other clean username=bob password=b", "CONNACK 0x00")
	other.exchange(`PUBLISH qos=1 id=1 topic=t "for alice"`, "PUBACK id=1 0x00")
	thief("")
	thief(" clean")
	owner = dial(t, b.addr, "owner", mqtt.V5)
	owner.exchange("CONNECT id=device expiry=300 username=alice password=a", "CONNACK 0x00 present")
	owner.expect(`PUBLISH qos=1 topic=t "for alice"`)
}

// Rules count from the next message on, in the middle of a connection (F070, F076) [MQTT311 MQTT-3.3.5-2].
func TestRulesChange(t *testing.T) {
	t.Parallel()
	b, rules := guarded(t)
	by := newBystander(t, b)
	c := dial(t, b.addr, "c", mqtt.V5)
	c.exchange("CONNECT id=c clean", "CONNACK 0x00")
	c.exchange(`PUBLISH qos=2 id=1 topic=bystander/x "allowed"`, "PUBREC id=1 0x00")
	by.c.expect(`PUBLISH qos=1 topic=bystander/x "allowed"`)
	rules.set("publish bystander/#", true)
	c.exchange("PUBREL id=1", "PUBCOMP id=1 0x00")
	c.exchange("PUBREL id=1", "PUBCOMP id=1 0x92")
	c.exchange(`PUBLISH qos=2 id=1 topic=bystander/x "denied"`, "PUBREC id=1 0x87")
	c.exchange(`PUBLISH qos=1 id=2 retain topic=bystander/x "denied"`, "PUBACK id=2 0x87")
	c.send(`PUBLISH topic=bystander/x "denied"`)
	c.exchange("PINGREQ", "PINGRESP")
	old := dial(t, b.addr, "old", mqtt.V311)
	old.exchange("CONNECT id=old clean", "CONNACK 0x00")
	old.exchange(`PUBLISH qos=1 id=2 retain topic=bystander/x "denied"`, "PUBACK id=2")
	b.until("all are counted", func(s broker.Stats) bool { return s.Denied == 4 && s.Retained == 0 })
	by.unaffected()
}

// Rules for receiving hold however a topic was subscribed to: wildcards, shared subscriptions, retained
// messages (F096, F097).
func TestRulesForReceiving(t *testing.T) {
	t.Parallel()
	b, _ := guarded(t, "receive secret/#", "subscribe secret/#")
	by := newBystander(t, b)
	by.c.send(`PUBLISH retain topic=secret/key "no"`, `PUBLISH retain topic=open/key "yes"`)
	by.c.exchange("PINGREQ", "PINGRESP")
	c := dial(t, b.addr, "c", mqtt.V5)
	c.exchange("CONNECT id=c clean", "CONNACK 0x00")
	c.exchange("SUBSCRIBE id=1 secret/key qos=0, $share/g/secret/# qos=0, $share/g/secret/key qos=0", "SUBACK id=1 0x87,0x87,0x87")
	c.exchange("SUBSCRIBE id=2 +/key qos=0", "SUBACK id=2 0x00")
	c.expect(`PUBLISH retain topic=open/key "yes"`)
	c.exchange("SUBSCRIBE id=3 $share/g/# qos=0", "SUBACK id=3 0x00")
	by.c.exchange(`PUBLISH qos=1 id=1 topic=secret/key "no"`, "PUBACK id=1 0x10")
	by.c.exchange(`PUBLISH qos=1 id=1 topic=open/other "yes"`, "PUBACK id=1 0x00")
	c.expect(`PUBLISH topic=open/other "yes"`)
	c.exchange("PINGREQ", "PINGRESP")
	by.unaffected()
}

// A subscription of a session that waits is as good as the rules are when its messages go out: what was
// queued before they changed is not delivered either (F117).
func TestRulesChangeWhileAway(t *testing.T) {
	t.Parallel()
	b, rules := guarded(t)
	by := newBystander(t, b)
	c := dial(t, b.addr, "c", mqtt.V5)
	c.exchange("CONNECT id=c expiry=300", "CONNACK 0x00")
	c.exchange("SUBSCRIBE id=1 secret/# qos=2, open qos=1", "SUBACK id=1 0x02,0x01")
	by.c.exchange(`PUBLISH qos=1 id=1 topic=secret/0 "unacknowledged"`, "PUBACK id=1 0x00")
	c.expect(`PUBLISH qos=1 id=1 topic=secret/0 "unacknowledged"`)
	c.drop()
	b.until("c is away", func(s broker.Stats) bool { return s.Connected == 1 })
	by.c.exchange(`PUBLISH qos=1 id=1 topic=secret/1 "queued before"`, "PUBACK id=1 0x00")
	by.c.exchange(`PUBLISH qos=2 id=2 topic=secret/2 "queued before"`, "PUBREC id=2 0x00")
	rules.set("receive secret/#", true)
	by.c.exchange(`PUBLISH qos=1 id=1 topic=secret/3 "after"`, "PUBACK id=1 0x10")
	by.c.exchange(`PUBLISH qos=1 id=1 topic=open "fine"`, "PUBACK id=1 0x00")
	c = dial(t, b.addr, "c", mqtt.V5)
	c.exchange("CONNECT id=c expiry=300", "CONNACK 0x00 present")
	c.expect(`PUBLISH qos=1 id=4 topic=open "fine"`)
	c.send("PUBACK id=4")
	by.c.exchange(`PUBLISH qos=1 id=1 topic=secret/3 "after"`, "PUBACK id=1 0x10")
	c.barrier()
	c.exchange("PINGREQ", "PINGRESP")
	b.until("the queue is empty", func(s broker.Stats) bool { return s.QueuedBytes == 0 && s.Dropped[session.Denied] >= 4 })
}

// Whoever is banned loses the connection at once; the queue waits or is purged, as the operator says (F116).
func TestBanned(t *testing.T) {
	t.Parallel()
	b := serve(t, broker.Options{})
	by := newBystander(t, b)
	connect := func(answer string) *client {
		c := dial(t, b.addr, "c", mqtt.V5)
		c.exchange("CONNECT id=c expiry=300 receive-max=1", answer)
		return c
	}
	c := connect("CONNACK 0x00 !present")
	c.exchange("SUBSCRIBE id=1 t qos=1", "SUBACK id=1 0x01")
	by.c.exchange(`PUBLISH qos=1 id=1 topic=t "1"`, "PUBACK id=1 0x00")
	by.c.exchange(`PUBLISH qos=1 id=1 topic=t "2"`, "PUBACK id=1 0x00")
	c.expect(`PUBLISH qos=1 id=1 topic=t "1"`)
	if err := b.Control().Disconnect(t.Context(), "c", mqtt.AdministrativeAction, "banned"); err != nil {
		t.Fatal(err)
	}
	c.expect("DISCONNECT 0x98 reason=banned")
	c.expectClosed()
	c = connect("CONNACK 0x00 present")
	c.expect(`PUBLISH qos=1 id=1 dup topic=t "1"`)
	if err := b.Control().EndSession(t.Context(), "c", "banned"); err != nil {
		t.Fatal(err)
	}
	c.expect("DISCONNECT 0x98")
	c.expectClosed()
	connect("CONNACK 0x00 !present")
	if s := b.stats(); s.QueuedBytes != 0 || s.Subscriptions != 1 {
		t.Errorf("%d bytes queued, %d subscriptions", s.QueuedBytes, s.Subscriptions)
	}
	by.unaffected()
}

// bug is a gate that panics for one client.
type bug struct{}

func (bug) Admit(clientID string, m *mqtt.Message) mqtt.ReasonCode {
	if clientID == "unlucky" {
		panic("index out of range: " + string(m.Payload))
	}
	return mqtt.Success
}

// A panic while one client is served closes that client's connection alone; it is counted, and the log has
// the client's id and the packet (F016).
func TestPanic(t *testing.T) {
	t.Parallel()
	log := &logbook{}
	b := serve(t, broker.Options{Gates: []broker.Gate{bug{}}, Logger: log.logger()})
	by := newBystander(t, b)
	for n, line := range []string{`PUBLISH topic=t "boom"`, `PUBLISH qos=1 id=1 topic=t "boom"`, `PUBLISH qos=2 id=1 topic=t "boom"`} {
		c := dial(t, b.addr, "unlucky", mqtt.V311)
		c.exchange("CONNECT id=unlucky clean", "CONNACK 0x00")
		c.send(line)
		c.expectClosed()
		b.until("it is counted", func(s broker.Stats) bool { return s.Panics == uint64(n+1) && s.Connected == 1 })
		by.unaffected()
	}
	for _, want := range []string{"client=unlucky", "300700017462", "index out of range: boom"} {
		if !log.has(want) {
			t.Errorf("%q is not in the log:\n%s", want, log)
		}
	}
	// Its session and the client id are as good as new.
	c := dial(t, b.addr, "unlucky", mqtt.V311)
	c.exchange("CONNECT id=unlucky clean", "CONNACK 0x00")
	c.exchange("SUBSCRIBE id=1 t qos=0", "SUBACK id=1 0x00")
	by.c.send(`PUBLISH topic=t "fine"`)
	c.expect(`PUBLISH topic=t "fine"`)
}

// A panic before there is a client, while a will is published on taking leave, or in what an
// authenticator does, is no different (F016).
func TestPanicOfAWill(t *testing.T) {
	t.Parallel()
	b := serve(t, broker.Options{Gates: []broker.Gate{bug{}}})
	by := newBystander(t, b)
	c := dial(t, b.addr, "unlucky", mqtt.V5)
	c.exchange(`CONNECT id=unlucky clean will=w "boom"`, "CONNACK 0x00")
	c.drop()
	b.until("it is counted", func(s broker.Stats) bool { return s.Panics == 1 && s.Sockets == 1 })
	by.unaffected()
	c = dial(t, b.addr, "unlucky", mqtt.V5)
	c.exchange("CONNECT id=unlucky clean", "CONNACK 0x00")
}

type panicking struct{}

func (panicking) Authenticate(_ context.Context, a *auth.Attempt) (*auth.Identity, error) {
	if a.ClientID == "bystander" {
		return &auth.Identity{}, nil
	}
	panic("no such table")
}

// An authenticator that panics refuses (F149).
func TestPanicOfAnAuthenticator(t *testing.T) {
	t.Parallel()
	b := serve(t, broker.Options{Authn: panicking{}})
	by := newBystander(t, b)
	c := dial(t, b.addr, "c", mqtt.V5)
	c.exchange("CONNECT id=c clean", "CONNACK 0x88")
	c.expectClosed()
	by.unaffected()
	if s := b.stats(); s.Panics != 1 {
		t.Errorf("%d panics counted", s.Panics)
	}
}
