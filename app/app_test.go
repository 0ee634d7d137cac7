package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/app/settings"
)

func testConfig(t *testing.T) Config {
	cfg := DefaultConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.HTTP.Address = "127.0.0.1:0"
	cfg.Overload.LagConnects, cfg.Overload.LagQoS0 = 0, 0 // a machine that is slow is no fault of the broker's
	cfg.Listeners = []Listener{
		{Address: "127.0.0.1:0"},
		{Address: "unix:" + filepath.Join(t.TempDir(), "s")},
	}
	return cfg
}

func get(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func TestStartServesAndStopCloses(t *testing.T) {
	cfg := testConfig(t)
	a := New(cfg, slog.New(slog.DiscardHandler))
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	bound := a.Bound()
	tcp := strings.TrimPrefix(bound.MQTT[0], "mqtt://")
	for network, address := range map[string]string{"tcp": tcp, "unix": strings.TrimPrefix(bound.MQTT[1], "unix:")} {
		c, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := get(t, bound.HTTP+path); got != http.StatusOK {
			t.Errorf("%s: %d", path, got)
		}
	}
	if err := a.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", tcp); err == nil {
		c.Close()
		t.Error("still accepting after Stop")
	}
	select {
	case err := <-a.Failed():
		t.Errorf("a stop is not a failure: %v", err)
	default:
	}
}

// F246: what cannot be had names its setting, and nothing stays open behind it.
func TestStartNamesTheSetting(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	f := func(change func(*Config), key, why string) {
		t.Helper()
		cfg := testConfig(t)
		change(&cfg)
		a := New(cfg, slog.New(slog.DiscardHandler))
		err := a.Start(t.Context())
		var setting *SettingError
		if !errors.As(err, &setting) {
			t.Fatalf("%s: got %v", key, err)
		}
		if setting.Key != key || !strings.Contains(setting.Why, why) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %s: %s", err, key, why)
		}
		for _, url := range a.Bound().MQTT {
			if address, ok := strings.CutPrefix(url, "mqtt://"); ok {
				if c, err := net.Dial("tcp", address); err == nil {
					c.Close()
					t.Errorf("%s stayed open", url)
				}
			}
		}
	}
	f(func(c *Config) { c.Listeners[1].Address = taken.Addr().String() }, "listeners[1].address", "another process listens there")
	f(func(c *Config) { c.HTTP.Address = taken.Addr().String() }, "http.address", "another process listens there")
	f(func(c *Config) { c.Listeners[0].Address = "192.0.2.1:0" }, "listeners[0].address", "no such address")
	f(func(c *Config) { c.Listeners[1].Address = "unix:/does/not/exist/s" }, "listeners[1].address", "does not exist")
}

func TestCannotListen(t *testing.T) {
	f := func(err error, why string) {
		t.Helper()
		if got := cannotListen("k", "v", err); got.Why != why || !errors.Is(got, err) {
			t.Errorf("got %v, want %s", got, why)
		}
	}
	f(fmt.Errorf("listen: %w", &net.DNSError{Name: "nowhere.invalid"}), "the name nowhere.invalid has no address")
	f(errors.New("odd"), "odd")
}

// A listener that stops accepting although nobody asked turns readiness off and is reported once.
func TestListenerFailure(t *testing.T) {
	a := New(testConfig(t), slog.New(slog.DiscardHandler))
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer a.Stop(context.Background())
	a.serve("mqtt x", func() error { return errors.New("no more descriptors") })
	a.serve("mqtt y", func() error { return errors.New("nor here") })
	if err := <-a.Failed(); err.Error() != "mqtt x: no more descriptors" {
		t.Error(err)
	}
	if got := get(t, a.Bound().HTTP+"/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d", got)
	}
}

func TestUnwindIsLastInFirstOut(t *testing.T) {
	var s steps
	var order []string
	for _, name := range []string{"store", "broker", "listener"} {
		s.add(name, func(context.Context) error {
			order = append(order, name)
			if name == "broker" {
				return errors.New("late")
			}
			return nil
		})
	}
	if err := s.undo(t.Context()); err == nil || err.Error() != "stop broker: late" {
		t.Error(err)
	}
	if got := strings.Join(order, " "); got != "listener broker store" {
		t.Error(got)
	}
}

func TestConfigRules(t *testing.T) {
	f := func(want string, environ ...string) {
		t.Helper()
		_, _, err := Load("", environ, nil)
		got := ""
		var problems settings.Problems
		if errors.As(err, &problems) {
			got = problems[0].Key + ": " + problems[0].Message
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%v: got %q, want %q", environ, got, want)
		}
	}
	f("")
	f("listeners[0].address: 0.0.0.0:1883 can be reached from other machines", "SAPWOOD_LISTENERS_0_ADDRESS=0.0.0.0:1883") // F145
	f("listeners[0].address: :1883 can be reached", "SAPWOOD_LISTENERS_0_ADDRESS=:1883")
	f("listeners[0].address: broker:1883 can be reached", "SAPWOOD_LISTENERS_0_ADDRESS=broker:1883")
	f("", "SAPWOOD_LISTENERS_0_ADDRESS=0.0.0.0:1883", "SAPWOOD_LISTENERS_0_ANONYMOUS=true")
	f("", "SAPWOOD_LISTENERS_0_ADDRESS=[::1]:1883")
	f("", "SAPWOOD_LISTENERS_0_ADDRESS=localhost:1883")
	f("", "SAPWOOD_LISTENERS_0_ADDRESS=unix:/run/s")
	f("listeners[0].address: has no path", "SAPWOOD_LISTENERS_0_ADDRESS=unix:")
	f(`listeners[0].address: is "1883", but must be host:port`, "SAPWOOD_LISTENERS_0_ADDRESS=1883")
	f(`listeners[0].address: has the port "65536"`, "SAPWOOD_LISTENERS_0_ADDRESS=127.0.0.1:65536")
	f("listeners[1].address: is empty", "SAPWOOD_LISTENERS_1_ANONYMOUS=true")
	f("listeners[1].address: 127.0.0.1:1883 is there twice", "SAPWOOD_LISTENERS_1_ADDRESS=127.0.0.1:1883")
	f("", "SAPWOOD_ADMIN_PASSWORD=x", "SAPWOOD_URL=mqtt://h", "SAPWOOD_PASSWORD=x") // of other commands
	f("", "SAPWOOD_HTTP_ADDRESS=off")
	f("", "SAPWOOD_HTTP_ADDRESS=")
	f("http.address: has the port", "SAPWOOD_HTTP_ADDRESS=127.0.0.1:http")
	f("", "SAPWOOD_DURABILITY=process")
	f(`durability: is "disk", but must be one of: fsync, process, memory`, "SAPWOOD_DURABILITY=disk")
	f("storage.sync_interval: must be above 0s", "SAPWOOD_STORAGE_SYNC_INTERVAL=0s")
	f("stop_timeout: is 0s", "SAPWOOD_STOP_TIMEOUT=0s")
	f("data: is empty", "SAPWOOD_DATA=")
}

// Every setting says what it does; every limit says what happens at it.
func TestEverySettingIsDocumented(t *testing.T) {
	_, set, err := Load("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := set.Explain("")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Doc == "" {
			t.Errorf("%s has no doc tag", s.Path)
		}
		if name := s.Path[strings.LastIndex(s.Path, ".")+1:]; strings.HasPrefix(name, "max_") && s.Exceeded == "" {
			t.Errorf("%s is a limit and has no exceeded tag", s.Path)
		}
	}
}
