package api

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/transport/proxy"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// told keeps the facts that it is told.
type told []fact.Fact

func (t *told) Record(f fact.Fact) { *t = append(*t, f) }

// gate is an API with operators of every role, and what a test does with it.
type gate struct {
	*testing.T
	api   *API
	s     *httptest.Server
	who   *access.Access
	known *accounts.Accounts
	facts told
}

func atGate(t *testing.T, cfg access.Config) *gate {
	t.Helper()
	who := admitting(t, access.Options{Config: cfg})
	known, err := accounts.New(accounts.Options{Store: accounts.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{T: t, who: who, known: known}
	g.api = New(Options[state, found, found]{
		Access: who, Accounts: known, Version: "1.2.3", Recorder: &g.facts, Status: func() Overview { return Overview{} },
	})
	g.s = httptest.NewServer(g.api)
	t.Cleanup(g.s.Close)
	return g
}

// operator makes one whose password is "password of NAME".
func (g *gate) operator(name string, role access.Role) {
	g.Helper()
	password := "password of " + name
	if _, err := g.who.PutOperator(g.Context(), name, access.OperatorChange{Role: &role, Password: &password}, accounts.Absent); err != nil {
		g.Fatal(err)
	}
}

func (g *gate) key(name string, scopes ...string) string {
	g.Helper()
	_, secret, err := g.who.CreateKey(g.Context(), name, access.KeyChange{Scopes: scopes}, "test")
	if err != nil {
		g.Fatal(err)
	}
	return secret
}

// send sends a request with headers, in pairs, and fails unless the answer has the status.
func (g *gate) send(method, path, body string, status int, header ...string) (*http.Response, string) {
	g.Helper()
	r, err := http.NewRequestWithContext(g.Context(), method, g.s.URL+serve.Prefix+path, strings.NewReader(body))
	if err != nil {
		g.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := g.s.Client().Do(r)
	if err != nil {
		g.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		g.Fatal(err)
	}
	if resp.StatusCode != status {
		g.Errorf("%s %s: %d, want %d: %s", method, path, resp.StatusCode, status, text)
	}
	return resp, string(text)
}

// page is what the page of the console sends with a change, in the session of a cookie.
func (g *gate) page(c *http.Cookie) []string {
	return []string{"Cookie", c.Name + "=" + c.Value, "Content-Type", "application/json", "Origin", g.s.URL}
}

// login opens a session for an operator that the gate has made, or admin.
func (g *gate) login(name string) *http.Cookie {
	g.Helper()
	password := "password of " + name
	if name == "admin" {
		password = right
	}
	resp, text := g.send("POST", "/login", `{"user":"`+name+`","password":"`+password+`"}`, 200, "Content-Type", "application/json", "Origin", g.s.URL)
	if resp.StatusCode != 200 || len(resp.Cookies()) != 1 {
		g.Fatalf("%s %v", text, resp.Cookies())
	}
	return resp.Cookies()[0]
}

// TestPermissions asks every route that is registered, by every method, as everybody: without a credential, as each role, and with
// keys of every scope (F188, F194, F202), also to what has all secrets: backup and export (F201). A route that nobody has declared fails.
func TestPermissions(t *testing.T) {
	g := atGate(t, access.Config{})
	g.operator("vera", access.RoleViewer)
	g.operator("otto", access.RoleOperator)
	stub, patterns, permits := serve.NewRouter(), g.api.served().Router.Patterns, serve.NewPermits()
	for _, pattern := range patterns {
		stub.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	}
	guard := serve.NewGuard(serve.Options{Access: g.who, Surface: func() *serve.Surface { return &serve.Surface{Router: stub} }, Logger: g.api.log})

	callers := map[string]func(*http.Request){
		"viewer":   func(r *http.Request) { r.SetBasicAuth("vera", "password of vera") },
		"operator": func(r *http.Request) { r.SetBasicAuth("otto", "password of otto") },
		"admin":    func(r *http.Request) { r.SetBasicAuth("admin", right) },
	}
	levels := map[string]access.Level{"viewer": access.Read, "operator": access.Operate, "admin": access.Admin}
	for _, l := range []access.Level{access.Read, access.Operate, access.Admin} {
		secret := g.key("all-"+l.String(), l.String())
		callers["key "+l.String()] = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }
		levels["key "+l.String()] = l
		for _, resource := range serve.Resources() {
			secret := g.key(resource+"-"+l.String(), resource+":"+l.String())
			name := "key " + resource + ":" + l.String()
			callers[name] = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }
			levels[name] = l
		}
	}
	ask := func(method, path string, as func(*http.Request)) int {
		r := httptest.NewRequest(method, path, nil)
		if as != nil {
			as(r)
		}
		w := httptest.NewRecorder()
		guard.ServeHTTP(w, r)
		return w.Code
	}
	asked := 0
	for _, pattern := range patterns {
		if pattern == "/" {
			continue
		}
		method, path := serve.Split(pattern)
		methods := []string{method}
		if method == "" {
			methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
		}
		at := serve.Prefix + regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(path, "x")
		for _, method := range methods {
			need := permits.Of(method, path)
			if !need.Declared {
				t.Errorf("%s: nobody has declared what it needs: add its first part to Permissions", pattern)
			}
			want := http.StatusUnauthorized
			if need.Open {
				want = http.StatusNoContent
			}
			if got := ask(method, at, nil); got != want {
				t.Errorf("%s %s without a credential: %d", method, path, got)
			}
			for name, as := range callers {
				isKey := strings.HasPrefix(name, "key ")
				resource, _, one := strings.Cut(strings.TrimPrefix(name, "key "), ":")
				may := levels[name] >= need.Level && (!one || resource == need.Resource) || need.Level == 0
				if need.People && isKey {
					may = false
				}
				want := http.StatusForbidden
				if may || need.Open {
					want = http.StatusNoContent
				}
				if got := ask(method, at, as); got != want {
					t.Errorf("%s %s as %s: %d, want %d", method, path, name, got, want)
				}
				asked++
			}
		}
	}
	if asked < 2000 {
		t.Errorf("only %d were asked", asked)
	}
	// The table itself, where a mistake would be worst.
	for pattern, want := range map[string]string{
		"GET /users": "users:read", "POST /users": "users:admin", "GET /operators": "operators:admin", "DELETE /keys/{name}": "keys:admin", "GET /audit": "audit:admin",
		"GET /backup": "backup:admin", "GET /store/export": "store:admin", "POST /config/reload": "config:admin", "POST /clients/{id}/disconnect": "clients:operate",
		"POST /publish": "publish:operate", "GET /me": "any credential", "POST /login": "nothing", "POST /what-is-new": "what-is-new:admin", "GET /what-is-new": "what-is-new:admin",
		"POST /acl/explain": "rules:read", "POST /config/check": "config:admin", "HEAD /status": "status:read",
	} {
		method, path := serve.Split(pattern)
		if got := permits.Of(method, path).String(); got != want {
			t.Errorf("%s needs %s, want %s", pattern, got, want)
		}
	}
}

// TestLogin: the cookie of a login, what it is good for, and its end.
func TestLogin(t *testing.T) {
	g := atGate(t, access.Config{})
	g.operator("vera", access.RoleViewer)
	cookie := g.login("vera")
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "" || cookie.Secure || cookie.MaxAge != 0 {
		t.Errorf("%+v", cookie)
	}
	_, text := g.send("GET", "/me", "", 200, g.page(cookie)...)
	var me rights.Me
	if err := json.Unmarshal([]byte(text), &me); err != nil || me.User != "vera" || me.Role != access.RoleViewer || strings.Join(me.Scopes, " ") != "read" || me.Version != "1.2.3" || !me.ChangeNeeded || me.Confirm {
		t.Errorf("%v %s", err, text)
	}
	g.send("POST", "/users", `{"name":"x"}`, 403, g.page(cookie)...)
	g.send("GET", "/users", "", 200, g.page(cookie)...)
	other := g.login("vera")
	g.send("POST", "/logout", "", 204, g.page(cookie)...)
	g.send("GET", "/me", "", 401, g.page(cookie)...)
	g.send("GET", "/me", "", 200, g.page(other)...)
	g.send("GET", "/me", "", 401, "Cookie", other.Name+"=nonsense")
}

// TestLoginRefused: whoever guesses learns nothing, and has to wait (F193).
func TestLoginRefused(t *testing.T) {
	g := atGate(t, access.Config{})
	g.operator("vera", access.RoleViewer)
	disabled := true
	g.operator("dora", access.RoleViewer)
	if _, err := g.who.PutOperator(t.Context(), "dora", access.OperatorChange{Disabled: &disabled}, accounts.Present); err != nil {
		t.Fatal(err)
	}
	try := func(body string, status int) string {
		t.Helper()
		resp, text := g.send("POST", "/login", body, status, "Content-Type", "application/json")
		if len(resp.Cookies()) > 0 {
			t.Errorf("%s gets %v", body, resp.Cookies())
		}
		return text
	}
	first := try(`{"user":"vera","password":"wrong"}`, 401)
	for _, body := range []string{`{"user":"nobody","password":"wrong"}`, `{"user":"dora","password":"password of dora"}`, `{"user":"","password":""}`} {
		if got := try(body, 401); got != first {
			t.Errorf("%s: %s, but %s", body, got, first)
		}
	}
	try(`{"user":"vera","password":"wrong"}`, 401)
	resp, _ := g.send("POST", "/login", `{"user":"vera","password":"password of vera"}`, 429, "Content-Type", "application/json")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("nobody says how long to wait")
	}
}

// TestCrossSite: what another site's page can send does nothing, and GET changes nothing (F189).
func TestCrossSite(t *testing.T) {
	g := atGate(t, access.Config{})
	cookie := g.login("admin")
	with := "Cookie"
	value := cookie.Name + "=" + cookie.Value
	f := func(status int, header ...string) {
		t.Helper()
		g.send("POST", "/users", `{"name":"x"}`, status, append([]string{with, value}, header...)...)
	}
	f(403, "Content-Type", "application/json", "Origin", "https://evil.example")
	f(403, "Content-Type", "application/json", "Origin", g.s.URL, "Sec-Fetch-Site", "cross-site")
	f(403, "Content-Type", "application/json", "Sec-Fetch-Site", "same-site")
	f(403, "Content-Type", "application/json", "Origin", "null")
	f(403, "Content-Type", "application/json") // no browser, or a very old one
	f(403, "Content-Type", "text/plain", "Origin", g.s.URL)
	f(403, "Content-Type", "application/x-www-form-urlencoded", "Origin", g.s.URL)
	f(403, "Content-Type", "multipart/form-data; boundary=x", "Origin", g.s.URL)
	f(403, "Origin", g.s.URL)
	f(201, "Content-Type", "application/json; charset=utf-8", "Origin", g.s.URL)
	g.send("POST", "/login", `{"user":"admin","password":"right"}`, 403, "Content-Type", "text/plain")
	g.send("POST", "/login", `{"user":"admin","password":"right"}`, 403, "Content-Type", "application/json", "Origin", "https://evil.example")
	g.send("POST", "/logout", "", 403, "Cookie", value, "Sec-Fetch-Site", "cross-site")
	g.send("GET", "/me", "", 200, "Cookie", value)

	before, _, err := g.who.Entries(t.Context(), 0, 1000, func(*access.Entry) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range g.api.served().doc.Paths {
		if item.Get != nil {
			r := httptest.NewRequest("GET", regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(path, "x"), nil)
			r.SetBasicAuth("admin", right)
			g.api.ServeHTTP(httptest.NewRecorder(), r)
		}
	}
	after, _, err := g.who.Entries(t.Context(), 0, 1000, func(*access.Entry) bool { return true })
	if err != nil || len(after) != len(before) {
		t.Errorf("GET has changed something: %v %v", after, err)
	}
}

// TestSensitive: operators and keys are changed by who gave its password just now, and the own password by who knows the old one (F193).
func TestSensitive(t *testing.T) {
	t.Parallel()
	cfg := access.DefaultConfig()
	cfg.Sessions.Confirm = 1
	g := atGate(t, cfg)
	cookie := g.login("admin")
	_, text := g.send("POST", "/operators", `{"name":"anna","generate":true}`, 403, g.page(cookie)...)
	if !strings.Contains(text, "/me/confirm") {
		t.Error(text)
	}
	g.send("DELETE", "/operators/anna", "", 403, g.page(cookie)...)
	g.send("POST", "/keys", `{"name":"k","scopes":["read"]}`, 403, g.page(cookie)...)
	g.send("GET", "/operators", "", 200, g.page(cookie)...)
	g.send("POST", "/users", `{"name":"x"}`, 201, g.page(cookie)...)
	if _, text := g.send("GET", "/me", "", 200, g.page(cookie)...); !strings.Contains(text, `"confirm_needed":true`) {
		t.Error(text)
	}

	g = atGate(t, access.Config{})
	cookie = g.login("admin")
	g.send("POST", "/me/confirm", `{"password":"wrong"}`, 401, g.page(cookie)...)
	g.send("POST", "/me/confirm", `{"password":"right"}`, 204, g.page(cookie)...)
	_, text = g.send("POST", "/operators", `{"name":"anna","role":"operator","generate":true}`, 201, g.page(cookie)...)
	var made rights.OperatorSecret
	if err := json.Unmarshal([]byte(text), &made); err != nil || len(made.Secret) < 20 || !made.ChangeNeeded {
		t.Errorf("%v %s", err, text)
	}
	other := g.login("admin")
	g.send("PUT", "/me/password", `{"old_password":"wrong","password":"another one"}`, 401, g.page(cookie)...)
	g.send("PUT", "/me/password", `{"password":"another one"}`, 422, g.page(cookie)...)
	g.send("PUT", "/me/password", `{"old_password":"right","password":"short"}`, 422, g.page(cookie)...)
	resp, _ := g.send("PUT", "/me/password", `{"old_password":"right","password":"another one"}`, 204, g.page(cookie)...)
	if len(resp.Cookies()) != 1 {
		t.Fatal("the page that changed the password is shut out")
	}
	g.send("GET", "/me", "", 401, g.page(cookie)...)
	g.send("GET", "/me", "", 401, g.page(other)...)
	g.send("GET", "/me", "", 200, g.page(resp.Cookies()[0])...)
	g.send("PUT", "/me/password", `{"old_password":"x","password":"another one"}`, 403, "Authorization", "Bearer "+g.key("k", "admin"), "Content-Type", "application/json")
}

// What a proxy that is trusted says of the address counts; what others say does not.
func TestForwarded(t *testing.T) {
	g := atGate(t, access.Config{})
	f := func(networks []string, forwarded, want string) {
		t.Helper()
		trusted, err := proxy.ParseTrusted(networks)
		if err != nil {
			t.Fatal(err)
		}
		g.s.Config.Handler = New(Options[state, found, found]{Access: g.who, Accounts: g.known, Proxies: trusted})
		g.send("POST", "/auth/cache/flush", "", 200, "Authorization", "Bearer "+g.key(strings.ReplaceAll(forwarded, ":", "_")+strings.Join(networks, " "), "admin"), "X-Forwarded-For", forwarded)
		if got := g.entries()[0].From; got != want {
			t.Errorf("%s by %v: %s, want %s", forwarded, networks, got, want)
		}
	}
	f(nil, "192.0.2.7", "127.0.0.1")
	f([]string{"127.0.0.1"}, "192.0.2.7", "192.0.2.7")
	f([]string{"127.0.0.1"}, "192.0.2.9, 192.0.2.7", "192.0.2.7")
	f([]string{"127.0.0.1"}, "2001:db8::1", "2001:db8::1")
	g.send("GET", "/me", "", 400, "X-Forwarded-For", "nonsense")
}
