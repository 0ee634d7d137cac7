package broker_test

import (
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
)

// BenchmarkPublishTraced is BenchmarkPublish with the look-back ring and without it: a message is two packets.
func BenchmarkPublishTraced(b *testing.B) {
	for _, on := range []bool{false, true} {
		b.Run(map[bool]string{false: "off", true: "on"}[on], func(b *testing.B) {
			cfg := trace.Defaults()
			cfg.Enabled = on
			benchmarkPublish(b, broker.Options{Shards: 1, Trace: &cfg}, 1)
		})
	}
}
