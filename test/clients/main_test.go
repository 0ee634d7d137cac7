// Package clients talks to the built binary with clients that other people wrote: the mosquitto
// commands, mqtt.js (in Node and in Chromium), paho.mqtt.golang and paho.golang, and openssl s_client
// and haproxy below them. It is a module of its own, so that what these
// need never reaches the product's go.mod, and it knows Sapwood only from outside: its command line,
// its output and its listeners.
package clients

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything that has to happen may take on a busy machine.
const patience = time.Minute

// env is what all tests share: the binary under test, an authority that it made (sapwood cert init) with a server
// certificate for this machine, and the node process that holds the mqtt.js clients.
var env struct {
	binary string
	pki    string
	roots  *x509.CertPool
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
	for _, command := range []string{"mosquitto_pub", "mosquitto_sub", "mosquitto_rr", "node", "openssl", "haproxy", "chromium"} {
		if _, err := exec.LookPath(command); err != nil {
			return 1, fmt.Errorf("%w: install the Debian packages mosquitto-clients, nodejs, openssl, haproxy and chromium", err)
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
	env.pki = filepath.Join(dir, "pki")
	if env.roots, err = makeAuthority(env.pki); err != nil {
		return 1, err
	}
	if env.node, err = startNode(); err != nil {
		return 1, err
	}
	for _, name := range []string{"SAPWOOD_OVERLOAD_LAG_CONNECTS", "SAPWOOD_OVERLOAD_LAG_QOS0"} { // a machine that is slow is no fault of the broker's
		if err := os.Setenv(name, "0s"); err != nil {
			return 1, err
		}
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
func startConfigured(t *testing.T, config string) *process {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sapwood.yaml")
	write(t, file, config)
	p := start(t, "--config", file)
	p.config = file
	return p
}

// start runs the binary for one test. When the test ends, the broker has to stop with status 0, and must not have
// logged an error.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, data: t.TempDir()}
	cmd := exec.Command(env.binary, append([]string{"serve", "--json", "--data", p.data}, args...)...)
	cmd.Stderr = &p.log
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
		if s := p.log.String(); strings.Contains(s, "level=ERROR") || strings.Contains(s, "panic") {
			t.Errorf("the broker logged an error:\n%s", s)
		}
		if t.Failed() {
			t.Logf("the broker's log:\n%s", p.log.String())
		}
	})
	if readErr != nil {
		t.Fatalf("the broker never said that it is ready: %v", readErr)
	}
	if err := json.Unmarshal([]byte(line), &p.ready); err != nil {
		t.Fatalf("the broker said %q (%v)", line, err)
	}
	return p
}

// process is a broker that runs for one test.
type process struct {
	ready
	t      *testing.T
	data   string // its data directory
	config string // its configuration file, "" for none
	log    journal
}

// cli runs one of the binary's commands on the broker, with text as its standard input, and returns what it printed. It must succeed.
func (p *process) cli(text string, args ...string) string {
	p.t.Helper()
	return sapwood(p.t, text, append(args, "--data", p.data)...)
}

// sapwood is cli without a broker.
func sapwood(t *testing.T, text string, args ...string) string {
	t.Helper()
	cmd := exec.Command(env.binary, args...)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("sapwood %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// at is host:port of the i-th listener.
func (p *process) at(i int) string {
	p.t.Helper()
	return host(p.t, p.MQTT[i])
}

// logs waits for a line in the log that has all of the parts.
func (p *process) logs(parts ...string) {
	p.t.Helper()
	until(p.t, fmt.Sprintf("a line in the log with %q", parts), func() bool {
		for line := range strings.Lines(p.log.String()) {
			if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
				return true
			}
		}
		return false
	})
}

// until asks again and again whether something is so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !so(); <-tick.C {
		if time.Since(began) > patience {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// journal is what a process wrote, to be read while it writes.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}
