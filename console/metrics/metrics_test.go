package metrics

import (
	"cmp"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

// snapshot is one reading of a process with a listener, a backend and a store.
func snapshot(t *testing.T) (s *vitals.Snapshot) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		stats := broker.Stats{Connected: 3}
		stats.Dropped[session.QueueFull] = 5
		figures := broker.LoopFigures{}
		figures.Delays.Buckets[20], figures.Delays.Sum = 4, time.Millisecond
		v := vitals.New(vitals.Options{
			Version: `1"2\`,
			Stats:   func() (broker.Stats, bool) { return stats, true }, Loops: func() ([]broker.LoopFigures, bool) { return []broker.LoopFigures{figures}, true },
			Queued: func() int { return 0 }, State: func() vitals.State { return vitals.State{} }, Logins: func() uint64 { return 0 },
			Store:    func() *vitals.Store { return &vitals.Store{Health: "ok"} },
			Doors:    func() []vitals.Door { return []vitals.Door{{Name: "tls\n", Expires: time.Now().Add(time.Hour)}} },
			Backends: func() []vitals.Backend { return []vitals.Backend{{Name: "password"}} },
		})
		ctx, end := context.WithCancel(t.Context())
		go v.Run(ctx)
		synctest.Wait()
		s = v.Latest()
		end()
	})
	return s
}

// TestMetrics: names and help pass promlint, labels are escaped, and their number does not depend on clients.
func TestMetrics(t *testing.T) {
	s := snapshot(t)
	h := New(Options{Latest: func() *vitals.Snapshot { return s }, Local: true})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1/metrics", nil))
	body := w.Body.String()
	if w.Code != 200 {
		t.Fatal(w.Code, body)
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, line := range []string{
		`sapwood_clients_connected 3`, `sapwood_messages_dropped_total{reason="queue_full"} 5`, `sapwood_messages_dropped_total{reason="expired"} 0`,
		`sapwood_info{version="1\"2\\"} 1`, `sapwood_listener_connections{listener="tls\n"} 0`, `sapwood_loop_turn_seconds_count 4`,
		`sapwood_authentications_total{backend="password",result="failed"} 0`, `sapwood_ready 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("there is no %s", line)
		}
	}
	series := 0
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, "#") {
			series++
			if !strings.HasPrefix(line, prefix) {
				t.Errorf("a name of somebody else: %s", line)
			}
		}
	}
	if series < 130 || series > 300 {
		t.Errorf("%d series", series)
	}
}

// F202: who reaches the process from elsewhere needs credentials, unless the configuration says otherwise.
func TestWhoMayRead(t *testing.T) {
	s := snapshot(t)
	protect := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer good" {
				http.Error(w, "no", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	f := func(open, local bool, want int, headers ...string) {
		t.Helper()
		r := httptest.NewRequest("GET", "http://127.0.0.1/metrics", nil)
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		r.Host = cmp.Or(r.Header.Get("Host"), r.Host)
		w := httptest.NewRecorder()
		New(Options{Latest: func() *vitals.Snapshot { return s }, Open: open, Local: local, Protect: protect}).ServeHTTP(w, r)
		if w.Code != want || want != 200 && strings.Contains(w.Body.String(), prefix) {
			t.Errorf("open %v, local %v, %v: %d", open, local, headers, w.Code)
		}
	}
	f(false, false, 401)
	f(true, false, 200)
	f(false, true, 200)
	f(false, true, 401, "X-Forwarded-For", "10.0.0.1")
	f(true, true, 200, "X-Forwarded-For", "10.0.0.1")
	f(false, true, 401, "Host", "evil.example") // the page of a site whose name was made to resolve to this machine
	f(false, true, 401, "Host", "evil.example:8083")
	f(false, true, 200, "Host", "localhost:8083")
	f(false, true, 200, "Host", "[::1]:8083")
	f(false, true, 200, "Host", "127.0.0.1")
	f(true, true, 200, "Host", "metrics.example")
	f(false, false, 200, "Authorization", "Bearer good")
	f(true, true, 401, "Authorization", "Bearer bad")
}

// Topics that the configuration names have series, no more than it allows; one that has them keeps them; promlint is content.
func TestTopics(t *testing.T) {
	names := tally.NewNames(1000)
	loop, view := tally.NewTopics(names, 0, 0), tally.NewView(names)
	publish := func(name string, n, size int) {
		tag, _ := loop.Tag([]byte(name))
		for range n {
			loop.Published(tag, 1, 1, &tally.Message{Name: []byte(name), Payload: make([]byte, size)})
		}
	}
	publish("a/1", 5, 10)
	publish("a/2", 9, 0)
	publish("a/3", 1, 0)
	publish("a/1/x", 100, 0)
	publish("a/\"\n", 8, 0)
	c := DefaultConfig()
	c.Topics, c.MaxTopics = []string{"a/+", "b"}, 3
	topics := NewTopics(c, func(_ context.Context, use func(*tally.View)) error {
		view.Begin(1)
		loop.Settle()
		loop.Touched(view)
		for some, sums := range view.Changed(100) {
			loop.Read(1, some, sums)
		}
		view.End([tally.Weights][][]tally.Heavy{})
		use(view)
		return nil
	})
	read := func() string {
		t.Helper()
		topics.Read(t.Context())
		h := New(Options{Latest: func() *vitals.Snapshot { return &vitals.Snapshot{Series: topics.Series()} }, Local: true, Protect: func(h http.Handler) http.Handler { return h }})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1/metrics", nil))
		problems, err := promlint.New(strings.NewReader(w.Body.String())).Lint()
		if err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
		return w.Body.String()
	}
	has := func(body string, lines ...string) {
		t.Helper()
		for _, l := range lines {
			if !strings.Contains(body, l+"\n") {
				t.Errorf("no %s in %s", l, body)
			}
		}
	}
	body := read()
	has(body, `sapwood_topic_messages_total{topic="a/1"} 5`, `sapwood_topic_message_bytes_total{topic="a/1"} 50`, `sapwood_topic_messages_total{topic="a/\"\n"} 8`, `sapwood_topics_left_out 1`)
	if strings.Contains(body, "a/3") || strings.Contains(body, "a/1/x") || strings.Contains(body, "rest") {
		t.Error(body)
	}
	publish("a/3", 9_999, 0)
	if body = read(); strings.Contains(body, "a/3") { // the others have series
		t.Error(body)
	}
	has(body, `sapwood_topic_messages_total{topic="a/1"} 5`, `sapwood_topics_left_out 1`)
	bad := 0
	c.Topics = []string{"a/#/b"}
	c.Check(func(string, string, string) { bad++ })
	if bad != 1 {
		t.Error("a filter that is none")
	}
}
