package app

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	trace "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// collector keeps what the process sends; a request and the data in it are alike in OTLP.
type collector struct {
	t      *testing.T
	mu     sync.Mutex
	spans  []*trace.Span
	events []string
	lines  []string
	points int
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		c.t.Error(err)
		return
	}
	body, err := io.ReadAll(z)
	if err != nil || r.Header.Get("Authorization") != "Bearer s3cret" {
		c.t.Error(err, r.Header)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.URL.Path {
	case "/v1/traces":
		var m trace.TracesData
		err = proto.Unmarshal(body, &m)
		for _, x := range m.ResourceSpans {
			c.spans = append(c.spans, x.ScopeSpans[0].Spans...)
		}
	case "/v1/logs":
		var m logs.LogsData
		err = proto.Unmarshal(body, &m)
		for _, x := range m.ResourceLogs {
			for _, l := range x.ScopeLogs[0].LogRecords {
				if l.EventName == "" {
					c.lines = append(c.lines, l.Body.GetStringValue())
					continue
				}
				c.events = append(c.events, l.EventName)
			}
		}
	case "/v1/metrics":
		c.points++
	}
	if err != nil {
		c.t.Error(err)
	}
}

// A message of a client that traces arrives at a collector as a tree below the client's own span, with events, lines of the log and figures; the
// topics that are asked for have series.
func TestTelemetry(t *testing.T) {
	got := &collector{t: t}
	server := httptest.NewServer(got)
	defer server.Close()
	s := &testSite{T: t, file: filepath.Join(t.TempDir(), "sapwood.yaml")}
	s.write(`
watch_interval: 0s
http: {address: '127.0.0.1:0'}
listeners: [{address: '127.0.0.1:0', name: plain}]
metrics: {topics: ['plant/+', 'none/#']}
telemetry: {endpoint: '` + server.URL + `', sample_ratio: 0, headers: [{name: Authorization, value: Bearer s3cret}]}
`)
	s.App = s.start()
	heard := make(chan struct{}, 10)
	dial := func(id string) *client.Client {
		c, err := client.Dial(t.Context(), client.Options{
			Address: s.Bound().MQTT[0], ClientID: id, SessionExpiry: 60,
			OnMessage: func(*mqtt.Publish) error { heard <- struct{}{}; return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	sub, pub := dial("sub"), dial("pub")
	if _, err := sub.Subscribe(t.Context(), mqtt.Subscribe{Filters: []mqtt.Subscription{{Filter: []byte("plant/#"), Options: 1}}}); err != nil {
		t.Fatal(err)
	}
	p := mqtt.Publish{Topic: []byte("plant/a"), QoS: 1, Payload: []byte("x")}
	p.Props.Forward = mqtt.AppendUserProperty(nil, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if _, err := pub.Publish(t.Context(), &p); err != nil {
		t.Fatal(err)
	}
	if _, err := pub.Publish(t.Context(), &mqtt.Publish{Topic: []byte("plant/b"), QoS: 1}); err != nil { // nobody traces it
		t.Fatal(err)
	}
	<-heard
	<-heard
	if _, err := s.Reload(t.Context(), "the test"); err != nil { // which is a line of the log: a start need not have any
		t.Fatal(err)
	}
	for _, line := range []string{
		`sapwood_telemetry_dropped_total{signal="traces"} 0`, `sapwood_topic_messages_total{topic="plant/a"} 1`, `sapwood_topic_messages_total{topic="plant/b"} 1`,
		`sapwood_topics_left_out 0`,
	} {
		var text string
		for end := time.Now().Add(time.Minute); !strings.Contains(text, line+"\n"); {
			if time.Now().After(end) {
				t.Fatalf("no %s in %s", line, text)
			}
			s.sent.topics.Read(t.Context()) // as it does every ten seconds; a view of the topics is shared for one
			text = s.figures()              // which waits for the next second
		}
	}
	pub.Abort()
	sub.Abort()
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	got.mu.Lock()
	defer got.mu.Unlock()
	if len(got.spans) != 2 {
		t.Fatalf("%d spans: %v", len(got.spans), got.spans)
	}
	i := slices.IndexFunc(got.spans, func(x *trace.Span) bool { return x.Name == "publish" })
	publish, deliver := got.spans[i], got.spans[1-i]
	if !bytes.Equal(publish.TraceId, []byte("\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c")) || !bytes.Equal(publish.ParentSpanId, []byte("\xb7\xad\x6b\x71\x69\x20\x33\x31")) {
		t.Errorf("%v", publish)
	}
	if deliver.Name != "deliver" || !bytes.Equal(deliver.ParentSpanId, publish.SpanId) || !bytes.Equal(deliver.TraceId, publish.TraceId) {
		t.Errorf("%v", deliver)
	}
	for _, e := range []string{"sapwood.started", "sapwood.connected", "sapwood.stopping"} {
		if !slices.Contains(got.events, e) {
			t.Errorf("no %q among %v", e, got.events)
		}
	}
	if !slices.Contains(got.lines, "configuration read again") {
		t.Errorf("no line of the log among %q", got.lines)
	}
	if got.points == 0 {
		t.Error("no metrics came")
	}
}
