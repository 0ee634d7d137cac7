//go:build postgres

package postgres

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/authtest"
	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// server is a PostgreSQL of our own in a directory of its own. That there is none here is a failure: whoever asks for these tests wants
// them to have run.
type server struct {
	dir  string
	port int
	conn *pgx.Conn
	mu   sync.Mutex
}

func start(t *testing.T) *server {
	t.Helper()
	bin := programs(t)
	dir, err := os.MkdirTemp("", "sapwood-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	as := ordinary(t, dir)
	run := func(name string, args ...string) *exec.Cmd {
		c := exec.Command(filepath.Join(bin, name), args...)
		c.SysProcAttr, c.Dir = &syscall.SysProcAttr{Credential: as}, dir
		return c
	}
	data := filepath.Join(dir, "data")
	if out, err := run("initdb", "-D", data, "-U", "sapwood", "-A", "trust", "-N", "-E", "UTF8", "--locale=C").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	s := &server{dir: dir, port: freePort(t)}
	var log bytes.Buffer
	c := run("postgres", "-D", data, "-p", strconv.Itoa(s.port), "-k", dir, "-h", "127.0.0.1", "-F")
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGQUIT)
		_ = c.Wait()
		if t.Failed() {
			t.Logf("the server said:\n%s", log.String())
		}
	})
	s.connect(t)
	return s
}

func programs(t *testing.T) string {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		t.Fatal("no PostgreSQL server is installed: apt-get install postgresql")
	}
	return filepath.Dir(found[len(found)-1])
}

// ordinary is who the server runs as: it refuses to be root.
func ordinary(t *testing.T, dir string) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *server) connect(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=sapwood dbname=postgres", s.dir, s.port))
		if err == nil {
			s.conn = conn
			t.Cleanup(func() { _ = conn.Close(context.Background()) })
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
}

func (s *server) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (s *server) config() Config {
	c := DefaultConfig()
	c.Port, c.Database = s.port, "postgres"
	c.Query = "SELECT hash FROM users WHERE name = $1"
	c.Groups = "SELECT grp FROM memberships WHERE name = $1 ORDER BY grp"
	c.Rules = "SELECT rule FROM rules WHERE name = $1 AND (client IS NULL OR client = $2) ORDER BY id"
	return c
}

// tables are as the documentation shows them.
const tables = `
CREATE TABLE users (name text PRIMARY KEY, hash text);
CREATE TABLE memberships (name text, grp text);
CREATE TABLE rules (id serial PRIMARY KEY, name text, client text, rule jsonb);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('sapwood_auth', COALESCE(NEW.name, OLD.name)); RETURN NULL; END $$;
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON memberships FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON rules FOR EACH ROW EXECUTE FUNCTION tell();`

func open(t *testing.T, cfg Config, o Options) *Backend {
	t.Helper()
	b, err := Open(t.Context(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// hash is one that costs next to nothing, in the form of Mosquitto's password file.
func hash(t *testing.T, password []byte) string {
	t.Helper()
	salt := []byte("0123456789ab")
	sum, err := pbkdf2.Key(sha512.New, string(password), salt, 1, sha512.Size)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString
	return "$7$1$" + text(salt) + "$" + text(sum)
}

func attempt(name, password string) *auth.Attempt {
	return &auth.Attempt{Peer: authtest.Peer(), ClientID: "c1", Username: name, HasUser: true, Password: []byte(password), HasPass: true}
}

func TestServer(t *testing.T) {
	s := start(t)
	s.exec(t, tables)
	t.Run("suite", s.suite)
	t.Run("identity", s.identity)
	t.Run("bad data", s.badData)
	t.Run("notify", s.notify)
	t.Run("slow", s.slow)
	t.Run("busy", s.busy)
	t.Run("tls", s.tls)
}

func (s *server) suite(t *testing.T) {
	s.exec(t, "INSERT INTO users VALUES ('meter-7', $1)", hash(t, []byte("right")))
	s.exec(t, "INSERT INTO users VALUES ('slowly', $1)", phc.New([]byte("right")).String())
	if id, err := open(t, s.config(), Options{}).Authenticate(t.Context(), attempt("slowly", "right")); err != nil || id.Name != "slowly" {
		t.Errorf("got %+v, %v", id, err)
	}
	n := 0
	authtest.Run(t, authtest.Harness{
		New:   func(t *testing.T) auth.Authenticator { return open(t, s.config(), Options{Gate: phc.NewGate(2, 64)}) },
		Right: func() *auth.Attempt { return attempt("meter-7", "right") },
		Name:  "meter-7",

		WrongPassword: authtest.Refused, EmptyPassword: authtest.Refused, NoPassword: authtest.Unknown,
		UnknownUser: authtest.Unknown, NoUser: authtest.Unknown,
		With: func(t *testing.T, password []byte) *auth.Attempt {
			n++
			name := fmt.Sprint("with-", n)
			s.exec(t, "INSERT INTO users VALUES ($1, $2)", name, hash(t, password))
			a := attempt(name, "")
			a.Password = password
			return a
		},
		Unreachable: func(t *testing.T) auth.Authenticator {
			cfg := s.config()
			cfg.Port = freePort(t)
			return open(t, cfg, Options{})
		},
		Hanging: func(t *testing.T) auth.Authenticator {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			cfg := s.config()
			cfg.Port = l.Addr().(*net.TCPAddr).Port
			return open(t, cfg, Options{})
		},
	})
}

// identity: groups and rules come along, and follow the tables.
func (s *server) identity(t *testing.T) {
	s.exec(t, "INSERT INTO users VALUES ('b', $1)", hash(t, []byte("p")))
	s.exec(t, "INSERT INTO memberships VALUES ('b', 'x'), ('b', 'y')")
	s.exec(t, `INSERT INTO rules (name, client, rule) VALUES ('b', NULL, '{"allow": ["publish"], "topics": ["a/{client}"]}'),
		('b', 'c1', '{"deny": ["subscribe"], "topics": ["#"], "priority": 2}'), ('b', 'c2', '{"allow": ["subscribe"], "topics": ["#"]}')`)
	b := open(t, s.config(), Options{})
	id, err := b.Authenticate(t.Context(), attempt("b", "p"))
	if err != nil || id.Name != "b" || id.By != "postgres" || !slices.Equal(id.Groups, []string{"x", "y"}) ||
		len(id.Rules) != 2 || id.Rules[0].Name != "postgres.rules[0]" || !id.Rules[1].Deny || id.Rules[1].Priority != 2 {
		t.Fatalf("got %+v, %v", id, err)
	}
	p := &auth.Principal{Identity: id, ClientID: "c2"}
	s.exec(t, "DELETE FROM memberships WHERE grp = 'x'")
	if id, err = b.Refresh(t.Context(), p); err != nil || !slices.Equal(id.Groups, []string{"y"}) || id.Rules[1].Deny {
		t.Errorf("got %+v, %v", id, err)
	}
	s.exec(t, "DELETE FROM users WHERE name = 'b'")
	if id, err = b.Refresh(t.Context(), p); id != nil || !errors.Is(err, auth.ErrUnknown) {
		t.Errorf("got %+v, %v", id, err)
	}
}

// badData: what is wrong about one user refuses that user, and is no failure that would count against all (F173).
func (s *server) badData(t *testing.T) {
	b := open(t, s.config(), Options{})
	f := func(b *Backend, name string, reason mqtt.ReasonCode, want string) {
		t.Helper()
		id, err := b.Authenticate(t.Context(), attempt(name, "p"))
		var no *auth.Refusal
		if id != nil || !errors.As(err, &no) || no.Reason != reason || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, %v, want %q", name, id, err, want)
		}
	}
	s.exec(t, "INSERT INTO users VALUES ('null', NULL), ('plain', 'p'), ('empty', ''), ('rule', $1), ('group', $1)", hash(t, []byte("p")))
	s.exec(t, `INSERT INTO rules (name, rule) VALUES ('rule', '{"allow": ["everything"], "topics": ["#"]}')`)
	s.exec(t, `INSERT INTO memberships VALUES ('group', '')`)
	// Whether somebody is a user is not told: these are refused as a wrong password is.
	f(b, "null", mqtt.BadUserNameOrPassword, "no password")
	f(b, "plain", mqtt.BadUserNameOrPassword, "is no hash")
	f(b, "empty", mqtt.BadUserNameOrPassword, "is no hash")
	f(b, "rule", mqtt.NotAuthorized, "no action")
	f(b, "group", mqtt.NotAuthorized, "group 0 is empty")
	cfg := s.config()
	cfg.Query = "SELECT hash FROM users WHERE length(name) = $1::int"
	f(open(t, cfg, Options{}), "x", mqtt.BadUserNameOrPassword, "invalid input syntax") // the name is no number
	cfg.Query = "SELECT hash FROM users WHERE name >= $1"
	f(open(t, cfg, Options{}), "a", mqtt.BadUserNameOrPassword, "more than 1 rows")

	for _, query := range []string{"SELECT hash FROM nowhere WHERE name = $1", "SELECT pg_sleep($1", "SELECT 1/0 FROM users WHERE name <> $1; SELECT 1"} {
		cfg.Query = query
		id, err := open(t, cfg, Options{}).Authenticate(t.Context(), attempt("x", "p"))
		var no *auth.Refusal
		if id != nil || err == nil || errors.Is(err, auth.ErrUnknown) || errors.As(err, &no) {
			t.Errorf("%s: got %+v, %v", query, id, err)
		}
	}
}

// notify: what changes in the tables is heard of at once, also after the connection was lost.
func (s *server) notify(t *testing.T) {
	heard := make(chan string, 100)
	open(t, s.config(), Options{Changed: func(name string) { heard <- name }})
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-heard:
			if got != want {
				t.Errorf("heard of %q, want %q", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("not heard of %q", want)
		}
	}
	expect("")
	s.exec(t, "INSERT INTO memberships VALUES ('n1', 'g')")
	expect("n1")
	s.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
	expect("")
	s.exec(t, "NOTIFY sapwood_auth, 'n2'")
	expect("n2")
}

// slow: a statement that takes too long is ended, here and at the server.
func (s *server) slow(t *testing.T) {
	cfg := s.config()
	cfg.Timeout = 200 * time.Millisecond
	cfg.Query = "SELECT pg_sleep(60)::text WHERE $1 <> ''"
	began := time.Now()
	id, err := open(t, cfg, Options{}).Authenticate(t.Context(), attempt("x", "p"))
	if id != nil || err == nil || time.Since(began) > 30*time.Second {
		t.Errorf("after %v: %+v, %v", time.Since(began), id, err)
	}
}

// busy: that many passwords are being checked is no fault of the database, and nobody gets in by it.
func (s *server) busy(t *testing.T) {
	gate := phc.NewGate(1, 1)
	begun, end := make(chan struct{}), make(chan struct{})
	defer close(end)
	go func() { _ = gate.Do(context.Background(), false, func() { close(begun); <-end }) }()
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	id, err := open(t, s.config(), Options{Gate: gate}).Authenticate(ctx, attempt("meter-7", "right"))
	var no *auth.Refusal
	if id != nil || !errors.As(err, &no) || no.Reason != mqtt.ServerBusy {
		t.Errorf("got %+v, %v", id, err)
	}
}

// tls: this server has none, so that a backend that wants it does not ask (F161).
func (s *server) tls(t *testing.T) {
	cfg := s.config()
	cfg.TLS.ServerName = "db.example.com"
	id, err := open(t, cfg, Options{}).Authenticate(t.Context(), attempt("meter-7", "right"))
	if id != nil || err == nil || !strings.Contains(err.Error(), "refused TLS") {
		t.Errorf("got %+v, %v", id, err)
	}
}
