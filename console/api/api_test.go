package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// fake is an engine of a few words.
type fake struct {
	check func(ctx context.Context, p Progress) (found, error)
	copy  func(ctx context.Context, w io.Writer) error
}

type (
	state struct {
		Health string `json:"health"`
	}
	found struct {
		Records int `json:"records"`
	}
)

func (f *fake) Status() state { return state{"ok"} }

func (f *fake) Check(ctx context.Context, p Progress) (found, error) { return f.check(ctx, p) }

func (f *fake) Compact(context.Context, Progress) (found, error) {
	return found{}, errors.New("disk is gone")
}

func (f *fake) Backup(ctx context.Context, w io.Writer, _ Progress) error { return f.copy(ctx, w) }

func (f *fake) Export(context.Context, io.Writer, Progress) error { return nil }

const right = "right"

// admin is what the data directory has of the operator admin, whose password is right: a hash that costs nothing. The dear one is tried where it is
// made, in package access.
const admin = `{"user":"admin","password":"$generated-sha256$MDEyMzQ1Njc4OWFiY2RlZg$6e7lxRrW/gvwa3ksHCGButjAh7K17J3BVWRwLmjUC0E"}`

// admitting lets the operator admin in.
func admitting(t testing.TB, o access.Options) *access.Access {
	t.Helper()
	o.Dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(o.Dir, "admin.json"), []byte(admin), 0o600); err != nil {
		t.Fatal(err)
	}
	who, err := access.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return who
}

func serving(t *testing.T, e Engine[state, found, found]) (*API, *httptest.Server) {
	t.Helper()
	return serveWithin(t, e, 0)
}

// serveWithin is serve with deadlines for requests and answers; 0 = none. The password is known then: to check it the first time may
// take longer.
func serveWithin(t *testing.T, e Engine[state, found, found], deadline time.Duration) (*API, *httptest.Server) {
	t.Helper()
	who := admitting(t, access.Options{})
	a := New(Options[state, found, found]{
		Access: who, Engine: e,
		Status: func() Overview { return Overview{Version: "1.2.3", Durability: "fsync", Ready: true} },
	})
	r := httptest.NewRequest("GET", "/", nil)
	r.SetBasicAuth("admin", right)
	if _, err := who.Authorization(t.Context(), r.Header.Get("Authorization"), "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(a)
	s.Config.ReadTimeout, s.Config.WriteTimeout = deadline, deadline
	s.Start()
	t.Cleanup(s.Close)
	return a, s
}

func ask(t *testing.T, s *httptest.Server, method, path, password string, header ...string) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if password != "" {
		r.SetBasicAuth("admin", password)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	_, s := serving(t, &fake{check: func(context.Context, Progress) (found, error) { return found{7}, nil }})
	f := func(method, path, password string, status int, kind, body string, header ...string) {
		t.Helper()
		resp, got, err := ask(t, s, method, path, password, header...)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != status || resp.Header.Get("Content-Type") != kind || !strings.Contains(got, body) {
			t.Errorf("%s %s: %d %s %s", method, path, resp.StatusCode, resp.Header, got)
		}
	}
	const plain, problem, lines = "application/json", "application/problem+json", "application/x-ndjson"
	f("GET", "/api/v1/status", right, 200, plain, `"version":"1.2.3"`)
	f("GET", "/api/v1/store", right, 200, plain, `{"health":"ok"}`)
	f("POST", "/api/v1/store/check", right, 200, lines, `{"result":{"records":7}}`+"\n")
	f("POST", "/api/v1/store/compact", right, 200, lines, `{"error":"disk is gone"}`+"\n")
	f("GET", "/api/v1/store/export", right, 200, lines, "")
	f("GET", "/api/v1/openapi.json", right, 200, "application/openapi+json", `"openapi":"3.1.0"`)
	f("GET", "/api/v1/nothing", right, 404, problem, "openapi.json")
	f("POST", "/api/v1/store/compact", right, 403, problem, "another site", "Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site")
	f("GET", "/api/v1/status", "", 401, problem, "give credentials")
	for range 5 {
		f("GET", "/api/v1/status", "wrong", 401, problem, "wrong")
	}
	f("GET", "/api/v1/status", "wrong", 429, problem, "try again in ")
	f("GET", "/api/v1/status", right, 200, plain, "")
}

// A process that keeps nothing on disk says so.
func TestNoStore(t *testing.T) {
	_, s := serving(t, nil)
	for path, method := range map[string]string{
		"/store": "GET", "/store/check": "POST", "/store/compact": "POST", "/store/export": "GET", "/backup": "GET",
	} {
		resp, body, err := ask(t, s, method, serve.Prefix+path, right)
		if err != nil || resp.StatusCode != 409 || !strings.Contains(body, "durability is memory") {
			t.Errorf("%s: %v %s", path, err, body)
		}
	}
}

// A long task tells how far it is, is there once, outlives the server's deadlines and ends at Stop.
func TestTask(t *testing.T) {
	t.Parallel()
	var api *API
	e := &fake{check: func(ctx context.Context, p Progress) (found, error) {
		p(3, 10)
		<-ctx.Done()
		return found{}, ctx.Err()
	}}
	api, s := serveWithin(t, e, 2*time.Second)
	r, _ := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/api/v1/store/check", nil)
	r.SetBasicAuth("admin", right)
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for range 12 { // 2.4 s, beyond the deadlines
		if !lines.Scan() || lines.Text() != `{"done":3,"total":10}` {
			t.Fatalf("%q %v", lines.Text(), lines.Err())
		}
	}
	if resp, body, err := ask(t, s, "POST", "/api/v1/store/check", right); err != nil || resp.StatusCode != 409 || !strings.Contains(body, "a check is running already") {
		t.Errorf("%v %s", err, body)
	}
	if err := api.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	var last serve.Line[found]
	for lines.Scan() {
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			t.Fatal(err)
		}
	}
	if last.Error != "context canceled" {
		t.Errorf("it ended with %+v", last)
	}
	if resp, _, err := ask(t, s, "POST", "/api/v1/store/check", right); err != nil || resp.StatusCode != 503 {
		t.Errorf("after Stop: %v %v", resp, err)
	}
}

// What breaks in the middle cannot be taken for the whole; what breaks before the first byte says why.
func TestBackupErrors(t *testing.T) {
	t.Parallel()
	open := func(copy func(context.Context, io.Writer) error) *httptest.Server {
		_, s := serving(t, &fake{copy: copy})
		return s
	}
	s := open(func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, "all")
		return err
	})
	if resp, body, err := ask(t, s, "GET", "/api/v1/backup", right); err != nil || resp.StatusCode != 200 || body != "all" {
		t.Errorf("%v %v %s", resp, err, body)
	}
	s = open(func(_ context.Context, w io.Writer) error {
		io.WriteString(w, "half")
		return errors.New("disk is gone")
	})
	if _, body, err := ask(t, s, "GET", "/api/v1/backup", right); err == nil {
		t.Errorf("a broken backup looks whole: %q", body)
	}
	s = open(func(context.Context, io.Writer) error { return errors.New("disk is gone") })
	if resp, body, err := ask(t, s, "GET", "/api/v1/backup", right); err != nil || resp.StatusCode != 500 || !strings.Contains(body, "backup: disk is gone") {
		t.Errorf("%v %v %s", resp, err, body)
	}
	s = open(func(ctx context.Context, w io.Writer) error {
		<-ctx.Done() // the client leaves
		return ctx.Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/api/v1/backup", nil)
	r.SetBasicAuth("admin", right)
	if _, err := s.Client().Do(r); err == nil {
		t.Error("the client's own end is no error")
	}
}

// TestTasksInTurn: whoever has read the result of a task may begin the next at once.
func TestTasksInTurn(t *testing.T) {
	t.Parallel()
	e := &fake{check: func(context.Context, Progress) (found, error) { return found{}, nil }}
	_, s := serveWithin(t, e, time.Minute)
	check := func() *http.Response {
		r, _ := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/api/v1/store/check", nil)
		r.SetBasicAuth("admin", right)
		resp, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	for i := range 300 {
		resp := check()
		if lines := bufio.NewScanner(resp.Body); resp.StatusCode != 200 || !lines.Scan() || !strings.Contains(lines.Text(), "result") { // not to its end
			t.Fatalf("after %d: %d %s %v", i, resp.StatusCode, lines.Text(), lines.Err())
		}
	}
}
