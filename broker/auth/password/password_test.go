package password

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/authtest"
	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// mossa is a line as mosquitto_passwd 2.0 wrote it, for the password "secret".
const mossa = "mossa:$7$101$G1cuOk4vkZ93Px2P$Awt5ZJbTOG5+IEka5ncPDA4QEfPOQsnt8lJt99DnkiRMHru9t3KLpwBjaZWc90iksOOKX7N9eveJcA/YKIjMbA=="

func open(t testing.TB, o Options, users ...accounts.User) *Password {
	t.Helper()
	if o.Config.MaxLength == 0 {
		files := o.Config.Files
		o.Config = DefaultConfig()
		o.Config.Files = files
	}
	if o.Accounts == nil {
		a, err := accounts.New(accounts.Options{Store: accounts.NewMemory()})
		if err != nil {
			t.Fatal(err)
		}
		o.Accounts = a
	}
	put(t, o.Accounts, users...)
	p, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func put(t testing.TB, a *accounts.Accounts, users ...accounts.User) {
	t.Helper()
	changes := make([]accounts.Change, len(users))
	for i := range users {
		changes[i].User = &users[i]
	}
	if err := a.Apply(t.Context(), changes, nil); err != nil {
		t.Fatal(err)
	}
}

// weak is an argon2id hash that costs next to nothing, for tests of everything but cost.
func weak(t testing.TB) string {
	t.Helper()
	const text = "$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$QA3Q2Jz1vTWdB/rBdk6mMQ"
	h, err := phc.Parse(text)
	if err != nil || !h.Slow() || !h.Matches([]byte("secret")) {
		t.Fatalf("the weak hash: %v %v", err, h.Matches([]byte("secret")))
	}
	return text
}

func attempt(user, password, address, client string) *auth.Attempt {
	return &auth.Attempt{
		Peer: auth.Peer{Address: netip.AddrPortFrom(netip.MustParseAddr(address), 4711)}, ClientID: client,
		Username: user, HasUser: true, Password: []byte(password), HasPass: true,
	}
}

// reasonOf is the reason of a refusal; 0 = accepted, 1 = unknown, 2 = cannot be told.
func reasonOf(t testing.TB, p *Password, a *auth.Attempt) mqtt.ReasonCode {
	t.Helper()
	_, err := p.Authenticate(t.Context(), a)
	var no *auth.Refusal
	switch {
	case err == nil:
		return 0
	case errors.As(err, &no):
		return no.Reason
	case errors.Is(err, auth.ErrUnknown):
		return 1
	}
	t.Logf("cannot be told: %v", err)
	return 2
}

// TestSuite covers, among others, passwords of 0 bytes, of 65,535 bytes and with U+0000 (F156).
func TestSuite(t *testing.T) {
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	harness := func() (h authtest.Harness) {
		var a *accounts.Accounts
		return authtest.Harness{
			New: func(t *testing.T) auth.Authenticator {
				p := cheapDecoy(t, open(t, Options{Logger: log}, accounts.User{Name: "ann", Password: weak(t)}))
				a = p.accounts
				return p
			},
			Right: func() *auth.Attempt {
				return &auth.Attempt{Peer: authtest.Peer(), ClientID: "c", Username: "ann", HasUser: true, Password: []byte("secret"), HasPass: true}
			},
			Name: "ann", WrongPassword: authtest.Refused, EmptyPassword: authtest.Refused, NoPassword: authtest.Unknown, UnknownUser: authtest.Unknown, NoUser: authtest.Unknown,
			With: func(t *testing.T, password []byte) *auth.Attempt {
				put(t, a, accounts.User{Name: "with", Password: phc.New(password).String()})
				return &auth.Attempt{Peer: authtest.Peer(), ClientID: "w", Username: "with", HasUser: true, Password: password, HasPass: true}
			},
			Unreachable: func(t *testing.T) auth.Authenticator {
				p := open(t, Options{Logger: log})
				if err := p.accounts.Close(); err != nil {
					t.Fatal(err)
				}
				return p
			},
			Hanging: func(t *testing.T) auth.Authenticator {
				p := open(t, Options{Logger: log, Gate: phc.NewGate(1, 8)}, accounts.User{Name: "ann", Password: phc.New([]byte("secret")).String()})
				hold(t, p.gate)
				return p
			},
			Logged: logged.String,
		}
	}
	authtest.Run(t, harness())
	t.Run("file", func(t *testing.T) {
		h := harness()
		h.New = func(t *testing.T) auth.Authenticator {
			p, err := Open(Options{Config: withFile(t, mossa), Logger: log, Next: true})
			if err != nil {
				t.Fatal(err)
			}
			return cheapDecoy(t, p)
		}
		right := h.Right
		h.Right = func() *auth.Attempt {
			a := right()
			a.Username = "mossa"
			return a
		}
		h.Name, h.With, h.Unreachable, h.Hanging = "mossa", nil, nil, nil
		authtest.Run(t, h)
	})
}

// hold takes the only slot of a gate until the test ends.
func hold(t *testing.T, g *phc.Gate) {
	t.Helper()
	in, out, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		if err := g.Do(context.Background(), false, func() { close(in); <-out }); err != nil {
			t.Error(err)
		}
	}()
	<-in
	t.Cleanup(func() { close(out); <-left })
}

func withFile(t *testing.T, text string) Config {
	t.Helper()
	c := DefaultConfig()
	c.Files = []string{filepath.Join(t.TempDir(), "passwords")}
	if err := os.WriteFile(c.Files[0], []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// Binary passwords are whole: one that is right up to a NUL is wrong (F156).
func TestBinaryPassword(t *testing.T) {
	long := strings.Repeat("p", 1024)
	p := open(t, Options{}, accounts.User{Name: "nul", Password: phc.New([]byte("be\x00fore")).String()},
		accounts.User{Name: "empty", Password: phc.New(nil).String()}, accounts.User{Name: "long", Password: phc.New([]byte(long)).String()},
		accounts.User{Name: "none"})
	f := func(user, password string, want mqtt.ReasonCode) {
		t.Helper()
		if got := reasonOf(t, p, attempt(user, password, "192.0.2.1", "c")); got != want {
			t.Errorf("%s with %.20q of %d bytes: %#x, want %#x", user, password, len(password), got, want)
		}
	}
	f("nul", "be\x00fore", 0)
	f("nul", "be", 0x86)
	f("nul", "be\x00", 0x86)
	f("nul", "be\x00fort", 0x86)
	f("empty", "", 0)
	f("empty", "x", 0x86)
	f("none", "", 0x86)
	f("none", "x", 0x86)
	f("long", long, 0)
	f("long", long[1:], 0x86)
	before := p.Stats().Hashing.Hashes
	f("long", strings.Repeat("p", 1025), 0x86)
	f("long", strings.Repeat("p", 65535), 0x86)
	f("nobody", strings.Repeat("p", 65535), 0x86)
	if s := p.Stats(); s.Hashing.Hashes != before || s.TooLong != 3 {
		t.Errorf("too long ones were hashed: %+v", s)
	}
	// What is too long to be a password may be a token: of who is not known here, the next backend is asked.
	p = open(t, Options{Next: true}, accounts.User{Name: "known", Password: weak(t)})
	for user, want := range map[string]mqtt.ReasonCode{"known": 0x86, "nobody": 1} {
		if got := reasonOf(t, p, attempt(user, strings.Repeat("p", 2000), "192.0.2.1", "c")); got != want {
			t.Errorf("a token of %s: %#x, want %#x", user, got, want)
		}
	}
}

// A password file that cannot be used keeps the broker from starting, and a reload from happening (F146).
func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "passwords")
	c := DefaultConfig()
	c.Files = []string{path}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(mossa + "\n\n# a comment\r\n\r\n")
	running, err := Open(Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	cheapDecoy(t, running)
	if running.Stats().FileUsers != 1 || fmt.Sprint(running.Files()) != fmt.Sprint(c.Files) {
		t.Errorf("%+v, files %v", running.Stats(), running.Files())
	}
	check := func(name, want string) {
		t.Helper()
		if p, err := Open(Options{Config: c}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: starts, or says not why: %v %v", name, p, err)
		}
		if err := running.Reload(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: reloads: %v", name, err)
		}
		if got := reasonOf(t, running, attempt("mossa", "secret", "192.0.2.1", "c")); got != 0 {
			t.Errorf("%s: the old users are gone: %#x", name, got)
		}
		for _, user := range []string{"", "ann", "#", "canary"} {
			for _, password := range []string{"", "canary"} {
				if got := reasonOf(t, running, attempt(user, password, "192.0.2.1", "c")); got == 0 {
					t.Errorf("%s: %q gets in", name, user)
				}
			}
		}
	}
	f := func(name, text, want string) {
		t.Helper()
		write(text)
		check(name, want)
	}
	f("empty", "", "no users")
	f("only blank lines", "\n \n\t\n# x\n", "no users")
	f("no colon", mossa+"\ncanary\n", "line 2: no colon")
	f("no hash", "ann:\n", "line 1: the password is no hash")
	f("plain password", mossa+"\nann:canary\n", "mosquitto_passwd -U")
	f("no name", ":"+strings.TrimPrefix(mossa, "mossa:"), "line 1: the name is empty")
	f("only a colon", ":", "line 1")
	f("cut hash", mossa[:len(mossa)-9], "line 1")
	f("no salt", "ann:$7$101$$"+strings.Repeat("A", 86)+"==", "line 1")
	f("twice", mossa+"\n"+mossa, "line 2: user \"mossa\" is there twice")
	f("control character", "an\x07n"+strings.TrimPrefix(mossa, "mossa"), "line 1: the name has control")
	f("no UTF-8", "an\xffn"+strings.TrimPrefix(mossa, "mossa"), "line 1: the name is no UTF-8")
	f("NUL", "\x00"+mossa, "line 1")
	f("hostile cost", "ann:$argon2id$v=19$m=4194304,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$QA3Q2Jz1vTWdB/rBdk6mMQ", "out of bounds")
	f("endless line", "ann:"+strings.Repeat("x", 100_000), "longer than")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check("missing", "no such file")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	check("directory", "it is no file")
}

// A reload lets new users in, keeps removed ones out although their credentials are remembered, and tells whose connections are to end.
func TestReload(t *testing.T) {
	c := withFile(t, mossa)
	var told *accounts.Changed
	p := open(t, Options{Config: c, Changed: func(c *accounts.Changed) { told = c }})
	told = nil
	who := &auth.Principal{Identity: &auth.Identity{Name: "mossa", By: ByFile}}
	if reasonOf(t, p, attempt("mossa", "secret", "192.0.2.1", "c")) != 0 {
		t.Fatal("not let in")
	}
	if err := p.Reload(); err != nil || told != nil {
		t.Errorf("a reload of the same: %v %v", told, err)
	}
	if err := os.WriteFile(c.Files[0], []byte("other"+strings.TrimPrefix(mossa, "mossa")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := reasonOf(t, p, attempt("mossa", "secret", "192.0.2.1", "c")); got != 1 {
		t.Errorf("a removed user: %#x", got)
	}
	if got := reasonOf(t, p, attempt("other", "secret", "192.0.2.1", "c")); got != 0 {
		t.Errorf("a new user: %#x", got)
	}
	if why := told.Revokes(who, time.Now()); why == "" {
		t.Error("the removed user's connections may stay")
	}
	who.Identity = &auth.Identity{Name: "mossa", By: "ldap"}
	if why := told.Revokes(who, time.Now()); why != "" {
		t.Errorf("another backend's client: %s", why)
	}
}

// Where nobody made a user, none gets in (F162).
func TestNoDefaultUsers(t *testing.T) {
	p := cheapDecoy(t, open(t, Options{}))
	for i, user := range []string{"admin", "root", "guest", "mqtt", "sapwood", "user", "test"} {
		for j, password := range []string{"", "admin", "public", "password", "guest", user} {
			if got := reasonOf(t, p, attempt(user, password, fmt.Sprintf("10.0.%d.%d", i, j), "c")); got != 1 {
				t.Errorf("%s with %q: %#x", user, password, got)
			}
		}
	}
}

// What was changed in the accounts holds at once, although credentials are remembered.
func TestChangesHoldAtOnce(t *testing.T) {
	p := open(t, Options{}, accounts.User{Name: "ann", Password: weak(t)})
	f := func(name string, u accounts.User, want mqtt.ReasonCode, why string) {
		t.Helper()
		u.Name = "ann"
		put(t, p.accounts, u)
		for range 2 {
			_, err := p.Authenticate(t.Context(), attempt("ann", "secret", "192.0.2.1", "c1"))
			var no *auth.Refusal
			if errors.As(err, &no) != (want > 0) || no != nil && (no.Reason != want || !strings.Contains(no.Why, why) || strings.Contains(no.Text, "ann")) {
				t.Errorf("%s: %v, want %#x %s", name, err, want, why)
			}
		}
	}
	f("as it was", accounts.User{Password: weak(t)}, 0, "")
	f("disabled", accounts.User{Password: weak(t), Disabled: true}, 0x87, "is disabled")
	f("expired", accounts.User{Password: weak(t), Expires: time.Now().Add(-time.Second)}, 0x87, "expired at")
	f("not yet expired", accounts.User{Password: weak(t), Expires: time.Now().Add(time.Hour)}, 0, "")
	f("another client", accounts.User{Password: weak(t), ClientID: "c2"}, 0x87, `with the client id "c2" only`)
	f("its client", accounts.User{Password: weak(t), ClientID: "c*"}, 0, "")
	f("another password", accounts.User{Password: phc.New([]byte("other")).String()}, 0x86, "wrong password")
	f("no password", accounts.User{}, 0x86, "wrong password")
	f("as it was again", accounts.User{Password: weak(t)}, 0, "")
	if err := p.accounts.Apply(t.Context(), []accounts.Change{{User: &accounts.User{Name: "ann"}, Delete: true}}, nil); err != nil {
		t.Fatal(err)
	}
	if got := reasonOf(t, p, attempt("ann", "secret", "192.0.2.1", "c1")); got != 1 {
		t.Errorf("removed: %#x", got)
	}
}

// The identity has what the user has.
func TestIdentity(t *testing.T) {
	a, err := accounts.New(accounts.Options{Store: accounts.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(t.Context(), []accounts.Change{{Group: &accounts.Group{Name: "ops"}}}, nil); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	p := open(t, Options{Accounts: a}, accounts.User{Name: "ann", Password: weak(t), Groups: []string{"ops"}, Expires: end})
	for range 2 {
		id, err := p.Authenticate(t.Context(), attempt("ann", "secret", "192.0.2.1", "c"))
		if err != nil || id.Name != "ann" || len(id.Groups) != 1 || id.Groups[0] != "ops" || !id.Expires.Equal(end) || id.By != accounts.By {
			t.Errorf("%+v %v", id, err)
		}
	}
}

// A user that is changed while its password is hashed is not let in by what was before.
func TestChangedMeanwhile(t *testing.T) {
	f := func(name string, now accounts.User, want mqtt.ReasonCode) {
		t.Run(name, func(t *testing.T) {
			p := open(t, Options{Gate: phc.NewGate(1, 8)}, accounts.User{Name: "ann", Password: weak(t)})
			in, out := make(chan struct{}), make(chan struct{})
			var all sync.WaitGroup
			all.Go(func() {
				if err := p.gate.Do(context.Background(), false, func() { close(in); <-out }); err != nil {
					t.Error(err)
				}
			})
			<-in
			got := make(chan mqtt.ReasonCode, 1)
			all.Go(func() { got <- reasonOf(t, p, attempt("ann", "secret", "192.0.2.1", "c")) })
			for p.gate.Stats().Waiting == 0 { // the password was read, and waits to be hashed
				runtime.Gosched()
			}
			now.Name = "ann"
			put(t, p.accounts, now)
			close(out)
			if r := <-got; r != want {
				t.Errorf("%#x, want %#x", r, want)
			}
			all.Wait()
		})
	}
	f("same password", accounts.User{Password: weak(t), Note: "x"}, 0)
	f("disabled", accounts.User{Password: weak(t), Disabled: true}, 0x87)
	f("another password", accounts.User{Password: phc.New([]byte("other")).String()}, 2)
}
