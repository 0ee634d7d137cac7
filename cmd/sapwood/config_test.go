package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// sapwood runs a command and gives what it printed and its exit status.
func sapwood(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command("sapwood", args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// A running broker explains its configuration, compares another file with it, and reads its own again.
func TestConfigOfRunningBroker(t *testing.T) {
	dir := t.TempDir()
	data, file := filepath.Join(dir, "data"), filepath.Join(dir, "a.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("watch_interval: 0s\n")
	p := startServe(t, data, "--config", file)
	f := func(code int, want string, args ...string) {
		t.Helper()
		got, status := sapwood(t, append([]string{"config"}, args...)...)
		got = strings.ReplaceAll(got, dir, "DIR")
		got = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`).ReplaceAllString(got, "TIME")
		if got != want || status != code {
			t.Errorf("%v: exit %d\n%s\nwant exit %d\n%s", args, status, got, code, want)
		}
	}
	explained := func(value, from, by string) string {
		return "log.level = " + value + "\n  default   info\n  from      " + from + "\n  since     TIME, set by " + by +
			"\n  variable  SAPWOOD_LOG_LEVEL\n  type      text\n  one of    debug, info, warn, error\n  does      The least severe records that are written.\n"
	}
	f(0, explained("info", "default", "start"), "explain", "--data", data, "log.level")
	f(1, "sapwood: no setting is called \"log.levle\"; did you mean \"log.level\"?\n", "explain", "--data", data, "log.levle")
	f(0, "no change\n", "diff", "--data", data)

	write("watch_interval: 0s\nlog: {level: warn}\nsys:\n  interval: 1m\n")
	changes := "~ log.level info -> warn  (DIR/a.yaml:2)\n~ sys.interval 10s -> 1m  (DIR/a.yaml:4)  needs a restart\n"
	f(1, changes, "diff", "--data", data)
	f(1, changes, "diff", "--data", data, file)
	f(0, changes, "reload", "--data", data)
	f(0, explained("warn", "DIR/a.yaml:2", "this machine"), "explain", "--data", data, "log.level")
	f(1, "~ sys.interval 10s -> 1m  (DIR/a.yaml:4)  needs a restart\n", "diff", "--data", data)

	other := filepath.Join(dir, "b.yaml")
	if err := os.WriteFile(other, []byte("log: {level: loud}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := ":1:14: log.level is \"loud\", but must be one of: debug, info, warn, error\n    1 | log: {level: loud}\n                     ^\n"
	f(1, "DIR/a.yaml"+broken, "diff", "--data", data, other)
	write("log: {level: loud}\n")
	f(1, "DIR/a.yaml"+broken, "reload", "--data", data)
	f(0, explained("warn", "DIR/a.yaml:2", "this machine"), "explain", "--data", data, "log.level")
	p.stop(syscall.SIGTERM)

	write("watch_interval: 0s\nlog: {level: warn}\n")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f(1, "~ log.level warn -> info  (default)\n~ watch_interval 0s -> 1s  (default)\n", "diff", "--config", file, "--data", data, other)
	f(0, "no change\n", "diff", "--config", file, "--data", data, file)
	f(1, "sapwood: no broker runs on DIR/data: name a file to compare with --config, or the broker with --data or --url\n", "diff", "--data", data)
	f(1, "sapwood: no broker runs on DIR/data\n", "reload", "--data", data)
}
