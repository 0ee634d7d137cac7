package access

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
)

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// check is the error of an Authorization header.
func check(a *Access, header, from string) error {
	_, err := a.Authorization(context.Background(), header, from)
	return err
}

func open(t *testing.T, o Options) *Access {
	t.Helper()
	a, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The first start makes the user and tells its password; the next one knows it and tells nothing.
func TestFirstStart(t *testing.T) {
	dir := t.TempDir()
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a := open(t, Options{Dir: dir, Logger: log})
	password := a.FirstPassword()
	if len(password) < 20 {
		t.Fatalf("the first password is %q", password)
	}
	again := open(t, Options{Dir: dir, Password: "another", Logger: log})
	if again.FirstPassword() != "" {
		t.Error("the second start tells a password")
	}
	f := func(header string, want error) {
		t.Helper()
		if err := check(again, header, "192.0.2.1"); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", header, err, want)
		}
	}
	f(basic("admin", password), nil)
	f("basic"+strings.TrimPrefix(basic("admin", password), "Basic"), nil) // RFC 9110 11.1: the scheme's case does not count
	f(basic("Admin", password), ErrWrong)
	f(basic("admin", "another"), ErrWrong)
	f(basic("admin", ""), ErrWrong)
	f("Basic !", ErrWrong)
	f("Bearer "+password, ErrWrong)
	f("", ErrNone)
	f("Basic", ErrNone)
	if again.Failures() != 5 {
		t.Errorf("%d failures counted", again.Failures())
	}

	info, err := os.Stat(filepath.Join(dir, adminFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("admin.json: %v %v", info.Mode(), err)
	}
	text, _ := os.ReadFile(filepath.Join(dir, adminFile))
	if !bytes.Contains(text, []byte(`"$argon2id$v=19$m=19456,t=2,p=1$`)) || bytes.Contains(text, []byte(password)) {
		t.Errorf("admin.json holds %s", text)
	}
	for _, secret := range []string{password, "another"} {
		if strings.Contains(logged.String(), secret) {
			t.Errorf("a password is in the log:\n%s", &logged)
		}
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("there are %v", names)
	}
}

func TestGivenPasswordAndMemory(t *testing.T) {
	a := open(t, Options{Password: "given"})
	if a.FirstPassword() != "" {
		t.Error("a given password is told")
	}
	if err := check(a, basic("admin", "given"), "h"); err != nil {
		t.Error(err)
	}
	if a := open(t, Options{}); a.FirstPassword() == "" || check(a, basic("admin", a.FirstPassword()), "h") != nil {
		t.Error("a process without a directory has no password that works")
	}
}

// A directory that cannot be written to, such as a full one, keeps nobody from starting.
func TestUnwritable(t *testing.T) {
	var logged bytes.Buffer
	a := open(t, Options{Dir: filepath.Join(t.TempDir(), "missing"), Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if check(a, basic("admin", a.FirstPassword()), "h") != nil || !strings.Contains(logged.String(), "cannot be kept") {
		t.Errorf("%s", &logged)
	}
}

func TestBrokenFile(t *testing.T) {
	f := func(text string) {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, adminFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "remove the file") {
			t.Errorf("%s: %v", text, err)
		}
	}
	f(``)
	f(`{}`)
	f(`{"user":"admin","password":"secret"}`)
	f(`{"user":"admin","password":"$argon2id$v=19$m=99999999,t=2,p=1$YWJjZGVmZ2g$YWJjZGVmZ2hhYmNkZWZnaA"}`)
	f(`{"user":"admin","password":"$argon2id$v=19$m=64,t=2,p=1$YWJj$YWJjZGVmZ2hhYmNkZWZnaA"}`)
}

// admin.json of the first release is still read.
func TestOldFile(t *testing.T) {
	dir := t.TempDir()
	const text = `{"user":"admin","password":"$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$QA3Q2Jz1vTWdB/rBdk6mMQ"}`
	if err := os.WriteFile(filepath.Join(dir, adminFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := check(open(t, Options{Dir: dir}), basic("admin", "secret"), "192.0.2.1"); err != nil {
		t.Error(err)
	}
}

// No password that others ship with gets in, neither at the first start nor later (F162).
func TestNoDefaultPassword(t *testing.T) {
	a := open(t, Options{Dir: t.TempDir()})
	for i, password := range []string{"", "admin", "public", "password", "sapwood", "guest", "root", "mqtt"} {
		for j, user := range []string{"admin", "", "root", "guest", "sapwood"} {
			if err := check(a, basic(user, password), strings.Repeat("x", 10*i+j)); err == nil {
				t.Errorf("%s with %q gets in", user, password)
			}
		}
	}
}

// The local key is in a file for the owner alone, works while it is there, and is another one each time.
func TestLocalKey(t *testing.T) {
	dir := t.TempDir()
	a := open(t, Options{Password: "x"})
	if err := os.WriteFile(filepath.Join(dir, localFile), []byte("stale"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := a.OpenLocal(dir, "http://127.0.0.1:8083"); err != nil {
		t.Fatal(err)
	}
	l, err := ReadLocal(dir)
	if err != nil || l.URL != "http://127.0.0.1:8083" || check(a, "Bearer "+l.Key, "h") != nil {
		t.Errorf("%v %v", l, err)
	}
	if info, _ := os.Stat(filepath.Join(dir, localFile)); info.Mode().Perm() != 0o600 {
		t.Errorf("local.key: %v", info.Mode())
	}
	if err := a.OpenLocal(dir, "http://127.0.0.1:8083"); err != nil {
		t.Fatal(err)
	}
	if err := check(a, "Bearer "+l.Key, "h"); err != ErrWrong {
		t.Errorf("the last key: %v", err)
	}
	l, _ = ReadLocal(dir)
	if err := a.CloseLocal(dir); err != nil {
		t.Fatal(err)
	}
	if err := check(a, "Bearer "+l.Key, "h"); err != ErrWrong {
		t.Errorf("a key that was closed: %v", err)
	}
	if _, err := ReadLocal(dir); err == nil {
		t.Error("local.key is still there")
	}
}

// Wrong credentials are slowed by address, whoever is known is not.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, Options{Password: "right"})
		if err := check(a, basic("admin", "right"), "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		f := func(from string, want time.Duration) {
			t.Helper()
			err := check(a, basic("admin", "wrong"), from)
			var slow *SlowError
			if errors.As(err, &slow) != (want > 0) || slow != nil && slow.Wait != want {
				t.Errorf("got %v, want a wait of %v", err, want)
			}
		}
		for range lenient {
			f("192.0.2.1", 0)
		}
		f("192.0.2.1", time.Second)
		f("192.0.2.2", 0)
		if err := check(a, basic("admin", "right"), "192.0.2.1"); err != nil {
			t.Errorf("a known credential waits: %v", err)
		}
		time.Sleep(time.Second)
		f("192.0.2.1", 0)
		f("192.0.2.1", 2*time.Second)
		for range 10 {
			time.Sleep(longest)
			f("192.0.2.1", 0)
		}
		f("192.0.2.1", longest)
		time.Sleep(longest)
		if err := check(a, basic("admin", "right"), "192.0.2.1"); err != nil { // hashed again: it is no longer remembered
			t.Error(err)
		}
		f("192.0.2.1", 0)
	})
}

// Who has an operator's password does not get to guess those of others without a wait: right ones of its own forget nothing of that. Without
// a wrong one for an hour an address begins anew.
func TestThrottleOfInsiders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, Options{Password: "right"})
		mine := "right as mine"
		if _, err := a.PutOperator(t.Context(), "vera", OperatorChange{Password: &mine}, accounts.Absent); err != nil {
			t.Fatal(err)
		}
		guesses := 0
		guess := func() bool {
			_, _, err := a.Login(t.Context(), "admin", "wrong", "192.0.2.1")
			var slow *SlowError
			if errors.As(err, &slow) {
				return false
			}
			guesses++
			_, _, err = a.Login(t.Context(), "vera", mine, "192.0.2.1")
			return err == nil
		}
		for guess() {
			if guesses > 10*lenient {
				t.Fatalf("%d guesses", guesses)
			}
		}
		time.Sleep(forgotten + 2*longest)
		for range lenient - 1 {
			if !guess() {
				t.Error("an hour later it still has to wait")
			}
		}
	})
}

// The tables do not grow with what strangers send.
func TestBounded(t *testing.T) {
	now := time.Now()
	slow, seen := throttle{}, verified{}
	for i := range 5000 {
		name := string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		slow.failed(name, name, now)
		seen.add(name, nil, now)
	}
	if len(slow) > 1024 || len(seen) > 256 {
		t.Errorf("%d addresses, %d credentials", len(slow), len(seen))
	}
}

// Many at once are hashed one after the other, and more than may wait are told so.
func TestBusy(t *testing.T) {
	a := open(t, Options{Password: "right"})
	var all sync.WaitGroup
	began, end := make(chan struct{}), make(chan struct{})
	all.Go(func() { // somebody hashes
		if err := a.hashing.Do(t.Context(), false, func() { close(began); <-end }); err != nil {
			t.Error(err)
		}
	})
	<-began
	results := make(chan error, 2*patience)
	for range 2 * patience {
		all.Go(func() { results <- check(a, basic("admin", "right"), "h") })
	}
	for range patience {
		if err := <-results; err != ErrBusy {
			t.Error(err)
		}
	}
	close(end)
	all.Wait()
	for range patience {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// Who has an IPv6 address has its whole network: that is one place to guess from (F193).
func TestThrottleOfNetworks(t *testing.T) {
	a := open(t, Options{})
	f := func(from string, slowed bool) {
		t.Helper()
		var slow *SlowError
		if err := check(a, "Bearer guess", from); errors.As(err, &slow) != slowed {
			t.Errorf("%s: %v", from, err)
		}
	}
	for _, host := range []string{"1", "2", "3", "4", "5"} {
		f("2001:db8::"+host, false)
	}
	f("2001:db8::ffff:1", true)
	f("2001:db8:0:1::1", false)
	for range 5 {
		f("::ffff:192.0.2.1", false)
	}
	f("192.0.2.1", true)
	f("192.0.2.2", false)
}
