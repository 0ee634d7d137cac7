package upstream

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAuthorities: whatever is wrong with the file of authorities, there is no connection, and above all none that falls back to
// the system's or to no verification (F161).
func TestAuthorities(t *testing.T) {
	dir := t.TempDir()
	empty, text := filepath.Join(dir, "empty.pem"), filepath.Join(dir, "text.pem")
	for file, data := range map[string]string{empty: "", text: "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n"} {
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := func(ca, want string) {
		t.Helper()
		s := TLS{CA: ca}
		c, err := s.Client("auth.example")
		if c != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v, want %q", ca, c, err, want)
		}
	}
	f(empty, "holds no certificate")
	f(text, "holds no certificate")
	f(dir, "read authorities")
	f(filepath.Join(dir, "missing.pem"), "read authorities")
	if _, err := (&TLS{Certificate: empty, Key: empty}).Client("auth.example"); err == nil {
		t.Error("an empty certificate is one")
	}
	if _, err := (&TLS{}).Client(""); err == nil {
		t.Error("a server without a name can be verified")
	}
	c, err := (&TLS{}).Client("auth.example")
	if err != nil || c.InsecureSkipVerify || c.ServerName != "auth.example" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestLocal(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "[::1]": true, "::ffff:127.0.0.1": true,
		"": false, "10.0.0.1": false, "localhost.example": false, "0.0.0.0": false, "128.0.0.1": false,
	} {
		if Local(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
}
