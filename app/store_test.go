package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/lock"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
)

func start(t *testing.T, cfg Config) *App {
	t.Helper()
	a := New(cfg, slog.New(slog.DiscardHandler))
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Stop(context.Background()) })
	return a
}

// F214, F245: a data directory that cannot be had is one line that names the setting and the way out, and nothing
// goes on in memory instead.
func TestDataDirectory(t *testing.T) {
	f := func(dir string, want ...string) {
		t.Helper()
		cfg := testConfig(t)
		cfg.Data = dir
		err := New(cfg, slog.New(slog.DiscardHandler)).Start(t.Context())
		var setting *SettingError
		if !errors.As(err, &setting) || setting.Key != "data" || strings.Contains(err.Error(), "\n") {
			t.Fatalf("got %v", err)
		}
		for _, w := range append(want, "data "+dir+": ", "--data") {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("got %v, want %q in it", err, w)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f(file, "is no directory")
	f(filepath.Join(file, "below"), "is no directory")

	cfg := testConfig(t)
	a := start(t, cfg)
	f(cfg.Data, fmt.Sprintf("pid %d on host", os.Getpid()), strings.TrimPrefix(a.Bound().HTTP, "http://"))
	local, err := access.ReadLocal(cfg.Data)
	if err == nil {
		_, err = a.site.access.Load().Authorization(t.Context(), "Bearer "+local.Key, "h")
	}
	if err != nil {
		t.Errorf("the process that was refused has touched the local key: %v", err)
	}
}

func TestCannotStore(t *testing.T) {
	f := func(err error, want string) {
		t.Helper()
		if got := CannotStore("d", err); got.Error() != want || !errors.Is(got, err) {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	path := func(err error) error { return fmt.Errorf("open: %w", &fs.PathError{Op: "open", Path: "d", Err: err}) }
	f(path(syscall.EROFS), "data d: the file system is read-only; mount it for writing, or name another directory with --data")
	f(path(syscall.EACCES), "data d: this user may not write there; give it to the user that runs sapwood (chown), or name another directory with --data")
	f(&lock.HeldError{Dir: "d"}, "data d: another process has it; stop that one, or name another directory with --data")
	f(errors.New("a\nb"), "data d: a; b")
}

// The same words everywhere.
func TestPromise(t *testing.T) {
	f := func(level, want string) {
		t.Helper()
		cfg, set, err := Load("", []string{"SAPWOOD_DURABILITY=" + level, "SAPWOOD_STORAGE_SYNC_INTERVAL=250ms"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Promise(); !strings.Contains(got, want) {
			t.Errorf("%s: %s", level, got)
		}
		explained, err := set.Explain("durability")
		if err != nil || !strings.Contains(explained[0].Doc, level+": "+cfg.Promise()) {
			t.Errorf("%s: explained by %q", level, explained[0].Doc)
		}
	}
	f("fsync", "survives kill -9 and power loss")
	f("process", "may lose at most 250ms at power loss")
	f("memory", "a restart forgets")
	if !strings.Contains(strings.Join(strings.Fields(strings.ReplaceAll(Example(), "#", "")), " "), "may lose at most 100ms at power loss") {
		t.Error("the example does not say what process may lose")
	}
	cfg := DefaultConfig()
	cfg.Durability, cfg.Storage.SyncInterval = Process, time.Minute
	if !strings.Contains(cfg.Promise(), "at most 1m at") {
		t.Error(cfg.Promise())
	}
}

// sick is a store whose health can be set.
type sick struct {
	*mem.Store
	why atomic.Pointer[error]
}

func (s *sick) Health() error {
	if err := s.why.Load(); err != nil {
		return *err
	}
	return nil
}

// Readiness follows the store's health both ways; the process lives all the while.
func TestReadyFollowsTheStore(t *testing.T) {
	a := New(testConfig(t), slog.New(slog.DiscardHandler))
	s := &sick{Store: mem.New()}
	b, err := broker.New(broker.Options{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.Background())
	a.store, a.broker = s, b
	a.phase.move(errStarting, nil)
	if err := a.openHTTP(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer a.Stop(context.Background())
	f := func(path string, status int, body string) {
		t.Helper()
		resp, err := http.Get(a.Bound().HTTP + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status || !strings.Contains(string(text), body) {
			t.Errorf("%s: %d %s %v", path, resp.StatusCode, text, err)
		}
	}
	f("/readyz", 200, "ok")
	full := errors.New("the disk is full")
	s.why.Store(&full)
	f("/readyz", 503, "the disk is full")
	f("/healthz", 200, "ok")
	s.why.Store(nil)
	f("/readyz", 200, "ok")
}

// F225: a start that takes long says from time to time that it goes on; with memory there is nothing to read.
func TestLongStart(t *testing.T) {
	f := func(d Durability, want int) {
		synctest.Test(t, func(t *testing.T) {
			var logged strings.Builder
			cfg := testConfig(t)
			cfg.Durability = d
			a := New(cfg, slog.New(slog.NewTextHandler(&logged, nil)))
			done := a.sayThatItTakesLong()
			time.Sleep(2*long + time.Second)
			done()
			if n := strings.Count(logged.String(), "reading the store"); n != want {
				t.Errorf("%s: %d lines:\n%s", d, n, &logged)
			}
		})
	}
	f(Fsync, 2)
	f(Memory, 0)
}

// F214: a store that is read-only for good keeps the process from starting; one that is full does not.
func TestReadOnly(t *testing.T) {
	s := &sick{Store: mem.New()}
	b, err := broker.New(broker.Options{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.Background())
	f := func(why error, want bool) {
		t.Helper()
		s.why.Store(&why)
		if err := readOnly(s); (err != nil) != want {
			t.Errorf("%v: got %v", why, err)
		}
	}
	f(fmt.Errorf("reserve: %w", &fs.PathError{Op: "open", Path: "d", Err: syscall.EROFS}), true)
	f(fmt.Errorf("reserve: %w", syscall.ENOSPC), false)
	f(nil, false)
}

func status(t *testing.T, a *App, authorize func(*http.Request)) (int, api.Overview) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", a.Bound().HTTP+"/api/v1/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	authorize(r)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var v api.Overview
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, v
}

func TestStatus(t *testing.T) {
	t.Setenv(EnvAdminPassword, "")
	cfg := testConfig(t)
	a := start(t, cfg)
	password := a.FirstPassword()
	local, err := access.ReadLocal(cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	for _, authorize := range []func(*http.Request){
		func(r *http.Request) { r.SetBasicAuth("admin", password) },
		func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+local.Key) },
	} {
		code, v := status(t, a, authorize)
		if code != 200 || v.Version != Version || !v.Ready || v.Durability != "fsync" || v.Promise != cfg.Promise() || v.Store == nil {
			t.Errorf("%d %+v", code, v)
		}
	}
	if code, _ := status(t, a, func(*http.Request) {}); code != 401 {
		t.Errorf("without credentials: %d", code)
	}
	if err := a.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := access.ReadLocal(cfg.Data); err == nil {
		t.Error("the local key outlives its process")
	}
	again := start(t, cfg)
	if again.FirstPassword() != "" {
		t.Error("the second start tells a password")
	}
	if code, _ := status(t, again, func(r *http.Request) { r.SetBasicAuth("admin", password) }); code != 200 {
		t.Errorf("the password of the first start: %d", code)
	}
}

// With durability memory no directory is made, and the API tells that there is no store.
func TestMemoryTouchesNoDisk(t *testing.T) {
	t.Setenv(EnvAdminPassword, "given")
	cfg := testConfig(t)
	cfg.Durability = Memory
	a := start(t, cfg)
	code, v := status(t, a, func(r *http.Request) { r.SetBasicAuth("admin", "given") })
	if code != 200 || v.Store != nil || v.Promise != promiseMemory || a.FirstPassword() != "" {
		t.Errorf("%d %+v", code, v)
	}
	if _, err := os.Stat(cfg.Data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data directory: %v", err)
	}
}

func TestLocalAddress(t *testing.T) {
	f := func(bound, want string) {
		t.Helper()
		if got := local(bound); got != want {
			t.Errorf("%s: got %s, want %s", bound, got, want)
		}
	}
	f("http://[::]:8083", "http://localhost:8083")
	f("http://0.0.0.0:8083", "http://localhost:8083")
	f("http://127.0.0.1:8083", "http://127.0.0.1:8083")
	f("http://192.0.2.1:8083", "http://192.0.2.1:8083")
}
