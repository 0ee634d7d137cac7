package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/app/settings"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// testSite is an app with a file of its own.
type testSite struct {
	*testing.T
	*App
	file string
	log  lines
}

// serve starts an app with listeners (YAML of the list) and more keys.
func serveFile(t *testing.T, text string) *testSite {
	s := &testSite{T: t, file: filepath.Join(t.TempDir(), "sapwood.yaml")}
	s.write(text)
	s.App = s.start()
	return s
}

func (s *testSite) start() *App {
	loaded, err := Source{File: s.file, Environ: []string{
		"SAPWOOD_DATA=" + filepath.Join(filepath.Dir(s.file), "data"),
		"SAPWOOD_OVERLOAD_LAG_CONNECTS=0s", "SAPWOOD_OVERLOAD_LAG_QOS0=0s", // a machine that is slow is no fault of the broker's
	}}.Load()
	if err != nil {
		s.Fatal(err)
	}
	level := &slog.LevelVar{}
	a := NewReloading(loaded, slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: level})), level)
	if err := a.Start(s.Context()); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { a.Stop(context.Background()) })
	return a
}

func (s *testSite) write(text string) {
	s.Helper()
	if err := os.WriteFile(s.file+".new", []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	if err := os.Rename(s.file+".new", s.file); err != nil {
		s.Fatal(err)
	}
}

// reload writes a file and reloads it.
func (s *testSite) reload(text string) Reload {
	s.Helper()
	s.write(text)
	done, err := s.Reload(s.Context(), "the test")
	if err != nil {
		s.Fatal(err)
	}
	return done
}

// connect makes an MQTT 5 client at an address, which is there when it returns.
func (s *testSite) connect(network, address, id string) net.Conn {
	s.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Close() })
	packet := append([]byte{0x10, byte(13 + len(id)), 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, byte(len(id))}, id...)
	if _, err := c.Write(packet); err != nil {
		s.Fatal(err)
	}
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil || head[0] != 0x20 {
		s.Fatalf("no CONNACK: %x %v", head, err)
	}
	if _, err := io.CopyN(io.Discard, c, int64(head[1])); err != nil {
		s.Fatal(err)
	}
	return c
}

// alive tells whether the broker still answers on a connection.
func alive(c net.Conn) bool {
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Write([]byte{0xC0, 0}); err != nil {
		return false
	}
	var pong [2]byte
	_, err := io.ReadFull(c, pong[:])
	return err == nil && pong == [2]byte{0xD0, 0}
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

const off = "watch_interval: 0s\nhttp: {address: 'off'}\ndurability: memory\n"

// A reload that adds, removes and changes listeners and other settings disconnects nobody.
func TestReloadTouchesNoConnection(t *testing.T) {
	first, second, socket := freeAddress(t), freeAddress(t), filepath.Join(t.TempDir(), "s")
	s := serveFile(t, off+"listeners: [{address: '"+first+"'}]\n")
	var clients []net.Conn
	for i := range 1000 {
		clients = append(clients, s.connect("tcp", first, fmt.Sprintf("c%d", i)))
	}
	s.reload(off + "log: {level: debug}\nlisteners: [{address: '" + first + "', name: plain}, {address: '" + second + "'}, {address: 'unix:" + socket + "'}]\n")
	if got := fmt.Sprint(s.Bound().MQTT); got != fmt.Sprintf("[mqtt://%s mqtt://%s unix:%s]", first, second, socket) {
		t.Error(got)
	}
	clients = append(clients, s.connect("tcp", second, "on-second"), s.connect("unix", socket, "on-socket"))
	s.reload(off + "listeners: [{address: 'unix:" + socket + "'}]\n")
	if c, err := net.Dial("tcp", first); err == nil {
		c.Close()
		t.Error("the removed listener accepts")
	}
	dead := 0
	for _, c := range clients {
		if !alive(c) {
			dead++
		}
	}
	if dead > 0 {
		t.Errorf("%d of %d clients were disconnected", dead, len(clients))
	}
	s.connect("unix", socket, "later")
	s.reload(off + "listeners: [{address: '" + first + "'}]\n")
	s.connect("tcp", first, "again")
	select {
	case err := <-s.Failed():
		t.Errorf("removing a listener is no failure: %v", err)
	default:
	}
}

// on_removal: disconnect closes the clients of that listener, and no others.
func TestRemovedListenerDisconnects(t *testing.T) {
	first, second := freeAddress(t), freeAddress(t)
	s := serveFile(t, off+"listeners: [{address: '"+first+"', on_removal: disconnect}, {address: '"+second+"'}]\n")
	gone, stays := s.connect("tcp", first, "gone"), s.connect("tcp", second, "stays")
	s.reload(off + "listeners: [{address: '" + second + "'}]\n")
	var packet [4]byte
	if n, err := io.ReadAtLeast(gone, packet[:], 3); err != nil || packet[0] != 0xE0 || packet[2] != 0x98 {
		t.Errorf("%x %v", packet[:n], err)
	}
	if !alive(stays) {
		t.Error("the other listener's client was disconnected")
	}
}

// A new listener may take the port of one that goes; where it cannot be had, what was there goes on.
func TestReloadTakesPortOver(t *testing.T) {
	first := freeAddress(t)
	_, port, _ := net.SplitHostPort(first)
	s := serveFile(t, off+"listeners: [{address: '"+first+"'}]\n")
	s.connect("tcp", first, "a")
	s.reload(off + "listeners: [{address: '0.0.0.0:" + port + "', anonymous: true}]\n")
	s.connect("tcp", first, "b")
	if !strings.Contains(s.log.String(), "lets everybody in from other machines") {
		t.Error("no warning of the open door")
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s.write(off + "listeners: [{address: '" + first + "'}, {address: '" + taken.Addr().String() + "'}]\n")
	var setting *SettingError
	if _, err := s.Reload(t.Context(), "test"); !errors.As(err, &setting) || setting.Key != "listeners[1].address" {
		t.Error(err)
	}
	s.connect("tcp", first, "c")
	if got := s.Bound().MQTT[0]; !strings.HasSuffix(got, "]:"+port) && got != "mqtt://0.0.0.0:"+port {
		t.Error(got)
	}
}

// An invalid file changes nothing and says where, and what was stays (F200); what needs a restart says so, until it is done or taken back.
func TestReload(t *testing.T) {
	first := freeAddress(t)
	listeners := "listeners: [{address: '" + first + "'}]\n"
	s := serveFile(t, off+listeners)
	f := func(text string, want ...string) {
		t.Helper()
		var got []string
		for _, c := range s.reload(off + text).Changes {
			line := c.Key + " " + c.Old + ">" + c.New
			if c.Restart {
				line += " restart"
			}
			got = append(got, line)
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(listeners)
	f(listeners+"log: {level: debug}\n", "log.level info>debug")
	if s.reload(off + listeners + "log: {level: debug}\n"); s.App.reload.level.Level() != slog.LevelDebug {
		t.Error("the level is not applied")
	}
	f(listeners+"sys: {interval: 1m}\n", "log.level debug>info", "sys.interval 10s>1m restart")
	f(listeners+"sys: {interval: 1m}\n", "sys.interval 10s>1m restart")
	f(listeners+"limits: {max_connections: 1}\n", "limits.max_connections 0>1")
	s.connect("tcp", first, "one").Close()
	f(listeners, "limits.max_connections 1>0")

	s.write(off + "listeners: [{address: '127.0.0.1:x'}]\nlog: {level: debug}\n")
	_, err := s.Reload(t.Context(), "test")
	var problems settings.Problems
	if !errors.As(err, &problems) || problems[0].From.Line != 4 || problems[0].Key != "listeners[0].address" {
		t.Error(err)
	}
	if s.App.reload.level.Level() != slog.LevelInfo {
		t.Error("half of an invalid file was applied")
	}
	s.connect("tcp", first, "still")
	if err := s.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := s.Reload(t.Context(), "test"); !errors.Is(err, errStopping) {
		t.Errorf("a reload after the stop: %v", err)
	}
}

// The file is watched: a good one is applied, a bad one told once; and files that it refers to as well.
func TestWatch(t *testing.T) {
	level := filepath.Join(t.TempDir(), "level")
	if err := os.WriteFile(level, []byte("info\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := "watch_interval: 10ms\nhttp: {address: 'off'}\ndurability: memory\nlisteners: [{address: '127.0.0.1:0'}]\n"
	s := serveFile(t, text+"log: {level: '${file:"+level+"}'}\n")
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !ok(); {
			if time.Now().After(deadline) {
				t.Fatalf("%s; the log:\n%s", what, &s.log)
			}
			<-time.After(5 * time.Millisecond)
		}
	}
	is := func(want slog.Level) func() bool {
		return func() bool { return s.App.reload.level.Level() == want }
	}
	if err := os.WriteFile(level, []byte("warn\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	until("the file referred to", is(slog.LevelWarn))
	s.write(text + "log: {level: loud}\n")
	until("a bad file", func() bool { return strings.Contains(s.log.String(), "stays as it is") })
	s.write(text + "log: {level: error}\n")
	until("a good file", is(slog.LevelError))
	if n := strings.Count(s.log.String(), "stays as it is"); n != 1 {
		t.Errorf("the bad file was told %d times", n)
	}
}

// Since when and by whom is known, also after a restart, and no secret is kept for it.
func TestHistory(t *testing.T) {
	text := "watch_interval: 0s\nhttp: {address: 'off'}\nlisteners: [{address: '127.0.0.1:0'}]\n"
	s := serveFile(t, text)
	of := func(key string) api.Setting {
		t.Helper()
		found, err := configAPI{s.App.reload}.Settings(key)
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		return found[0]
	}
	if got := of("log.level"); got.By != "start" || !got.Since.Equal(s.began) {
		t.Error(got)
	}
	done := s.reload(text + "log: {level: debug}\nsys: {interval: 1m}\n")
	if got := of("log.level"); got.By != "the test" || !got.Since.Equal(done.When) || got.Value != "debug" {
		t.Error(got)
	}
	if got := of("sys.interval"); got.By != "start" || got.Value != "10s" || got.Pending != "1m" || got.From != "default" {
		t.Error(got)
	}
	if err := s.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.App = s.start()
	if got := of("log.level"); got.By != "the test" || !got.Since.Equal(done.When) {
		t.Error(got)
	}
	if got := of("sys.interval"); got.By != "start" || got.Value != "1m" || got.Since.Before(done.When) {
		t.Error(got)
	}
	if _, err := (configAPI{s.App.reload}).Settings("limits.max_qs"); err == nil || !strings.Contains(err.Error(), "limits.max_qos") {
		t.Error(err)
	}
	check, err := configAPI{s.App.reload}.Check([]byte("log: {level: warn}\n"))
	if err != nil || !check.OK {
		t.Fatal(check, err)
	}
	if got, _ := json.Marshal(check.Changes); !strings.Contains(string(got), `"key":"log.level","kind":"changed","old":"debug","new":"warn"`) {
		t.Error(string(got))
	}
	check, err = configAPI{s.App.reload}.Check([]byte("log: {level: loud}\n"))
	if err != nil || check.OK || check.Problems[0].Line != 1 || !strings.Contains(check.Problems[0].Text, "must be one of") {
		t.Error(check, err)
	}
}

// F145: what may listen where.
func TestExposure(t *testing.T) {
	f := func(e exposure, refused string, warned string) {
		t.Helper()
		why, _ := e.refusal()
		warning := e.warning()
		if !strings.Contains(why, refused) || refused == "" && why != "" {
			t.Errorf("%+v: refused with %q, want %q", e, why, refused)
		}
		if why == "" && (!strings.Contains(warning, warned) || warned == "" && warning != "") {
			t.Errorf("%+v: warned with %q, want %q", e, warning, warned)
		}
	}
	const in, out = "127.0.0.1:1883", "0.0.0.0:1883"
	f(exposure{address: in}, "", "")
	f(exposure{address: "unix:/s"}, "", "")
	f(exposure{address: out}, "nothing here asks clients who they are", "")
	f(exposure{address: out, plaintext: true}, "nothing here asks clients who they are", "")
	f(exposure{address: out, encrypted: true}, "nothing here asks clients who they are", "")
	f(exposure{address: out, anonymous: true}, "", "without authentication and without TLS (anonymous: true)")
	f(exposure{address: out, anonymous: true, encrypted: true}, "", "without authentication (anonymous: true)")
	f(exposure{address: out, authenticated: true}, "without TLS whoever listens in", "")
	f(exposure{address: out, authenticated: true, plaintext: true}, "", "learns passwords (plaintext: true)")
	f(exposure{address: out, authenticated: true, encrypted: true}, "", "")
	cfg := DefaultConfig()
	cfg.HTTP.Address, cfg.HTTP.Plaintext = "0.0.0.0:8083", true
	if got := cfg.Warnings(); len(got) != 1 || !strings.HasPrefix(got[0], "http.address 0.0.0.0:8083 can be reached") {
		t.Error(got)
	}
}
