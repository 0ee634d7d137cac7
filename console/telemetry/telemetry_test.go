package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	collectlogs "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	collectmetrics "go.opentelemetry.io/proto/slim/otlp/collector/metrics/v1"
	collecttrace "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	metrics "go.opentelemetry.io/proto/slim/otlp/metrics/v1"
	trace "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

// receiver is a collector that keeps what it gets.
type receiver struct {
	t        *testing.T
	mu       sync.Mutex
	resource map[string]string
	metrics  map[string]*metrics.Metric
	logs     []*logs.LogRecord
	spans    []*trace.Span
	header   http.Header
	answer   func(http.ResponseWriter) // nil = all is well
}

func (c *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		c.t.Error(err)
		return
	}
	body, err := io.ReadAll(z)
	if err != nil || r.Header.Get("Content-Type") != "application/x-protobuf" || r.Method != http.MethodPost {
		c.t.Error(err, r.Header)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header = r.Header
	take := func(m proto.Message) {
		if err := proto.Unmarshal(body, m); err != nil {
			c.t.Error(err)
		}
	}
	switch r.URL.Path {
	case "/x/v1/metrics":
		var m collectmetrics.ExportMetricsServiceRequest
		take(&m)
		c.metrics = map[string]*metrics.Metric{}
		c.resource = values(m.ResourceMetrics[0].Resource.Attributes)
		for _, x := range m.ResourceMetrics[0].ScopeMetrics[0].Metrics {
			c.metrics[x.Name] = x
		}
	case "/x/v1/logs":
		var m collectlogs.ExportLogsServiceRequest
		take(&m)
		c.logs = append(c.logs, m.ResourceLogs[0].ScopeLogs[0].LogRecords...)
	case "/x/v1/traces":
		var m collecttrace.ExportTraceServiceRequest
		take(&m)
		c.spans = append(c.spans, m.ResourceSpans[0].ScopeSpans[0].Spans...)
	default:
		c.t.Error(r.URL)
	}
	if c.answer != nil {
		c.answer(w)
	}
}

func values(list []*common.KeyValue) map[string]string {
	all := map[string]string{}
	for _, kv := range list {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			all[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			all[kv.Key] = fmt.Sprint(v.IntValue)
		case *common.AnyValue_BoolValue:
			all[kv.Key] = fmt.Sprint(v.BoolValue)
		}
	}
	return all
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func config(url string) Config {
	c := DefaultConfig()
	c.Endpoint, c.Headers = url, []Header{{"Authorization", "Bearer token"}}
	return c
}

// reading is what a sampler of a process with nothing in it gives, and what is beside it.
func reading(t *testing.T, more func() []vitals.Series) *vitals.Snapshot {
	v := vitals.New(vitals.Options{
		Version: "1", More: more, Stats: func() (broker.Stats, bool) { return broker.Stats{Connected: 3}, true },
		Loops: func() ([]broker.LoopFigures, bool) {
			f := broker.LoopFigures{}
			f.Delays.Buckets[20] = 4
			return []broker.LoopFigures{f}, true
		},
		Queued: func() int { return 0 }, State: func() vitals.State { return vitals.State{} }, Doors: func() []vitals.Door { return nil },
		Store: func() *vitals.Store { return &vitals.Store{Health: "ok"} },
	})
	ctx, end := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); v.Run(ctx) }()
	s, err := v.Next(t.Context(), nil)
	end()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Everything that is handed in before the end arrives, with the names and attributes that docs/telemetry.md states.
func TestExport(t *testing.T) {
	c := &receiver{t: t}
	server := httptest.NewServer(c)
	defer server.Close()
	cfg := config(server.URL + "/x/")
	cfg.Attributes = []Attribute{{"service.name", "plant"}, {"deployment.environment.name", "test"}}
	e := New(cfg, "1.2", quiet())
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	s := reading(t, e.Series)
	e.Measure(func() *vitals.Snapshot { return s })
	var local bytes.Buffer
	log := slog.New(e.Handler(slog.NewTextHandler(&local, nil))).With("a", 1).WithGroup("g")
	log.Warn("care \xff", "b", true, slog.Group("h", "c", time.Second))
	log.Debug("not for anybody")
	sink := e.Facts()
	sink.Send(t.Context(), []fact.Fact{{At: time.Now(), Kind: fact.Dropped, Client: "c1", Topic: "t/#", Count: 3, Text: "Three.", Detail: map[string]string{"k": "v"}}}, 2)
	at := time.Now()
	e.Spans().Tell(&broker.Step{
		Trace: [16]byte{1}, ID: [8]byte{2}, Parent: [8]byte{3}, State: "a=b", Start: at, Routed: at.Add(1), Stored: at.Add(2), End: at.Add(3),
		Client: "p", Version: 5, Topic: "t", PacketID: 7, QoS: 1, Size: 9, Receivers: 1, Reason: "success",
	})
	e.Spans().Tell(&broker.Step{Trace: [16]byte{1}, ID: [8]byte{4}, Parent: [8]byte{2}, Deliver: true, Start: at, End: at, Client: "s", Topic: "t", Reason: "queue full", Failed: true})
	e.Close(t.Context())
	if c.header.Get("Authorization") != "Bearer token" || c.resource["service.name"] != "plant" || c.resource["service.version"] != "1.2" || c.resource["host.name"] == "" || c.resource["deployment.environment.name"] != "test" {
		t.Errorf("%v %v", c.header, c.resource)
	}
	if g := c.metrics["sapwood.clients_connected"].GetGauge(); g == nil || g.DataPoints[0].GetAsDouble() != 3 {
		t.Errorf("%v", g)
	}
	if m := c.metrics["sapwood.received"]; m.GetUnit() != "By" || !m.GetSum().GetIsMonotonic() || m.GetSum().DataPoints[0].StartTimeUnixNano == 0 {
		t.Errorf("%v", m)
	}
	if h := c.metrics["sapwood.loop_turn"].GetHistogram(); h == nil || h.DataPoints[0].Count != 4 || len(h.DataPoints[0].BucketCounts) != len(h.DataPoints[0].ExplicitBounds)+1 {
		t.Errorf("%v", h)
	}
	if len(c.metrics["sapwood.telemetry_dropped"].GetSum().GetDataPoints()) != 3 {
		t.Errorf("%v", c.metrics["sapwood.telemetry_dropped"])
	}
	if len(c.logs) != 2 || c.logs[0].Body.GetStringValue() != "care \uFFFD" || fmt.Sprint(values(c.logs[0].Attributes)) != "map[a:1 g.b:true g.h.c:1s]" || c.logs[0].SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_WARN {
		t.Errorf("%v", c.logs)
	} else if x := c.logs[1]; x.EventName != "sapwood.dropped" || fmt.Sprint(values(x.Attributes)) != "map[messaging.client.id:c1 messaging.destination.name:t/# sapwood.count:3 sapwood.detail.k:v]" {
		t.Errorf("%v", x)
	}
	if !strings.Contains(local.String(), "care") {
		t.Error("the log itself has nothing")
	}
	if len(c.spans) != 2 {
		t.Fatalf("%v", c.spans)
	}
	p, d := c.spans[0], c.spans[1]
	if p.Name != "publish" || hex.EncodeToString(p.ParentSpanId) != "0300000000000000" || p.TraceState != "a=b" || len(p.Events) != 3 || p.Status != nil || p.EndTimeUnixNano-p.StartTimeUnixNano != 3 {
		t.Errorf("%v", p)
	}
	for k, want := range map[string]string{
		"messaging.system": "mqtt", "messaging.destination.name": "t", "messaging.client.id": "p", "messaging.mqtt.qos": "1", "messaging.message.body.size": "9",
		"messaging.mqtt.reason": "success", "messaging.mqtt.receivers": "1", "network.protocol.version": "5.0",
	} {
		if got := values(p.Attributes)[k]; got != want {
			t.Errorf("%s: %q, want %q", k, got, want)
		}
	}
	if d.Name != "deliver" || !bytes.Equal(d.ParentSpanId, p.SpanId) || d.Status.GetCode() != trace.Status_STATUS_CODE_ERROR || values(d.Attributes)["error.type"] != "queue full" {
		t.Errorf("%v", d)
	}
	if e.logs.post.sent.Load() != 2 || e.logs.dropped.Load() != 2 || e.spans.post.sent.Load() != 2 {
		t.Errorf("%v", e.Series())
	}
}

// The name that a Prometheus exporter makes of ours is that of /metrics, for every figure there is.
func TestNames(t *testing.T) {
	s, seen := reading(t, nil), map[string]string{}
	for i := range s.Series {
		x := &s.Series[i]
		name, unit := nameOf(x.Name)
		back := strings.ReplaceAll(name, ".", "_") + map[string]string{"By": "_bytes", "s": "_seconds", "1": "_ratio", "": ""}[unit]
		if strings.HasSuffix(x.Name, "_total") {
			back += "_total"
		}
		if back != "sapwood_"+x.Name {
			t.Errorf("%s becomes %s and %s", x.Name, name, back)
		}
		if was, ok := seen[name+unit]; ok && was != x.Name {
			t.Errorf("%s and %s are both %s", was, x.Name, name)
		}
		seen[name+unit] = x.Name
	}
}

// roundTripper answers in the place of a collector.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func says(code int, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader("")), Header: h}
}

func lines(e *Exporter, n int) {
	log := slog.New(e.Handler(slog.DiscardHandler))
	h := log.Handler()
	for range n {
		_ = h.Handle(context.Background(), slog.NewRecord(time.Now(), slog.LevelInfo, "x", 0))
	}
}

// A collector that hangs or refuses costs nobody time: what finds no room is dropped and counted, and the end waits a few seconds.
func TestDeadCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config("https://example.com")
		cfg.Metrics, cfg.Timeout = false, 0
		e := New(cfg, "1", quiet())
		e.logs.post.client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		if err := e.Start(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		lines(e, roomLogs)
		synctest.Wait() // it sends
		lines(e, 1000)
		if took := time.Since(began); took != 0 {
			t.Errorf("who logs waited %v", took)
		}
		if got := e.logs.dropped.Load(); got < 1000 {
			t.Errorf("%d dropped", got)
		}
		began = time.Now()
		e.Close(t.Context())
		if took := time.Since(began); took > flushing+time.Second {
			t.Errorf("the end took %v", took)
		}
		if got := e.logs.dropped.Load(); got != roomLogs+1000 || e.logs.post.sent.Load() != 0 {
			t.Errorf("%d dropped of %d", got, roomLogs+1000)
		}
	})
}

// A collector that fails is tried again, when it says so or with growing pauses, then left alone for a while; what it refuses is not sent again.
func TestFailingCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config("https://example.com")
		cfg.Metrics = false
		e := New(cfg, "1", quiet())
		var asked, code atomic.Int64
		code.Store(503)
		e.logs.post.client.Transport = roundTripper(func(*http.Request) (*http.Response, error) {
			asked.Add(1)
			if code.Load() == 0 {
				return nil, errors.New("no route to host")
			}
			return says(int(code.Load()), "Retry-After", "20"), nil
		})
		if err := e.Start(); err != nil {
			t.Fatal(err)
		}
		defer e.Close(t.Context())
		time.Sleep(300 * time.Millisecond) // no line is written at the moment at which those before are sent
		f := func(what string, wait time.Duration, answer, wantAsked, wantDropped int64) {
			t.Helper()
			code.Store(answer)
			asked.Store(0)
			was := e.logs.dropped.Load()
			lines(e, 10)
			time.Sleep(wait)
			synctest.Wait()
			if dropped := int64(e.logs.dropped.Load() - was); asked.Load() != wantAsked || dropped != wantDropped {
				t.Errorf("%s: asked %d times, %d dropped", what, asked.Load(), dropped)
			}
		}
		f("it asks for 20 s, which are kept", 85*time.Second, 503, 5, 10)
		f("in the pause", 2*time.Second, 200, 0, 10)
		time.Sleep(pause)
		f("after it", 2*time.Second, 200, 1, 0)
		f("a refusal", 2*time.Second, 401, 1, 10)
		f("no connection", 40*time.Second, 0, 5, 10)
		time.Sleep(2 * pause)
		f("elsewhere is for the configuration to say", 2*time.Second, 302, 1, 10)
	})
}

// What a collector rejects of a request counts as dropped, and an answer without end is not read.
func TestPartialSuccess(t *testing.T) {
	c := &receiver{t: t}
	server := httptest.NewServer(c)
	defer server.Close()
	cfg := config(server.URL + "/x")
	cfg.Metrics, cfg.Traces = false, false
	e := New(cfg, "1", quiet())
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	c.answer = func(w http.ResponseWriter) {
		b, err := proto.Marshal(&collectlogs.ExportLogsServiceResponse{PartialSuccess: &collectlogs.ExportLogsPartialSuccess{RejectedLogRecords: 4, ErrorMessage: "no\nroom"}})
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(b)
	}
	lines(e, 10)
	e.Close(t.Context())
	if e.logs.dropped.Load() != 4 || e.logs.post.sent.Load() != 6 {
		t.Errorf("%d dropped, %d sent", e.logs.dropped.Load(), e.logs.post.sent.Load())
	}
}

// Nothing is sent where nobody asked for it.
func TestOff(t *testing.T) {
	e := New(DefaultConfig(), "1", quiet())
	h := slog.DiscardHandler
	if e != nil || e.Handler(h) != h || e.Facts() != nil || e.Spans() != nil || e.Series() != nil || e.Start() != nil {
		t.Error("there is an exporter")
	}
	e.Measure(nil)
	e.Close(t.Context())
}

func TestCheck(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := config("https://example.com/x")
		change(&c)
		got := ""
		c.Check(func(key, message, _ string) { got += key + " " + message })
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f("", func(*Config) {})
	f("plaintext", func(c *Config) { c.Endpoint = "http://example.com" })
	f("URL", func(c *Config) { c.Endpoint = "https://example.com?x" })
	f("headers", func(c *Config) { c.Headers[0].Value = "a\r\nX-Evil: 1" })
	f("headers", func(c *Config) { c.Headers[0].Name = "a b" })
	f("interval", func(c *Config) { c.Interval = 0 })
	f("timeout", func(c *Config) { c.Timeout = 0 })
	f("attributes", func(c *Config) { c.Attributes = []Attribute{{}} })
}
