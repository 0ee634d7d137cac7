// Package books proves the broker's books: a generator that knows nothing of the broker induces every kind of loss on a real process, counts what
// it did itself, and compares each line of the books with that. It is tests alone.
package books

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/test/binary"
)

// under is the broker under test.
var under binary.Binary

// TestMain has more tests side by side than there are processors: each waits for a process of its own.
func TestMain(m *testing.M) {
	under.Flag()
	os.Exit(under.Main(m, 6))
}

// patience bounds every wait for something that has to come; a test that passes never waits it out.
const patience = time.Minute

// broker is a real process on a data directory of its own.
type broker struct {
	*binary.Process // the one that runs
	t               testing.TB
	dir             string
	args            []string
	env             []string // for the process, besides ours
	mqtt            string   // host:port
	api             struct{ URL, Key string }
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
	command := under.Command(b.t, append([]string{"serve", "--json", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"}, b.args...)...)
	command.Env = append(command.Environ(), b.env...)
	var err error
	b.Process, err = binary.Serve(b.t, command)
	if err != nil {
		b.t.Fatalf("the broker does not serve: %v: %s", err, &b.Logs)
	}
	b.mqtt = b.MQTT[0]
	key, err := os.ReadFile(filepath.Join(b.dir, "data", "local.key"))
	if err == nil {
		err = json.Unmarshal(key, &b.api)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// call asks the API; into may be nil. The status is 0 when nothing answered.
func (b *broker) call(method, path string, body, into any) (status int, err error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	return binary.Call(ctx, b.api.URL, "Bearer "+b.api.Key, method, path, body, into)
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
