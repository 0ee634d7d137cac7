//go:build prometheus

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPrometheus has a real Prometheus scrape the real binary with the files of deploy/: the rules load and pass promtool's tests, a provoked
// alert fires, and every metric that dashboard and rules name is there.
func TestPrometheus(t *testing.T) {
	deploy, err := filepath.Abs("../../deploy")
	if err != nil {
		t.Fatal(err)
	}
	runTool(t, deploy, "promtool", "check", "rules", "sapwood.rules.yml")
	runTool(t, deploy, "promtool", "test", "rules", "sapwood.rules.test.yml")
	runTool(t, deploy, "promtool", "check", "config", "prometheus.yml")
	dir := t.TempDir()
	binary := filepath.Join(dir, "sapwood")
	runTool(t, ".", "go", "build", "-o", binary, ".")
	httpAt, promAt := freeAddress(t), freeAddress(t)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// With so little memory allowed the broker finds itself overloaded at once.
	conf := write("sapwood.yaml", fmt.Sprintf("data: %s\nhttp: {address: %q}\nlisteners: [{address: \"127.0.0.1:0\"}]\nauthentication: {chain: [password]}\noverload: {memory_limit: 1MiB}\nevents: {mqtt: {enabled: true}}\ntelemetry: {endpoint: \"http://127.0.0.1:1\"}\n", filepath.Join(dir, "data"), httpAt))
	startTool(t, dir, binary, "serve", "--config", conf)
	write("prometheus.yml", fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n  - job_name: sapwood\n    static_configs: [{targets: [%q]}]\n", filepath.Join(deploy, "sapwood.rules.yml"), httpAt))
	startTool(t, dir, "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--web.listen-address="+promAt)

	var alerts struct {
		Data struct {
			Alerts []struct {
				Labels map[string]string
				State  string
			}
		}
	}
	waitFor(t, "the alert of overload fires", func() bool {
		getJSON("http://"+promAt+"/api/v1/alerts", &alerts)
		for _, a := range alerts.Data.Alerts {
			if a.Labels["alertname"] == "SapwoodOverload" && a.State == "firing" {
				return true
			}
		}
		return false
	})
	var names struct{ Data []string }
	getJSON("http://"+promAt+"/api/v1/label/__name__/values?match[]="+url.QueryEscape(`{job="sapwood"}`), &names)
	word := regexp.MustCompile(`\bsapwood_[a-z0-9_]+`)
	for _, file := range []string{"sapwood.json", "sapwood.rules.yml"} {
		b, err := os.ReadFile(filepath.Join(deploy, file))
		if err != nil {
			t.Fatal(err)
		}
		found := word.FindAllString(string(b), -1)
		if len(found) < 10 {
			t.Errorf("%s names %d metrics", file, len(found))
		}
		for _, name := range found {
			// There is no listener with TLS here; of certificates fleet/vitals has a test.
			if name != "sapwood_certificate_expiry_timestamp_seconds" && !slices.Contains(names.Data, name) {
				t.Errorf("%s names %s, which is not there", file, name)
			}
		}
	}
	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	getJSON("http://"+promAt+"/api/v1/rules", &rules)
	for _, g := range rules.Data.Groups {
		for _, r := range g.Rules {
			if r.Health != "ok" {
				t.Errorf("%s: %s %s", r.Name, r.Health, r.LastError)
			}
		}
	}
}

func runTool(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// startTool runs a program until the test ends.
func startTool(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	var log strings.Builder
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = c.Wait() // it was killed
		if t.Failed() {
			t.Logf("%s said:\n%s", name, log.String())
		}
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func waitFor(t *testing.T, what string, true func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	end := time.After(time.Minute)
	for !true() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// getJSON fills v, or leaves it as it is.
func getJSON(at string, v any) {
	resp, err := http.Get(at)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil {
		_ = json.Unmarshal(b, v) // what asks asks again
	}
}
