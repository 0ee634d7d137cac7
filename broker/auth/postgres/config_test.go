package postgres

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
)

func config(change func(*Config)) Config {
	c := DefaultConfig()
	c.Query = "SELECT hash FROM users WHERE name = $1"
	if change != nil {
		change(&c)
	}
	return c
}

func TestConfig(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg, told := config(change), ""
		cfg.Check(func(key, message, _ string) { told += key + " " + message })
		err := cfg.Usable()
		if want == "" && (told != "" || err != nil) || want != "" && !strings.Contains(told, want) && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("told %q, %v, want %q", told, err, want)
		}
	}
	f("", nil)
	f("", func(c *Config) { c.Groups = "SELECT g FROM groups WHERE name = $1 AND client = $2" })
	f("set query", func(c *Config) { c.Query = "" })
	f("everybody would have one password", func(c *Config) { c.Query = "SELECT hash FROM users" })
	f("asks about $3", func(c *Config) { c.Query = "SELECT $3" })
	f("asks about $0", func(c *Config) { c.Rules = "SELECT $0" })
	f("without $1", func(c *Config) { c.Query = "SELECT hash FROM clients WHERE id = $2" })
	f("notify", func(c *Config) { c.Notify = `a"; DROP TABLE users; --` })
	f("timeout", func(c *Config) { c.Timeout = 0 })
	f("host", func(c *Config) { c.Database = "" })
	if err := (&Config{}).Usable(); err == nil {
		t.Error("nothing is enough")
	}
}

// TestEncrypted: to another machine there is TLS or, by explicit leave, none; nothing tries the one and falls back to the other,
// whatever libpq's variables say (F161).
func TestEncrypted(t *testing.T) {
	for _, v := range []string{"PGSSLMODE", "PGHOST", "PGUSER", "PGOPTIONS", "PGSSLROOTCERT"} {
		t.Setenv(v, "prefer")
	}
	f := func(encrypted bool, change func(*Config)) {
		t.Helper()
		cfg := config(change)
		cfg.Notify = ""
		b, err := Open(t.Context(), cfg, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		conf, err := b.poolConfig()
		if err != nil {
			t.Fatal(err)
		}
		c := conf.ConnConfig
		if err := conf.BeforeConnect(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if (c.TLSConfig != nil) != encrypted || len(c.Fallbacks) != 0 || c.Host != cfg.Host || c.User != cfg.User || c.RuntimeParams["options"] != "" {
			t.Errorf("%s: TLS %v, %d fallbacks, %v", cfg.Host, c.TLSConfig != nil, len(c.Fallbacks), c.RuntimeParams)
		}
		if encrypted && (c.TLSConfig.InsecureSkipVerify || c.TLSConfig.ServerName == "") {
			t.Error("the server is not verified")
		}
	}
	f(false, nil)
	f(false, func(c *Config) { c.Host = "/var/run/postgresql" })
	f(true, func(c *Config) { c.Host = "db.example.com" })
	f(false, func(c *Config) { c.Host, c.Plaintext = "db.example.com", true })
	f(true, func(c *Config) { c.TLS.ServerName = "db.example.com" })

	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), config(func(c *Config) { c.TLS.CA = empty }), Options{}); err == nil {
		t.Error("an empty file of authorities was taken")
	}
}

// TestNoTLS: a server that says it has no TLS is not told the password (F161).
func TestNoTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	told := make(chan []byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.ReadFull(c, make([]byte, 8)) // the SSLRequest
		_, _ = c.Write([]byte("N"))
		rest, _ := io.ReadAll(c)
		told <- rest
	}()
	b, err := Open(t.Context(), config(func(c *Config) {
		c.Port, c.TLS.ServerName, c.Password, c.Notify = l.Addr().(*net.TCPAddr).Port, "db.example.com", "s3cret", ""
	}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	_, err = b.Authenticate(t.Context(), &auth.Attempt{Username: "a", HasUser: true, HasPass: true})
	if err == nil || !strings.Contains(err.Error(), "TLS") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
	if rest := <-told; len(rest) != 0 {
		t.Errorf("it was told %q", rest)
	}
}

// TestUnreachable: nobody is let in, nor passed on, while the database cannot be asked (F148, F173).
func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := func() {
		t.Helper()
		b, err := Open(t.Context(), config(func(c *Config) {
			c.Port, c.Timeout, c.Notify = l.Addr().(*net.TCPAddr).Port, 300*time.Millisecond, ""
		}), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		id, err := b.Authenticate(t.Context(), &auth.Attempt{Username: "a", HasUser: true, HasPass: true})
		var no *auth.Refusal
		if id != nil || err == nil || errors.Is(err, auth.ErrUnknown) || errors.As(err, &no) {
			t.Errorf("got %v, %v", id, err)
		}
	}
	f() // it takes the connection and says nothing
	_ = l.Close()
	f()
}
