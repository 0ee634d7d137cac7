package broker_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// TestPublishAllocates: a QoS 0 message through the whole broker, over TCP, allocates nothing once it runs; a QoS 1
// message between clients whose sessions do not last next to nothing: lists of what is in flight.
func TestPublishAllocates(t *testing.T) {
	if raced {
		t.Log("the race detector allocates")
		return
	}
	for _, x := range []struct {
		qos    mqtt.QoS
		shards int
		rules  int
		most   float64
	}{{0, 1, 0, 0}, {0, 4, 0, 0}, {0, 1, 10_000, 0}, {0, 4, 10_000, 0}, {1, 1, 0, 0.2}, {1, 4, 0, 0.2}, {1, 4, 10_000, 0.2}} {
		o := broker.Options{Shards: x.shards}
		if x.rules > 0 {
			o.Authz = manyRules(t, x.rules)
		}
		got := publishAllocs(t, x.qos, o)
		t.Logf("QoS %d, %d shards, %d rules: %.4f allocations per message", x.qos, x.shards, x.rules, got)
		if got > x.most+0.01 { // a few of the runtime's own
			t.Errorf("QoS %d, %d shards: %.3f allocations per message, at most %v", x.qos, x.shards, got, x.most)
		}
	}
}

// TestLimitedAllocates: nor does it with limits, as long as they are not reached.
func TestLimitedAllocates(t *testing.T) {
	if raced {
		t.Log("the race detector allocates")
		return
	}
	const most = 1_000_000_000
	r := limit.DefaultRates()
	r.Client = limit.ClientRate{PublishMessages: most, PublishBytes: most, DeliverMessages: most, DeliverBytes: most}
	r.Listener, r.Total = limit.Rate{PublishMessages: most, PublishBytes: most}, limit.Rate{PublishMessages: most, PublishBytes: most}
	for _, shards := range []int{1, 4} {
		if got := publishAllocs(t, 0, broker.Options{Shards: shards, Rates: &r}); got > 0.01 {
			t.Errorf("%d shards: %.3f allocations per message", shards, got)
		}
	}
}

// publishAllocs sends blocks of messages to three subscribers and counts.
func publishAllocs(t *testing.T, qos mqtt.QoS, o broker.Options) float64 {
	const block, rounds, receivers = 100, 100, 3
	addr := start(t, o)
	pub := connect(t, addr, "p")
	var subs []wire
	for i := range receivers {
		w := connect(t, addr, fmt.Sprint("s", i))
		w.send((&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: []byte("t/#"), Options: mqtt.SubOptions(qos)}}}).AppendTo(nil, mqtt.V311))
		w.expect([]byte{0x90, 3, 0, 1, byte(qos)})
		subs = append(subs, w)
	}
	var out []byte
	for i := range block {
		p := mqtt.Publish{Topic: []byte("t/x"), Payload: make([]byte, 64), QoS: qos}
		if qos > 0 {
			p.ID = uint16(i + 1)
		}
		out = p.AppendTo(out, mqtt.V311)
	}
	in, size := make([]byte, len(out)), len(out)/block
	acks := make([]byte, 0, 4*block)
	round := func() {
		pub.send(out)
		for _, s := range subs {
			if _, err := io.ReadFull(s.Conn, in); err != nil {
				t.Fatal(err)
			}
			if qos > 0 {
				acks = acks[:0]
				for p := in; len(p) > 0; p = p[size:] {
					acks = append(acks, 0x40, 2, p[2+2+3], p[2+2+3+1])
				}
				s.send(acks)
			}
		}
		if qos > 0 {
			if _, err := io.ReadFull(pub.Conn, in[:4*block]); err != nil || bytes.Count(in[:4*block], []byte{0x40, 2}) < block {
				t.Fatal(err)
			}
		}
	}
	for range 20 {
		round()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		round()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / (block * rounds)
}
