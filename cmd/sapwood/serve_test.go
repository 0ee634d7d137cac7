package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestServe runs the real process: it accepts once it says so, and each signal stops it cleanly.
func TestServe(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		cmd := exec.Command("sapwood", "serve", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var logs strings.Builder
		cmd.Stderr = &logs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var ready struct {
			Version, HTTP string
			MQTT          []string
		}
		if err := json.NewDecoder(out).Decode(&ready); err != nil {
			t.Fatalf("%v; %s", err, &logs)
		}
		c, err := net.Dial("tcp", strings.TrimPrefix(ready.MQTT[0], "mqtt://"))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		resp, err := http.Get(ready.HTTP + "/readyz")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("/readyz: %v %v", resp, err)
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(out)
		if err != nil || len(rest) > 0 {
			t.Errorf("after ready it printed %q, %v", rest, err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v; %s", signal, err, &logs)
		}
	}
}

// TestServeAnnounces shows the lines a person reads.
func TestServeAnnounces(t *testing.T) {
	cmd := exec.Command("sapwood", "serve", "--mqtt", "127.0.0.1:0", "--http", "off")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, want := range []string{"sapwood ", "  mqtt  mqtt://127.0.0.1:", "  data  in memory only"} {
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), want) {
			t.Errorf("got %q, want %q", lines.Text(), want)
		}
	}
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
