package broker_test

import (
	"bytes"
	"fmt"
	"io"
	"math"
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

// TestPatternsAllocate: with everything that keeps account switched on, no flow of messages makes it allocate: neither one that many publish to,
// nor one of many topics, nor acknowledgements. What nobody gets is in TestLossAllocates.
func TestPatternsAllocate(t *testing.T) {
	if raced {
		t.Log("the race detector allocates")
		return
	}
	for _, x := range []struct {
		name               string
		publishers, topics int
		receivers          int
		qos                mqtt.QoS
	}{
		{"1 to 1", 1, 1, 1, 0},
		{"fan-out", 1, 1, 20, 0},
		{"fan-in", 20, 1, 1, 0},
		{"many topics", 1, 2000, 1, 0},
		{"QoS 1", 1, 1, 1, 1},
		{"QoS 1, many topics and receivers", 2, 200, 5, 1},
	} {
		for _, shards := range []int{1, 4} {
			f := flow{t: t, addr: start(t, broker.Options{Shards: shards, Events: func(broker.Event) {}}), topics: x.topics, qos: x.qos}
			for i := range x.receivers {
				f.receiver(i)
			}
			for i := range x.publishers {
				f.pubs = append(f.pubs, connect(t, f.addr, fmt.Sprint("p", i)))
			}
			got := f.allocs()
			t.Logf("%s, %d shards: %.4f allocations per message", x.name, shards, got)
			if got > 0.02 { // a few of the runtime's own
				t.Errorf("%s, %d shards: %.3f allocations per message", x.name, shards, got)
			}
		}
	}
}

// flow is publishers, each of some topics of its own, and who gets all of it.
type flow struct {
	t          *testing.T
	addr       string
	pubs, subs []wire
	topics     int
	qos        mqtt.QoS
	turn       int // messages of each publisher so far
	in         []byte
	acks       []byte
}

// flowBlock is how many messages each publisher sends at a time: fewer than a session keeps room for in flight while nothing is.
const flowBlock = 20

func (f *flow) receiver(i int) {
	w := connect(f.t, f.addr, fmt.Sprint("s", i))
	w.send((&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: []byte("t/#"), Options: mqtt.SubOptions(f.qos)}}}).AppendTo(nil, mqtt.V311))
	w.expect([]byte{0x90, 3, 0, 1, byte(f.qos)})
	f.subs = append(f.subs, w)
}

// round has a block of each publisher received by all.
func (f *flow) round(blocks [][]byte) {
	size := len(blocks[0]) / flowBlock
	for i := range f.pubs {
		f.pubs[i].send(blocks[(i+f.turn)%len(blocks)])
		for _, s := range f.subs {
			if _, err := io.ReadFull(s.Conn, f.in[:len(blocks[0])]); err != nil {
				f.t.Fatal(err)
			}
			if f.qos > 0 {
				f.acks = f.acks[:0]
				for p := f.in[:len(blocks[0])]; len(p) > 0; p = p[size:] {
					at := 2 + 2 + len("t/0000")
					f.acks = append(f.acks, 0x40, 2, p[at], p[at+1])
				}
				f.acks = mqtt.AppendPing(f.acks, mqtt.PINGREQ)
				s.send(f.acks)
				if _, err := io.ReadFull(s.Conn, f.in[:2]); err != nil { // the answer
					f.t.Fatal(err)
				}
			}
		}
		if f.qos > 0 {
			if _, err := io.ReadFull(f.pubs[i].Conn, f.in[:4*flowBlock]); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	f.turn++
}

// allocs are the allocations for each message received, once all topics were seen.
func (f *flow) allocs() float64 {
	var blocks [][]byte
	for from := 0; from < max(f.topics, flowBlock*len(f.pubs)); from += flowBlock {
		var b []byte
		for i := range flowBlock {
			p := mqtt.Publish{Topic: fmt.Appendf(nil, "t/%04d", (from+i)%f.topics), Payload: make([]byte, 64), QoS: f.qos}
			if f.qos > 0 {
				p.ID = uint16(i + 1)
			}
			b = p.AppendTo(b, mqtt.V311)
		}
		blocks = append(blocks, b)
	}
	f.in = make([]byte, len(blocks[0]))
	for range 2*len(blocks) + 20 {
		f.round(blocks)
	}
	return leastAllocs(flowBlock*len(f.pubs)*len(f.subs), func() { f.round(blocks) })
}

// leastAllocs are the allocations for each of the messages of a round, at the best of some times: what is done once a second, for nobody's
// message, is done in each round of a machine that is slow enough.
func leastAllocs(messages int, round func()) float64 {
	const rounds = 100
	least := math.Inf(1)
	for tries := 0; tries < 8 && least > 0.005; tries++ {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			round()
		}
		runtime.ReadMemStats(&after)
		least = min(least, float64(after.Mallocs-before.Mallocs)/float64(rounds*messages))
	}
	return least
}

// publishAllocs sends blocks of messages to three subscribers and counts.
func publishAllocs(t *testing.T, qos mqtt.QoS, o broker.Options) float64 {
	const block, receivers = 100, 3
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
	return leastAllocs(block, round)
}
