// Package clients talks to the built binary with clients that other people wrote: the mosquitto
// commands, mqtt.js, paho.mqtt.golang and paho.golang. It is a module of its own, so that what these
// need never reaches the product's go.mod, and it knows Sapwood only from outside: its command line,
// its output and its listeners.
package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything that has to happen may take on a busy machine.
const patience = 20 * time.Second

// env is what all tests share: the binary under test and the node process that holds the mqtt.js clients.
var env struct {
	binary string
	node   *node
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/clients:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	for _, command := range []string{"mosquitto_pub", "mosquitto_sub", "mosquitto_rr", "node"} {
		if _, err := exec.LookPath(command); err != nil {
			return 1, fmt.Errorf("%w: install the Debian packages mosquitto-clients and nodejs", err)
		}
	}
	dir, err := os.MkdirTemp("", "clients-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	env.binary = filepath.Join(dir, "broker-under-test") // not what a stranger's pkill means
	build := exec.Command("go", "build", "-o", env.binary, "./cmd/sapwood")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the broker: %w\n%s", err, out)
	}
	if env.node, err = startNode(); err != nil {
		return 1, err
	}
	code := m.Run()
	return code, env.node.stop()
}

// ready is what the broker says when it accepts connections.
type ready struct {
	MQTT []string `json:"mqtt"`
	HTTP string   `json:"http"`
}

// startBroker runs the binary for one test and returns host:port of its MQTT listener.
func startBroker(t *testing.T) string {
	t.Helper()
	r := start(t, "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0")
	if len(r.MQTT) != 1 {
		t.Fatalf("the broker listens on %q", r.MQTT)
	}
	return host(t, r.MQTT[0])
}

func host(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// startConfigured runs the binary with a configuration file.
func startConfigured(t *testing.T, config string) ready {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sapwood.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, "--config", file)
}

// start runs the binary for one test. When the test ends, the broker has to stop with status 0, and must not have
// logged an error.
func start(t *testing.T, args ...string) ready {
	t.Helper()
	cmd := exec.Command(env.binary, append([]string{"serve", "--json", "--data", t.TempDir()}, args...)...)
	var log bytes.Buffer
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// A broker that never says that it is ready, or never stops, is killed; the reads and waits below then end.
	watchdog := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	line, readErr := bufio.NewReader(stdout).ReadString('\n')
	watchdog.Stop()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		select {
		case <-ended:
			t.Errorf("the broker ended before it was told to: %v", cmd.ProcessState)
		default:
			cmd.Process.Signal(syscall.SIGTERM)
			watchdog := time.AfterFunc(patience, func() { cmd.Process.Kill() })
			defer watchdog.Stop()
			if err := <-ended; err != nil {
				t.Errorf("the broker ended with %v", err)
			}
		}
		if s := log.String(); strings.Contains(s, "level=ERROR") || strings.Contains(s, "panic") {
			t.Errorf("the broker logged an error:\n%s", s)
		}
		if t.Failed() {
			t.Logf("the broker's log:\n%s", log.String())
		}
	})
	if readErr != nil {
		t.Fatalf("the broker never said that it is ready: %v", readErr)
	}
	var r ready
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("the broker said %q (%v)", line, err)
	}
	return r
}
