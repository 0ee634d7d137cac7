// Package telemetry sends metrics, logs and traces to an OpenTelemetry collector, by OTLP over HTTP. It is the only user of the
// OTLP messages. Whoever hands something in never waits: queues are bounded, and what a collector does not take is dropped and
// counted. It decides nothing but what to drop, and nothing waits for it but the end of the process, for a bounded time.
package telemetry

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/fleet/post"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

const (
	roomLogs  = 4096
	roomSpans = 8192
	flushing  = 5 * time.Second // what a stop may take
)

// Exporter sends telemetry from Start to Close. A nil one sends nothing. Its methods may be called from any goroutine, but Start, Measure
// and Close one after the other.
type Exporter struct {
	cfg       Config
	log       *slog.Logger
	transport *http.Transport
	resource  *resource.Resource
	scope     *common.InstrumentationScope
	began     time.Time

	figures *figures // nil = no metrics
	logs    *lane[*logs.LogRecord]
	spans   *lane[broker.Step]

	started bool
	abort   context.CancelFunc
	life    context.Context
}

// New prepares one; nil when nothing is to be sent. log is for what it has to say itself, which must not come back to it.
func New(cfg Config, version string, log *slog.Logger) *Exporter {
	if cfg.Endpoint == "" || !cfg.Metrics && !cfg.Logs && !cfg.Traces {
		return nil
	}
	e := &Exporter{
		cfg: cfg, log: log, began: time.Now(), resource: resourceOf(&cfg, version),
		scope: &common.InstrumentationScope{Name: "github.com/sapwood-mqtt/sapwood", Version: version},
	}
	var client *http.Client
	client, e.transport = post.Client(cfg.Timeout, 3)
	to := func(signal string, partial func([]byte) (uint64, string, error)) *poster {
		return newPoster(e, client, signal, strings.TrimSuffix(cfg.Endpoint, "/")+"/v1/"+signal, partial)
	}
	if cfg.Metrics {
		e.figures = &figures{post: to("metrics", partialMetrics), end: make(chan struct{}), done: make(chan struct{})}
	}
	if cfg.Logs {
		e.logs = newLane(roomLogs, to("logs", partialLogs), e.encodeLogs)
	}
	if cfg.Traces {
		e.spans = newLane(roomSpans, to("traces", partialSpans), e.encodeSpans)
	}
	return e
}

// resourceOf is what is told of this process.
func resourceOf(cfg *Config, version string) *resource.Resource {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	r := &resource.Resource{}
	own := []Attribute{{"service.name", "sapwood"}, {"service.version", version}, {"service.instance.id", strings.ToLower(rand.Text())}, {"host.name", host}}
	named := map[string]bool{}
	for _, a := range append(cfg.Attributes[:len(cfg.Attributes):len(cfg.Attributes)], own...) {
		if !named[a.Name] {
			named[a.Name] = true
			r.Attributes = append(r.Attributes, text(a.Name, a.Value))
		}
	}
	return r
}

// Start begins to send logs and traces. An error means that ca_file is no good.
func (e *Exporter) Start() error {
	if e == nil {
		return nil
	}
	if err := post.Trust(e.transport, e.cfg.CAFile); err != nil {
		return err
	}
	e.life, e.abort = context.WithCancel(context.Background())
	e.started = true
	if e.logs != nil {
		go e.logs.run(e.life)
	}
	if e.spans != nil {
		go e.spans.run(e.life)
	}
	return nil
}

// Measure begins to send the figures that latest gives; nil = there are none yet.
func (e *Exporter) Measure(latest func() *vitals.Snapshot) {
	if e == nil || e.figures == nil {
		return
	}
	e.figures.latest = latest
	go e.measure(e.life)
}

// Close sends what is left, for a few seconds at most, and ends.
func (e *Exporter) Close(ctx context.Context) {
	if e == nil || !e.started {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, flushing)
	defer cancel()
	var all sync.WaitGroup
	if e.figures != nil && e.figures.latest != nil {
		all.Go(func() { e.figures.stop(ctx, e.abort) })
	}
	if e.logs != nil {
		all.Go(func() { e.logs.stop(ctx, e.abort) })
	}
	if e.spans != nil {
		all.Go(func() { e.spans.stop(ctx, e.abort) })
	}
	all.Wait()
	e.abort()
	e.transport.CloseIdleConnections()
}

// Step takes a part of a message's way.
func (e *Exporter) Step(s *broker.Step) { e.spans.add(*s) }

// Spans asks the broker for the way of messages; nil = of none.
func (e *Exporter) Spans() *broker.Spans {
	if e == nil || e.spans == nil {
		return nil
	}
	return &broker.Spans{Ratio: e.cfg.Ratio, PerSecond: e.cfg.PerSecond, Deliveries: e.cfg.Deliveries, Inject: e.cfg.Inject, Tell: e.Step}
}

// Failing is why the collector does not take telemetry at present, "" when it does, or nothing is sent.
func (e *Exporter) Failing() string {
	if e == nil {
		return ""
	}
	var posts []*poster
	if e.figures != nil {
		posts = append(posts, e.figures.post)
	}
	if e.logs != nil {
		posts = append(posts, e.logs.post)
	}
	if e.spans != nil {
		posts = append(posts, e.spans.post)
	}
	for _, p := range posts {
		if why := p.failing.Load(); why != nil {
			return *why
		}
	}
	return ""
}

// Series are the figures of the exporter itself.
func (e *Exporter) Series() (all []vitals.Series) {
	if e == nil {
		return nil
	}
	add := func(p *poster, dropped uint64) {
		all = append(all,
			vitals.Counter("telemetry_sent_total", "Items that the OpenTelemetry collector took: log records, spans, points of metrics.", p.sent.Load(), "signal", p.signal),
			vitals.Counter("telemetry_dropped_total", "Items that did not reach the OpenTelemetry collector.", dropped, "signal", p.signal),
			vitals.Gauge("telemetry_failing", "1 while the OpenTelemetry collector fails and is not asked.", map[bool]float64{true: 1}[p.failing.Load() != nil], "signal", p.signal))
	}
	if f := e.figures; f != nil {
		add(f.post, f.dropped.Load())
	}
	if l := e.logs; l != nil {
		add(l.post, l.dropped.Load())
	}
	if l := e.spans; l != nil {
		add(l.post, l.dropped.Load())
	}
	return all
}
