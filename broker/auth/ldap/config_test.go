package ldap

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
)

func config(change func(*Config)) Config {
	c := DefaultConfig()
	c.URL, c.Base = "ldaps://ldap.example.com", "ou=people,dc=example,dc=com"
	if change != nil {
		change(&c)
	}
	return c
}

func TestConfig(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg := config(change)
		err := cfg.Usable()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	at := func(url string) func(*Config) { return func(c *Config) { c.URL = url } }
	f("", nil)
	f("set url", at(""))
	f("", at("ldap://127.0.0.1:389"))
	f("", at("ldapi:///var/run/slapd/ldapi"))
	f("", func(c *Config) { c.URL, c.StartTLS = "ldap://ldap.example.com", true })
	f("", func(c *Config) { c.URL, c.Plaintext = "ldap://ldap.example.com", true })
	f("unencrypted to another machine", at("ldap://ldap.example.com"))
	f("is encrypted from the start", func(c *Config) { c.StartTLS = true })
	f("is not ldap", at("https://ldap.example.com"))
	f("not the URL", at("ldap://ldap.example.com/dc=example"))
	f("not the URL", at("ldap.example.com"))
	f("not the URL", at("ldaps://me:secret@ldap.example.com"))
	f("names no socket", at("ldapi://socket"))
	f("set user_dn, or base", func(c *Config) { c.Base = "" })
	f("", func(c *Config) { c.UserDN = "uid={user},ou=people,dc=example,dc=com" })
	f("does not contain {user}", func(c *Config) { c.UserDN = "uid=x,dc=example,dc=com" })
	f("user_dn", func(c *Config) { c.UserDN = "{user}" })
	f("filter", func(c *Config) { c.Filter = "(uid={user}" })
	f("does not ask for {user}", func(c *Config) { c.Filter = "(uid=*)" })
	f("asks for neither", func(c *Config) { c.GroupFilter = "(objectClass=*)" })
	f("bind_password is empty", func(c *Config) { c.BindDN = "cn=x" })
	f("name_attribute", func(c *Config) { c.Name = "" })
	f("timeout", func(c *Config) { c.Timeout = 0 })
}

// TestEscaped: what is typed stays one value.
func TestEscaped(t *testing.T) {
	if got := fill("(&(uid={user})(o=x))", ldap.EscapeFilter, `*)(uid=\`+"\x00", ""); got != `(&(uid=\2a\29\28uid=\5c\00)(o=x))` {
		t.Errorf("got %s", got)
	}
	if got := fill("uid={user},dc=x", ldap.EscapeDN, ` a,cn=admin+b="<>;#\`, ""); got != `uid=\ a\,cn=admin\+b=\"\<\>\;#\\,dc=x` {
		t.Errorf("got %s", got)
	}
	if got := fill("(member={dn})", ldap.EscapeFilter, "{dn}", "{user}"); got != "(member={user})" {
		t.Errorf("what is put in is filled again: %s", got)
	}
}

// TestAuthorities: without authorities to verify the server by there is no backend (F161).
func TestAuthorities(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, filepath.Join(t.TempDir(), "missing.pem")} {
		if _, err := Open(t.Context(), config(func(c *Config) { c.TLS.CA = file }), Options{}); err == nil {
			t.Errorf("%s was taken", file)
		}
	}
}

func attempt(user, password string) *auth.Attempt {
	return &auth.Attempt{ClientID: "c1", Username: user, HasUser: true, Password: []byte(password), HasPass: true}
}

// TestEmptyPassword: it is refused before the directory is asked, where it would be the password of everybody.
func TestEmptyPassword(t *testing.T) {
	b, err := Open(t.Context(), config(func(c *Config) { c.URL = "ldap://127.0.0.1:1" }), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	id, err := b.Authenticate(t.Context(), attempt("anna", ""))
	var no *auth.Refusal
	if id != nil || !errors.As(err, &no) {
		t.Errorf("got %v, %v", id, err)
	}
}

// TestNoTLS: a server that cannot do TLS is not told a password (F161); one that says nothing at all is not waited for (F148).
func TestNoTLS(t *testing.T) {
	f := func(answer string, change func(*Config), want string) {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		told := make(chan string, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			first := make([]byte, 1024)
			n, _ := c.Read(first)
			if answer != "" {
				_, _ = io.WriteString(c, answer)
			}
			rest, _ := io.ReadAll(c)
			told <- string(first[:n]) + string(rest)
		}()
		b, err := Open(t.Context(), config(func(c *Config) {
			c.URL, c.StartTLS, c.Timeout = "ldap://"+l.Addr().String(), true, time.Minute
			if want == "" { // one of two clocks ends it
				c.Timeout = 500 * time.Millisecond
			}
			c.BindDN, c.BindPassword = "cn=service", "s3rvice"
			if change != nil {
				change(c)
				c.URL = strings.Replace(c.URL, "ldap:", "ldaps:", 1)
			}
		}), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		began := time.Now()
		id, err := b.Authenticate(t.Context(), attempt("anna", "s3cret"))
		var no *auth.Refusal
		if id != nil || err == nil || errors.As(err, &no) || errors.Is(err, auth.ErrUnknown) || !strings.Contains(err.Error(), want) || time.Since(began) > 30*time.Second {
			t.Errorf("after %v: %v, %v, want %q", time.Since(began), id, err, want)
		}
		if said := <-told; strings.Contains(said, "s3rvice") || strings.Contains(said, "s3cret") { // not in the random bytes of a hello
			t.Errorf("it was told %q", said)
		}
	}
	// An answer to StartTLS, message 1, with result protocolError (2).
	f("\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00", nil, "start TLS")
	// Success, and then no TLS.
	f("\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00hello", nil, "")
	f("hello", func(c *Config) { c.StartTLS = false }, "TLS")
	f("", nil, "")
	f("", func(c *Config) { c.StartTLS = false }, "")
}

// TestUnreachable: nobody is let in, nor passed on, while the directory cannot be asked (F148, F173).
func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	b, err := Open(t.Context(), config(func(c *Config) { c.URL = "ldap://" + l.Addr().String() }), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	id, err := b.Authenticate(t.Context(), attempt("anna", "p"))
	var no *auth.Refusal
	if id != nil || err == nil || errors.Is(err, auth.ErrUnknown) || errors.As(err, &no) {
		t.Errorf("got %v, %v", id, err)
	}
}
