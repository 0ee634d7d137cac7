package telemetry

import (
	"strings"
	"time"

	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
)

// longestText is where a text is cut, in bytes.
const longestText = 4 << 10

// clean makes a text one that protobuf takes, of a bounded size.
func clean(s string) string {
	if len(s) > longestText {
		s = s[:longestText] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func words(s string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: clean(s)}}
}

func text(name, value string) *common.KeyValue {
	return &common.KeyValue{Key: clean(name), Value: words(value)}
}

func number(name string, n int64) *common.KeyValue {
	return &common.KeyValue{Key: name, Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: n}}}
}

func boolean(name string, b bool) *common.KeyValue {
	return &common.KeyValue{Key: name, Value: &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: b}}}
}

func nanos(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }
