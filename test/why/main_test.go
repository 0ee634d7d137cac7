// Package why proves that the question why is answered rightly: faults are provoked in the real binary, and then it is asked,
// by its API and by its commands, what was wrong. It is tests alone.
package why

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary is the broker under test, built once.
var binary string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/why:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "why-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary = filepath.Join(dir, "broker-under-test")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/sapwood").CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the broker: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// patience bounds every wait for something that has to come.
const patience = 20 * time.Second

// site is one broker process with its data directory.
type site struct {
	t    *testing.T
	dir  string
	cmd  *exec.Cmd
	logs bytes.Buffer // complete when the process is gone
	MQTT []string     // host:port, in the order of the configuration
	HTTP string
}

// open starts a broker with a configuration, on ports of its own.
func open(t *testing.T, config string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	file := filepath.Join(s.dir, "sapwood.yaml")
	if err := os.WriteFile(file, []byte("http: {address: '127.0.0.1:0'}\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	return s
}

func (s *site) start() {
	s.t.Helper()
	s.cmd = exec.Command(binary, "serve", "--json", "--config", filepath.Join(s.dir, "sapwood.yaml"), "--data", filepath.Join(s.dir, "data"))
	s.cmd.Env = append(os.Environ(), "SAPWOOD_ADMIN_PASSWORD=given", "SAPWOOD_STORAGE_SEGMENT_SIZE=1MiB", "SAPWOOD_STORAGE_RESERVE=1MiB")
	s.cmd.Stderr = &s.logs
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd := s.cmd
	s.t.Cleanup(func() { _ = cmd.Process.Kill() })
	if err := json.NewDecoder(out).Decode(s); err != nil {
		_ = cmd.Wait()
		s.t.Fatalf("the broker did not start: %v\n%s", err, &s.logs)
	}
	for i, at := range s.MQTT {
		s.MQTT[i] = at[strings.Index(at, "://")+3:]
	}
}

// end ends the process with a signal, and waits until it is gone.
func (s *site) end(with syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(with); err != nil {
		s.t.Fatal(err)
	}
	_ = s.cmd.Wait() // it tells of the signal
}

// call asks the API. What it says to a body is put into answer, if there is one.
func (s *site) call(method, path string, body, answer any) {
	s.t.Helper()
	if err := s.try(method, path, body, answer); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) try(method, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.HTTP+"/api/v1"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth("admin", "given")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %d %s %w", method, path, resp.StatusCode, said, err)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(said, answer)
}

// command runs the binary on the broker's data directory and gives what it prints.
func (s *site) command(args ...string) string {
	s.t.Helper()
	out, err := exec.Command(binary, append(args, "--data", filepath.Join(s.dir, "data"))...).CombinedOutput()
	if err != nil {
		s.t.Errorf("sapwood %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
