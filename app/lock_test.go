package app

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/scram"
)

// locked is a configuration in which everybody has to authenticate.
func locked(address, more string) string {
	return off + "listeners: [{address: '" + address + "'}]\nauthentication: {chain: [password]" + more + "}\n"
}

// login connects by MQTT 5 with a user name and password, and returns the reason code and Reason String of CONNACK.
func (s *testSite) login(address, id, user, password string) (c net.Conn, reason byte, text string) {
	s.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Close() })
	field := func(v string) string { return string([]byte{byte(len(v) >> 8), byte(len(v))}) + v }
	body := "\x00\x04MQTT\x05\xc2\x00\x00\x00" + field(id) + field(user) + field(password)
	if _, err := io.WriteString(c, "\x10"+string([]byte{byte(len(body))})+body); err != nil {
		s.Fatal(err)
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); err != nil || head[0] != 0x20 {
		s.Fatalf("no CONNACK: %x %v", head, err)
	}
	ack := make([]byte, head[1])
	if _, err := io.ReadFull(c, ack); err != nil {
		s.Fatal(err)
	}
	if i := strings.IndexByte(string(ack[3:]), 0x1f); ack[1] != 0 && i >= 0 {
		text = string(ack[3+i+3:])
	}
	return c, ack[1], text
}

// apply changes accounts and must succeed.
func (s *testSite) apply(changes ...accounts.Change) {
	s.Helper()
	if err := s.people.accounts.Apply(s.Context(), changes, nil); err != nil {
		s.Fatal(err)
	}
}

// TestRevocation: what is taken from a user that is connected, by each of the ways, ends its connection before Apply
// returns, and no other's.
func TestRevocation(t *testing.T) {
	address := freeAddress(t)
	s := serveFile(t, locked(address, ""))
	ctx := t.Context()
	user := func(name string) (accounts.User, string) {
		u := accounts.User{Name: name}
		secret, err := s.people.accounts.Generate(&u)
		if err != nil {
			t.Fatal(err)
		}
		s.apply(accounts.Change{User: &u})
		return u, secret
	}
	_, other := user("other")
	stays, reason, _ := s.login(address, "stays", "other", other)
	if reason != 0 {
		t.Fatalf("%#x", reason)
	}
	for name, change := range map[string]func(u *accounts.User) accounts.Change{
		"removed":  func(u *accounts.User) accounts.Change { return accounts.Change{User: u, Delete: true} },
		"disabled": func(u *accounts.User) accounts.Change { u.Disabled = true; return accounts.Change{User: u} },
		"expired": func(u *accounts.User) accounts.Change {
			u.Expires = time.Now().Add(-time.Hour)
			return accounts.Change{User: u}
		},
		"bound": func(u *accounts.User) accounts.Change { u.ClientID = "another"; return accounts.Change{User: u} },
		"rekeyed": func(u *accounts.User) accounts.Change {
			if _, err := s.people.accounts.Generate(u); err != nil {
				t.Fatal(err)
			}
			return accounts.Change{User: u}
		},
	} {
		u, secret := user(name)
		c, reason, _ := s.login(address, name, name, secret)
		if reason != 0 || !alive(c) {
			t.Fatalf("%s: not let in: %#x", name, reason)
		}
		s.apply(change(&u))
		if alive(c) {
			t.Errorf("%s: still connected", name)
		}
		if _, reason, _ := s.login(address, name, name, secret); reason == 0 {
			t.Errorf("%s: let in again", name)
		}
	}
	if !alive(stays) {
		t.Error("another user lost its connection")
	}
	s.apply(accounts.Change{Group: &accounts.Group{Name: "g"}}, accounts.Change{User: &accounts.User{Name: "other", Password: must(s.people.accounts.User(ctx, "other")).Password, Groups: []string{"g"}}})
	who, err := s.broker.Control().Principal(ctx, "stays")
	if err != nil || len(who.Groups) != 1 || !alive(stays) {
		t.Errorf("the groups of who is connected: %+v, %v", who, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestNobodyLearnsNames: an unknown user and a wrong password get the same answer to the last byte.
func TestNobodyLearnsNames(t *testing.T) {
	address := freeAddress(t)
	s := serveFile(t, locked(address, ""))
	u := accounts.User{Name: "ann"}
	if _, err := s.people.accounts.Generate(&u); err != nil {
		t.Fatal(err)
	}
	s.apply(accounts.Change{User: &u}, accounts.Change{User: &accounts.User{Name: "without"}})
	_, reason, text := s.login(address, "c", "ann", "wrong password")
	if reason != 0x86 || text == "" {
		t.Fatalf("%#x %q", reason, text)
	}
	for _, name := range []string{"nobody", "without", "Ann", "ann "} {
		if _, r, x := s.login(address, "c", name, "wrong password"); r != reason || x != text {
			t.Errorf("%q: %#x %q, but of a user that there is %#x %q", name, r, x, reason, text)
		}
	}
}

// TestBadRuleIsNotKept: a stored rule that the policy cannot read would keep all later ones from being in force, and the next
// start from succeeding.
func TestBadRuleIsNotKept(t *testing.T) {
	s := serveFile(t, locked(freeAddress(t), ""))
	for _, filter := range []string{"a/{nobody}/b", "a/{", "{claim.}/x", "{a/b}"} {
		r := accounts.Rule{Rule: auth.Rule{Actions: auth.ActionsOf(auth.Publish), Topics: []string{filter}}}
		if err := s.people.accounts.Apply(t.Context(), []accounts.Change{{Rule: &r}}, nil); !errors.Is(err, accounts.ErrInvalid) {
			t.Errorf("%q: %v", filter, err)
		}
	}
	s.apply(accounts.Change{Rule: &accounts.Rule{Rule: auth.Rule{Name: "good", Actions: auth.ActionsOf(auth.Publish), Topics: []string{"{claim.x}/{{/#"}}}})
	if rules := s.rules.policy.Rules(); rules[len(rules)-1].Name != "good" {
		t.Errorf("%+v", rules)
	}
}

// TestScramOfUsers: who is no user is challenged as a user is, the same way after a restart, and who was changed while a challenge was
// open is not let in.
func TestScramOfUsers(t *testing.T) {
	s := &testSite{T: t, file: t.TempDir() + "/sapwood.yaml"}
	s.write(strings.Replace(locked(freeAddress(t), ", scram: [SCRAM-SHA-256]"), "durability: memory\n", "", 1))
	s.App = s.start()
	challenge := func(user string) string {
		t.Helper()
		e, err := s.doors.exchange.Begin(&auth.Attempt{Method: scram.SHA256})
		if err != nil {
			t.Fatal(err)
		}
		answer, _, err := e.Next(t.Context(), []byte("n,,n="+user+",r=nonce"))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(answer), ",")
		return rest
	}
	u := accounts.User{Name: "ann"}
	if err := s.people.accounts.SetPassword(t.Context(), &u, []byte("a password")); err != nil {
		t.Fatal(err)
	}
	s.apply(accounts.Change{User: &u})
	real, made := challenge("ann"), challenge("nobody")
	if len(real)-len(made) > 1 || !strings.HasSuffix(made, ",i=15000") && !strings.HasSuffix(made, ",i=4096") {
		t.Errorf("%s, but of a user that there is %s", made, real)
	}
	key, err := scramKeys{s.people.accounts}.Key(t.Context(), "ann", scram.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := key.Admit(t.Context(), &auth.Attempt{}); err != nil || id.Name != "ann" {
		t.Errorf("%+v, %v", id, err)
	}
	u.Disabled = true
	s.apply(accounts.Change{User: &u})
	if id, err := key.Admit(t.Context(), &auth.Attempt{}); err == nil {
		t.Errorf("disabled since the challenge: %+v", id)
	}
	u.Disabled = false
	if err := s.people.accounts.SetPassword(t.Context(), &u, []byte("another one")); err != nil {
		t.Fatal(err)
	}
	s.apply(accounts.Change{User: &u})
	if id, err := key.Admit(t.Context(), &auth.Attempt{}); err == nil {
		t.Errorf("another password since the challenge: %+v", id)
	}
	if err := s.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.App = s.start()
	if again := challenge("nobody"); again != made {
		t.Errorf("%s, but before the restart %s", again, made)
	}
}

// TestRevokedStaysOut: who reconnects the very moment it is disconnected is not let in by a credential that is remembered.
func TestRevokedStaysOut(t *testing.T) {
	address := freeAddress(t)
	s := serveFile(t, locked(address, ""))
	u := accounts.User{Name: "pump"}
	if err := s.people.accounts.SetPassword(t.Context(), &u, []byte("a password")); err != nil {
		t.Fatal(err)
	}
	s.apply(accounts.Change{User: &u})
	if _, reason, _ := s.login(address, "pump", "pump", "a password"); reason != 0 {
		t.Fatalf("%#x", reason)
	}
	tried := false
	t.Cleanup(s.people.accounts.OnForgotten(func(*accounts.Changed) { // its connection has just been ended
		tried = true
		if _, reason, _ := s.login(address, "pump", "pump", "a password"); reason == 0 {
			t.Error("let in again")
		}
	}))
	u.Disabled = true
	s.apply(accounts.Change{User: &u})
	if !tried {
		t.Error("nobody was told")
	}
}
