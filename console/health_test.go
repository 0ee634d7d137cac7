package console_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/console"
)

func TestHealth(t *testing.T) {
	var notReady error
	var api http.Handler
	h := console.Handler(func() error { return notReady }, func() http.Handler { return api })
	f := func(method, path string, status int, detail string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != status {
			t.Errorf("%s %s: status %d, want %d", method, path, w.Code, status)
		}
		if status == http.StatusOK {
			if got := w.Body.String(); got != "ok\n" {
				t.Errorf("%s %s: body %q", method, path, got)
			}
			return
		}
		var problem struct {
			Title, Detail string
			Status        int
		}
		if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
		}
		if problem.Status != status || problem.Title != http.StatusText(status) || !strings.Contains(problem.Detail, detail) {
			t.Errorf("%s %s: got %+v", method, path, problem)
		}
		if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%s %s: content type %s", method, path, got)
		}
	}
	f("GET", "/healthz", 200, "")
	f("GET", "/readyz", 200, "")
	f("POST", "/readyz", 405, "GET")
	f("POST", "/", 404, "/healthz, /readyz and /api/v1")
	f("GET", "/index.php", 404, "/healthz, /readyz and /api/v1")
	f("GET", "/api/v1/status", 503, "from the end of the start")
	api = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	f("GET", "/api/v1/status", 200, "")
	f("GET", "/debug/pprof/heap", 404, "") // F249: nobody fetches the heap, in which payloads are
	notReady = errors.New("starting")
	f("GET", "/healthz", 200, "")
	f("GET", "/readyz", 503, "starting")
}
