package api

import (
	"cmp"
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

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// entries are those of the audit log, the newest first.
func (g *gate) entries() []access.Entry {
	g.Helper()
	found, _, err := g.who.Entries(g.Context(), 0, 1000, func(*access.Entry) bool { return true })
	if err != nil {
		g.Fatal(err)
	}
	return found
}

// TestAudit: every change is written down with who, what, before and after, and without secrets (F200).
func TestAudit(t *testing.T) {
	g := atGate(t, access.Config{})
	cookie := g.login("admin")
	page := g.page(cookie)
	f := func(method, path, body string, status int, want access.Entry, header ...string) {
		t.Helper()
		g.send(method, path, body, status, append(page[:len(page):len(page)], header...)...)
		got := g.entries()[0]
		if time.Since(got.At) > time.Minute || got.From != "127.0.0.1" {
			t.Errorf("%+v", got)
		}
		want.ID, want.At, want.From, want.By, want.Kind, want.Status = got.ID, got.At, got.From, "admin", access.KindOperator, status
		want.Target = cmp.Or(want.Target, path)
		for _, text := range []*json.RawMessage{&got.Before, &got.After} { // times and revisions
			var v map[string]any
			if json.Unmarshal(*text, &v) == nil {
				for _, k := range []string{"revision", "created", "changed"} {
					delete(v, k)
				}
				*text, _ = json.Marshal(v)
			}
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if string(a) != string(b) {
			t.Errorf("%s %s:\n got %s\nwant %s", method, path, a, b)
		}
	}
	raw := func(text string) json.RawMessage { return json.RawMessage(text) }
	f("POST", "/users", `{"name":"anna","password":"long enough"}`, 201, access.Entry{Operation: "user-create", Target: "/users/anna", Outcome: "done", Asked: raw(`{"name":"anna","password":"***"}`)})
	f("PATCH", "/users/anna", `{"note":"n"}`, 200, access.Entry{
		Operation: "user-patch", Outcome: "done", Asked: raw(`{"note":"n"}`),
		Before: raw(`{"has_password":true,"kind":"device","name":"anna"}`), After: raw(`{"has_password":true,"kind":"device","name":"anna","note":"n"}`),
	})
	f("PUT", "/groups/g", `{"note":"x"}`, 200, access.Entry{Operation: "group-put", Outcome: "done", Asked: raw(`{"note":"x"}`), After: raw(`{"name":"g","note":"x"}`)})
	f("DELETE", "/users/anna", "", 204, access.Entry{Operation: "user-delete", Outcome: "done", Before: raw(`{"has_password":true,"kind":"device","name":"anna","note":"n"}`)})
	f("DELETE", "/users/anna", "", 404, access.Entry{Operation: "user-delete", Outcome: "refused"})
	f("POST", "/users", `no json`, 400, access.Entry{Operation: "user-create", Outcome: "refused", Asked: raw(`{"left_out":"7 bytes or more"}`)})
	f("POST", "/users/bulk", `{"name":"x","password":"long enough"}`, 200, access.Entry{
		Operation: "users-bulk", Outcome: "done", Asked: raw(`{"kind":"application/x-ndjson","bytes":37}`),
	}, "Content-Type", "application/x-ndjson")
	f("POST", "/operators", `{"name":"vera","password":"password of vera"}`, 201, access.Entry{Operation: "operator-create", Target: "/operators/vera", Outcome: "done", Asked: raw(`{"name":"vera","password":"***"}`)})
	f("PUT", "/me/password", `{"old_password":"wrong one","password":"long enough"}`, 401, access.Entry{
		Operation: "own-password", Outcome: "refused", Asked: raw(`{"old_password":"***","password":"***"}`),
	})
	n := len(g.entries())
	g.send("GET", "/users", "", 200, page...)
	g.send("POST", "/acl/explain", `{"action":"publish","topic":"x"}`, 409, page...)
	if got := g.entries(); len(got) != n {
		t.Errorf("what changes nothing is written down: %+v", got[0])
	}
	g.login("vera")
	if e := g.entries()[0]; e.Operation != "login" || e.By != "vera" || e.Outcome != "done" {
		t.Errorf("%+v", e)
	}
	g.send("POST", "/login", `{"user":"my-password","password":"x"}`, 401, "Content-Type", "application/json")
	if e := g.entries()[0]; e.Operation != "login" || e.By != "" || e.Outcome != "refused" {
		t.Errorf("%+v", e)
	}
	text, _ := json.Marshal(g.entries())
	for _, secret := range []string{"long enough", "password of vera", right + `"`, cookie.Value, "my-password"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%s is in %s", secret, text)
		}
	}
	for _, f := range g.facts { // who may read events is told that there is a new operator, and no more
		if _, more := f.Detail["asked"]; f.Reason == "operator-create" && (more || f.Detail["by"] != "admin") {
			t.Errorf("%+v", f)
		}
	}
	if f := g.facts[1]; f.Text != "operator admin did this by the API: create a user (/users/anna)." {
		t.Error(f.Text)
	}
	if f := g.facts[1]; f.Kind != fact.Admin || f.Reason != "user-create" || f.Detail["by"] != "admin" || f.Detail["asked"] != `{"name":"anna","password":"***"}` {
		t.Errorf("%+v", f)
	}
}

// TestAuditPages: the log is read by filters and cursors, by admins.
func TestAuditPages(t *testing.T) {
	g := atGate(t, access.Config{})
	g.operator("otto", access.RoleOperator)
	admin := []string{"Authorization", "Bearer " + g.key("k", "audit:admin", "users:admin")}
	for i := range 7 {
		g.send("POST", "/users", fmt.Sprintf(`{"name":"u%d"}`, i), 201, append(admin, "Content-Type", "application/json")...)
	}
	g.send("DELETE", "/users/u3", "", 204, admin...)
	g.send("GET", "/audit", "", 403, "Authorization", "Bearer "+g.key("reader", "read"))
	get := func(query string) (p rights.AuditPage) {
		t.Helper()
		_, text := g.send("GET", "/audit?"+query, "", 200, admin...)
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	seen, cursor := 0, ""
	for {
		p := get("operation=user-create&by=k&kind=key&limit=3&cursor=" + cursor)
		if seen += len(p.Items); p.Next == "" {
			break
		}
		cursor = p.Next
	}
	if seen != 7 {
		t.Errorf("%d entries", seen)
	}
	if p := get("target=u3"); len(p.Items) != 2 || p.Items[0].Operation != "user-delete" || p.Next != "" {
		t.Errorf("%+v", p)
	}
	if p := get("until=2001-01-01T00:00:00Z"); len(p.Items) != 0 {
		t.Errorf("%+v", p)
	}
	if p := get("since=2001-01-01T00:00:00Z&outcome=refused"); len(p.Items) != 0 { // to look is no change, and so not written down
		t.Errorf("%+v", p)
	}
	g.send("GET", "/audit?cursor=x", "", 422, admin...)
}

// forgetful is a store that keeps nothing.
type forgetful struct{ *access.Memory }

func (forgetful) AppendAudit(context.Context, time.Time, []byte) (int64, error) {
	return 0, errors.New("disk is gone")
}

// A change that cannot be written down is told by the log; a stream that breaks off is written down.
func TestAuditFailures(t *testing.T) {
	who, err := access.Open(access.Options{Password: right, Store: forgetful{access.NewMemory()}})
	if err != nil {
		t.Fatal(err)
	}
	var e access.Entry
	if err := who.Audit(t.Context(), &e); err == nil || !strings.Contains(err.Error(), "disk is gone") {
		t.Error(err)
	}
	g := atGate(t, access.Config{})
	m := serve.NewRouter()
	m.HandleFunc("POST /api/v1/x", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(200)
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	guard := serve.NewGuard(serve.Options{Access: g.who, Surface: func() *serve.Surface { return &serve.Surface{Router: m} }, Logger: g.api.log})
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("nobody hears of it")
			}
		}()
		r := httptest.NewRequest("POST", "/api/v1/x", nil)
		r.SetBasicAuth("admin", right)
		guard.ServeHTTP(httptest.NewRecorder(), r)
	}()
	if e := g.entries()[0]; e.Operation != "POST /api/v1/x" || e.Outcome != access.Done {
		t.Errorf("%+v", e)
	}
}

// TestConditions: what is edited has an ETag, and a stale one changes nothing (F200).
func TestConditions(t *testing.T) {
	g := atGate(t, access.Config{})
	admin := []string{"Authorization", "Bearer " + g.key("k", "admin"), "Content-Type", "application/json"}
	person := g.page(g.login("admin"))
	f := func(as []string, make, path, method, body string) {
		t.Helper()
		where, text, _ := strings.Cut(make, " ")
		verb, at, _ := strings.Cut(where, ":")
		g.send(verb, at, text, map[string]int{"POST": 201, "PUT": 200}[verb], as...)
		resp, _ := g.send("GET", path, "", 200, as...)
		first := resp.Header.Get("ETag")
		if first == "" {
			t.Errorf("GET %s gives no ETag", path)
		}
		with := func(tag string) []string { return append(as[:len(as):len(as)], "If-Match", tag) }
		g.send(method, path, body, 412, with(`"4611686018427387904"`)...)
		g.send(method, path, body, 412, with(`nonsense`)...)
		resp, _ = g.send(method, path, body, 200, with(first)...)
		g.send(method, path, body, 412, with(first)...)
		g.send("DELETE", path, "", 412, with(first)...)
		g.send("DELETE", path, "", 204, with(resp.Header.Get("ETag"))...)
		g.send("DELETE", path, "", 404, with("*")...)
	}
	f(admin, `POST:/users {"name":"u"}`, "/users/u", "PATCH", `{"note":"n"}`)
	f(admin, `POST:/users {"name":"u"}`, "/users/u", "PUT", `{"note":"n"}`)
	f(admin, `PUT:/groups/g {}`, "/groups/g", "PUT", `{"note":"n"}`)
	f(admin, `PUT:/rules/r {"allow":["publish"],"topics":["a"]}`, "/rules/r", "PUT", `{"allow":["publish"],"topics":["b"]}`)
	f(person, `POST:/operators {"name":"o","password":"long enough"}`, "/operators/o", "PATCH", `{"note":"n"}`)
	f(person, `POST:/keys {"name":"x","scopes":["read"]}`, "/keys/x", "PATCH", `{"note":"n"}`)
	for path, item := range g.api.served().doc.Paths {
		for method, op := range map[string]bool{"PUT": item.Put != nil, "PATCH": item.Patch != nil} {
			if !op || strings.HasSuffix(path, "/me/password") {
				continue
			}
			o := item.Put
			if method == "PATCH" {
				o = item.Patch
			}
			if item.Get == nil || o.Responses["412"] == nil {
				t.Errorf("%s %s: no GET beside it, or no 412", method, path)
			}
		}
	}
}

// files is a configuration whose pending changes a test sets.
type files struct {
	Configuration
	pending string
}

func (f *files) Check([]byte) (ConfigCheck, error) {
	return ConfigCheck{OK: true, Changes: []ConfigChange{{Key: f.pending}}}, nil
}

func (f *files) Reload(context.Context, string) (ConfigReload, error) {
	return ConfigReload{OK: true}, nil
}

// A reload applies what was looked at, and nothing else (F200).
func TestReloadCondition(t *testing.T) {
	g := atGate(t, access.Config{})
	c := &files{pending: "a"}
	g.s.Config.Handler = New(Options[state, found, found]{Access: g.who, Config: c})
	admin := []string{"Authorization", "Bearer " + g.key("k", "admin")}
	resp, _ := g.send("GET", "/config/check", "", 200, admin...)
	with := append(admin, "If-Match", resp.Header.Get("ETag"))
	g.send("POST", "/config/reload", "", 200, with...)
	c.pending = "b"
	g.send("POST", "/config/reload", "", 412, with...)
	g.send("POST", "/config/reload", "", 200, admin...)
}

// Whoever acts on many says how many (F204).
func TestConfirmed(t *testing.T) {
	n := func(i int) *int { return &i }
	f := func(c Confirmed, count int, want bool, status string) {
		t.Helper()
		got, err := c.Go(t.Context(), count)
		if got != want || (err == nil) != (status == "") || err != nil && !strings.Contains(err.Error(), status) {
			t.Errorf("%+v of %d: %v %v", c, count, got, err)
		}
	}
	f(Confirmed{Preview: true}, 7, false, "")
	f(Confirmed{Preview: true, Confirm: n(7)}, 7, false, "")
	f(Confirmed{}, 7, false, "confirm = 7")
	f(Confirmed{Confirm: n(6)}, 7, false, "nothing was done")
	f(Confirmed{Confirm: n(0)}, 0, true, "")
	f(Confirmed{Confirm: n(7)}, 7, true, "")
}

// Whoever asks too often has to wait; others need not.
func TestRates(t *testing.T) {
	cfg := access.DefaultConfig()
	cfg.Rate = access.Rate{Credential: 1, Address: 1}
	g := atGate(t, cfg)
	first, second := g.key("first", "read"), g.key("second", "read")
	for i := range 11 {
		status := 200
		if i == 10 {
			status = 429
		}
		if resp, _ := g.send("GET", "/me", "", status, "Authorization", "Bearer "+first); status == 429 && resp.Header.Get("Retry-After") != "1" {
			t.Error(resp.Header)
		}
	}
	g.send("GET", "/me", "", 200, "Authorization", "Bearer "+second)
	for i := range 11 {
		status := 401
		if i == 10 {
			status = 429
		}
		g.send("GET", "/me", "", status)
	}
	g.send("POST", "/login", `{}`, 429, "Content-Type", "application/json")
	g.send("GET", "/me", "", 200, "Authorization", "Bearer "+second)
}

// What a credential began ends with it, at once (F194).
func TestRevoke(t *testing.T) {
	g := atGate(t, access.Config{})
	began, ended := make(chan bool, 1), make(chan bool, 1)
	h := g.api.Protect("events", access.Read, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		began <- true
		<-r.Context().Done()
		ended <- true
	}))
	during := func(set func(*http.Request), revoke func() error) {
		t.Helper()
		r := httptest.NewRequest("GET", "/stream", nil)
		set(r)
		go h.ServeHTTP(httptest.NewRecorder(), r)
		<-began
		if err := revoke(); err != nil {
			t.Error(err)
		}
		<-ended
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 401 {
			t.Errorf("after it was revoked: %d", w.Code)
		}
	}
	ctx := t.Context()
	key := g.key("k", "read")
	during(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+key) }, func() error { return g.who.DeleteKey(ctx, "k", accounts.Present) })
	yes, viewer, password := true, access.RoleViewer, "another one"
	g.operator("vera", access.RoleAdmin)
	cookie := g.login("vera")
	during(func(r *http.Request) { r.AddCookie(cookie); r.Host = strings.TrimPrefix(g.s.URL, "http://") }, func() error {
		_, err := g.who.PutOperator(ctx, "vera", access.OperatorChange{Role: &viewer}, accounts.Present)
		return err
	})
	cookie = g.login("vera")
	during(func(r *http.Request) { r.AddCookie(cookie); r.Host = strings.TrimPrefix(g.s.URL, "http://") }, func() error {
		g.send("POST", "/logout", "", 204, g.page(cookie)...)
		return nil
	})
	during(func(r *http.Request) { r.SetBasicAuth("vera", "password of vera") }, func() error {
		_, err := g.who.PutOperator(ctx, "vera", access.OperatorChange{Password: &password}, accounts.Present)
		return err
	})
	during(func(r *http.Request) { r.SetBasicAuth("vera", password) }, func() error {
		_, err := g.who.PutOperator(ctx, "vera", access.OperatorChange{Disabled: &yes}, accounts.Present)
		return err
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if text, _ := io.ReadAll(w.Body); w.Code != 401 {
		t.Errorf("%d %s", w.Code, text)
	}
}

// TestAllIsAudited: every operation of the API that can change anything leaves an entry of its own name in the audit log, done or not.
func TestAllIsAudited(t *testing.T) {
	g := atGate(t, access.Config{})
	page := g.page(g.login("admin"))
	_, text := g.send("GET", "/openapi.json", "", 200, page...)
	var api struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal([]byte(text), &api); err != nil {
		t.Fatal(err)
	}
	permits, asked := serve.NewPermits(), 0
	for path, methods := range api.Paths {
		path = strings.TrimPrefix(path, serve.Prefix)
		for method, operation := range methods {
			method = strings.ToUpper(method)
			if method == "GET" || permits.Of(method, path).Quiet || operation.OperationID == "logout" || operation.OperationID == "" {
				continue
			}
			asked++
			r, err := http.NewRequestWithContext(t.Context(), method, g.s.URL+serve.Prefix+strings.NewReplacer("{", "", "}", "").Replace(path), strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(page); i += 2 {
				r.Header.Set(page[i], page[i+1])
			}
			resp, err := g.s.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if e := g.entries()[0]; e.Operation != operation.OperationID || e.Status != resp.StatusCode {
				t.Errorf("%s %s: %d; the last entry is %s %d, want %s", method, path, resp.StatusCode, e.Operation, e.Status, operation.OperationID)
			}
		}
	}
	if asked < 39 {
		t.Errorf("only %d operations were asked", asked)
	}
}
