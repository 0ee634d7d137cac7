package accounts

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
)

func open(t testing.TB, o Options) *Accounts {
	t.Helper()
	o.Store = NewMemory()
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestValid(t *testing.T) {
	a := open(t, Options{})
	f := func(name string, c Change, want string) {
		t.Helper()
		changes := []Change{{Group: &Group{Name: "fine"}}, c}
		err := a.Apply(t.Context(), changes, nil)
		var which *ChangeError
		if !errors.Is(err, ErrInvalid) || !errors.As(err, &which) || which.Index != 1 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: a secret is in the error: %v", name, err)
		}
		if g, _ := a.Groups(t.Context()); len(g) != 0 {
			t.Errorf("%s: something was kept", name)
		}
	}
	named := func(name string) Change { return Change{User: &User{Name: name}} }
	f("no name", named(""), "is empty")
	f("long name", named(strings.Repeat("n", 257)), "257 bytes")
	f("newline", named("a\nb"), "control")
	f("NUL", named("a\x00b"), "control")
	f("right to left", named("a\u202eb"), "invisible")
	f("no width", named("a\u200bb"), "invisible")
	f("no UTF-8", named("a\xff"), "UTF-8")
	f("space", named(" a"), "space")
	f("removed", Change{User: &User{Name: "a\n"}, Delete: true}, "control")
	f("kind", Change{User: &User{Name: "a", Kind: "robot"}}, "person or device")
	f("plain password", Change{User: &User{Name: "a", Password: "canary"}}, "is no hash")
	f("hostile hash", Change{User: &User{Name: "a", Password: "$7$99999999$c2FsdHNhbHQ=$c2FsdHNhbHRzYWx0c2FsdA=="}}, "iterations")
	f("group", Change{User: &User{Name: "a", Groups: []string{"x\n"}}}, "a group")
	f("group twice", Change{User: &User{Name: "a", Groups: []string{"x", "x"}}}, "twice")
	f("many groups", Change{User: &User{Name: "a", Groups: make([]string, 65)}}, "65 groups")
	f("client id", Change{User: &User{Name: "a", ClientID: "c\x7f"}}, "client id")
	f("note", Change{User: &User{Name: "a", Note: "\x1b[31m"}}, "control")
	f("long note", Change{Group: &Group{Name: "a", Note: strings.Repeat("n", 1025)}}, "1025 bytes")
	f("nothing", Change{}, "one item, not 0")
	f("two", Change{User: &User{Name: "a"}, Group: &Group{Name: "a"}}, "one item, not 2")
	f("rule about nothing", Change{Rule: &Rule{Rule: auth.Rule{Topics: []string{"a"}}}}, "no action")
	f("rule without topics", Change{Rule: &Rule{Rule: auth.Rule{Actions: auth.ActionsOf(auth.Publish)}}}, "0 topics")
	f("rule's filter", Change{Rule: &Rule{Rule: auth.Rule{Actions: auth.ActionsOf(auth.Publish), Topics: []string{"a/#/b"}}}}, "the topic filter")
	f("ban's subject", Change{Ban: &Ban{Subject: "planet", Value: "x"}}, "the subject")
	f("ban's address", Change{Ban: &Ban{Subject: BanAddress, Value: "300.1.1.1"}}, "neither an address")
	f("ban of nobody", Change{Ban: &Ban{Subject: BanClient}}, "empty")
}

// What is left out is filled in.
func TestComplete(t *testing.T) {
	a := open(t, Options{})
	u := User{Name: "höhe/№7 $SYS+#"}
	r := Rule{Rule: auth.Rule{Actions: auth.ActionsOf(auth.Publish), Topics: []string{"a/{client}/#"}}}
	b := Ban{Subject: BanAddress, Value: "2001:db8::/32"}
	if err := a.Apply(t.Context(), []Change{{User: &u}, {Rule: &r}, {Ban: &b}}, nil); err != nil {
		t.Fatal(err)
	}
	if u.Kind != Device || len(r.ID) != 10 || r.Name != "rule "+r.ID || len(b.ID) != 10 || u.Revision == 0 || b.Revision != u.Revision {
		t.Errorf("%+v\n%+v\n%+v", u, r, b)
	}
}

// The JSON form of a user has no secrets.
func TestNoSecretsInJSON(t *testing.T) {
	a := open(t, Options{Scram: []string{"SCRAM-SHA-256"}})
	u := User{Name: "ann"}
	if err := a.SetPassword(t.Context(), &u, []byte("canary-canary")); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"canary", "argon2id", "salt", base64.StdEncoding.EncodeToString(u.Keys[0].StoredKey)} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%q is in %s", secret, text)
		}
	}
}

// There is no user to begin with, and none whose password can be guessed from its name or is all too short (F162).
func TestSetPassword(t *testing.T) {
	a := open(t, Options{})
	if list, err := a.Users(t.Context(), Page{}); err != nil || len(list) != 0 {
		t.Errorf("there are users: %v %v", list, err)
	}
	f := func(password, want string) {
		t.Helper()
		u := User{Name: "operator"}
		err := a.SetPassword(t.Context(), &u, []byte(password))
		if want == "" {
			h, perr := phc.Parse(u.Password)
			if err != nil || perr != nil || !h.Matches([]byte(password)) || h.Scheme() != phc.Argon2id || u.Keys != nil {
				t.Errorf("%.20q: %v %v", password, err, perr)
			}
			return
		}
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) || u.Password != "" {
			t.Errorf("%.20q: %v", password, err)
		}
	}
	f("correct horse", "")
	f("be\x00fore\xff-", "")
	f("", "less than 8")
	f("public", "less than 8")
	f("operator", "is its name")
	f(strings.Repeat("x", 1025), "more than 1024")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.SetPassword(ctx, &User{Name: "ann"}, []byte("long enough")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// The keys are those of RFC 7677 3, whose user is "user" with the password "pencil".
func TestScramKeys(t *testing.T) {
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	key, err := scramKey("SCRAM-SHA-256", "pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	h := scramHash("SCRAM-SHA-256")
	message := "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096," +
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	if got := base64.StdEncoding.EncodeToString(mac(h, key.ServerKey, message)); got != "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("the server's signature is %s", got)
	}
	proof, _ := base64.StdEncoding.DecodeString("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
	for i, b := range mac(h, key.StoredKey, message) {
		proof[i] ^= b
	}
	stored := h()
	stored.Write(proof)
	if string(stored.Sum(nil)) != string(key.StoredKey) {
		t.Error("the client's proof does not fit")
	}

	a := open(t, Options{Scram: []string{"SCRAM-SHA-256", "SCRAM-SHA-512"}})
	u, gen, binary := User{Name: "ann"}, User{Name: "pump"}, User{Name: "bin"}
	if err := a.SetPassword(t.Context(), &u, []byte("I\u00adX-password")); err != nil { // SASLprep drops the soft hyphen
		t.Fatal(err)
	}
	secret, err := a.Generate(&gen)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.SetPassword(t.Context(), &binary, []byte("be\x00fore--")); err != nil || binary.Keys != nil {
		t.Errorf("%v, keys %v", err, binary.Keys)
	}
	if err := a.Apply(t.Context(), []Change{{User: &u}, {User: &gen}, {User: &binary}}, nil); err != nil {
		t.Fatal(err)
	}
	f := func(name, method, password string, iterations int) {
		t.Helper()
		got, k, err := a.Keys(t.Context(), name, method)
		if err != nil || got.Name != name || k.Iterations != iterations {
			t.Errorf("%s %s: %+v %v", name, method, k, err)
			return
		}
		if want, err := scramKey(method, password, k.Salt, k.Iterations); err != nil || fmt.Sprint(want) != fmt.Sprint(k) {
			t.Errorf("%s %s: other keys, %v", name, method, err)
		}
	}
	f("ann", "SCRAM-SHA-256", "IX-password", 15_000)
	f("ann", "SCRAM-SHA-512", "IX-password", 15_000)
	f("pump", "SCRAM-SHA-512", secret, 4096)
	if _, _, err := a.Keys(t.Context(), "ann", "SCRAM-SHA-1"); !errors.Is(err, ErrNoKey) {
		t.Errorf("%v", err)
	}
	if _, _, err := a.Keys(t.Context(), "bin", "SCRAM-SHA-256"); !errors.Is(err, ErrNoKey) {
		t.Errorf("%v", err)
	}
	if _, _, err := a.Keys(t.Context(), "nobody", "SCRAM-SHA-256"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	if _, err := New(Options{Scram: []string{"SCRAM-MD5"}}); err == nil {
		t.Error("a method that is not known")
	}
}

// Who listens is told once the batch is kept and before Apply returns, in order, and what to do about live clients follows from it.
func TestChanged(t *testing.T) {
	a := open(t, Options{})
	var told []*Changed
	stop := a.OnChange(func(c *Changed) {
		if _, err := a.User(t.Context(), "ann"); len(told) == 0 && err != nil {
			t.Errorf("told before it is kept: %v", err)
		}
		told = append(told, c)
	})
	now := time.Now()
	ann := &auth.Principal{Identity: &auth.Identity{Name: "ann", By: By}, ClientID: "c1"}
	f := func(name string, c Change, why string, groups ...string) {
		t.Helper()
		n := len(told)
		if err := a.Apply(t.Context(), []Change{{Group: &Group{Name: "ops"}}, c}, nil); err != nil {
			t.Fatal(err)
		}
		if len(told) != n+1 {
			t.Fatalf("%s: told %d times", name, len(told)-n)
		}
		last := told[n]
		if got := last.Revokes(ann, now); why == "" && got != "" || !strings.Contains(got, why) {
			t.Errorf("%s: %q, want %q", name, got, why)
		}
		for who, p := range map[string]*auth.Principal{
			"another user":    {Identity: &auth.Identity{Name: "bob", By: By}},
			"another backend": {Identity: &auth.Identity{Name: "ann", By: "ldap"}},
			"anonymous":       {Identity: &auth.Identity{}},
		} {
			if last.Revokes(p, now) != "" || last.Identity(p) != p.Identity {
				t.Errorf("%s: %s is concerned", name, who)
			}
		}
		id := last.Identity(ann)
		if fmt.Sprint(id.Groups) != fmt.Sprint(groups) || id.Name != "ann" || id.By != By {
			t.Errorf("%s: it is %+v", name, id)
		}
		if again := last.Identity(&auth.Principal{Identity: id}); again != id {
			t.Errorf("%s: the same change twice makes a difference", name)
		}
	}
	u := func() *User { return &User{Name: "ann"} }
	f("made", Change{User: u()}, "")
	f("in a group", Change{User: &User{Name: "ann", Groups: []string{"ops"}}}, "", "ops")
	f("disabled", Change{User: &User{Name: "ann", Disabled: true}}, "is disabled")
	f("enabled", Change{User: u()}, "")
	f("expired", Change{User: &User{Name: "ann", Expires: now.Add(-time.Minute)}}, "expired")
	f("another client", Change{User: &User{Name: "ann", ClientID: "c2"}}, "c2")
	f("its client", Change{User: &User{Name: "ann", ClientID: "c*"}}, "")
	f("password", Change{User: &User{Name: "ann", Password: "$6$c2FsdHNhbHQ=$" + base64.StdEncoding.EncodeToString(make([]byte, 64))}}, "another password")
	f("removed", Change{User: u(), Delete: true}, "was removed")

	offline := &auth.Principal{Identity: &auth.Identity{Name: "ann"}, Restored: true}
	last := told[1]
	if id := last.Identity(offline); len(id.Groups) != 1 || last.Revokes(offline, now) != "" {
		t.Errorf("a session that was read from the store: %+v", id)
	}
	r := Rule{Rule: auth.Rule{Actions: auth.ActionsOf(auth.Publish), Topics: []string{"a"}}}
	if err := a.Apply(t.Context(), []Change{{Rule: &r}, {Ban: &Ban{Subject: BanUser, Value: "x"}}}, nil); err != nil {
		t.Fatal(err)
	}
	if c := told[len(told)-1]; !c.Rules || !c.Bans || len(c.Users) != 0 || len(c.Groups) != 0 {
		t.Errorf("%+v", c)
	}
	n := len(told)
	if err := a.Apply(t.Context(), []Change{{Rule: &Rule{ID: "missing"}, Delete: true}}, nil); !errors.Is(err, ErrNotFound) || len(told) != n {
		t.Errorf("%v; told of what was not kept", err)
	}
	all, err := a.All(t.Context())
	if err != nil || !all.Rules || !all.Bans || len(all.Groups) != 1 || len(all.Users) != 0 {
		t.Errorf("%+v %v", all, err)
	}
	stop()
	if err := a.Apply(t.Context(), []Change{{Group: &Group{Name: "x"}}}, nil); err != nil || len(told) != n {
		t.Errorf("%v; told after stop", err)
	}
}

// All has every user, however many pages they are.
func TestAll(t *testing.T) {
	a := open(t, Options{})
	changes := []Change{{Group: &Group{Name: "g"}}}
	for i := range 2*MaxPage + 1 {
		changes = append(changes, Change{User: &User{Name: fmt.Sprint("u", i), Groups: []string{"g"}}})
	}
	if err := a.Apply(t.Context(), changes, nil); err != nil {
		t.Fatal(err)
	}
	all, err := a.All(t.Context())
	if err != nil || len(all.Users) != 2*MaxPage+1 {
		t.Fatalf("%d users, %v", len(all.Users), err)
	}
	if id := all.Identity(&auth.Principal{Identity: &auth.Identity{Name: "u7"}, Restored: true}); fmt.Sprint(id.Groups) != "[g]" {
		t.Errorf("%+v", id)
	}
}

// A password file of Mosquitto is taken whole or not at all.
func TestReadMosquitto(t *testing.T) {
	const hash = "$7$101$G1cuOk4vkZ93Px2P$Awt5ZJbTOG5+IEka5ncPDA4QEfPOQsnt8lJt99DnkiRMHru9t3KLpwBjaZWc90iksOOKX7N9eveJcA/YKIjMbA=="
	users, err := ReadMosquitto(strings.NewReader("# users\nann:" + hash + "\r\n\npump:" + hash + "\n"))
	if err != nil || len(users) != 2 {
		t.Fatalf("%+v, %v", users, err)
	}
	for i, name := range []string{"ann", "pump"} {
		if u := &users[i]; u.Name != name || u.Password != hash || u.Kind != Device {
			t.Errorf("%+v", u)
		}
	}
	if users, err := ReadMosquitto(strings.NewReader("new:" + hash + "\nbad\n")); users != nil || err == nil || !strings.Contains(err.Error(), "line 2: ") {
		t.Errorf("%+v, %v", users, err)
	}
}

// FuzzReadMosquitto holds that no file makes a user that could not be made by hand, or one that anybody gets in as (F146).
func FuzzReadMosquitto(f *testing.F) {
	f.Add("ann:$6$c2FsdHNhbHQ=$" + base64.StdEncoding.EncodeToString(make([]byte, 64)) + "\n#\n\n")
	f.Add(":\n")
	f.Add("a:b:c\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		users, err := ReadMosquitto(strings.NewReader(text))
		if err == nil && len(users) == 0 {
			t.Error("no users and no error")
		}
		for i := range users {
			c := Change{User: &users[i]}
			if err := c.valid(); err != nil || users[i].Password == "" {
				t.Errorf("%+v: %v", users[i], err)
			}
		}
	})
}

// TestForgottenFirst: who acts upon a change is told last, however early it asked to be.
func TestForgottenFirst(t *testing.T) {
	a, err := New(Options{Store: NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	note := func(what string) func(*Changed) { return func(*Changed) { order = append(order, what) } }
	stop := a.OnForgotten(note("act"))
	a.OnChange(note("forget"))
	a.OnChange(note("forget too"))
	apply := func() {
		t.Helper()
		if err := a.Apply(t.Context(), []Change{{User: &User{Name: "ann"}}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	apply()
	stop()
	apply()
	if want := []string{"forget", "forget too", "act", "forget", "forget too"}; !slices.Equal(order, want) {
		t.Errorf("got %v", order)
	}
}

// TestNamesInRules: nobody gets a name that a rule would take for a pattern, or that reads as somebody else's.
func TestNamesInRules(t *testing.T) {
	a, err := New(Options{Store: NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"*", "ann*", "a*n", "ann\u200b", "\u202enna", "ann\u00ad", " ann", "ann\u00a0", "ann\n", "ann\x00", "\ufeffann", "a\xffn"} {
		for _, c := range []Change{{User: &User{Name: name}}, {Group: &Group{Name: name}}} {
			if err := a.Apply(t.Context(), []Change{c}, nil); !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v", name, err)
			}
		}
		if users, err := ReadMosquitto(strings.NewReader(name + ":$6$MDEyMzQ1Njc4OWFi$" + strings.Repeat("A", 86) + "==\n")); err == nil && name != "ann\n" {
			t.Errorf("%q: %+v", name, users)
		}
	}
	if err := a.Apply(t.Context(), []Change{{User: &User{Name: "ann*"}, Delete: true}}, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("removing one of former times: %v", err)
	}
	if err := a.Apply(t.Context(), []Change{{User: &User{Name: "ann", ClientID: "pump-*"}}}, nil); err != nil {
		t.Error(err)
	}
}
