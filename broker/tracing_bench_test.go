package broker_test

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// BenchmarkPublishTraced is BenchmarkPublish on two brokers in turn, one with the look-back and one without: what it costs is
// the difference of the medians. A message is two packets.
func BenchmarkPublishTraced(b *testing.B) {
	const block = 2000
	packet := (&mqtt.Publish{Topic: []byte("bench/topic"), Payload: make([]byte, 64)}).AppendTo(nil, mqtt.V311)
	out, in := bytes.Repeat(packet, block), make([]byte, block*len(packet))
	round := [2]func() time.Duration{}
	for i, on := range []bool{false, true} {
		cfg := trace.Defaults()
		cfg.Enabled = on
		addr := start(b, broker.Options{Shards: 1, Trace: &cfg})
		sub := connect(b, addr, "s")
		sub.subscribe("bench/topic")
		pub := connect(b, addr, "p")
		round[i] = func() time.Duration {
			began := time.Now()
			pub.send(out)
			if _, err := io.ReadFull(sub, in); err != nil {
				b.Fatal(err)
			}
			return time.Since(began)
		}
		round[i]()
	}
	var took [2][]time.Duration
	b.ResetTimer()
	for n := 0; n < b.N; n += 2 * block {
		for i := range round {
			took[i] = append(took[i], round[i]())
		}
	}
	median := func(i int) float64 {
		slices.Sort(took[i])
		return float64(took[i][len(took[i])/2].Nanoseconds()) / block
	}
	b.ReportMetric(median(0), "off-ns/msg")
	b.ReportMetric(median(1), "on-ns/msg")
}
