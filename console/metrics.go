package console

import "net/http"

// Metrics answers /metrics with the handler that metrics returns, unless that is nil; everything else goes to next. metrics is called from
// many goroutines at once.
func Metrics(next http.Handler, metrics func() http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			if h := metrics(); h != nil {
				if r.Method != http.MethodGet && r.Method != http.MethodHead {
					h = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						w.Header().Set("Allow", "GET, HEAD")
						fail(w, http.StatusMethodNotAllowed, "/metrics answers GET and HEAD")
					})
				}
				secured(h).ServeHTTP(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
