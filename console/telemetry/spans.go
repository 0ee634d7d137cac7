package telemetry

import (
	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sapwood-mqtt/sapwood/broker"
)

func (e *Exporter) encodeSpans(batch []broker.Step) ([]byte, error) {
	list := make([]*trace.Span, len(batch))
	for i := range batch {
		list[i] = spanOf(&batch[i])
	}
	return proto.Marshal(&collector.ExportTraceServiceRequest{ResourceSpans: []*trace.ResourceSpans{{
		Resource: e.resource, ScopeSpans: []*trace.ScopeSpans{{Scope: e.scope, Spans: list}},
	}}})
}

// spanOf is a step by the semantic conventions for messaging.
func spanOf(s *broker.Step) *trace.Span {
	x := &trace.Span{
		TraceId: s.Trace[:], SpanId: s.ID[:], TraceState: s.State, Flags: 1, Name: "publish", Kind: trace.Span_SPAN_KIND_SERVER,
		StartTimeUnixNano: nanos(s.Start), EndTimeUnixNano: nanos(s.End),
	}
	if s.Parent != [8]byte{} {
		x.ParentSpanId = s.Parent[:]
	}
	kind := "receive"
	if s.Deliver {
		x.Name, x.Kind, kind = "deliver", trace.Span_SPAN_KIND_PRODUCER, "send"
	}
	x.Attributes = append(x.Attributes,
		text("messaging.system", "mqtt"), text("messaging.operation.name", x.Name), text("messaging.operation.type", kind),
		text("messaging.destination.name", s.Topic), text("messaging.client.id", s.Client), number("messaging.message.body.size", int64(s.Size)),
		number("messaging.mqtt.qos", int64(s.QoS)), boolean("messaging.mqtt.retain", s.Retain), text("messaging.mqtt.reason", s.Reason),
		text("network.protocol.name", "mqtt"))
	if s.Version != 0 {
		x.Attributes = append(x.Attributes, text("network.protocol.version", s.Version.String()))
	}
	if s.PacketID != 0 {
		x.Attributes = append(x.Attributes, number("messaging.mqtt.packet_id", int64(s.PacketID)))
	}
	if !s.Deliver {
		x.Attributes = append(x.Attributes, number("messaging.mqtt.receivers", int64(s.Receivers)))
		x.Events = append(x.Events, &trace.Span_Event{TimeUnixNano: nanos(s.Routed), Name: "routed"})
		if !s.Stored.IsZero() {
			x.Events = append(x.Events, &trace.Span_Event{TimeUnixNano: nanos(s.Stored), Name: "stored"})
		}
		if s.QoS > 0 {
			x.Events = append(x.Events, &trace.Span_Event{TimeUnixNano: nanos(s.End), Name: "acknowledged"})
		}
	}
	if s.Failed {
		x.Status = &trace.Status{Code: trace.Status_STATUS_CODE_ERROR, Message: clean(s.Reason)}
		x.Attributes = append(x.Attributes, text("error.type", s.Reason))
	}
	return x
}

func partialSpans(answer []byte) (uint64, string, error) {
	var r collector.ExportTraceServiceResponse
	err := proto.Unmarshal(answer, &r)
	return uint64(max(r.GetPartialSuccess().GetRejectedSpans(), 0)), r.GetPartialSuccess().GetErrorMessage(), err
}
