// Package ui is the console for browsers: the built files of the TypeScript sources beside it, within the binary. It
// serves files and knows nothing else: what the pages show they ask of the API, with the rights of who is logged in.
package ui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed dist
var dist embed.FS

// kinds are the content types of the files that there may be: those of the machine must not decide.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// file is one file as it is sent.
type file struct {
	kind, tag   string
	plain, gzip []byte // gzip is nil where it saves nothing
	lasting     bool   // its name changes with its contents
}

// Handler serves the console below "/"; what it does not have it passes on to next. Paths in the pages are relative, so
// a proxy may put the server below any path. The files are read with the first request. The handler may be called from
// many goroutines at once.
func Handler(next http.Handler) http.Handler {
	read := sync.OnceValues(func() (map[string]*file, error) { return load(dist) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		files, err := read()
		if err != nil { // a test holds that those of this binary are fine
			http.Error(w, "the console cannot be read: "+err.Error(), http.StatusInternalServerError)
			return
		}
		name := r.URL.Path
		if name == "/" {
			name = "/index.html"
		}
		f := files[name]
		if f == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		f.serve(w, r)
	})
}

// load reads the files once, each also compressed.
func load(all fs.FS) (map[string]*file, error) {
	files := map[string]*file{}
	err := fs.WalkDir(all, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		kind := kinds[path.Ext(name)]
		if kind == "" {
			return fmt.Errorf("%s: files of its kind are not served", name)
		}
		plain, err := fs.ReadFile(all, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(plain)
		f := &file{kind: kind, plain: plain, tag: base64.RawURLEncoding.EncodeToString(sum[:12]), lasting: strings.HasPrefix(name, "dist/assets/")}
		if f.gzip, err = compress(plain); err != nil {
			return err
		}
		files[strings.TrimPrefix(name, "dist")] = f
		return nil
	})
	return files, err
}

func compress(plain []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if b.Len() >= len(plain) {
		return nil, nil
	}
	return b.Bytes(), nil
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	body, tag := f.plain, `"`+f.tag+`"`
	h := w.Header()
	h.Set("Vary", "Accept-Encoding")
	if f.gzip != nil && takesGzip(r.Header.Get("Accept-Encoding")) {
		body, tag = f.gzip, `"`+f.tag+`-gzip"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", tag)
	h.Set("Cache-Control", "no-cache")
	if f.lasting {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("Content-Type", f.kind)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	if strings.Contains(r.Header.Get("If-None-Match"), tag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // who cannot be written to is gone
	}
}

// takesGzip reads Accept-Encoding (RFC 9110, 12.5.3) as far as gzip goes.
func takesGzip(accepted string) bool {
	for part := range strings.SplitSeq(accepted, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			weight = strings.TrimPrefix(strings.ReplaceAll(weight, " ", ""), "q=")
			q, err := strconv.ParseFloat(weight, 64)
			return err != nil || q > 0
		}
	}
	return false
}
