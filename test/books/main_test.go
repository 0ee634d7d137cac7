// Package books proves the broker's books: a generator that knows nothing of the broker induces every kind of loss on a real process, counts what
// it did itself, and compares each line of the books with that. It is tests alone.
package books

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is a broker to test in place of the one built from this tree.
var binary = flag.String("binary", "", "broker to test; empty = the one built from this tree")

// scratch is a directory for as long as the tests run.
var scratch string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/books:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	flag.Parse()
	if scratch, err = os.MkdirTemp("", "books-"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	return m.Run(), nil
}

// build makes the broker under test, once.
var build = sync.OnceValues(func() (string, error) {
	if *binary != "" {
		return *binary, nil
	}
	file := filepath.Join(scratch, "broker-under-test")
	if out, err := exec.Command("go", "build", "-o", file, "../../cmd/sapwood").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the broker: %w\n%s", err, out)
	}
	return file, nil
})

// patience bounds every wait for something that has to come; a test that passes never waits it out.
const patience = 20 * time.Second

// broker is a real process on a data directory of its own.
type broker struct {
	t    testing.TB
	dir  string
	args []string
	cmd  *exec.Cmd
	logs *bytes.Buffer // complete when the process is gone
	mqtt string        // host:port
	api  struct{ URL, Key string }
}

// quiet keeps the broker from sending messages of its own, which nobody here would have counted.
const quiet = "canaries: {interval: 0s}\nsys: {interval: 0s}\nlog: {level: warn}\nhistory: {enabled: false}\nstorage: {segment_size: 1MiB, reserve: 1MiB}\n"

// start runs a broker with a configuration, of which a section that quiet has too holds alone.
func start(t testing.TB, config string) *broker {
	t.Helper()
	b := &broker{t: t, dir: t.TempDir()}
	for line := range strings.Lines(quiet) {
		if section, _, _ := strings.Cut(line, ":"); !strings.Contains("\n"+config, "\n"+section+":") {
			config += line
		}
	}
	file := filepath.Join(b.dir, "sapwood.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	b.args = []string{"--config", file, "--data", filepath.Join(b.dir, "data")}
	b.begin()
	return b
}

// begin starts the process and waits until it serves.
func (b *broker) begin() {
	b.t.Helper()
	file, err := build()
	if err != nil {
		b.t.Fatal(err)
	}
	b.cmd = exec.Command(file, append([]string{"serve", "--json", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"}, b.args...)...)
	b.logs = new(bytes.Buffer)
	b.cmd.Stderr = b.logs
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	cmd := b.cmd
	b.t.Cleanup(func() { cmd.Process.Kill() })
	var said struct{ MQTT []string }
	if err := json.NewDecoder(out).Decode(&said); err != nil {
		b.t.Fatalf("the broker does not serve: %v, %v: %s", err, b.cmd.Wait(), b.logs)
	}
	b.mqtt = strings.TrimPrefix(said.MQTT[0], "mqtt://")
	key, err := os.ReadFile(filepath.Join(b.dir, "data", "local.key"))
	if err == nil {
		err = json.Unmarshal(key, &b.api)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// kill ends the process as kill -9 does.
func (b *broker) kill() {
	b.t.Helper()
	if err := b.cmd.Process.Kill(); err != nil {
		b.t.Fatal(err)
	}
	_ = b.cmd.Wait() // it tells of the signal
}

// stop ends the process in good order.
func (b *broker) stop() {
	b.t.Helper()
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.t.Fatal(err)
	}
	if err := b.cmd.Wait(); err != nil {
		b.t.Fatalf("the broker did not stop well: %v: %s", err, b.logs)
	}
}

// call asks the API; into may be nil. The status is 0 when nothing answered.
func (b *broker) call(method, path string, body, into any) (status int, err error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		in = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, b.api.URL+"/api/v1"+path, in)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+b.api.Key)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		text, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	if into == nil {
		return answer.StatusCode, nil
	}
	return answer.StatusCode, json.NewDecoder(answer.Body).Decode(into)
}

// does asks the API for something that has to succeed.
func (b *broker) does(method, path string, body, into any) {
	b.t.Helper()
	if _, err := b.call(method, path, body, into); err != nil {
		b.t.Fatal(err)
	}
}

// reached waits for a condition.
func reached(ok func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if ok() {
			return true
		}
	}
	return ok()
}
