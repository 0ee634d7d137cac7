package broker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// slowly knows everybody, and takes its time to say so.
type slowly struct {
	asked chan struct{} // has one for each that it was asked about
	say   chan struct{} // lets one of them go
}

func (s slowly) Authenticate(_ context.Context, a *auth.Attempt) (*auth.Identity, error) {
	id := &auth.Identity{Name: a.Username, Groups: []string{"admins"}}
	s.asked <- struct{}{}
	<-s.say
	return id, nil
}

// TestRevokedWhileAuthenticated: what happens to an account between the answer of a backend and CONNACK holds: a removed user is not
// let in, and one with other groups has those.
func TestRevokedWhileAuthenticated(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		authn := slowly{make(chan struct{}, 9), make(chan struct{}, 9)}
		s := serve(t, broker.Options{Shards: shards, Authn: authn})
		k := s.Control()
		dial := func(words string) *peer {
			p := s.dial(mqtt.V5)
			p.send("CONNECT " + words)
			<-authn.asked
			return p
		}
		removed := func(reason mqtt.ReasonCode) {
			if n, err := k.DisconnectAll(t.Context(), func(p *auth.Principal) bool { return p.Name == "ann" }, reason, "the account has changed"); n != 0 || err != nil {
				t.Fatalf("%d disconnected, %v", n, err)
			}
		}
		ann, bob := dial("id=a username=ann expiry=100"), dial("id=b username=bob")
		removed(mqtt.NotAuthorized)
		demoted := &auth.Identity{Name: "bob", Groups: []string{"guests"}}
		if _, err := k.Reidentify(t.Context(), func(p *auth.Principal) *auth.Identity {
			if p.Name != "bob" {
				return p.Identity
			}
			return demoted
		}); err != nil {
			t.Fatal(err)
		}
		authn.say <- struct{}{}
		authn.say <- struct{}{}
		ann.expect(`CONNACK 0x87 reason="the account has changed"`)
		ann.gone()
		bob.expect("CONNACK")
		if who, err := k.Principal(t.Context(), "b"); err != nil || who.Identity != demoted {
			t.Errorf("%+v, %v", who, err)
		}
		if _, err := k.Principal(t.Context(), "a"); err == nil {
			t.Error("it has a session")
		}
		// Who is asked about afterwards is judged by the answer.
		ann = dial("id=a username=ann")
		authn.say <- struct{}{}
		ann.expect("CONNACK")
		// A reason that stands in no CONNACK is none of it.
		ann = dial("id=a2 username=ann")
		if _, err := k.DisconnectAll(t.Context(), func(p *auth.Principal) bool { return p.ClientID == "a2" }, mqtt.AdministrativeAction, "go"); err != nil {
			t.Fatal(err)
		}
		authn.say <- struct{}{}
		ann.expect("CONNACK 0x88")
		// There is a limit to what is remembered.
		ann = dial("id=a3 username=ann")
		for range 65 {
			if _, err := k.DisconnectAll(t.Context(), func(*auth.Principal) bool { return false }, mqtt.NotAuthorized, ""); err != nil {
				t.Fatal(err)
			}
		}
		authn.say <- struct{}{}
		ann.expect("CONNACK 0x89")
	})
}

// TestHungUp: who hangs up while its password is checked is told of, and counts as nobody who was refused.
func TestHungUp(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		authn := slowly{make(chan struct{}, 9), make(chan struct{}, 9)}
		s, x := telling(t, broker.Options{Shards: shards, Authn: authn})
		defer func() { authn.say <- struct{}{} }()
		p := s.dial(mqtt.V5)
		p.send("CONNECT id=c username=ann")
		<-authn.asked
		p.conn.Close()
		if !reached(func() bool { return len(told[broker.Refused](x)) > 0 }) {
			t.Fatal("nobody tells")
		}
		if e := told[broker.Refused](x)[0]; e.Cause != broker.RefusedHangUp || e.ClientID != "c" || e.User != "ann" || e.Before || e.Count != 1 || e.Address != addrOf(p) {
			t.Errorf("%+v", e)
		}
		if back, err := s.View().LookBack(t.Context(), "c"); err != nil || len(back.Entries) != 1 || !strings.HasPrefix(back.Entries[0].Topic, "hung up before") {
			t.Errorf("%+v, %v", back, err)
		}
	})
}

// down is a backend that cannot be asked.
type down struct{}

func (down) Authenticate(context.Context, *auth.Attempt) (*auth.Identity, error) {
	return nil, errors.New("the backend is down")
}

// TestAuthenticationDownLog: the log says that a backend is down once a second, not for each who is refused for it.
func TestAuthenticationDownLog(t *testing.T) {
	var log bytes.Buffer
	s := serve(t, broker.Options{Shards: 2, Authn: down{}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	begun := time.Now()
	for range 50 {
		if got := s.refused("id=c username=ann"); !alike(got, "CONNACK 0x88") {
			t.Fatal(got)
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	lines, most := strings.Count(log.String(), "the backend is down"), 1+int(time.Since(begun)/time.Second)
	if lines == 0 || lines > most {
		t.Errorf("%d lines", lines)
	}
}
