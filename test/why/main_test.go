// Package why proves that the question why is answered rightly: faults are provoked in the real binary, and then it is asked,
// by its API and by its commands, what was wrong. It is tests alone.
package why

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/test/binary"
)

// under is the broker under test.
var under binary.Binary

// TestMain has the faults side by side: most of it waits for time to pass.
func TestMain(m *testing.M) { os.Exit(under.Main(m, 16)) }

// patience bounds every wait for something that has to come.
const patience = time.Minute

// site is one broker with its data directory.
type site struct {
	*binary.Process // the one that runs
	t               *testing.T
	dir             string
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
	cmd := under.Command(s.t, "serve", "--json", "--config", filepath.Join(s.dir, "sapwood.yaml"), "--data", filepath.Join(s.dir, "data"))
	cmd.Env = append(os.Environ(), "SAPWOOD_ADMIN_PASSWORD=given", "SAPWOOD_STORAGE_SEGMENT_SIZE=1MiB", "SAPWOOD_STORAGE_RESERVE=1MiB")
	var err error
	if s.Process, err = binary.Serve(s.t, cmd); err != nil {
		s.t.Fatalf("the broker did not start: %v\n%s", err, &s.Logs)
	}
}

// given is the Authorization of admin.
var given = "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:given"))

// call asks the API. What it says to a body is put into answer, if there is one.
func (s *site) call(method, path string, body, answer any) {
	s.t.Helper()
	if err := s.try(method, path, body, answer); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) try(method, path string, body, answer any) error {
	_, err := binary.Call(s.t.Context(), s.HTTP, given, method, path, body, answer)
	return err
}

// command runs the binary on the broker's data directory and gives what it prints.
func (s *site) command(args ...string) string {
	s.t.Helper()
	out, err := under.Command(s.t, append(args, "--data", filepath.Join(s.dir, "data"))...).CombinedOutput()
	if err != nil {
		s.t.Errorf("sapwood %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
