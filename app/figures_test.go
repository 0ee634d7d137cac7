package app

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestFiguresAPI: present figures, what is near its limit and history are told by the API of a real process, each where docs/metrics.md and
// docs/books.md say.
func TestFiguresAPI(t *testing.T) {
	b := openBureau(t)
	b.say("free/x")
	has := func(path string, fields ...string) map[string]any {
		t.Helper()
		var got map[string]any
		for end := time.Now().Add(patience); time.Now().Before(end) && got == nil; <-time.After(100 * time.Millisecond) {
			if v := b.ask("GET", path, nil); v["at"] == nil || path != "/stats" || v["in"].(map[string]any)["messages"].(float64) > 0 {
				got = v
			}
		}
		for _, f := range fields {
			if _, ok := got[f]; !ok {
				t.Errorf("%s has no %s: %v", path, f, got)
			}
		}
		return got
	}
	if s := has("/stats", "at", "uptime_seconds", "clients", "subscriptions", "retained", "queued", "in", "out", "rates", "dropped", "denied"); s["clients"].(map[string]any)["connected"] != 1.0 {
		t.Error(s)
	}
	// F134: whoever connects and whatever is published, the series stay as many, and name nobody.
	series := func() (n int, text string) {
		resp, err := http.Get(b.Bound().HTTP + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		all, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status, err)
		}
		return strings.Count(string(all), "\nsapwood_"), string(all)
	}
	before, _ := series()
	for i := range 50 {
		b.client(fmt.Sprintf("exploder-%d", i), "boss", 0, nil)
		b.say(fmt.Sprintf("free/explosion/%d", i))
	}
	for end := time.Now().Add(patience); ; <-time.After(100 * time.Millisecond) {
		after, text := series()
		if strings.Contains(text, "explo") || after != before {
			t.Errorf("%d series, and then %d", before, after)
		}
		if strings.Contains(text, "\nsapwood_clients_connected 51\n") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nobody has seen them connect")
		}
	}
	has("/load", "cpu", "cores", "memory", "gc", "goroutines", "loop_lag_seconds", "store", "disk", "listeners", "headroom")
	has("/now", "ok", "text", "problems", "clients", "rates", "headroom", "changes")
	has("/canaries", "delivers", "text", "canaries")
	if v := has("/books", "balanced", "lines", "since"); v["balanced"] != true {
		t.Error(v)
	}
	has("/books/clients/boss", "lines", "balanced")
	has("/store", "health", "segments", "commits")
	has("/config/check")
	h := has("/history?metric=messages_received,clients_connected&from=1h&step=10s", "series", "step_seconds")
	if h["step_seconds"] != 10.0 {
		t.Error(h)
	}
	for path, status := range map[string]int{
		"/history?metric=nothing": 400, "/history?metric=messages_recieved": 400, "/history?metric=sapwood_messages_dropped_total": 0, "/history?metric=messages_received&from=yesterday": 422, "/books/clients/nobody": 404, "/config/nothing": 404,
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", b.Bound().HTTP+"/api/v1"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("admin", b.password)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if status != 0 && resp.StatusCode != status || resp.StatusCode >= 500 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}
