package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
)

// desk is an API on accounts in memory, and what a test does with it.
type desk struct {
	t     *testing.T
	s     *httptest.Server
	known *accounts.Accounts
}

func atDesk(t *testing.T, p rights.Policy) *desk {
	t.Helper()
	who := admitting(t, access.Options{})
	known, err := accounts.New(accounts.Options{Store: accounts.NewMemory(), Scram: []string{"SCRAM-SHA-256"}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(New(Options[state, found, found]{Access: who, Status: func() Overview { return Overview{} }, Accounts: known, Policy: p}))
	t.Cleanup(s.Close)
	return &desk{t, s, known}
}

// ask sends one request, and fails unless the answer has the status and every one of the texts.
func (d *desk) ask(method, path, body string, status int, want ...string) (*http.Response, string) {
	d.t.Helper()
	return d.askIf(nil, method, path, body, status, want...)
}

func (d *desk) askIf(header map[string]string, method, path, body string, status int, want ...string) (*http.Response, string) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), method, d.s.URL+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	r.SetBasicAuth("admin", right)
	for name, value := range header {
		r.Header.Set(name, value)
	}
	resp, err := d.s.Client().Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	if resp.StatusCode != status {
		d.t.Fatalf("%s %s: %d, want %d: %s", method, path, resp.StatusCode, status, text)
	}
	if kind := resp.Header.Get("Content-Type"); status >= 400 && kind != "application/problem+json" {
		d.t.Errorf("%s %s: %s", method, path, kind)
	}
	for _, w := range want {
		if !strings.Contains(string(text), w) {
			d.t.Errorf("%s %s: no %q in %s", method, path, w, text)
		}
	}
	return resp, string(text)
}

func TestUsers(t *testing.T) {
	d := atDesk(t, rights.Policy{})
	d.ask("PUT", "/groups/line-a", `{"note":"the first line"}`, 200, `"name":"line-a"`)
	d.askIf(map[string]string{"If-None-Match": "*"}, "PUT", "/groups/line-a", "{}", 412)
	resp, _ := d.ask("POST", "/users", `{"name":"anna","kind":"person","groups":["line-a"],"password":"long enough","expires":"2099-01-01T00:00:00Z"}`, 201,
		`"name":"anna"`, `"kind":"person"`, `"has_password":true`, `"methods":["SCRAM-SHA-256"]`, `"expires":"2099-01-01T00:00:00Z"`)
	first := resp.Header.Get("ETag")
	d.ask("POST", "/users", `{"name":"anna"}`, 409, "there already")
	d.ask("GET", "/users/anna", "", 200, `"groups":["line-a"]`)
	d.ask("GET", "/users/bert", "", 404, `there is no user \"bert\"`)
	d.ask("PATCH", "/users/bert", `{}`, 404)
	d.ask("PATCH", "/users/anna", `{"note":"new","expires":"never"}`, 200, `"note":"new"`, `"groups":["line-a"]`)
	if u, err := d.known.User(t.Context(), "anna"); err != nil || !u.Expires.IsZero() || u.Password == "" {
		t.Errorf("%+v, %v", u, err)
	}
	d.askIf(map[string]string{"If-Match": first}, "PATCH", "/users/anna", `{"note":"newer"}`, 412, "read it again")
	d.askIf(map[string]string{"If-Match": "nonsense"}, "PATCH", "/users/anna", `{"note":"newer"}`, 412)
	d.askIf(map[string]string{"If-Match": first}, "DELETE", "/users/anna", "", 412)
	d.askIf(map[string]string{"If-None-Match": "*"}, "PUT", "/users/anna", `{}`, 412, "there already") // RFC 9110 13.1.2
	d.askIf(map[string]string{"If-None-Match": "*"}, "DELETE", "/users/anna", "", 412)
	d.askIf(map[string]string{"If-None-Match": "*"}, "PATCH", "/users/anna", `{}`, 412)
	d.askIf(map[string]string{"If-Match": "*"}, "PUT", "/users/carl", `{}`, 404)
	d.ask("PUT", "/users/anna", `{"disabled":true}`, 200, `"disabled":true`, `"kind":"device"`, `"has_password":true`)
	resp, _ = d.ask("GET", "/users/anna", "", 200)
	d.askIf(map[string]string{"If-Match": resp.Header.Get("ETag")}, "PATCH", "/users/anna", `{"disabled":false}`, 200)
	d.ask("PATCH", "/users/anna", `{"groups":["nobody"]}`, 422, "does not exist")
	d.ask("PATCH", "/users/anna", `{"password":"short"}`, 422)
	d.ask("PATCH", "/users/anna", `{"password":"long enough","generate":true}`, 422, "one of")
	d.ask("PATCH", "/users/anna", `{"password_hash":"plain"}`, 422)
	d.ask("PATCH", "/users/anna", `{"expires":"tomorrow"}`, 422, "2027-01-31")
	d.ask("PATCH", "/users/anna", `{"colour":"red"}`, 422)
	d.ask("POST", "/users", `{"name":"a\u0007"}`, 422, "control")
	d.ask("DELETE", "/groups/line-a", "", 204)
	d.ask("DELETE", "/groups/line-a", "", 404)
	d.ask("DELETE", "/users/anna", "", 204)
	d.ask("DELETE", "/users/anna", "", 404)
	d.ask("PUT", "/users/a%2Fb%20c", `{}`, 200, `"name":"a/b c"`)
	d.ask("GET", "/users/a%2Fb%20c", "", 200, `"name":"a/b c"`)
}

func TestUserPages(t *testing.T) {
	d := atDesk(t, rights.Policy{})
	d.ask("PUT", "/groups/odd", `{}`, 200)
	for i := range 7 {
		groups := ""
		if i%2 == 1 {
			groups = `"odd"`
		}
		d.ask("PUT", fmt.Sprintf("/users/u%d", i), `{"groups":[`+groups+`]}`, 200)
	}
	d.ask("PUT", "/users/other", `{}`, 200)
	f := func(query, want string) {
		t.Helper()
		_, text := d.ask("GET", "/users"+query, "", 200)
		var page rights.UserPage
		if err := json.Unmarshal([]byte(text), &page); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, u := range page.Users {
			got += u.Name + " "
		}
		if got += page.Next; got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	f("", "other u0 u1 u2 u3 u4 u5 u6 ")
	f("?prefix=u&limit=3", "u0 u1 u2 u2")
	f("?prefix=u&limit=3&after=u2", "u3 u4 u5 u5")
	f("?prefix=u&limit=3&after=u5", "u6 ")
	f("?group=odd", "u1 u3 u5 ")
	f("?prefix=none", "")
	d.ask("GET", "/users?limit=1001", "", 422)
	d.ask("DELETE", "/groups/odd", "", 409, "has users")
}

// TestSecrets: a secret is shown once, to who asked for it, and no hash ever (F158).
func TestSecrets(t *testing.T) {
	d := atDesk(t, rights.Policy{})
	const canary = "canary-7f3a-password"
	_, made := d.ask("POST", "/users", `{"name":"press-1","generate":true}`, 201, `"secret":"`)
	var u rights.UserSecret
	if err := json.Unmarshal([]byte(made), &u); err != nil || len(u.Secret) < 16 {
		t.Fatal(err, made)
	}
	_, a := d.ask("PUT", "/users/anna", `{"password":"`+canary+`"}`, 200)
	_, b := d.ask("GET", "/users", "", 200)
	_, c := d.ask("GET", "/users/press-1", "", 200)
	_, e := d.ask("PATCH", "/users/anna", `{"note":"x"}`, 200)
	_, f := d.ask("PATCH", "/users/anna", `{"password":"`+canary+`","colour":1}`, 422)
	for _, text := range []string{a, b, c, e, f} {
		for _, never := range []string{canary, u.Secret, "argon2", "$6$", "$7$", "stored_key", "server_key"} {
			if strings.Contains(text, never) {
				t.Errorf("%q in %s", never, text)
			}
		}
	}
}

func TestBulk(t *testing.T) {
	d := atDesk(t, rights.Policy{})
	d.ask("PUT", "/groups/g", `{}`, 200)
	d.ask("PUT", "/users/old", `{"note":"stays","password":"long enough"}`, 200)
	d.ask("PUT", "/users/gone", `{}`, 200)
	_, text := d.ask("POST", "/users/bulk", `{"name":"a","groups":["g"],"password_hash":"$2y$05$abcdefghijklmnopqrstuuR9AS1gIKkwkkrSNLAmBKNQbvxYRYgFm"}

{"name":"b","generate":true}
{"name":"old","disabled":true}
{"name":"gone","delete":true}
`, 200, `"secret":{"name":"b"`, `"result":{"created":2,"changed":1,"deleted":1,`)
	if strings.Contains(text, "error") {
		t.Error(text)
	}
	d.ask("GET", "/users/old", "", 200, `"note":"stays"`, `"disabled":true`, `"has_password":true`)
	d.ask("GET", "/users/gone", "", 404)
	f := func(body, want string) {
		t.Helper()
		d.ask("POST", "/users/bulk", body, 200, `"error":"`, want)
	}
	f(`{"name":"c"}
{"name":"d","groups":["none"]}`, "does not exist")
	d.ask("GET", "/users/c", "", 404) // all or nothing
	f(`{"name":"c"}
{"name":"c"}`, "there twice")
	f(`{"name":"nobody","delete":true}`, "is not there")
	f(`{"name":"c","password":"short"}`, "less than 8")
	d.ask("POST", "/users/bulk", ``, 400)
	d.ask("POST", "/users/bulk", "\n\n", 422, "no users")
	d.ask("POST", "/users/bulk", "{\"name\":\"c\"}\n{\"name\":", 422, "line 2")
	d.ask("POST", "/users/bulk", `{"name":"c","colour":"red"}`, 422, "line 1", "colour")
	d.ask("POST", "/users/bulk", `{"name":"c"}{"name":"d"}`, 422, "more than one")
}

func TestDevices(t *testing.T) {
	d := atDesk(t, rights.Policy{})
	_, text := d.ask("POST", "/devices", `{"prefix":"press-","count":12,"own_client_id":true}`, 200,
		`"secret":{"name":"press-01"`, `"secret":{"name":"press-12"`, `"created":12`)
	if n := strings.Count(text, `"secret":{`); n != 12 {
		t.Errorf("%d secrets", n)
	}
	d.ask("GET", "/users/press-07", "", 200, `"client_id":"press-07"`, `"has_password":true`)
	d.ask("POST", "/devices", `{"prefix":"press-","count":12}`, 200, "there already") // never a new secret for one that is there
	d.ask("POST", "/devices", `{"names":["x","y"]}`, 200, `"created":2`)
	d.ask("POST", "/devices", `{"names":["x"],"count":2}`, 422)
	d.ask("POST", "/devices", `{}`, 422)
	d.ask("POST", "/devices", `{"prefix":"p","count":1000000}`, 422)
}

func TestRules(t *testing.T) {
	d := atDesk(t, rights.Policy{})
	d.ask("GET", "/rules", "", 200, `"items":[]`)
	resp, text := d.ask("POST", "/rules", `{"allow":["publish","receive"],"topics":["a/{client}/#"],"groups":["line-a"],"addresses":["10.0.0.0/8"],"qos":[0,1],"retain":"never","priority":3}`, 201,
		`"allow":["publish","receive"]`, `"retain":"never"`, `"qos":[0,1]`, `"addresses":["10.0.0.0/8"]`)
	d.ask("POST", "/rules", `{"deny":["retain"],"topics":["#"]}`, 201, `"deny":["publish"]`, `"retain":"only"`) // the configuration's word for it
	d.ask("POST", "/rules", `{"deny":["retain"],"topics":["#"],"retain":"never"}`, 422, "retain is never")
	var r rights.Rule
	if err := json.Unmarshal([]byte(text), &r); err != nil || r.ID == "" || resp.Header.Get("ETag") == "" {
		t.Fatal(err, text)
	}
	d.ask("GET", "/rules/"+r.ID, "", 200, `"topics":["a/{client}/#"]`)
	d.ask("PUT", "/rules/"+r.ID, `{"name":"no more","deny":["publish"],"topics":["a/#"]}`, 200, `"deny":["publish"]`)
	d.askIf(map[string]string{"If-Match": resp.Header.Get("ETag")}, "PUT", "/rules/"+r.ID, `{"deny":["publish"],"topics":["b"]}`, 412)
	d.askIf(map[string]string{"If-None-Match": "*"}, "PUT", "/rules/"+r.ID, `{"deny":["publish"],"topics":["b"]}`, 412)
	d.ask("GET", "/rules", "", 200, `"name":"no more"`)
	d.ask("POST", "/rules", `{"allow":["publish"],"deny":["receive"],"topics":["a"]}`, 422, "not both")
	d.ask("POST", "/rules", `{"allow":["dance"],"topics":["a"]}`, 422)
	d.ask("POST", "/rules", `{"allow":["publish"],"topics":[]}`, 422)
	d.ask("POST", "/rules", `{"allow":["publish"],"topics":["a/#/b"]}`, 422, "topic filter")
	d.ask("POST", "/rules", `{"allow":["publish"],"topics":["a"],"addresses":["nowhere"]}`, 422)
	d.ask("DELETE", "/rules/"+r.ID, "", 204)
	d.ask("GET", "/rules/"+r.ID, "", 404)
	d.ask("DELETE", "/rules/"+r.ID, "", 404)
}

// judge allows what a client with the group "line-a" wants to do with a topic that begins with its client id.
type judge struct{}

func (j judge) Authorize(p *auth.Principal, q *auth.Question) bool { return j.Explain(p, q).Allowed }

func (judge) Explain(p *auth.Principal, q *auth.Question) auth.Decision {
	ok := strings.Join(p.Groups, "") == "line-a" && strings.HasPrefix(string(q.Topic), p.ClientID+"/") && q.Action == auth.Publish
	return auth.Decision{Allowed: ok, Rule: "own", Why: fmt.Sprintf("%s %v %s %v %s", q.Action, q.Retain, p.Peer.Remote(), q.QoS, p.Peer.CommonName())}
}

// floor is one client, press-1, and the bans that a test adds.
type floor struct {
	bans []rights.Ban
	told string
}

func (f *floor) Principal(_ context.Context, id string) (*auth.Principal, bool, error) {
	if id != "press-1" {
		return nil, false, nil
	}
	return &auth.Principal{Identity: &auth.Identity{Name: "p", Groups: []string{"line-a"}, By: "accounts"}, ClientID: id}, true, nil
}

func (f *floor) Disconnect(_ context.Context, id, why string) (bool, error) {
	f.told = why
	return id == "press-1", nil
}

func (f *floor) List(context.Context) ([]rights.Ban, error) { return f.bans, nil }

func (f *floor) Add(_ context.Context, b rights.Ban) (int, error) {
	if b.Subject == "address" && strings.Contains(b.Value, "x") {
		return 0, fmt.Errorf("%q is no address", b.Value)
	}
	f.bans = append(f.bans, b)
	return 2, nil
}

func (f *floor) Remove(_ context.Context, subject, value string) (bool, error) {
	for i, b := range f.bans {
		if b.Subject == subject && b.Value == value {
			f.bans = append(f.bans[:i], f.bans[i+1:]...)
			return true, nil
		}
	}
	return false, nil
}

func TestExplain(t *testing.T) {
	f := &floor{}
	d := atDesk(t, rights.Policy{Authorizer: judge{}, Clients: f})
	d.ask("POST", "/acl/explain", `{"client":"press-1","action":"publish","topic":"press-1/x","qos":1}`, 200, `"allowed":true`, `"known":true`, `"user":"p"`, `publish false a local socket 1`)
	d.ask("POST", "/acl/explain", `{"client":"press-1","action":"retain","topic":"other/x"}`, 200, `"allowed":false`, "publish true")
	d.ask("POST", "/acl/explain", `{"client":"press-1","user":"somebody","action":"publish","topic":"press-1/x"}`, 200, `"allowed":false`, `"known":false`)
	d.ask("POST", "/acl/explain", `{"client":"new","groups":["line-a"],"address":"192.0.2.7","cn":"N","action":"publish","topic":"new/x"}`, 200, `"allowed":true`, "192.0.2.7", " N")
	d.ask("POST", "/acl/explain", `{"action":"publish","topic":"a/#"}`, 422, "a/#")
	d.ask("POST", "/acl/explain", `{"action":"dance","topic":"x"}`, 422)
	d.ask("POST", "/acl/explain", `{"action":"publish","topic":"x","address":"here"}`, 422, "no address")
	d.ask("POST", "/clients/press-1/disconnect", `{"reason":"maintenance"}`, 204)
	if f.told != "maintenance" {
		t.Errorf("told %q", f.told)
	}
	d.ask("POST", "/clients/press-1/disconnect", `{}`, 204)
	d.ask("POST", "/clients/press-2/disconnect", `{}`, 404, "press-2")
	d.ask("POST", "/auth/cache/flush", ``, 200, `"forgotten":0`)
}

func TestBans(t *testing.T) {
	f := &floor{}
	d := atDesk(t, rights.Policy{Bans: f})
	d.ask("POST", "/bans", `{"subject":"address","value":"192.0.2.0/24","reason":"scanner","ttl_seconds":3600}`, 200, `"met":2`, `"until":"`, `"by":"operator admin"`)
	if left := time.Until(f.bans[0].Until); left < 59*time.Minute || left > time.Hour {
		t.Errorf("for %v", left)
	}
	d.ask("POST", "/bans", `{"subject":"pattern","value":"press-*","quarantine":true}`, 200, `"quarantine":true`)
	d.ask("GET", "/bans", "", 200, "192.0.2.0/24", "press-*")
	d.ask("GET", "/bans/pattern/press-*", "", 200, `"quarantine":true`)
	d.ask("GET", "/bans/address/192.0.2.0%2F24", "", 200, "scanner")
	d.ask("GET", "/bans/client/press-*", "", 404)
	d.ask("POST", "/bans", `{"subject":"address","value":"x"}`, 422, "no address")
	d.ask("POST", "/bans", `{"subject":"planet","value":"x"}`, 422)
	d.ask("POST", "/bans", `{"subject":"client","value":"x","until":"2001-01-01T00:00:00Z"}`, 422, "over already")
	d.ask("DELETE", "/bans/address/192.0.2.0%2F24", "", 204)
	d.ask("DELETE", "/bans/address/192.0.2.0%2F24", "", 404)
	d.ask("GET", "/bans", "", 200, "press-*")
}

// What a process does not have is said, and is no failure.
func TestNoAccounts(t *testing.T) {
	_, s := serving(t, nil)
	for path, status := range map[string]int{
		"GET /users": 409, "GET /groups": 409, "GET /rules": 409, "GET /bans": 409, "GET /users/a": 409, "DELETE /users/a": 409,
	} {
		method, at, _ := strings.Cut(path, " ")
		resp, body, err := ask(t, s, method, "/api/v1"+at, right)
		if err != nil || resp.StatusCode != status {
			t.Errorf("%s: %v %s %v", path, resp.Status, body, err)
		}
	}
}

// meanwhile is accounts in which somebody else makes a user right after a request has found none.
type meanwhile struct {
	*accounts.Accounts
	made   *accounts.User
	looked bool // by the audit log, before the request
}

func (m *meanwhile) User(ctx context.Context, name string) (accounts.User, error) {
	u, err := m.Accounts.User(ctx, name)
	if errors.Is(err, accounts.ErrNotFound) && m.looked {
		err = errors.Join(err, m.Apply(ctx, []accounts.Change{{User: m.made}}, nil))
	}
	m.looked = true
	return u, err
}

// TestExplainShared: rules are about the filter of a shared subscription, without its group.
func TestExplainShared(t *testing.T) {
	e := acl.New()
	if err := e.Set("test", []auth.Rule{{Name: "r", Actions: auth.ActionsOf(auth.Subscribe), Topics: []string{"a/#"}}}); err != nil {
		t.Fatal(err)
	}
	d := atDesk(t, rights.Policy{Authorizer: e})
	d.ask("POST", "/acl/explain", `{"action":"subscribe","topic":"$share/g/a/+"}`, 200, `"allowed":true`)
	d.ask("POST", "/acl/explain", `{"action":"subscribe","topic":"$share/g/b"}`, 200, `"allowed":false`)
	d.ask("POST", "/acl/explain", `{"action":"subscribe","topic":"$share/g"}`, 422)
}

// TestPutMeanwhile: a PUT without a condition never takes the password from a user that was made while it ran.
func TestPutMeanwhile(t *testing.T) {
	d := atDesk(t, rights.Policy{})
	u := accounts.User{Name: "ann"}
	if _, err := d.known.Generate(&u); err != nil {
		t.Fatal(err)
	}
	who := admitting(t, access.Options{})
	d.s.Config.Handler = New(Options[state, found, found]{Access: who, Status: func() Overview { return Overview{} }, Accounts: &meanwhile{Accounts: d.known, made: &u}})
	d.ask("PUT", "/users/ann", `{"note":"n"}`, 409, "is there already")
	if got, err := d.known.User(t.Context(), "ann"); err != nil || got.Password == "" {
		t.Errorf("%+v, %v", got, err)
	}
	d.ask("PUT", "/users/ann", `{"note":"n"}`, 200, `"has_password":true`)
}

// TestRetainRule: what the description of the API offers as an action, it takes.
func TestRetainRule(t *testing.T) {
	d := atDesk(t, rights.Policy{})
	d.ask("POST", "/rules", `{"deny":["retain"],"topics":["#"]}`, 201, `"deny":["publish"]`, `"retain":"only"`)
	d.ask("POST", "/rules", `{"deny":["publish","retain"],"topics":["#"]}`, 201, `"deny":["publish"]`)
	d.ask("POST", "/rules", `{"allow":["retain"],"retain":"never","topics":["#"]}`, 422, "retain is never")
}
