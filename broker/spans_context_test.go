package broker

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

const goodParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func userProperties(pairs ...string) (forward []byte) {
	for i := 0; i < len(pairs); i += 2 {
		forward = mqtt.AppendUserProperty(forward, pairs[i], pairs[i+1])
	}
	return forward
}

// F208: what a publisher says of its trace is read strictly and never costs more than a look.
func TestTraceContext(t *testing.T) {
	f := func(want string, pairs ...string) {
		t.Helper()
		var c traceContext
		got := ""
		if c.read(userProperties(pairs...)) {
			got = hex.EncodeToString(c.trace[:]) + " " + hex.EncodeToString(c.parent[:]) + map[bool]string{true: " sampled", false: " not"}[c.sampled]
			if c.state != nil {
				got += " " + string(c.state)
			}
		}
		if got != want {
			t.Errorf("%.80q: %q, want %q", pairs, got, want)
		}
	}
	const ids = "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331"
	f(ids+" sampled", "traceparent", goodParent)
	f(ids+" not", "traceparent", goodParent[:53]+"00")
	f(ids+" not", "traceparent", goodParent[:53]+"02")
	f(ids+" sampled a=1,b=2", "x", "y", "tracestate", "a=1,b=2", "traceparent", goodParent)
	f(ids+" sampled", "traceparent", goodParent, "tracestate", "a=1", "tracestate", "b=2")
	f(ids+" sampled", "traceparent", goodParent, "tracestate", strings.Repeat("a", 513))
	f(ids+" sampled", "traceparent", goodParent, "tracestate", "a=\u00e9")
	f(ids+" sampled", "traceparent", goodParent, "baggage", strings.Repeat("k=v,", 1<<14))
	f(ids+" sampled", "traceparent", "01"+goodParent[2:])
	f(ids+" sampled", "traceparent", "01"+goodParent[2:]+"-more")
	f("")
	f("", "traceparent", "")
	f("", "traceparent", "00")
	f("", "traceparent", goodParent+"-more")
	f("", "traceparent", "01"+goodParent[2:]+"more")
	f("", "traceparent", "ff"+goodParent[2:])
	f("", "traceparent", strings.ToUpper(goodParent))
	f("", "traceparent", strings.Replace(goodParent, "-", "_", 1))
	f("", "traceparent", "00-"+strings.Repeat("0", 32)+goodParent[35:])
	f("", "traceparent", goodParent[:36]+strings.Repeat("0", 16)+"-01")
	f("", "traceparent", goodParent, "traceparent", goodParent)
	f("", "traceparent", "01-"+strings.Repeat("a", 1<<16-10))
	f("", "Traceparent", goodParent)
	f("", append(strings.Split(strings.Repeat("a,b,", 100), ",")[:200], "traceparent", goodParent)...) // too far behind
	var c traceContext
	forward := userProperties("a", "b", "traceparent", goodParent, "tracestate", "x=y")
	if n := testing.AllocsPerRun(100, func() { c = traceContext{}; c.read(forward) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	span := &mqtt.Span{Trace: c.trace, ID: c.parent}
	if got := appendTraceparent(nil, span); !bytes.Equal(got, userProperties("traceparent", goodParent)) {
		t.Errorf("%q", got)
	}
}

func FuzzTraceContext(f *testing.F) {
	f.Add(userProperties("traceparent", goodParent, "tracestate", "x=y"))
	f.Fuzz(func(t *testing.T, forward []byte) {
		var c traceContext
		if c.read(forward) == (c.trace == [16]byte{}) || len(c.state) > maxTracestate {
			t.Errorf("%+v", c)
		}
	})
}
