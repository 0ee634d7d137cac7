package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// steps is an Exchanger for which the client says what is to happen: "ask X" has it asked X, "i am X" makes it X, "bad", "down"
// and "panic" fail, "wait" waits until it is given up.
type steps struct {
	begun  atomic.Int32
	gaveUp atomic.Int32
	groups atomic.Pointer[[]string] // of the next identity
	ends   atomic.Int64             // when it ends, in ms from now
}

func (*steps) Methods() []string { return []string{"STEPS"} }

func (s *steps) Begin(a *auth.Attempt) (auth.Exchange, error) {
	s.begun.Add(1)
	if a.Method != "STEPS" || a.ClientID == "" {
		return nil, fmt.Errorf("attempt %+v", a)
	}
	return oneStep{s}, nil
}

type oneStep struct{ *steps }

func (s oneStep) Next(ctx context.Context, data []byte) ([]byte, *auth.Identity, error) {
	word, rest, _ := strings.Cut(string(data), "-")
	switch word {
	case "ask":
		return []byte(rest), nil, nil
	case "iam":
		id := &auth.Identity{Name: rest, By: "steps"}
		if g := s.groups.Load(); g != nil {
			id.Groups = *g
		}
		if ms := s.ends.Load(); ms != 0 {
			id.Expires = time.Now().Add(time.Duration(ms) * time.Millisecond)
		}
		return []byte("welcome"), id, nil
	case "bad":
		return nil, nil, &auth.Refusal{Reason: mqtt.NotAuthorized, Text: "no", By: "steps", Why: "the test says so"}
	case "down":
		return nil, nil, errors.New("the backend is down")
	case "panic":
		panic("a step too far")
	case "wait":
		<-ctx.Done()
		s.gaveUp.Add(1)
		return nil, nil, ctx.Err()
	}
	return nil, nil, auth.ErrUnknown
}

// stepped is a broker whose only listener authenticates by steps.
func stepped(t *testing.T, s *steps, o broker.Options) *served {
	t.Helper()
	return serveAt(t, o, broker.Listener{Name: "steps", Exchange: s, Authn: nobody{}})
}

// nobody lets nobody in.
type nobody struct{}

func (nobody) Authenticate(context.Context, *auth.Attempt) (*auth.Identity, error) {
	return nil, auth.ErrUnknown
}

// [MQTT5 MQTT-4.12.0-2] [MQTT5 MQTT-4.12.0-5]: the exchange of a CONNECT, with the method in every AUTH and in CONNACK.
func TestEnhancedAuthentication(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		var x steps
		s := stepped(t, &x, broker.Options{Shards: shards})
		p := s.dial(mqtt.V5)
		p.send("CONNECT id=c auth-method=STEPS auth-data=ask-more")
		p.expect("AUTH 0x18 auth-method=STEPS auth-data=more")
		p.send("AUTH 0x18 auth-method=STEPS auth-data=ask-evenmore")
		p.expect("AUTH 0x18 auth-method=STEPS auth-data=evenmore")
		p.send("AUTH 0x18 auth-method=STEPS auth-data=iam-anna")
		p.expect("CONNACK 0x00 auth-method=STEPS auth-data=welcome")
		p.idle()
		if c, err := s.View().Client(t.Context(), "c"); err != nil || c.Owner != "anna" {
			t.Errorf("%+v, %v", c, err)
		}
		q := s.dial(mqtt.V5) // without a client id, in one step
		q.send("CONNECT clean auth-method=STEPS auth-data=iam-bert")
		q.expect("CONNACK 0x00 auth-method=STEPS auth-data=welcome")
		q.idle()
		r := s.dial(mqtt.V5) // the session is anna's
		r.send("CONNECT id=c auth-method=STEPS auth-data=iam-bert")
		r.expect("CONNACK 0x87", "closed")
		p.idle()
		old := s.dial(mqtt.V311) // who has no method is asked the other way
		old.send("CONNECT v3.1.1 id=old clean username=u password=p")
		old.expect("CONNACK 0x86", "closed")
	})
}

// [MQTT5 MQTT-4.12.0-1] [MQTT5 MQTT-4.12.0-4] [MQTT5 MQTT-3.1.2-30] F036 F149 F160: whoever is refused at any point is gone, with its will
// and what came behind it.
func TestEnhancedRefusals(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		var x steps
		o := with(func(l *broker.Limits, _ *broker.Delivery) { l.ConnectTimeout = patience })
		o.Shards = shards
		s := stepped(t, &x, o)
		watch := s.dial(mqtt.V5)
		watch.send("CONNECT id=watch auth-method=STEPS auth-data=iam-anna")
		watch.expect("CONNACK 0x00")
		watch.subscribe("#")
		f := func(want string, lines ...string) {
			t.Helper()
			p := s.dial(mqtt.V5)
			for i, line := range lines {
				p.send(line)
				if i < len(lines)-1 {
					p.expect("AUTH 0x18 auth-method=STEPS")
				}
			}
			if want != "" {
				p.expect(want)
			}
			p.expect("closed")
		}
		connect := `CONNECT id=c will=w "gone" auth-method=STEPS auth-data=`
		f("CONNACK 0x8C", `CONNECT id=c will=w "gone" auth-method=OTHER auth-data=iam-anna`)
		f("CONNACK 0x87", connect+"bad-")
		f("CONNACK 0x86", connect+"unknown-")
		f("CONNACK 0x88", connect+"down-")
		f("CONNACK 0x88", connect+"panic-")
		f("CONNACK 0x87", connect+"ask-x", "AUTH 0x18 auth-method=STEPS auth-data=bad-")
		f("CONNACK 0x82", connect+"ask-x", "AUTH 0x18 auth-method=OTHER auth-data=iam-anna")
		f("CONNACK 0x82", connect+"ask-x", "AUTH 0x19 auth-method=STEPS auth-data=iam-anna")
		f("CONNACK 0x95", "CONNECT id=c max-packet=40 auth-method=STEPS auth-data=ask-"+strings.Repeat("x", 60))
		f("", connect+"ask-x", "SUBSCRIBE id=1 # qos=0")
		f("", connect+"ask-x", `PUBLISH topic=w "smuggled"`)
		f("", connect+"ask-x", "DISCONNECT")
		f("", connect+"ask-x", "CONNECT id=d auth-method=STEPS auth-data=iam-anna")
		o.Limits.ConnectTimeout = 2 * time.Second
		if err := s.SetLimits(*o.Limits, *o.Delivery); err != nil {
			t.Fatal(err)
		}
		f("AUTH 0x18", connect+"ask-x") // the deadline of CONNECT
		late := s.dial(mqtt.V5)         // a backend that does not come to an end
		late.send(connect + "wait-")
		late.gone()
		begun := x.begun.Load()
		for _, behind := range []string{`PUBLISH topic=w "smuggled"`, "SUBSCRIBE id=1 # qos=0", "DISCONNECT", "PINGREQ"} {
			p := s.dial(mqtt.V5) // in one write, while the step is under way
			p.send(connect+"wait-", behind)
			p.expect("closed")
		}
		p := s.dial(mqtt.V5)
		p.send(connect+"wait-", "AUTH 0x18 auth-method=STEPS auth-data=iam-anna")
		p.expect("CONNACK 0x82", "closed")
		if n := x.begun.Load(); n > begun+5 {
			t.Errorf("%d exchanges began", n-begun)
		}
		if !reached(func() bool { return x.gaveUp.Load() >= 2 }) {
			t.Error("a step goes on for somebody who is gone")
		}
		watch.idle()
		if st := s.stats(); st.Connected != 1 || st.Panics != 1 {
			t.Errorf("%d connected, %d panics", st.Connected, st.Panics)
		}
	})
}

// Re-authentication changes what the client is while it goes on [MQTT5 MQTT-4.12.0-2] [MQTT5 MQTT-4.12.0-5].
func TestReauthenticate(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		var x steps
		s := stepped(t, &x, broker.Options{Shards: shards, Authz: groupTopics{}})
		x.groups.Store(&[]string{"a"})
		p := s.dial(mqtt.V5)
		p.send("CONNECT id=c auth-method=STEPS auth-data=iam-anna")
		p.expect("CONNACK 0x00")
		p.send("PUBLISH qos=1 id=1 topic=a", "PUBLISH qos=1 id=2 topic=b")
		p.expect("PUBACK id=1", "PUBACK id=2 0x87")
		x.groups.Store(&[]string{"b"})
		p.send("AUTH 0x19 auth-method=STEPS auth-data=ask-more")
		p.expect("AUTH 0x18 auth-method=STEPS auth-data=more")
		p.send("PUBLISH qos=1 id=1 topic=a") // until it is done nothing has changed
		p.expect("PUBACK id=1")
		p.send("AUTH 0x18 auth-method=STEPS auth-data=iam-anna")
		p.expect("AUTH auth-method=STEPS auth-data=welcome")
		p.send("PUBLISH qos=1 id=1 topic=a", "PUBLISH qos=1 id=2 topic=b")
		p.expect("PUBACK id=1 0x87", "PUBACK id=2")
		p.send("AUTH 0x19 auth-method=STEPS auth-data=ask-more")
		p.expect("AUTH 0x18 auth-method=STEPS")
		moved := &auth.Identity{Name: "anna", Groups: []string{"c"}} // while it is judged by what was before
		if _, err := s.Control().Reidentify(t.Context(), func(*auth.Principal) *auth.Identity { return moved }); err != nil {
			t.Fatal(err)
		}
		p.send("AUTH 0x18 auth-method=STEPS auth-data=iam-anna")
		p.expect("AUTH auth-method=STEPS auth-data=welcome")
		p.send("PUBLISH qos=1 id=1 topic=b", "PUBLISH qos=1 id=2 topic=c")
		p.expect("PUBACK id=1 0x87", "PUBACK id=2")
		x.ends.Store(50) // an identity may end; then so does the connection
		p.send("AUTH 0x19 auth-method=STEPS auth-data=iam-anna")
		p.expect("AUTH auth-method=STEPS", "DISCONNECT 0xA0", "closed")
	})
}

// Who authenticates anew stays where the listener has put it: behind its mount point.
func TestReauthenticateMounted(t *testing.T) {
	var x steps
	s := serveAt(t, broker.Options{}, broker.Listener{Name: "steps", Exchange: &x, MountPoint: "m/{client}/"})
	p := s.dial(mqtt.V5)
	p.send("CONNECT id=c auth-method=STEPS auth-data=iam-anna")
	p.expect("CONNACK 0x00")
	p.subscribe("t")
	p.send("AUTH 0x19 auth-method=STEPS auth-data=iam-anna")
	p.expect("AUTH auth-method=STEPS")
	p.send("PUBLISH topic=t")
	p.expect("PUBLISH topic=t")
	other := s.dial(mqtt.V5)
	other.send("CONNECT id=d auth-method=STEPS auth-data=iam-anna")
	other.expect("CONNACK 0x00")
	other.subscribe("#")
	p.send("PUBLISH topic=t")
	p.expect("PUBLISH topic=t")
	other.idle()
}

// groupTopics lets a client publish to the topics named as its groups.
type groupTopics struct{}

func (groupTopics) Authorize(p *auth.Principal, q *auth.Question) bool {
	for _, g := range p.Groups {
		if g == string(q.Topic) {
			return true
		}
	}
	return false
}

func (g groupTopics) Explain(p *auth.Principal, q *auth.Question) auth.Decision {
	return auth.Decision{Allowed: g.Authorize(p, q)}
}

// [MQTT5 MQTT-4.12.1-1] [MQTT5 MQTT-4.12.1-2] F160: who fails to authenticate anew is told and disconnected.
func TestReauthenticationRefused(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		var x steps
		s := stepped(t, &x, broker.Options{Shards: shards})
		f := func(want string, lines ...string) {
			t.Helper()
			p := s.dial(mqtt.V5)
			p.send("CONNECT id=c auth-method=STEPS auth-data=iam-anna")
			p.expect("CONNACK 0x00")
			p.send(lines...)
			p.expect(want, "closed")
		}
		f("DISCONNECT 0x87", "AUTH 0x19 auth-method=STEPS auth-data=bad-")
		f("DISCONNECT 0x87", "AUTH 0x19 auth-method=STEPS auth-data=iam-bert") // somebody else
		f("DISCONNECT 0x87", "AUTH 0x19 auth-method=STEPS auth-data=panic-")
		f("DISCONNECT 0x87", "AUTH 0x19 auth-method=STEPS auth-data=down-")
		f("DISCONNECT 0x82", "AUTH 0x19 auth-method=OTHER auth-data=iam-anna")
		f("DISCONNECT 0x82", "AUTH 0x18 auth-method=STEPS auth-data=iam-anna")
		f("DISCONNECT 0x82", "AUTH 0x19 auth-method=STEPS auth-data=wait-", "AUTH 0x18 auth-method=STEPS auth-data=iam-anna")
		p := s.dial(mqtt.V5)
		p.send("CONNECT id=c auth-method=STEPS auth-data=iam-anna")
		p.expect("CONNACK 0x00")
		p.send("AUTH 0x19 auth-method=STEPS auth-data=wait-")
		p.idle() // the connection goes on
		p.conn.Close()
		s.until("it is gone", func(st broker.Stats) bool { return st.Connected == 0 })
		if !reached(func() bool { return x.gaveUp.Load() == 2 }) {
			t.Error("a step goes on for somebody who is gone")
		}
	})
}
