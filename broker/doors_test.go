package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/broker/store/storetest"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

type gate func(id string, m *mqtt.Message) mqtt.ReasonCode

func (g gate) Admit(id string, m *mqtt.Message) mqtt.ReasonCode { return g(id, m) }

// events notes what a broker tells.
type events struct {
	mu    sync.Mutex
	lines []string
}

func (e *events) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, fmt.Sprintf(format, args...))
}

func (e *events) hooks() broker.Events {
	return func(x broker.Event) {
		switch x := x.(type) {
		case broker.Connected:
			e.note("connected %s %v", x.ClientID, x.Version)
		case broker.Disconnected:
			e.note("disconnected %s: %s", x.ClientID, x.Text)
		case broker.Refused:
			e.note("refused %s 0x%X", x.ClientID, uint8(x.Reason))
		case broker.SessionEnded:
			e.note("ended %s", x.ClientID)
		case broker.Subscribed:
			e.note("subscribed %s %s %d", x.ClientID, x.Filter, x.Options.QoS())
		case broker.Denied:
			e.note("denied %s %s 0x%X %v %s: %s %s", x.ClientID, x.Topic, uint8(x.Reason), x.Action, x.User, x.Rule, x.Why)
		case broker.Dropped:
			e.note("dropped %s %v", x.ClientID, x.Why)
		}
	}
}

func (e *events) has(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		if !reached(func() bool {
			e.mu.Lock()
			defer e.mu.Unlock()
			for _, l := range e.lines {
				if strings.HasPrefix(l, w) {
					return true
				}
			}
			return false
		}) {
			t.Errorf("nobody was told %q; %q", w, e.lines)
		}
	}
}

func TestGateAndEvents(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		var ev events
		s := serve(t, broker.Options{Shards: shards, Events: ev.hooks(), Gates: []broker.Gate{
			gate(func(id string, m *mqtt.Message) mqtt.ReasonCode {
				if bytes.Equal(m.Topic, []byte("stop")) && id != "" {
					return mqtt.PayloadFormatInvalid
				}
				return mqtt.Success
			}),
			gate(func(_ string, m *mqtt.Message) mqtt.ReasonCode {
				if bytes.Equal(m.Topic, []byte("stop")) {
					panic("the first gate was closed")
				}
				return mqtt.Success
			}),
		}})
		sub := s.client("id=sub expiry=100")
		sub.subscribe("# qos=1")
		p := s.client(`id=pub will=stop "x"`)
		p.send("PUBLISH topic=stop", "PUBLISH qos=1 id=1 topic=stop retain", "PUBLISH qos=2 id=2 topic=stop", "PUBLISH qos=1 id=3 topic=go")
		p.expect("PUBACK id=1 0x99", "PUBREC id=2 0x99", "PUBACK id=3")
		sub.expect("PUBLISH topic=go")
		sub.idle()
		p.leave(s, 1)
		sub.idle()
		sub.leave(s, 0)
		p = s.client("id=pub")
		p.send("PUBLISH topic=away")
		p.idle()
		bad := s.dial(mqtt.V5)
		bad.send(`CONNECT id="a\tb"`)
		bad.expect("CONNACK 0x85", "closed")
		ev.has(t, "connected sub", "connected pub", "subscribed sub # 1", "denied pub stop", "disconnected pub: the client closed",
			"ended pub", "disconnected sub", "dropped sub offline", "refused  0x85")
		if st := s.stats(); st.Denied != 4 || st.Panics != 0 {
			t.Errorf("%d denied, %d panics", st.Denied, st.Panics)
		}
	})
}

// TestPanickingEvents: whatever door panics, the broker goes on.
func TestPanickingEvents(t *testing.T) {
	var on atomic.Bool
	boom := func() {
		if on.Load() {
			panic("boom")
		}
	}
	s := serve(t, broker.Options{
		Shards: 2, Events: func(broker.Event) { boom() },
		Gates: []broker.Gate{gate(func(string, *mqtt.Message) mqtt.ReasonCode { boom(); return mqtt.Success })},
	})
	away := s.client("id=away expiry=100")
	away.subscribe("t qos=0")
	away.leave(s, 0)
	on.Store(true)
	for i := range 20 {
		p := s.dial(mqtt.V5)
		p.send(fmt.Sprintf(`CONNECT id=p%d will=t "x"`, i), "SUBSCRIBE id=1 t qos=0", "PUBLISH topic=t")
		p.gone()
		p = s.dial(mqtt.V5)
		p.send(`CONNECT id="a\tb"`)
		p.gone()
	}
	ctl := s.Control()
	ctl.Publish(t.Context(), mqtt.Message{Topic: []byte("t")})
	ctl.EndSession(t.Context(), "away", "test")
	on.Store(false)
	p := s.client("id=fine")
	p.subscribe("fine")
	p.send("PUBLISH topic=fine")
	p.expect("PUBLISH topic=fine")
	s.until("all are gone", func(st broker.Stats) bool { return st.Connected == 1 && st.Sockets == 1 && st.Panics > 20 })
}

func TestControl(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		t.Parallel()
		st := mem.New()
		s := serve(t, broker.Options{Shards: shards, Store: st})
		ctl, ctx := s.Control(), t.Context()
		sub := s.client("id=sub expiry=100 keepalive=7")
		sub.subscribe("t qos=1")
		d, err := s.View().Client(ctx, "sub")
		if err != nil || d.ID != "sub" || !d.Connected || d.KeepAlive != 7*time.Second || d.Expiry != 100*time.Second || len(d.Filters) != 1 || d.Version != mqtt.V5 {
			t.Errorf("%+v, %v", d, err)
		}
		for _, m := range []mqtt.Message{{Topic: []byte("t"), QoS: 1, Retain: true, Payload: []byte("x")}, {Topic: []byte("none")}} {
			reason, err := ctl.Publish(ctx, m)
			want := mqtt.Success
			if reason != want || err != nil {
				t.Errorf("%s: %v, %v", m.Topic, reason, err)
			}
		}
		sub.expect("PUBLISH qos=1 topic=t")
		if n := st.Stats().Retained; n != 1 {
			t.Errorf("%d retained in the store", n)
		}
		if _, err := ctl.Publish(ctx, mqtt.Message{Topic: []byte("a/#")}); err == nil {
			t.Error("published to a filter")
		}
		if _, err := ctl.Publish(ctx, mqtt.Message{Topic: []byte("t"), QoS: 3}); err == nil {
			t.Error("published with QoS 3")
		}
		if err := ctl.Disconnect(ctx, "sub", mqtt.AdministrativeAction, "because"); err != nil {
			t.Error(err)
		}
		sub.expect(`DISCONNECT 0x98 reason=because`, "closed")
		s.until("it is away", func(st broker.Stats) bool { return st.Connected == 0 && st.Sessions == 1 })
		if d, err = s.View().Client(ctx, "sub"); err != nil || d.Connected || d.Queued != 1 {
			t.Errorf("%+v, %v", d, err)
		}
		sub = s.client("id=sub expiry=100")
		sub.expect("PUBLISH qos=1 topic=t dup")
		if err := ctl.EndSession(ctx, "sub", "because"); err != nil {
			t.Error(err)
		}
		sub.expect("DISCONNECT 0x98", "closed")
		for _, do := range []func(context.Context, string) error{
			func(ctx context.Context, id string) error { return ctl.EndSession(ctx, id, "") },
			func(ctx context.Context, id string) error { return ctl.Disconnect(ctx, id, 0, "") },
			func(ctx context.Context, id string) error { _, err := s.View().Client(ctx, id); return err },
		} {
			if err := do(ctx, "sub"); !errors.Is(err, broker.ErrNoClient) {
				t.Error(err)
			}
		}
		if got := s.stats(); got.Sessions != 0 || got.QueuedBytes != 0 || got.Subscriptions != 0 {
			t.Errorf("%+v", got.Sessions)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if st.Stats().Sessions != 0 {
			t.Error("the session stays in the store")
		}
		if _, err := s.View().Client(ctx, "sub"); !errors.Is(err, broker.ErrClosed) {
			t.Error(err)
		}
		if _, err := ctl.Publish(ctx, mqtt.Message{Topic: []byte("t")}); !errors.Is(err, broker.ErrClosed) {
			t.Error(err)
		}
		if _, ok := s.Stats(); ok {
			t.Error("figures of a closed broker")
		}
		if err := s.close(); !errors.Is(err, broker.ErrClosed) {
			t.Error(err)
		}
	})
}

// TestClose: clients are told, wills published, what waits is stored, and what the store owes is waited for, but no
// longer than the context allows.
func TestClose(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		t.Parallel()
		h := storetest.NewHeld(mem.New())
		h.Pass()
		s := serve(t, broker.Options{Shards: shards, Store: h})
		away := s.client("id=away expiry=100")
		away.subscribe("# qos=1")
		away.leave(s, 0)
		old, silent := s.client("v3.1.1 id=old clean"), s.dial(mqtt.V5)
		s.until("it is there", func(st broker.Stats) bool { return st.Sockets == 2 })
		var peers []*peer
		for i := range 20 {
			peers = append(peers, s.client(fmt.Sprintf(`id=c%d will=w will-qos=1 "x"`, i)))
		}
		h.Hold()
		closed := make(chan error, 1)
		go func() { closed <- s.close() }()
		for _, p := range peers {
			p.expect("DISCONNECT 0x8B", "closed")
		}
		old.expect("closed")
		silent.expect("closed")
		h.Await(1)
		select {
		case err := <-closed:
			t.Fatalf("closed with commits outstanding: %v", err)
		default:
		}
		h.Pass()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if n := h.Stats().Messages; n != 20 {
			t.Errorf("%d messages wait", n)
		}
	})
}

func TestCloseDeadline(t *testing.T) {
	t.Parallel()
	h := storetest.NewHeld(mem.New())
	s := serve(t, broker.Options{Shards: 4, Store: h})
	s.dial(mqtt.V5).send("CONNECT id=a expiry=100")
	h.Await(1)
	ctx, cancel := context.WithCancel(t.Context())
	closed := make(chan error, 1)
	go func() { closed <- s.Close(ctx) }()
	s.dialRefused()
	cancel()
	if err := <-closed; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	h.Pass() // the outcome comes to a broker that is closed
}

// authn and authz are functions as doors.
type authn func(context.Context, *auth.Attempt) (*auth.Identity, error)

func (f authn) Authenticate(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
	return f(ctx, a)
}

type authz func(*auth.Principal, auth.Action, string) bool

func (f authz) Authorize(p *auth.Principal, q *auth.Question) bool {
	return f(p, q.Action, string(q.Topic))
}

func (f authz) Explain(p *auth.Principal, q *auth.Question) auth.Decision {
	return auth.Decision{Allowed: f.Authorize(p, q), Why: "the test says so"}
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		t.Parallel()
		asked, release, cancelled := make(chan string, 100), make(chan bool), make(chan string, 100)
		s := serve(t, broker.Options{Shards: shards, Authn: authn(func(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
			switch a.Username {
			case "slow":
				asked <- a.ClientID
				select {
				case <-release:
				case <-ctx.Done():
					cancelled <- a.ClientID
					return nil, ctx.Err()
				}
			case "bad":
				return nil, auth.ErrUnknown
			}
			return &auth.Identity{Name: a.Username}, nil
		})})
		slow := s.dial(mqtt.V5)
		slow.send("CONNECT id=slow username=slow", "SUBSCRIBE id=1 t qos=0", "PINGREQ")
		<-asked
		bad := s.dial(mqtt.V5)
		bad.send("CONNECT id=bad username=bad", "PINGREQ")
		bad.expect("CONNACK 0x86", "closed")
		s.client("id=good username=good").idle() // nobody waits for the slow one
		release <- true
		slow.expect("CONNACK 0x00", "SUBACK id=1", "PINGRESP")
		leaver := s.dial(mqtt.V5)
		leaver.send("CONNECT id=leaver username=slow")
		<-asked
		leaver.conn.Close()
		if id := <-cancelled; id != "leaver" {
			t.Errorf("%s was cancelled", id)
		}
		s.until("it is gone", func(st broker.Stats) bool { return st.Sockets == 2 && st.Connected == 2 })
		// One that waits as the broker closes.
		last := s.dial(mqtt.V5)
		last.send("CONNECT id=last username=slow")
		<-asked
		if err := s.close(); err != nil {
			t.Error(err)
		}
		last.expect("closed")
	})
}

// TestAuthorization: what a client may publish, subscribe to, receive and leave as its will, also when the answer
// changes while it is connected, and while it reconnects.
func TestAuthorization(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		var revoked atomic.Bool
		s := serve(t, broker.Options{Shards: shards, Authz: authz(func(p *auth.Principal, a auth.Action, topic string) bool {
			return !strings.HasPrefix(topic, []string{"", "p", "s", "r"}[a]+"/no") && !(revoked.Load() && p.ClientID == "sub" && a == auth.Receive)
		})})
		sub, pub := s.client("id=sub expiry=100"), s.client("id=pub")
		sub.send("SUBSCRIBE id=1 s/no/# qos=1, $share/g/s/no qos=1, # qos=1")
		sub.expect("SUBACK 0x87,0x87,0x01")
		pub.send("PUBLISH qos=1 id=1 topic=p/no", "PUBLISH qos=2 id=2 topic=p/no", "PUBLISH topic=p/no",
			"PUBLISH qos=1 id=3 topic=r/no", "PUBLISH retain qos=1 id=4 topic=yes", "PUBLISH qos=1 id=5 topic=$SYS/x")
		pub.expect("PUBACK id=1 0x87", "PUBREC id=2 0x87", "PUBACK id=3", "PUBACK id=4", "PUBACK id=5 0x87")
		sub.expect("PUBLISH topic=yes")
		sub.send("PUBACK id=1")
		sub.idle()
		will := s.dial(mqtt.V5)
		will.send(`CONNECT id=will will=p/no "x"`)
		will.expect("CONNACK 0x87", "closed")
		// Revoked: live messages, those that wait, and retained ones.
		sub.leave(s, 1)
		pub.send("PUBLISH qos=1 id=6 topic=yes")
		pub.expect("PUBACK id=6")
		revoked.Store(true)
		sub = s.client("id=sub expiry=100")
		pub.send("PUBLISH qos=1 id=7 topic=yes")
		pub.expect("PUBACK id=7 0x10")
		sub.subscribe("yes qos=0")
		sub.idle()
		s.until("what waited is read, and denied", func(st broker.Stats) bool { return st.QueuedBytes == 0 })
		revoked.Store(false)
		// The identity is read by publishers while the client reconnects.
		var all sync.WaitGroup
		all.Go(func() {
			for range 50 {
				s.client("id=sub expiry=100")
			}
		})
		for range 200 {
			pub.send("PUBLISH topic=yes")
			pub.idle()
		}
		all.Wait()
		if st := s.stats(); st.Dropped[session.Denied] < 3 || st.QueuedBytes != 0 {
			t.Errorf("%d denied to receive, %d queued", st.Dropped[session.Denied], st.QueuedBytes)
		}
	})
}
