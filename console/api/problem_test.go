package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// TestProblems: whatever goes wrong is told as problem details (RFC 9457), with the status in it too.
func TestProblems(t *testing.T) {
	g := atGate(t, access.Config{})
	g.operator("vera", access.RoleViewer)
	key := "Bearer " + g.key("k", "admin")
	viewer := "Bearer " + g.key("v", "read")
	const isJSON = "application/json"
	f := func(method, path, body, credential, kind string, status int, says string, header ...string) {
		t.Helper()
		for _, h := range [][2]string{{"Authorization", credential}, {"Content-Type", kind}} {
			if h[1] != "" {
				header = append(header, h[0], h[1])
			}
		}
		resp, text := g.send(method, path, body, status, header...)
		checkProblem(t, method+" "+path, resp.Header, text, status, says)
	}
	g.send("PUT", "/groups/there", "{}", 200, "Authorization", key, "Content-Type", isJSON)
	f("POST", "/users", "no json", key, isJSON, 400, "")
	f("GET", "/status", "", "", "", 401, "credentials")
	f("POST", "/users", "{}", viewer, isJSON, 403, "users:admin")
	f("GET", "/users/nobody", "", key, "", 404, "nobody")
	f("GET", "/nothing", "", key, "", 404, "openapi.json")
	f("GET", "/store/check", "", key, "", 405, "POST")
	f("DELETE", "/status", "", key, "", 405, "GET, HEAD")
	f("POST", "/users/x", "{}", key, isJSON, 405, "PUT, PATCH, DELETE")
	f("POST", "/users", "name=x", key, "application/x-www-form-urlencoded", 415, "")
	f("POST", "/users", strings.Repeat(" ", 2<<20), key, isJSON, 413, "too large")
	f("GET", "/users?limit=x", "", key, "", 422, "")
	f("GET", "/clients?skip=-1", "", key, "", 422, "")
	f("GET", "/retained?skip=10000001", "", key, "", 422, "")
	f("POST", "/users", `{"name":"x","nothing":1}`, key, isJSON, 422, "")
	f("PUT", "/groups/g", "{}", key, isJSON, 404, "", "If-Match", `"7"`)
	f("PUT", "/groups/there", "{}", key, isJSON, 412, "", "If-Match", `"7"`)
	f("GET", "/store", "", key, "", 409, "durability")
	if resp, _ := g.send("DELETE", "/status", "", 405, "Authorization", key); resp.Header.Get("Allow") != "GET, HEAD" {
		t.Error(resp.Header)
	}
	quick := atGate(t, access.Config{Rate: access.Rate{Address: 1}})
	for range 50 {
		resp, err := quick.s.Client().Get(quick.s.URL + serve.Prefix + "/status")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == 429 {
			if resp.Header.Get("Content-Type") != "application/problem+json" || resp.Header.Get("Retry-After") == "" {
				t.Error(resp.Header)
			}
			return
		}
	}
	t.Error("nobody is slowed down")
}

// TestPageSizes: no list gives more than it has room for, however much is asked of it (F144).
func TestPageSizes(t *testing.T) {
	g := atGate(t, access.Config{})
	admin := "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+right)) // some lists are for no key
	asked := 0
	for path, item := range g.api.served().doc.Paths {
		if item.Get == nil {
			continue
		}
		for _, p := range item.Get.Parameters {
			if p.Name != "limit" {
				continue
			}
			asked++
			if p.Schema.Maximum == nil || *p.Schema.Maximum > 10_000 {
				t.Errorf("%s: a page has no limit, or one that is too great", path)
			}
			at := strings.NewReplacer("{id}", "x").Replace(strings.TrimPrefix(path, serve.Prefix)) + "?limit=1000000000"
			for _, p := range item.Get.Parameters {
				if p.Required && p.In == "query" {
					at += "&" + p.Name + "=x"
				}
			}
			g.send("GET", at, "", 422, "Authorization", admin)
		}
	}
	if asked < 10 {
		t.Errorf("only %d lists have pages", asked)
	}
}

// TestBodyLeft: of a body that is refused nothing is taken for a request, whoever put one in there (request smuggling).
func TestBodyLeft(t *testing.T) {
	g := atGate(t, access.Config{})
	key := g.key("k", "admin")
	inner := "GET /api/v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key + "\r\n\r\n"
	for name, head := range map[string]string{
		"too large":  "POST /api/v1/users HTTP/1.1\r\nAuthorization: Bearer " + key + "\r\n",
		"no rights":  "POST /api/v1/users HTTP/1.1\r\n",
		"no such":    "POST /api/v1/nothing HTTP/1.1\r\nAuthorization: Bearer " + key + "\r\n",
		"not wanted": "GET /api/v1/status HTTP/1.1\r\nAuthorization: Bearer " + key + "\r\n",
	} {
		for _, before := range []int{0, 1 << 10, 1 << 20, 3 << 20} {
			body := strings.Repeat(" ", before) + strings.Repeat(inner, 20_000) + strings.Repeat(" ", 1<<20)
			conn, err := net.Dial("tcp", g.s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			go func() { // it is cut off where the server has had enough
				_, _ = fmt.Fprintf(conn, "%sHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", head, len(body), body)
			}()
			conn.SetReadDeadline(time.Now().Add(time.Minute))
			answer, _ := io.ReadAll(conn) // it ends, by a close or a reset
			conn.Close()
			if n := strings.Count(string(answer), "HTTP/1.1 "); n != 1 || strings.Contains(string(answer), " 431 ") {
				t.Errorf("%s, after %d bytes: %d answers: %.300s", name, before, n, answer)
			}
		}
	}
}

// TestPanics: a handler that panics answers 500 with a problem that tells nothing of the fault, or breaks off an answer that has begun, is in the
// audit log where it changes something, and costs nobody else anything.
func TestPanics(t *testing.T) {
	g := atGate(t, access.Config{})
	m := serve.NewRouter()
	fault := func(http.ResponseWriter, *http.Request) { panic("a secret") }
	m.HandleFunc("GET /api/v1/x", fault)
	m.HandleFunc("POST /api/v1/x", fault)
	m.HandleFunc("GET /api/v1/begun", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		http.NewResponseController(w).Flush()
		panic("a secret")
	})
	guard := serve.NewGuard(serve.Options{Access: g.who, Surface: func() *serve.Surface { return &serve.Surface{Router: m} }, Logger: g.api.log})
	s := httptest.NewServer(guard)
	defer s.Close()
	send := func(method, path string) (*http.Response, string, error) {
		return ask(t, s, method, path, right)
	}
	for _, method := range []string{"GET", "POST"} {
		resp, text, err := send(method, "/api/v1/x")
		if err != nil {
			t.Fatal(err)
		}
		checkProblem(t, method, resp.Header, text, 500, "fault")
		if strings.Contains(text, "secret") {
			t.Error(text)
		}
	}
	if e := g.entries()[0]; e.Operation != "POST /api/v1/x" || e.Status != 500 || e.Outcome == access.Done {
		t.Errorf("%+v", e)
	}
	if _, text, err := send("GET", "/api/v1/begun"); err == nil {
		t.Errorf("an answer that was broken off looks whole: %s", text)
	}
}

func checkProblem(t *testing.T, what string, h http.Header, text string, status int, says string) {
	t.Helper()
	var p struct {
		Title, Detail string
		Status        int
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil || p.Status != status || p.Title != http.StatusText(status) || p.Detail == "" ||
		!strings.Contains(text, says) || h.Get("Content-Type") != "application/problem+json" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %v %s, %v", what, err, text, h)
	}
}
