package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/broker/transport/privateca"
)

// TestCertShowServer looks at what a server shows, whoever signed it, and says what is wrong with it.
func TestCertShowServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	ask := func(want int, args ...string) (string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(context.Background(), append([]string{"cert"}, args...), &streams{strings.NewReader(""), &out, &errs}); code != want {
			t.Fatalf("%v: exit %d, want %d: %s%s", args, code, want, &out, &errs)
		}
		return out.String(), errs.String()
	}
	ask(0, "init", "localhost", "--dir", dir)
	cert, key := privateca.Dir(dir).Server()
	c, err := transport.OpenTLS(transport.TLSConfig{Certificate: []string{cert}, Key: []string{key}, ClientCA: privateca.Dir(dir).AuthorityCert()}, transport.TLSOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = c.Config()
	server.StartTLS()
	defer server.Close()
	address := strings.Replace(server.Listener.Addr().String(), "127.0.0.1", "localhost", 1)

	out, _ := ask(0, "show", address)
	if !strings.Contains(out, "spoken: TLS 1.3\nnot trusted by this system: ") || !strings.Contains(out, "  names    localhost\n") {
		t.Errorf("got %s", out)
	}
	out, _ = ask(0, "show", "--json", "--cafile", privateca.Dir(dir).AuthorityCert(), address)
	var v certShown
	if err := json.Unmarshal([]byte(out), &v); err != nil || !v.Trusted || v.TLS != "TLS 1.3" || len(v.Certificates) != 1 || v.Certificates[0].Days != 824 {
		t.Errorf("%v, %s", err, out)
	}
	_, errs := ask(exitUnfit, "show", "--cafile", privateca.Dir(dir).AuthorityCert(), "--servername", "other.test", address)
	if !strings.Contains(errs, "certificate is valid for localhost, not other.test") {
		t.Errorf("got %s", errs)
	}
	ask(exitFailed, "show", "localhost:1")
}
