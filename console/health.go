// Package console is the HTTP side of Sapwood: health checks here, the API in package api, the pages in package ui. What
// it answers itself shows nothing about clients, topics or the process: these paths need no authentication.
package console

import (
	"encoding/json"
	"io"
	"net/http"

	"github.com/sapwood-mqtt/sapwood/console/ui"
)

// problem is an RFC 9457 problem detail.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// Handler answers /healthz with 200 while the process lives, and /readyz with 200 while ready
// returns nil, else with 503 and the error's text. What is under /api/ it passes on to the handler that api returns,
// with 503 while that is nil. The console's pages are at /. Everything else is a problem that says what there is. ready and api are called
// from many goroutines at once.
func Handler(ready func() error, api func() http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { ok(w) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			fail(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		ok(w)
	})
	for _, path := range []string{"/healthz", "/readyz"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", "GET, HEAD")
			fail(w, http.StatusMethodNotAllowed, path+" answers GET and HEAD")
		})
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		if h := api(); h != nil {
			h.ServeHTTP(w, r)
			return
		}
		fail(w, http.StatusServiceUnavailable, "the API is there from the end of the start until the stop")
	})
	mux.Handle("/", ui.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, "there are the console at /, /healthz, /readyz and /api/v1 here")
	})))
	return secured(mux)
}

func ok(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	io.WriteString(w, "ok\n")
}

func fail(w http.ResponseWriter, status int, detail string) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail})
}
