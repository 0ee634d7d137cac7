package broker

import (
	"encoding/hex"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// traceContext is what a publisher says of the trace that its message belongs to (W3C Trace Context).
type traceContext struct {
	trace   [16]byte
	parent  [8]byte
	state   []byte // a view; nil = none that is good
	sampled bool
	unclear bool // there is a traceparent, and it is no good or one of several
}

// What is read of a message: other user properties are no concern of ours, however many there are.
const (
	maxContextProperties = 64
	maxTracestate        = 512 // bytes, as Trace Context 3.3.1.5 asks of everybody
)

// read looks for the context among the properties of a message. It is false when there is none, or none that is good; then the
// message is treated as one without (Trace Context 3.2.2.3).
func (t *traceContext) read(forward []byte) bool {
	p := mqtt.MessageProperties{Forward: forward}
	seen, parents, states := 0, 0, 0
	good := false
	p.Each(func(id mqtt.PropertyID, name, value []byte) bool {
		if id != mqtt.PropUser {
			return true
		}
		switch string(name) {
		case "traceparent":
			parents++
			good = t.readParent(value)
		case "tracestate":
			states++
			t.state = value
		}
		seen++
		return seen < maxContextProperties
	})
	if states != 1 || len(t.state) > maxTracestate || !isPrintable(t.state) {
		t.state = nil
	}
	if good && parents == 1 {
		return true
	}
	*t = traceContext{unclear: parents > 0}
	return false
}

// readParent reads version-trace-parent-flags, in lower case (Trace Context 3.2.2). Later versions may be longer.
func (t *traceContext) readParent(b []byte) bool {
	const size = 2 + 1 + 32 + 1 + 16 + 1 + 2
	if len(b) < size || len(b) > maxTracestate || b[2] != '-' || b[35] != '-' || b[52] != '-' {
		return false
	}
	for i, c := range b[:size] {
		if i != 2 && i != 35 && i != 52 && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	version := string(b[:2])
	if version == "ff" || version == "00" && len(b) != size || len(b) > size && b[size] != '-' {
		return false
	}
	var flags [1]byte
	_, _ = hex.Decode(t.trace[:], b[3:35]) // they are digits
	_, _ = hex.Decode(t.parent[:], b[36:52])
	_, _ = hex.Decode(flags[:], b[53:size])
	t.sampled = flags[0]&1 != 0
	return t.trace != [16]byte{} && t.parent != [8]byte{}
}

func isPrintable(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// appendTraceparent appends the user property that names a span as parent.
func appendTraceparent(dst []byte, span *mqtt.Span) []byte {
	var text [55]byte
	out := append(text[:0], "00-"...)
	out = hex.AppendEncode(out, span.Trace[:])
	out = append(out, '-')
	out = hex.AppendEncode(out, span.ID[:])
	out = append(out, "-01"...)
	return mqtt.AppendUserProperty(dst, []byte("traceparent"), out)
}
