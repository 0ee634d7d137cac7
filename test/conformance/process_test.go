package conformance

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/sapwood-mqtt/sapwood/test/binary"
)

// under is the broker under test.
var under binary.Binary

// sapwood prepares a command of the real binary on a data directory, with small files.
func sapwood(t testing.TB, data string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := under.Command(t, append(args, "--data", data)...)
	cmd.Env = append(os.Environ(), "SAPWOOD_STORAGE_SEGMENT_SIZE=1MiB", "SAPWOOD_STORAGE_RESERVE=1MiB", "SAPWOOD_LOG_FORMAT=json", "SAPWOOD_ADMIN_PASSWORD=given")
	return cmd
}

// process is the real broker on ports of its own.
type process struct {
	*binary.Process
	t    testing.TB
	addr string
}

// begin starts `sapwood serve` and waits until it serves. An error is that it did not; the logs tell why.
func begin(t testing.TB, data string) (*process, error) {
	t.Helper()
	p, err := binary.Serve(t, sapwood(t, data, "serve", "--json", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"))
	if err != nil {
		return &process{Process: p, t: t}, err
	}
	return &process{p, t, p.MQTT[0]}, nil
}

// launch starts a process that has to serve.
func launch(t testing.TB, data string) *process {
	t.Helper()
	p, err := begin(t, data)
	if err != nil {
		t.Fatalf("%v: %s", err, &p.Logs)
	}
	return p
}

// record is a line of the log.
type record struct {
	Msg, What, File, Quarantine string
	Offset, Bytes               int64
}

// records are the lines of the log of a process that is gone.
func (p *process) records() (list []record) {
	p.t.Helper()
	for lines := json.NewDecoder(&p.Logs); lines.More(); {
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
