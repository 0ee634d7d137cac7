package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/fleet/sqlite"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// command runs one command line in this process.
func command(t *testing.T, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(context.Background(), args, &streams{strings.NewReader(in), &o, &e})
	return code, o.String(), e.String()
}

// does runs a command that has to succeed and returns what it prints.
func does(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := command(t, "", args...)
	if code != 0 {
		t.Fatalf("%v: exit %d: %s", args, code, errs)
	}
	return out
}

// refuses runs a command that has to fail with words on standard error.
func refuses(t *testing.T, code int, want string, args ...string) {
	t.Helper()
	if got, out, errs := command(t, "", args...); got != code || !strings.Contains(errs, want) {
		t.Errorf("%v: exit %d, want %d with %q: %s%s", args, got, code, want, out, errs)
	}
}

// filled makes a data directory of a stopped broker with two sessions that wait for three messages each, and four
// retained ones.
func filled(t *testing.T, data string) {
	t.Helper()
	fill(t, data).stop(syscall.SIGTERM)
}

// fill is filled with the broker still running.
func fill(t *testing.T, data string) *process {
	t.Helper()
	p := startServe(t, data)
	for _, id := range []string{"a", "b"} {
		c, err := client.Dial(t.Context(), client.Options{Address: p.MQTT[0], ClientID: id, SessionExpiry: 3600})
		if err == nil {
			_, err = c.Subscribe(t.Context(), mqtt.Subscribe{Filters: []mqtt.Subscription{{Filter: []byte("q/#"), Options: 1}}})
		}
		if err == nil {
			err = c.Close(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		does(t, "pub", "--url", p.MQTT[0], "-q", "1", "-t", fmt.Sprint("q/", i), "-m", strings.Repeat("x", 100))
	}
	for i := range 4 {
		does(t, "pub", "--url", p.MQTT[0], "-q", "1", "-r", "-t", fmt.Sprint("r/", i), "-m", "kept")
	}
	return p
}

const holds = ": 2 sessions, 3 queued messages, 4 retained; "

// The tools on a stopped store; a backup and an export make another one of the same contents.
func TestStoppedStore(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	filled(t, data)
	has := func(data string) {
		t.Helper()
		if out := does(t, "store", "check", "--data", data); !strings.HasPrefix(out, "ok"+holds) {
			t.Errorf("%s: %s", data, out)
		}
	}
	has(data)
	if out := does(t, "store", "stats", "--data", data, "--segments"); !strings.Contains(out, "health      ok\n") || !strings.Contains(out, "SEGMENT") {
		t.Error(out)
	}
	var s disk.Status
	if err := json.Unmarshal([]byte(does(t, "store", "stats", "--data", data, "--json")), &s); err != nil || s.Dir != data {
		t.Errorf("%+v %v", s, err)
	}
	if out := does(t, "store", "compact", "--data", data); !strings.Contains(out, " before, ") {
		t.Error(out)
	}
	has(data)

	backup, export := filepath.Join(dir, "b"), filepath.Join(dir, "e")
	if out := does(t, "backup", backup, "--data", data); !strings.HasPrefix(out, backup+": ") {
		t.Error(out)
	}
	if out := does(t, "restore", backup, "--data", filepath.Join(dir, "restored")); !strings.HasPrefix(out, "ok"+holds) {
		t.Error(out)
	}
	has(filepath.Join(dir, "restored"))
	does(t, "store", "export", export, "--data", data)
	if out := does(t, "store", "import", export, "--data", filepath.Join(dir, "imported")); !strings.HasPrefix(out, "ok"+holds) {
		t.Error(out)
	}
	has(filepath.Join(dir, "imported"))
	has(data)

	whole, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	code, _, errs := command(t, string(whole[:len(whole)/2]), "restore", "-", "--data", filepath.Join(dir, "half"))
	if code != exitFailed || !strings.Contains(errs, "restore") {
		t.Errorf("half a backup: exit %d, %s", code, errs)
	}
	refuses(t, exitFailed, "holds no store", "store", "check", "--data", filepath.Join(dir, "half"))
	refuses(t, exitFailed, data, "restore", backup, "--data", data)
	refuses(t, exitFailed, "not empty", "store", "import", export, "--data", data)
	refuses(t, exitFailed, "no such file", "restore", filepath.Join(dir, "missing"), "--data", filepath.Join(dir, "new"))
	for _, args := range [][]string{{"store", "check"}, {"store", "stats"}, {"store", "compact"}, {"store", "export"}, {"backup", filepath.Join(dir, "none")}} {
		refuses(t, exitFailed, "holds no store", append(args, "--data", filepath.Join(dir, "new"))...)
	}
	for _, name := range []string{"new", "none", "*.part"} {
		if left, err := filepath.Glob(filepath.Join(dir, name)); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	}

	p := startServe(t, filepath.Join(dir, "restored"))
	if p.Found.Sessions != 2 || p.Found.Retained != 4 {
		t.Errorf("the broker on the restored store found %+v", p.Found)
	}
	p.stop(syscall.SIGTERM)
}

// The tools through a running broker, found by its directory, and from elsewhere.
func TestRunningStore(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	filled(t, data)
	t.Setenv("SAPWOOD_ADMIN_PASSWORD", "")
	t.Setenv("SAPWOOD_CANARIES_INTERVAL", "0s") // whose session would be one more
	p := startServe(t, data)
	if out := does(t, "store", "check", "--data", data); !strings.HasPrefix(out, "ok"+holds) {
		t.Error(out)
	}
	if out := does(t, "store", "stats", "--data", data); !strings.Contains(out, "durability fsync") {
		t.Error(out)
	}
	does(t, "store", "compact", "--data", data)
	backup := filepath.Join(dir, "b")
	does(t, "devices", "create", "pump", "--data", data)
	does(t, "backup", backup, "--data", data)
	hasPump(t, data, backup)
	if out := does(t, "restore", backup, "--data", filepath.Join(dir, "restored")); !strings.HasPrefix(out, "ok"+holds) {
		t.Error(out)
	}
	if out := does(t, "store", "export", "--data", data); strings.Count(out, `"retained"`) < 4 {
		t.Error(out)
	}
	refuses(t, exitFailed, "has "+data+": stop it", "restore", backup, "--data", data)
	refuses(t, exitFailed, "has "+data+": stop it", "store", "import", backup, "--data", data)
	refuses(t, exitFailed, "--url needs", "store", "check", "--url", p.HTTP)
	refuses(t, exitFailed, "credentials are wrong", "store", "check", "--url", p.HTTP, "--password", "wrong")
	p.stop(syscall.SIGTERM)
	refuses(t, exitFailed, "refused", "store", "check", "--url", p.HTTP, "--password", "any")
}

// hasPump makes sure that a backup restores the stored users, and that a broker that does not run backs them up too.
func hasPump(t *testing.T, data, backup string) {
	t.Helper()
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	does(t, "restore", backup, "--data", first)
	does(t, "backup", backup+"2", "--data", first)
	does(t, "restore", backup+"2", "--data", second)
	for _, dir := range []string{first, second} {
		db, err := sqlite.Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if u, err := db.Accounts().User(t.Context(), "pump"); err != nil || u.Password == "" {
			t.Errorf("%s: %+v, %v", dir, u, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	refuses(t, exitFailed, "sapwood.db already", "restore", backup, "--data", onlyDatabase(t, first))
}

// onlyDatabase is a directory with the database of another and no store.
func onlyDatabase(t *testing.T, of string) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join(of, sqlite.File))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, sqlite.File), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// The user admin of another machine's broker, and a broker that keeps nothing.
func TestElsewhere(t *testing.T) {
	t.Setenv("SAPWOOD_ADMIN_PASSWORD", "given")
	t.Setenv("SAPWOOD_CANARIES_INTERVAL", "0s") // their clients have sessions
	p := startServe(t, filepath.Join(t.TempDir(), "data"))
	if out := does(t, "store", "check", "--url", p.HTTP); !strings.HasPrefix(out, "ok: 0 sessions") {
		t.Error(out)
	}
	p.stop(syscall.SIGTERM)
	t.Setenv("SAPWOOD_DURABILITY", "memory")
	p = startServe(t, filepath.Join(t.TempDir(), "data"))
	refuses(t, exitFailed, "durability is memory", "backup", "-", "--url", p.HTTP)
	p.stop(syscall.SIGTERM)
}

// Damage gives a check its own status; the broker starts all the same and says so.
func TestDamagedStore(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	filled(t, data)
	segment := flip(t, data)
	code, out, errs := command(t, "", "store", "check", "--data", data)
	if code != exitDamaged || !strings.HasPrefix(out, "1 damaged part: ") || !strings.Contains(out, segment) {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	startServe(t, data).stop(syscall.SIGTERM)

	killed := filepath.Join(t.TempDir(), "data")
	p := fill(t, killed)
	p.cmd.Process.Kill()
	p.cmd.Wait()
	flip(t, killed)
	p = startServe(t, killed)
	if d := p.Found.Damage; len(d) != 1 || filepath.Dir(d[0].Aside) != filepath.Join(killed, "quarantine") {
		t.Errorf("the start after a crash announced %+v", d)
	}
	p.stop(syscall.SIGTERM)
}

// flip changes one bit of a message in the first segment and returns its name.
func flip(t *testing.T, data string) string {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(data, "store", "*.seg"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	text, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(text, []byte("xxxxxxxxxx"))
	if at < 0 {
		t.Fatalf("%s holds no message", segments[0])
	}
	text[at] ^= 1
	if err := os.WriteFile(segments[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
	return segments[0]
}

// F221: a store of a newer format is refused, and left as it is.
func TestNewerFormat(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	filled(t, data)
	name := filepath.Join(data, marker)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Replace(text, []byte(`"format":1`), []byte(`"format":99`), 1)
	if err := os.WriteFile(name, newer, 0o600); err != nil {
		t.Fatal(err)
	}
	before := contents(t, data)
	for _, args := range [][]string{
		{"serve", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"},
		{"store", "check"},
		{"store", "compact"},
		{"store", "stats"},
		{"store", "export"},
		{"backup", "-"},
	} {
		refuses(t, exitFailed, "newer Sapwood", append(args, "--data", data)...)
	}
	if after := contents(t, data); after != before {
		t.Errorf("it was changed from\n%s\nto\n%s", before, after)
	}
}

// contents lists the files of a directory with their sums.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "lock" {
			return err
		}
		text, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %d %x\n", path, len(text), sha256.Sum256(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
