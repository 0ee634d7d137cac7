package console_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/console"
)

// Every answer, also one that says no, tells browsers what not to do with it (F206, and the policy of F190).
func TestHeaders(t *testing.T) {
	no := func() http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	}
	h := console.Metrics(console.Handler(func() error { return nil }, no), no)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/metrics", nil))
	if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Error(w.Code, w.Header())
	}
	for _, path := range []string{"/", "/healthz", "/readyz", "/metrics", "/api/v1/status", "/nothing"} {
		for _, secure := range []bool{false, true} {
			r := httptest.NewRequest("GET", path, nil)
			if secure {
				r.TLS = &tls.ConnectionState{}
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			got := w.Header()
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
				"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			} {
				if got.Get(name) != want {
					t.Errorf("%s: %s is %q", path, name, got.Get(name))
				}
			}
			policy := got.Get("Content-Security-Policy")
			if !strings.HasPrefix(policy, "default-src 'self';") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
				t.Errorf("%s: the policy is %q", path, policy)
			}
			if (got.Get("Strict-Transport-Security") != "") != secure {
				t.Errorf("%s with TLS %v: %v", path, secure, got)
			}
		}
	}
}

// The health checks say that the process is there and ready, and nothing else: no version, no name (F202). Nothing is read from paths (F192).
func TestNothingTold(t *testing.T) {
	h := console.Handler(func() error { return nil }, func() http.Handler { return nil })
	for _, path := range []string{"/healthz", "/readyz"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Body.String() != "ok\n" || w.Header().Get("Server") != "" {
			t.Errorf("%s: %v %s", path, w.Header(), w.Body)
		}
	}
	for _, path := range []string{"/debug/pprof/", "/metrics", "/static/../../etc/passwd", "/static/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/assets/..%5c..%5cwin.ini", "/.git/config"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path, r.URL.RawPath = path, path
		h.ServeHTTP(w, r)
		if body := w.Body.String(); w.Code == http.StatusOK && (path == "/metrics" || strings.Contains(path, "pprof")) || strings.Contains(body, "root:") {
			t.Errorf("%s: %d %s", path, w.Code, body)
		}
	}
}
