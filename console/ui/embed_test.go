package ui_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/console/ui"
)

func ask(t *testing.T, path string, headers ...string) *http.Response {
	t.Helper()
	h := ui.Handler(http.NotFoundHandler())
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	from := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		from = z
	}
	text, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var linked = regexp.MustCompile(`(?:src|href)="([^"]+)"`)

func TestPages(t *testing.T) {
	r := ask(t, "/")
	page := body(t, r)
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "text/html; charset=utf-8" || r.Header.Get("Cache-Control") != "no-cache" {
		t.Fatalf("/: %d %v", r.StatusCode, r.Header)
	}
	if regexp.MustCompile(`<script[^>]*>[^<]|<style|\son\w+=|\sstyle=`).MatchString(page) {
		t.Errorf("the page has a script or a style in it, which the policy of console.Handler forbids: %s", page)
	}
	found := linked.FindAllStringSubmatch(page, -1)
	if len(found) < 3 {
		t.Errorf("the page refers to %v, which is not enough for a console", found)
	}
	for _, m := range found {
		path, relative := strings.CutPrefix(m[1], "./")
		if !relative {
			t.Errorf("the page refers to %s: below another path of a proxy that is somewhere else", m[1])
			continue
		}
		r := ask(t, "/"+path, "Accept-Encoding", "br, gzip")
		if r.StatusCode != 200 || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, r.StatusCode, r.Header)
		}
		if lasting := r.Header.Get("Cache-Control") == "public, max-age=31536000, immutable"; lasting != strings.HasPrefix(path, "assets/") {
			t.Errorf("%s: Cache-Control %q", path, r.Header.Get("Cache-Control"))
		}
		if packed := body(t, r); packed != body(t, ask(t, "/"+path)) {
			t.Errorf("%s: with gzip it is something else", path)
		}
	}
	if r := ask(t, "/", "If-None-Match", r.Header.Get("ETag")); r.StatusCode != 304 || body(t, r) != "" {
		t.Errorf("the page that the browser has is sent again: %d", r.StatusCode)
	}
	if r := ask(t, "/", "Accept-Encoding", "gzip;q=0"); r.Header.Get("Content-Encoding") != "" {
		t.Errorf("gzip is sent to who does not want it")
	}
	for _, none := range []string{"/embed.go", "/assets/", "/dist/index.html", "/../embed.go"} {
		if r := ask(t, none); r.StatusCode != 404 {
			t.Errorf("%s: %d", none, r.StatusCode)
		}
	}
}

// TestTraversal asks for files that are not the console's, in the ways in which servers were tricked (F192): what is served stands in a map of
// embedded files, and no path reaches the disk.
func TestTraversal(t *testing.T) {
	for _, path := range []string{
		"/../../etc/passwd", "/assets/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/assets/..%5c..%5cwin.ini",
		"//etc/passwd", "/./index.html", "/assets/", "/assets", "/dist/index.html", "/embed.go", "/.git/config", "/index.html/..", "/assets/%00",
	} {
		if r := ask(t, path); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d %.100s", path, r.StatusCode, body(t, r))
		}
	}
}
