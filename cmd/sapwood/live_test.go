package main

import (
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestBrokerScripts runs the commands that ask a running broker against a real one, which each script has for itself.
func TestBrokerScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/broker",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			data := filepath.Join(e.WorkDir, "data")
			p := startServe(t, data)
			e.Setenv("SAPWOOD_DATA", data)
			e.Setenv("SAPWOOD_URL", p.MQTT[0])
			e.Setenv("HTTP", p.HTTP)
			e.Setenv("MQTT", strings.TrimPrefix(p.MQTT[0], "mqtt://")) // without a scheme
			e.Setenv("ADMIN", p.AdminPassword)
			e.Defer(func() { p.stop(syscall.SIGTERM) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exit": wantExit, "until": until, "found": found},
	})
}

// found is `found NAME REGEXP`: $NAME is what its group matches in what the last command printed.
func found(ts *testscript.TestScript, neg bool, args []string) {
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if neg || len(m) < 2 {
		ts.Fatalf("not found: %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// until is `until REGEXP args...`: sapwood prints that at last.
func until(ts *testscript.TestScript, neg bool, args []string) {
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for {
		err = ts.Exec("sapwood", args[1:]...)
		if want.MatchString(ts.ReadFile("stdout")) != neg {
			return
		}
		select {
		case <-late:
			ts.Check(errors.Join(errors.New("in vain for "+args[0]), err))
		case <-tick.C:
		}
	}
}
