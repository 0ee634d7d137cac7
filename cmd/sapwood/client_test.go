package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// TestClientScripts runs pub and sub as processes against a stand-in for the
// broker that each script has for itself.
func TestClientScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/client",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			b := newStandIn(t, listen(t))
			e.Setenv("SAPWOOD_URL", "mqtt://"+b.address)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exit": wantExit},
	})
}

// wantExit is `exit CODE args...`: sapwood ends with this code.
func wantExit(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("sapwood", args[1:]...)
	code := 0
	if coder := interface{ ExitCode() int }(nil); errors.As(err, &coder) {
		code = coder.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit %d, want %s", code, args[0])
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// start runs a command until stop, which returns its exit code and output.
func start(t *testing.T, args ...string) (stop func() (int, string, string)) {
	ctx, cancel := context.WithCancel(t.Context())
	var out, errs bytes.Buffer
	code := make(chan int, 1)
	in := io.MultiReader(strings.NewReader("one line\n"), blocked{})
	go func() { code <- run(ctx, args, &streams{in, &out, &errs}) }()
	return func() (int, string, string) {
		cancel()
		return <-code, out.String(), errs.String()
	}
}

// blocked is a standard input that says nothing more.
type blocked struct{}

func (blocked) Read([]byte) (int, error) { select {} }

// A signal is the normal end of sub and of a stream, not of a single message.
func TestStopped(t *testing.T) {
	b := newStandIn(t, listen(t))
	url := "--url=mqtt://" + b.address
	silent := listen(t) // accepts, and never answers
	defer silent.Close()

	sub := start(t, "sub", url, "-t", "a", "-q", "2", "-v")
	b.wait(func(c *standInClient) bool { return len(c.filters) == 1 })
	if code, _, errs := stopped(t, "pub", url, "-V", "3.1.1", "-t", "a", "-q", "2", "-m", "x"); code != 0 {
		t.Errorf("pub: exit %d: %s", code, errs)
	}
	b.wait(func(c *standInClient) bool { return c.taken == 1 })
	lines := start(t, "pub", url, "-t", "b", "-l")
	b.wait(func(c *standInClient) bool { return c.published == 1 && c.v == mqtt.V5 })
	if code, _, errs := lines(); code != 0 {
		t.Errorf("pub -l: exit %d: %s", code, errs)
	}
	if code, out, errs := sub(); code != 0 || out != "a x\n" {
		t.Errorf("sub: exit %d: %q, %s", code, out, errs)
	}
	one := start(t, "pub", "--url=mqtt://"+silent.Addr().String(), "-t", "a", "-m", "x")
	conn, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if code, _, errs := one(); code != 1 || !strings.Contains(errs, "stopped before everything was published") {
		t.Errorf("pub -m: exit %d: %s", code, errs)
	}
}

func stopped(t *testing.T, args ...string) (int, string, string) {
	var out, errs bytes.Buffer
	code := run(t.Context(), args, &streams{strings.NewReader(""), &out, &errs})
	return code, out.String(), errs.String()
}

// wait returns once some client is as described.
func (b *standIn) wait(is func(*standInClient) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		for c := range b.clients {
			if is(c) {
				return
			}
		}
		b.turn.Wait()
	}
}

// sub comes back, subscribes again and says so.
func TestSubReconnects(t *testing.T) {
	b := newStandIn(t, listen(t))
	sub := start(t, "sub", "--url=mqtt://"+b.address, "-t", "a", "-C", "1")
	b.wait(func(c *standInClient) bool { return len(c.filters) == 1 })
	b.mu.Lock()
	for c := range b.clients {
		delete(b.clients, c)
		c.conn.Close()
	}
	b.mu.Unlock()
	b.wait(func(c *standInClient) bool { return len(c.filters) == 1 })
	code, _, errs := sub()
	if code != 0 || !strings.Contains(errs, "; trying again in ") || !strings.Contains(errs, "connected again, new session") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestSeconds(t *testing.T) {
	f := func(text string, want seconds, ok bool) {
		t.Helper()
		var got seconds
		if err := got.UnmarshalText([]byte(text)); (err == nil) != ok || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	f("90", 90, true)
	f("1m30s", 90, true)
	f("1ms", 1, true)
	f("never", never, true)
	f("4294967295", never, true)
	f("4294967296", 0, false)
	f("-1s", 0, false)
	f("soon", 0, false)
}

// What a payload or a topic holds does not command the terminal.
func TestPretty(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	f := func(m mqtt.Publish, want string) {
		t.Helper()
		var out bytes.Buffer
		p := newPrinter(&subCmd{Pretty: true}, &out)
		p.now = func() time.Time { return now }
		if err := p.print(&m); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("got\n%s\nwant\n%s", &out, want)
		}
	}
	f(mqtt.Publish{Topic: []byte("a\x1b[2J")}, "03:04:05.006  a\\x1b[2J  QoS 0, 0 B\n")
	f(mqtt.Publish{Topic: []byte("a"), Payload: []byte("x\x1b[2J"), QoS: 1, Dup: true},
		"03:04:05.006  a  QoS 1, duplicate, 5 B\n"+
			"  00000000  78 1b 5b 32 4a                                    |x.[2J|\n")
	f(mqtt.Publish{Topic: []byte("a"), Payload: []byte("one\ntwo\n")}, "03:04:05.006  a  QoS 0, 8 B\n  one\n  two\n")
	f(mqtt.Publish{Topic: []byte("a"), Payload: []byte("{not json")}, "03:04:05.006  a  QoS 0, 9 B\n  {not json\n")
}

func TestExcludeIsAFilter(t *testing.T) {
	c := subCmd{Exclude: []string{"a/#", "a#"}}
	if err := c.Verify(); err == nil || !strings.Contains(err.Error(), `--exclude "a#"`) {
		t.Errorf("got %v", err)
	}
}
