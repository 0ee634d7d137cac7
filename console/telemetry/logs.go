package telemetry

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// mostAttributes are told of a record.
const mostAttributes = 64

func (e *Exporter) encodeLogs(batch []*logs.LogRecord) ([]byte, error) {
	return proto.Marshal(&collector.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{
		Resource: e.resource, ScopeLogs: []*logs.ScopeLogs{{Scope: e.scope, LogRecords: batch}},
	}}})
}

func partialLogs(answer []byte) (uint64, string, error) {
	var r collector.ExportLogsServiceResponse
	err := proto.Unmarshal(answer, &r)
	return uint64(max(r.GetPartialSuccess().GetRejectedLogRecords(), 0)), r.GetPartialSuccess().GetErrorMessage(), err
}

// Handler is one that writes to h and sends what h takes; h itself where nothing is sent.
func (e *Exporter) Handler(h slog.Handler) slog.Handler {
	if e == nil || e.logs == nil {
		return h
	}
	return &handler{Handler: h, lane: e.logs}
}

// handler is a slog.Handler beside another, which decides what is logged.
type handler struct {
	slog.Handler
	lane   *lane[*logs.LogRecord]
	attrs  []*common.KeyValue
	prefix string // of the open groups
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	x := &logs.LogRecord{
		TimeUnixNano: nanos(r.Time), ObservedTimeUnixNano: nanos(time.Now()), SeverityNumber: severity(r.Level), SeverityText: r.Level.String(),
		Body: words(r.Message), Attributes: slices.Clone(h.attrs),
	}
	r.Attrs(func(a slog.Attr) bool {
		x.Attributes = flatten(x.Attributes, h.prefix, a)
		return true
	})
	h.lane.add(x)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *h
	more.Handler, more.attrs = h.Handler.WithAttrs(attrs), slices.Clone(h.attrs)
	for _, a := range attrs {
		more.attrs = flatten(more.attrs, h.prefix, a)
	}
	return &more
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	more := *h
	more.Handler, more.prefix = h.Handler.WithGroup(name), h.prefix+name+"."
	return &more
}

// flatten appends an attribute; a group's members have its name before theirs.
func flatten(to []*common.KeyValue, prefix string, a slog.Attr) []*common.KeyValue {
	v := a.Value.Resolve()
	switch {
	case len(to) >= mostAttributes || a.Equal(slog.Attr{}):
		return to
	case v.Kind() == slog.KindGroup:
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, x := range v.Group() {
			to = flatten(to, prefix, x)
		}
		return to
	case v.Kind() == slog.KindInt64:
		return append(to, number(clean(prefix+a.Key), v.Int64()))
	case v.Kind() == slog.KindBool:
		return append(to, boolean(clean(prefix+a.Key), v.Bool()))
	}
	return append(to, text(prefix+a.Key, v.String()))
}

func severity(l slog.Level) logs.SeverityNumber {
	switch {
	case l >= slog.LevelError:
		return logs.SeverityNumber_SEVERITY_NUMBER_ERROR
	case l >= slog.LevelWarn:
		return logs.SeverityNumber_SEVERITY_NUMBER_WARN
	case l >= slog.LevelInfo:
		return logs.SeverityNumber_SEVERITY_NUMBER_INFO
	}
	return logs.SeverityNumber_SEVERITY_NUMBER_DEBUG
}

// Facts takes what happened, nil where no logs are sent.
func (e *Exporter) Facts() fact.Sink {
	if e == nil || e.logs == nil {
		return nil
	}
	return sink{e.logs}
}

type sink struct{ lane *lane[*logs.LogRecord] }

// Send implements fact.Sink: it queues.
func (s sink) Send(_ context.Context, facts []fact.Fact, lost uint64) {
	s.lane.dropped.Add(lost)
	for i := range facts {
		s.lane.add(recordOf(&facts[i]))
	}
}

// Close implements fact.Sink; what is queued is the exporter's.
func (sink) Close() error { return nil }

// recordOf is a fact as an OpenTelemetry event.
func recordOf(f *fact.Fact) *logs.LogRecord {
	x := &logs.LogRecord{
		TimeUnixNano: nanos(f.At), ObservedTimeUnixNano: nanos(time.Now()), SeverityNumber: logs.SeverityNumber_SEVERITY_NUMBER_INFO,
		SeverityText: "INFO", Body: words(f.Text), EventName: "sapwood." + string(f.Kind),
	}
	for _, a := range []Attribute{
		{"messaging.client.id", f.Client},
		{"user.name", f.User},
		{"client.address", f.Address},
		{"sapwood.listener", f.Listener},
		{"messaging.destination.name", f.Topic},
		{"sapwood.reason", f.Reason},
	} {
		if a.Value != "" {
			x.Attributes = append(x.Attributes, text(a.Name, a.Value))
		}
	}
	if f.Code != 0 {
		x.Attributes = append(x.Attributes, number("mqtt.reason_code", int64(f.Code)))
	}
	if f.Count != 0 {
		x.Attributes = append(x.Attributes, number("sapwood.count", int64(f.Count)))
	}
	for _, k := range slices.Sorted(maps.Keys(f.Detail)) {
		if len(x.Attributes) == mostAttributes {
			break
		}
		x.Attributes = append(x.Attributes, text("sapwood.detail."+k, f.Detail[k]))
	}
	return x
}
