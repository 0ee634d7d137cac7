// Package binary builds this tree's sapwood and runs it for tests as what it is: a process of its own, on a data directory and ports of its own. It
// knows no MQTT and judges nothing; that is for those who use it.
package binary

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
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Binary is the broker under test: one that is there already, or, as the zero value, the one of this tree. Its methods may be called from any
// goroutine.
type Binary struct {
	Given string // its file; "" = the broker is built when it is first asked for

	once sync.Once
	dir  string
	file string
	err  error
}

// Flag lets `go test -binary FILE` name the broker.
func (b *Binary) Flag() {
	flag.StringVar(&b.Given, "binary", "", "broker to test; empty = the one built from this tree")
}

// File is where the broker is.
func (b *Binary) File() (string, error) {
	b.once.Do(func() {
		if b.file = b.Given; b.file != "" {
			return
		}
		if b.dir, b.err = os.MkdirTemp("", "sapwood-test-"); b.err != nil {
			return
		}
		b.file = filepath.Join(b.dir, "broker-under-test")
		if out, err := exec.Command("go", "build", "-o", b.file, "github.com/sapwood-mqtt/sapwood/cmd/sapwood").CombinedOutput(); err != nil {
			b.err = fmt.Errorf("build the broker: %w\n%s", err, out)
		}
	})
	return b.file, b.err
}

// patient are settings with which a broker on a machine that is slow, or stands still for a moment, does not say that it is overloaded.
var patient = [2]string{"SAPWOOD_OVERLOAD_LAG_CONNECTS", "SAPWOOD_OVERLOAD_LAG_QOS0"}

// Main runs the tests of a package, so many side by side as are asked for where the command line does not say (0 = one a processor), and
// removes what was built. It returns the exit code.
func (b *Binary) Main(m *testing.M, parallel int) (code int) {
	flag.Parse()
	asked := parallel == 0
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	var err error
	if !asked {
		err = flag.Set("test.parallel", strconv.Itoa(parallel))
	}
	for _, name := range patient {
		err = errors.Join(err, os.Setenv(name, "0s"))
	}
	if err == nil {
		code = m.Run()
		if b.dir != "" {
			err = os.RemoveAll(b.dir)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the broker under test:", err)
		return 1
	}
	return code
}

// Command prepares a command of the broker.
func (b *Binary) Command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	file, err := b.File()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(file, args...)
}

// Process is a broker that serves.
type Process struct {
	Said
	Cmd  *exec.Cmd
	Logs bytes.Buffer // complete when the process is gone

	t testing.TB
}

// Said is what a broker says of itself when it serves.
type Said struct {
	MQTT  []string // host:port, or the path of a socket, in the order of the configuration
	HTTP  string   // URL
	Found struct{ Sessions, Retained int }
}

// Serve starts a command, which has to be `serve --json`, and waits until it serves. The error is that it ended instead; the logs
// tell why. The process does not outlive the test.
func Serve(t testing.TB, cmd *exec.Cmd) (*Process, error) {
	t.Helper()
	p := &Process{Cmd: cmd, t: t}
	cmd.Stderr = &p.Logs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may be gone
	if err := json.NewDecoder(out).Decode(&p.Said); err != nil {
		return p, errors.Join(cmd.Wait(), err)
	}
	for i, at := range p.MQTT {
		p.MQTT[i] = at[strings.Index(at, "://")+len("://"):]
	}
	return p, nil
}

// Kill ends the process as kill -9 does.
func (p *Process) Kill() {
	p.t.Helper()
	if err := p.Cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.Cmd.Wait() // it tells of the signal
}

// Stop ends the process in good order.
func (p *Process) Stop() {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := p.Cmd.Wait(); err != nil {
		p.t.Fatalf("the broker did not stop well: %v: %s", err, &p.Logs)
	}
}

// Call asks the API of a server, by an Authorization header. body and into may be nil. The status is 0 when nothing answered.
func Call(ctx context.Context, server, authorization, method, path string, body, into any) (status int, err error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, server+"/api/v1"+path, in)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", authorization)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		text, _ := io.ReadAll(answer.Body) // what there is of it
		return answer.StatusCode, fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	if into == nil {
		return answer.StatusCode, nil
	}
	return answer.StatusCode, json.NewDecoder(answer.Body).Decode(into)
}
