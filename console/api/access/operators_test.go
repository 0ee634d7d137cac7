package access

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
)

// add makes an operator whose password is "password of NAME".
func add(t *testing.T, a *Access, name string, role Role) Operator {
	t.Helper()
	password := "password of " + name
	o, err := a.PutOperator(t.Context(), name, OperatorChange{Role: &role, Password: &password}, accounts.Absent)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOperators(t *testing.T) {
	a := open(t, Options{Password: "right"})
	ctx := t.Context()
	anna := add(t, a, "anna", RoleOperator)
	if !anna.ChangeNeeded || anna.Revision == 0 || anna.Created.IsZero() {
		t.Errorf("%+v", anna)
	}
	yes, no, viewer, admin, king := true, false, RoleViewer, RoleAdmin, Role("king")
	short, long := "short", strings.Repeat("x", 2000)
	good := "long enough"
	f := func(want error, name string, c OperatorChange, condition accounts.Revision) {
		t.Helper()
		if _, err := a.PutOperator(ctx, name, c, condition); !errors.Is(err, want) {
			t.Errorf("%s %+v: %v, want %v", name, c, err, want)
		}
	}
	f(accounts.ErrExists, "anna", OperatorChange{Password: &good}, accounts.Absent)
	f(accounts.ErrNotFound, "bert", OperatorChange{Disabled: &yes}, accounts.Present)
	f(accounts.ErrRevision, "anna", OperatorChange{Disabled: &yes}, anna.Revision-1)
	f(accounts.ErrInvalid, "anna", OperatorChange{Role: &king}, accounts.Present)
	f(accounts.ErrInvalid, "anna", OperatorChange{Password: &short}, accounts.Present)
	f(accounts.ErrInvalid, "anna", OperatorChange{Note: &long}, accounts.Present)
	f(accounts.ErrInvalid, "bert", OperatorChange{}, accounts.Absent)
	for _, name := range []string{"", " ", "a\r\nb", "a:b", "a/b", `a"b`, "a\x00", "\xff", long, "a\u202eb"} { // F197
		f(accounts.ErrInvalid, name, OperatorChange{Password: &good}, accounts.Absent)
	}
	f(ErrLastAdmin, "admin", OperatorChange{Role: &viewer}, accounts.Present)
	f(ErrLastAdmin, "admin", OperatorChange{Disabled: &yes}, accounts.Present)
	f(nil, "anna", OperatorChange{Role: &admin}, accounts.Present)
	f(nil, "admin", OperatorChange{Disabled: &yes}, accounts.Present)
	f(ErrLastAdmin, "anna", OperatorChange{Role: &viewer}, accounts.Present)
	if err := a.DeleteOperator(ctx, "anna", accounts.Present); !errors.Is(err, ErrLastAdmin) {
		t.Error(err)
	}
	f(nil, "admin", OperatorChange{Disabled: &no}, accounts.Present)
	if err := a.DeleteOperator(ctx, "admin", accounts.Present); !errors.Is(err, ErrBuiltin) {
		t.Error(err)
	}
	if err := a.DeleteOperator(ctx, "anna", 1); !errors.Is(err, accounts.ErrRevision) {
		t.Error(err)
	}
	if err := a.DeleteOperator(ctx, "anna", accounts.Present); err != nil {
		t.Error(err)
	}
	if err := check(a, basic("anna", "password of anna"), "h"); !errors.Is(err, ErrWrong) {
		t.Error(err)
	}
	again := add(t, a, "anna", RoleViewer)
	if again.Revision <= anna.Revision {
		t.Error("a revision is given twice")
	}
	for i := range maxOperators {
		a.operators[fmt.Sprint("x", i)] = newOperator(Operator{}, a.nobody)
	}
	f(accounts.ErrInvalid, "one more", OperatorChange{Password: &good}, accounts.Absent)
}

// What was kept is there after a restart: operators, keys and the log in the store, the password of admin in its file.
func TestRestart(t *testing.T) {
	dir, kept := t.TempDir(), NewMemory()
	ctx := t.Context()
	a := open(t, Options{Dir: dir, Store: kept, Password: "first one"})
	add(t, a, "anna", RoleOperator)
	another := "another one"
	if _, err := a.PutOperator(ctx, "admin", OperatorChange{Password: &another, Own: true}, accounts.Present); err != nil {
		t.Fatal(err)
	}
	_, secret, err := a.CreateKey(ctx, "k", KeyChange{Scopes: []string{"read"}}, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(check(a, "Bearer "+secret, "h"), a.Audit(ctx, &Entry{At: time.Now(), Operation: "x"}), a.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	for _, body := range kept.records {
		if strings.Contains(string(body), "password of anna") || strings.Contains(string(body), secret) || strings.Contains(string(body), another) {
			t.Errorf("a secret is kept: %s", body)
		}
	}
	b := open(t, Options{Dir: dir, Store: kept, Password: "not used"})
	for header, want := range map[string]error{
		basic("anna", "password of anna"): nil, basic("admin", another): nil, basic("admin", "first one"): ErrWrong, "Bearer " + secret: nil,
		"Bearer " + secret + "x": ErrWrong, "Bearer swk_": ErrWrong,
	} {
		if err := check(b, header, header); !errors.Is(err, want) {
			t.Errorf("%s: %v", header, err)
		}
	}
	if k, err := b.Key("k"); err != nil || k.Used.IsZero() || k.By != "test" {
		t.Errorf("%+v %v", k, err)
	}
	if found, more, err := b.Entries(ctx, 0, 10, func(*Entry) bool { return true }); err != nil || more || len(found) != 1 || found[0].Operation != "x" || found[0].ID == 0 {
		t.Errorf("%+v %v", found, err)
	}
	// Whoever can remove the file, such as after a restore, gets in again.
	yes := true
	admin := RoleAdmin
	if _, err := b.PutOperator(ctx, "anna", OperatorChange{Role: &admin}, accounts.Present); err != nil {
		t.Fatal(err)
	}
	if _, err := b.PutOperator(ctx, "admin", OperatorChange{Disabled: &yes}, accounts.Present); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, adminFile)); err != nil {
		t.Fatal(err)
	}
	c := open(t, Options{Dir: dir, Store: kept})
	if err := errors.Join(check(c, basic("admin", c.FirstPassword()), "h"), check(c, basic("anna", "password of anna"), "h")); err != nil {
		t.Error(err)
	}
	// Records that are no good are no reason to let nobody know.
	if err := kept.PutRecord(ctx, keyKind, "bad", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Store: kept}); err == nil || !strings.Contains(err.Error(), `key "bad"`) {
		t.Error(err)
	}
}

func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, Options{Password: "right"})
		ctx := context.Background()
		yes, soon, past := true, time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
		k, secret, err := a.CreateKey(ctx, "k", KeyChange{Scopes: []string{"read", "events:read", "read"}, Expires: &soon}, "operator admin")
		if err != nil || len(k.Scopes) != 2 || !strings.HasPrefix(secret, k.Begins+"_") || len(secret) < 40 {
			t.Fatalf("%+v %s %v", k, secret, err)
		}
		f := func(want error, name string, c KeyChange) {
			t.Helper()
			if _, _, err := a.CreateKey(ctx, name, c, ""); !errors.Is(err, want) {
				t.Errorf("%s %+v: %v", name, c, err)
			}
		}
		f(accounts.ErrExists, "k", KeyChange{Scopes: []string{"read"}})
		f(accounts.ErrInvalid, "", KeyChange{Scopes: []string{"read"}})
		f(accounts.ErrInvalid, "x", KeyChange{})
		f(accounts.ErrInvalid, "x", KeyChange{Scopes: []string{"read"}, Expires: &past})
		wrong := func(want error) {
			t.Helper()
			if err := check(a, "Bearer "+secret, "h"); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		wrong(nil)
		time.Sleep(time.Hour)
		wrong(ErrWrong)
		if k, err = a.ChangeKey(ctx, "k", KeyChange{Expires: &time.Time{}}, k.Revision); err != nil {
			t.Fatal(err)
		}
		wrong(nil)
		if _, err := a.ChangeKey(ctx, "k", KeyChange{Disabled: &yes}, k.Revision-1); !errors.Is(err, accounts.ErrRevision) {
			t.Error(err)
		}
		if _, err := a.ChangeKey(ctx, "k", KeyChange{Disabled: &yes}, accounts.Present); err != nil {
			t.Error(err)
		}
		wrong(ErrWrong)
		if err := a.DeleteKey(ctx, "k", accounts.Present); err != nil {
			t.Error(err)
		}
		if err := a.DeleteKey(ctx, "k", accounts.Present); !errors.Is(err, accounts.ErrNotFound) {
			t.Error(err)
		}
		// A key that holds gets in however many wrong ones come from its address (F193).
		_, secret, _ = a.CreateKey(ctx, "k", KeyChange{Scopes: []string{"read"}}, "")
		for range 10 {
			_ = check(a, "Bearer swk_x", "h")
		}
		wrong(nil)
	})
}

func TestScopes(t *testing.T) {
	resources := []string{"events", "clients"}
	for scope, ok := range map[string]bool{
		"read": true, "operate": true, "admin": true, "events:read": true, "clients:admin": true,
		"": false, ":": false, "events": false, "events:": false, ":read": false, "other:read": false, "read:read": false, "Read": false, "events:write": false,
	} {
		if err := CheckScope(scope, resources); (err == nil) != ok {
			t.Errorf("%q: %v", scope, err)
		}
	}
	f := func(scopes string, resource string, l Level, want bool) {
		t.Helper()
		if got := (&Caller{Scopes: strings.Fields(scopes)}).May(resource, l); got != want {
			t.Errorf("%s for %s:%v: %v", scopes, resource, l, got)
		}
	}
	f("read", "x", Read, true)
	f("read", "x", Operate, false)
	f("admin", "x", Operate, true)
	f("", "x", Read, false)
	f("events:read clients:operate", "clients", Read, true)
	f("events:read clients:operate", "clients", Operate, true)
	f("events:read clients:operate", "clients", Admin, false)
	f("events:read clients:operate", "users", Read, false)
	f("events:admin", "events:admin", Read, false)
	f("nonsense", "x", Read, false)
}

func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, Options{Password: "right"})
		ctx := context.Background()
		login := func() string {
			t.Helper()
			token, c, err := a.Login(ctx, "admin", "right", "h")
			if err != nil || !c.Session || !a.Fresh(c) {
				t.Fatal(c, err)
			}
			return token
		}
		holds := func(token string, want bool) {
			t.Helper()
			if _, err := a.Session(token); (err == nil) != want {
				t.Errorf("%v, want %v", err, want)
			}
		}
		use := func(token string) {
			t.Helper()
			c, err := a.Session(token)
			if err != nil {
				t.Fatal(err)
			}
			_, end := c.Bound(ctx)
			end()
		}
		first := login()
		time.Sleep(59 * time.Minute)
		use(first)
		time.Sleep(59 * time.Minute)
		holds(first, true)
		time.Sleep(time.Minute)
		holds(first, false) // idle

		open := login()
		c, _ := a.Session(open)
		if bound, end := c.Bound(ctx); bound.Err() == nil { // a page that is looked at
			time.Sleep(11 * time.Hour)
			holds(open, true)
			if a.Fresh(c) {
				t.Error("the password was given 11 hours ago")
			}
			if err := a.Confirm(ctx, c, "wrong", "h"); !errors.Is(err, ErrWrong) {
				t.Error(err)
			}
			if err := a.Confirm(ctx, c, "right", "h"); err != nil || !a.Fresh(c) {
				t.Error(err)
			}
			time.Sleep(time.Hour)
			holds(open, false) // it was long enough
			synctest.Wait()
			if bound.Err() == nil {
				t.Error("what it began goes on")
			}
			end()
		}

		all := make([]string, maxSessionsOne+1)
		for i := range all {
			all[i] = login()
			time.Sleep(time.Second)
		}
		holds(all[0], false)
		holds(all[1], true)
		if n := a.Sessions("admin"); n != maxSessionsOne {
			t.Errorf("%d sessions", n)
		}
		a.Logout(all[1])
		a.Logout("nonsense")
		holds(all[1], false)
		note := "n"
		if _, err := a.PutOperator(ctx, "admin", OperatorChange{Note: &note}, accounts.Present); err != nil {
			t.Error(err)
		}
		holds(all[2], true)
		another := "another one"
		if _, err := a.PutOperator(ctx, "admin", OperatorChange{Password: &another}, accounts.Present); err != nil {
			t.Error(err)
		}
		holds(all[2], false)
		if n := a.Sessions("admin"); n != 0 {
			t.Errorf("%d sessions after the password has changed", n)
		}
	})
}

// There are never more sessions than maxSessions, whoever logs in.
func TestSessionsBounded(t *testing.T) {
	a := open(t, Options{Password: "right"})
	for i := range maxSessions/maxSessionsOne + 2 {
		op := newOperator(Operator{Name: fmt.Sprint("o", i)}, a.nobody)
		a.operators[op.Name] = op
		for range maxSessionsOne {
			if _, c := a.open(op); c == nil {
				t.Fatal("no session")
			}
		}
	}
	if len(a.sessions) != maxSessions {
		t.Errorf("%d sessions", len(a.sessions))
	}
}

// Whether the operator or the password is wrong, the same is done: one hash of the same cost (F193).
func TestSameTime(t *testing.T) {
	a := open(t, Options{Password: "right"})
	add(t, a, "anna", RoleViewer)
	yes := true
	add(t, a, "dora", RoleViewer)
	if _, err := a.PutOperator(t.Context(), "dora", OperatorChange{Disabled: &yes}, accounts.Present); err != nil {
		t.Fatal(err)
	}
	for i, who := range []string{"anna", "dora", "nobody", "", strings.Repeat("x", 300)} {
		before := a.hashing.Stats().Hashes
		if _, _, err := a.Login(t.Context(), who, "password of dora", fmt.Sprint("h", i)); !errors.Is(err, ErrWrong) {
			t.Errorf("%s: %v", who, err)
		}
		if n := a.hashing.Stats().Hashes - before; n != 1 {
			t.Errorf("%s: %d hashes", who, n)
		}
	}
	if a.nobody.Scheme() != a.operators["anna"].password.Scheme() {
		t.Error("who is not there is hashed otherwise")
	}
}

// The log keeps what its bounds say, and ids grow over what was removed.
func TestAuditBounds(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Audit = Auditing{Entries: 1000, Age: time.Hour}
	a := open(t, Options{Password: "right", Config: cfg})
	ctx := t.Context()
	old := time.Now().Add(-2 * time.Hour)
	for i := range 2 * trimEvery {
		at := time.Now()
		if i < trimEvery-100 {
			at = old
		}
		if err := a.Audit(ctx, &Entry{At: at, Operation: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	all := func(*Entry) bool { return true }
	found, more, err := a.Entries(ctx, 0, 5000, all)
	if err != nil || more || len(found) != trimEvery+100 || found[0].ID != 2*trimEvery {
		t.Errorf("%d entries, %v %v", len(found), more, err)
	}
	found, more, err = a.Entries(ctx, found[9].ID, 10, all)
	if err != nil || !more || len(found) != 10 || found[0].ID != 2*trimEvery-10 {
		t.Errorf("%+v, %v %v", found, more, err)
	}
}

func TestPaces(t *testing.T) {
	now := time.Now()
	p := paces{}
	for range 50 {
		if p.take("a", 5, now) != 0 {
			t.Fatal("fifty at once are allowed")
		}
	}
	if wait := p.take("a", 5, now); wait != 200*time.Millisecond {
		t.Errorf("wait %v", wait)
	}
	if p.take("b", 5, now) != 0 || p.take("a", 5, now.Add(200*time.Millisecond)) != 0 || p.take("a", 0, now) != 0 {
		t.Error("who may ask has to wait")
	}
	for i := range 3 * maxPaces {
		p.take(fmt.Sprint(i), 1, now)
	}
	if len(p) > maxPaces {
		t.Errorf("%d are known", len(p))
	}
}

// Who is revoked while its password is looked at does not get in (F194).
func TestRevokedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, Options{Password: "right"})
		ctx := context.Background()
		role, password := RoleViewer, "password of anna"
		if _, err := a.PutOperator(ctx, "anna", OperatorChange{Role: &role, Password: &password}, accounts.Absent); err != nil {
			t.Fatal(err)
		}
		busy, end, done := make(chan bool), make(chan bool), make(chan error)
		go func() { done <- a.hashing.Do(ctx, false, func() { close(busy); <-end }) }()
		<-busy
		got := make(chan error)
		go func() {
			_, _, err := a.Login(ctx, "anna", password, "h")
			got <- err
		}()
		synctest.Wait()
		if err := a.DeleteOperator(ctx, "anna", accounts.Present); err != nil {
			t.Error(err)
		}
		close(end)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := <-got; !errors.Is(err, ErrWrong) {
			t.Error(err)
		}
	})
}
