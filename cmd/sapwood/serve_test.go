package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sapwood-mqtt/sapwood/app"
)

// process is a broker that serves.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	logs strings.Builder
	announced
}

type announced struct {
	Version, HTTP string
	MQTT          []string
	Promise       string
	AdminPassword string `json:"admin_password"`
	Found         app.Found
}

// startServe starts `sapwood serve` on a data directory and free ports, and reads what it says at the start.
func startServe(t *testing.T, data string, flags ...string) *process {
	t.Helper()
	p := &process{t: t}
	p.cmd = exec.Command("sapwood", append([]string{"serve", "--json", "--data", data, "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"}, flags...)...)
	p.cmd.Env = append(os.Environ(), "SAPWOOD_OVERLOAD_LAG_CONNECTS=0s", "SAPWOOD_OVERLOAD_LAG_QOS0=0s") // a slow machine is no fault of the broker's
	p.cmd.Stderr = &p.logs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	lines := json.NewDecoder(out)
	if err := lines.Decode(&p.announced); err != nil {
		p.cmd.Wait()
		t.Fatalf("%v; %s", err, &p.logs)
	}
	return p
}

// stop ends the process by a signal, which has to be a clean stop.
func (p *process) stop(signal os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%v: %v; %s", signal, err, &p.logs)
	}
}

// TestServe runs the real process: it accepts once it says so, and each signal stops it cleanly.
func TestServe(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	for i, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		p := startServe(t, data)
		c, err := net.Dial("tcp", strings.TrimPrefix(p.MQTT[0], "mqtt://"))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		resp, err := http.Get(p.HTTP + "/readyz")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("/readyz: %v %v", resp, err)
		}
		if (p.AdminPassword != "") != (i == 0) {
			t.Errorf("start %d: the password of admin is %q", i, p.AdminPassword)
		}
		p.stop(signal)
		if p.AdminPassword != "" && strings.Contains(p.logs.String(), p.AdminPassword) {
			t.Error("the password is in the log")
		}
	}
}

// TestServeAnnounces shows the lines a person reads.
func TestServeAnnounces(t *testing.T) {
	f := func(durability string, want ...string) {
		t.Helper()
		cmd := exec.Command("sapwood", "serve", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data", "kept")
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "SAPWOOD_DURABILITY="+durability, "SAPWOOD_ADMIN_PASSWORD=")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for _, want := range append([]string{"sapwood ", "  mqtt  mqtt://127.0.0.1:", "  http  http://127.0.0.1:", "  user  admin, password "}, want...) {
			if !lines.Scan() || !strings.HasPrefix(lines.Text(), want) {
				t.Errorf("got %q, want %q", lines.Text(), want)
			}
		}
		cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	f("fsync", "  data  kept: 0 sessions, 0 queued messages, 0 retained, ready in ", "        fsync: acknowledged once synced to disk")
	f("process", "  data  kept: 0 sessions", "        process: acknowledged once written to disk; survives kill -9 and a crash, may lose at most 100ms at power loss")
	f("memory", "  data  memory: in memory only; a restart forgets")
}

// F236: SIGHUP in a storm makes few reloads, one after another, and ends nothing.
func TestHangups(t *testing.T) {
	p := startServe(t, filepath.Join(t.TempDir(), "data"))
	for range 1000 {
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	if resp, err := http.Get(p.HTTP + "/readyz"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("/readyz: %v %v", resp, err)
	}
	p.stop(syscall.SIGTERM)
	if n := strings.Count(p.logs.String(), "configuration read again"); n < 1 || n > 10 {
		t.Errorf("%d reloads:\n%s", n, &p.logs)
	}
}

// F245, F214: a second process on the same data directory is refused by name, with status 1, and the first goes on.
func TestSecondProcess(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := startServe(t, data)
	out, err := exec.Command("sapwood", "serve", "--data", data, "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(string(out), fmt.Sprintf("sapwood: data %s: pid %d on host", data, p.cmd.Process.Pid)) {
		t.Errorf("%v: %s", err, out)
	}
	if resp, err := http.Get(p.HTTP + "/readyz"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("/readyz of the first: %v %v", resp, err)
	}
	p.stop(syscall.SIGTERM)
}
