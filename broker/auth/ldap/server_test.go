//go:build slapd

package ldap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/authtest"
	"github.com/sapwood-mqtt/sapwood/test/selfsigned"
)

const (
	root     = "cn=root,dc=example,dc=com"
	rootPass = "r00t"
	service  = "cn=sapwood,dc=example,dc=com"
	servPass = "s3rvice"
)

// server is a slapd of our own in a directory of its own. That there is none here is a failure: whoever asks for these tests wants them to
// have run.
type server struct {
	plain, secure string // addresses
	ca            string // file
	admin         *ldap.Conn
	mu            sync.Mutex
}

func start(t *testing.T) *server {
	t.Helper()
	const program = "/usr/sbin/slapd"
	if _, err := os.Stat(program); err != nil {
		t.Fatal("no LDAP server is installed: apt-get install slapd")
	}
	dir := t.TempDir()
	s := &server{plain: freeAddress(t), secure: freeAddress(t)}
	pair, err := selfsigned.New("ldap.example.com", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := pair.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.ca = cert
	conf := fmt.Sprintf(`
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile %[1]s/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile %[2]s
TLSCertificateKeyFile %[3]s
database mdb
suffix "dc=example,dc=com"
rootdn "%[4]s"
rootpw %[5]s
directory %[1]s/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="%[6]s" read by self read by * none
`, dir, cert, key, root, rootPass, service)
	file := filepath.Join(dir, "slapd.conf")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "data"), 0o700), os.WriteFile(file, []byte(conf), 0o600)); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c := exec.Command(program, "-f", file, "-h", "ldap://"+s.plain+" ldaps://"+s.secure, "-d", "0")
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
		if t.Failed() {
			t.Logf("the server said:\n%s", log.String())
		}
	})
	s.connect(t)
	s.fill(t)
	return s
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (s *server) connect(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := ldap.DialURL("ldap://" + s.plain)
		if err == nil {
			if err := conn.Bind(root, rootPass); err != nil {
				t.Fatal(err)
			}
			s.admin = conn
			t.Cleanup(func() { _ = conn.Close() })
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
}

// add makes an entry of "attribute: value" lines.
func (s *server) add(t *testing.T, dn string, lines ...string) {
	t.Helper()
	r := ldap.NewAddRequest(dn, nil)
	values := map[string][]string{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		values[name] = append(values[name], value)
	}
	for name, v := range values {
		r.Attribute(name, v)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admin.Add(r); err != nil {
		t.Fatalf("add %s: %v", dn, err)
	}
}

func (s *server) person(t *testing.T, uid, password string, more ...string) {
	t.Helper()
	s.add(t, "uid="+ldap.EscapeDN(uid)+",ou=people,dc=example,dc=com",
		append([]string{"objectClass: inetOrgPerson", "uid: " + uid, "cn: x", "sn: x", "userPassword: " + password}, more...)...)
}

func (s *server) fill(t *testing.T) {
	s.add(t, "dc=example,dc=com", "objectClass: dcObject", "objectClass: organization", "dc: example", "o: Example")
	s.add(t, "ou=people,dc=example,dc=com", "objectClass: organizationalUnit", "ou: people")
	s.add(t, "ou=groups,dc=example,dc=com", "objectClass: organizationalUnit", "ou: groups")
	s.add(t, service, "objectClass: organizationalRole", "objectClass: simpleSecurityObject", "cn: sapwood", "userPassword: "+servPass)
	s.person(t, "anna", "right", "mail: anna@example.com")
	s.person(t, "two", "right", "mail: both@example.com")
	s.person(t, "three", "right", "mail: both@example.com")
	s.person(t, "a,b*(c)", "right")
	for name, member := range map[string]string{"pumps": "anna", "valves": "anna", "others": "two"} {
		s.add(t, "cn="+name+",ou=groups,dc=example,dc=com", "objectClass: groupOfNames", "cn: "+name, "member: uid="+member+",ou=people,dc=example,dc=com")
	}
}

// searching is a configuration with a service account; over TLS, as the documentation shows it.
func (s *server) searching() Config {
	c := DefaultConfig()
	c.URL, c.TLS.CA = "ldaps://"+s.secure, s.ca
	c.BindDN, c.BindPassword, c.Base, c.GroupBase = service, servPass, "ou=people,dc=example,dc=com", "ou=groups,dc=example,dc=com"
	return c
}

// direct is one in which the name tells the entry; by StartTLS.
func (s *server) direct() Config {
	c := DefaultConfig()
	c.URL, c.StartTLS, c.TLS.CA, c.UserDN = "ldap://"+s.plain, true, s.ca, "uid={user},ou=people,dc=example,dc=com"
	return c
}

func open(t *testing.T, cfg Config) *Backend {
	t.Helper()
	b, err := Open(t.Context(), cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestServer(t *testing.T) {
	s := start(t)
	t.Run("searching", func(t *testing.T) { s.suite(t, s.searching(), authtest.Unknown) })
	t.Run("direct", func(t *testing.T) { s.suite(t, s.direct(), authtest.Refused) }) // a directory does not tell who is not there
	t.Run("identity", s.identity)
	t.Run("names", s.names)
	t.Run("tls", s.tls)
	t.Run("pool", s.pool)
}

func (s *server) suite(t *testing.T, cfg Config, unknown authtest.Outcome) {
	n := 0
	elsewhere := func(t *testing.T, address string) auth.Authenticator {
		c := cfg
		c.URL = cfg.URL[:strings.Index(cfg.URL, "//")+2] + address
		return open(t, c)
	}
	authtest.Run(t, authtest.Harness{
		New:   func(t *testing.T) auth.Authenticator { return open(t, cfg) },
		Right: func() *auth.Attempt { return attempt("anna", "right") },
		Name:  "anna",

		WrongPassword: authtest.Refused, EmptyPassword: authtest.Refused, NoPassword: authtest.Unknown,
		UnknownUser: authtest.Unasked, NoUser: authtest.Unknown,
		With: func(t *testing.T, password []byte) *auth.Attempt {
			n++
			uid := fmt.Sprintf("with-%d-%s", n, cfg.URL[:5])
			s.person(t, uid, "x")
			s.mu.Lock()
			defer s.mu.Unlock()
			r := ldap.NewModifyRequest("uid="+ldap.EscapeDN(uid)+",ou=people,dc=example,dc=com", nil)
			r.Replace("userPassword", []string{string(password)})
			if len(password) > 0 {
				if err := s.admin.Modify(r); err != nil {
					t.Fatal(err)
				}
			}
			a := attempt(uid, "")
			a.Password = password
			return a
		},
		Unreachable: func(t *testing.T) auth.Authenticator { return elsewhere(t, freeAddress(t)) },
		Hanging: func(t *testing.T) auth.Authenticator {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			return elsewhere(t, l.Addr().String())
		},
	})
	id, err := open(t, cfg).Authenticate(t.Context(), attempt("nobody", "p"))
	var no *auth.Refusal
	if id != nil || (unknown == authtest.Unknown) != errors.Is(err, auth.ErrUnknown) || (unknown == authtest.Refused) != errors.As(err, &no) {
		t.Errorf("an unknown user: %v, %v", id, err)
	}
}

// identity: the name is the directory's own, groups come along, and follow it.
func (s *server) identity(t *testing.T) {
	cfg := s.searching()
	cfg.Filter = "(|(uid={user})(mail={user}))"
	b := open(t, cfg)
	for _, user := range []string{"anna", "ANNA", " anna ", "Anna@Example.com"} {
		id, err := b.Authenticate(t.Context(), attempt(user, "right"))
		if err != nil || id.Name != "anna" || id.By != "ldap" {
			t.Fatalf("%q: %+v, %v", user, id, err)
		}
		slices.Sort(id.Groups)
		if !slices.Equal(id.Groups, []string{"pumps", "valves"}) || id.Claims["dn"] != "uid=anna,ou=people,dc=example,dc=com" || id.Claims["login"] != user {
			t.Errorf("%q: %+v", user, id)
		}
	}
	id, err := open(t, s.direct()).Authenticate(t.Context(), attempt("ANNA", "right"))
	if err != nil || id.Name != "anna" {
		t.Errorf("got %+v, %v", id, err)
	}

	id, err = b.Authenticate(t.Context(), attempt("two", "right"))
	if err != nil || !slices.Equal(id.Groups, []string{"others"}) {
		t.Fatalf("got %+v, %v", id, err)
	}
	p := &auth.Principal{Identity: id, ClientID: "c1"}
	s.mu.Lock()
	err = s.admin.Del(ldap.NewDelRequest("cn=others,ou=groups,dc=example,dc=com", nil))
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if id, err = b.Refresh(t.Context(), p); err != nil || len(id.Groups) != 0 || id.Name != "two" {
		t.Errorf("got %+v, %v", id, err)
	}
	gone := &auth.Principal{Identity: &auth.Identity{Name: "gone", Claims: map[string]string{"dn": "uid=gone", "login": "gone"}}}
	if id, err = b.Refresh(t.Context(), gone); id != nil || !errors.Is(err, auth.ErrUnknown) {
		t.Errorf("got %+v, %v", id, err)
	}
	if _, err = open(t, s.direct()).Refresh(t.Context(), p); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

// names: what is typed can be no filter and no other name, and must mean one entry.
func (s *server) names(t *testing.T) {
	f := func(cfg Config, user, want string) {
		t.Helper()
		id, err := open(t, cfg).Authenticate(t.Context(), attempt(user, "right"))
		if want == "" && err == nil || want != "" && (err != nil || id.Name != want) {
			t.Errorf("%q: %+v, %v, want %q", user, id, err, want)
		}
	}
	byMail := s.searching()
	byMail.Filter = "(mail={user})"
	f(byMail, "both@example.com", "")
	for _, cfg := range []Config{s.searching(), s.direct()} {
		f(cfg, "a,b*(c)", "a,b*(c)")
		for _, user := range []string{"ann*", "*", "*)(uid=anna", "anna)(|(uid=*", "anna,ou=people", "anna+uid=two", "anna,ou=people,dc=example,dc=com"} {
			f(cfg, user, "")
		}
	}
}

// tls: a server that is not verified is not asked (F161).
func (s *server) tls(t *testing.T) {
	f := func(cfg Config, want string) {
		t.Helper()
		id, err := open(t, cfg).Authenticate(t.Context(), attempt("anna", "right"))
		if id != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %+v, %v, want %q", id, err, want)
		}
	}
	for _, cfg := range []Config{s.searching(), s.direct()} {
		cfg.TLS.ServerName = "other.example.com"
		f(cfg, "other.example.com")
		cfg.TLS.ServerName, cfg.TLS.CA = "", ""
		f(cfg, "certificate")
	}
	cfg := s.searching()
	cfg.TLS.ServerName = "ldap.example.com"
	if _, err := open(t, cfg).Authenticate(t.Context(), attempt("anna", "right")); err != nil {
		t.Error(err)
	}
	cfg.BindPassword = "wrong"
	f(cfg, "bind as Sapwood")
}

// pool: connections are bounded, used again, and replaced when they are dead; none stays the last user's.
func (s *server) pool(t *testing.T) {
	cfg := s.searching()
	cfg.Connections = 2
	b := open(t, cfg)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for range 5 {
				a, want := attempt("anna", "right"), "anna"
				if i%2 == 1 {
					a, want = attempt("three", "right"), "three"
				}
				id, err := b.Authenticate(t.Context(), a)
				if err != nil || id.Name != want {
					t.Errorf("got %+v, %v", id, err)
				}
			}
		})
	}
	all.Wait()
	if n := len(b.pool.idle); n == 0 || n > 2 {
		t.Errorf("%d connections", n)
	}
	for _, c := range b.pool.idle { // as if the server had closed them
		_ = c.Conn.Close()
	}
	if _, err := b.Authenticate(t.Context(), attempt("anna", "right")); err != nil {
		t.Error(err)
	}
	if err := b.Reload(); err != nil || len(b.pool.idle) != 0 {
		t.Errorf("%v, %d connections are left", err, len(b.pool.idle))
	}
	if _, err := b.Authenticate(t.Context(), attempt("anna", "right")); err != nil {
		t.Error(err)
	}
}
