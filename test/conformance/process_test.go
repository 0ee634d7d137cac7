package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// build makes the binary, once.
var build = sync.OnceValues(func() (string, error) {
	file := filepath.Join(scratch, "sapwood")
	if out, err := exec.Command("go", "build", "-o", file, "../../cmd/sapwood").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the broker: %w\n%s", err, out)
	}
	return file, nil
})

// sapwood prepares a command of the real binary on a data directory, with small files.
func sapwood(t testing.TB, data string, args ...string) *exec.Cmd {
	t.Helper()
	file, err := build()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(file, append(args, "--data", data)...)
	cmd.Env = append(os.Environ(), "SAPWOOD_STORAGE_SEGMENT_SIZE=1MiB", "SAPWOOD_STORAGE_RESERVE=1MiB", "SAPWOOD_LOG_FORMAT=json", "SAPWOOD_ADMIN_PASSWORD=given")
	return cmd
}

// process is the real broker on ports of its own.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	logs bytes.Buffer // complete when the process is gone
	addr string
	said struct {
		MQTT  []string
		Found struct{ Sessions, Retained int }
	}
}

// begin starts `sapwood serve` and waits until it serves. An error is that it did not; the logs tell why.
func begin(t testing.TB, data string) (*process, error) {
	t.Helper()
	p := &process{t: t, cmd: sapwood(t, data, "serve", "--json", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0")}
	p.cmd.Stderr = &p.logs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	if err := json.NewDecoder(out).Decode(&p.said); err != nil {
		return p, p.cmd.Wait()
	}
	p.addr = strings.TrimPrefix(p.said.MQTT[0], "mqtt://")
	return p, nil
}

// launch starts a process that has to serve.
func launch(t testing.TB, data string) *process {
	t.Helper()
	p, err := begin(t, data)
	if err != nil {
		t.Fatalf("%v: %s", err, &p.logs)
	}
	return p
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.cmd.Wait() // it tells of the signal
}

// record is a line of the log.
type record struct {
	Msg, What, File, Quarantine string
	Offset, Bytes               int64
}

// records are the lines of the log of a process that is gone.
func (p *process) records() (list []record) {
	p.t.Helper()
	for lines := json.NewDecoder(&p.logs); lines.More(); {
		var r record
		if err := lines.Decode(&r); err != nil {
			p.t.Fatalf("a line of the log: %v", err)
		}
		list = append(list, r)
	}
	return list
}

// does runs a command that has to succeed.
func does(t testing.TB, data string, args ...string) {
	t.Helper()
	if out, err := sapwood(t, data, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}
