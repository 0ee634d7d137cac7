package broker_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// wire is a bare connection to a broker of the test's own.
type wire struct {
	tb testing.TB
	net.Conn
}

// start runs a broker with one shard and returns its address.
func start(tb testing.TB, o broker.Options) string {
	tb.Helper()
	if o.Store == nil {
		o.Store = mem.New()
	}
	b, err := broker.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(ln) }()
	tb.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			tb.Error(err)
		}
		<-served
	})
	return ln.Addr().String()
}

func connect(tb testing.TB, addr, id string) wire {
	tb.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close() })
	w := wire{tb, nc}
	w.send((&mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte(id)}).AppendTo(nil))
	w.expect([]byte{0x20, 2, 0, 0})
	return w
}

func (w wire) send(p []byte) {
	w.tb.Helper()
	if _, err := w.Write(p); err != nil {
		w.tb.Fatal(err)
	}
}

func (w wire) expect(p []byte) {
	w.tb.Helper()
	got := make([]byte, len(p))
	if _, err := io.ReadFull(w, got); err != nil || !bytes.Equal(got, p) {
		w.tb.Fatalf("got %x, %v; want %x", got, err, p)
	}
}

func (w wire) subscribe(filter string) {
	w.tb.Helper()
	sub := mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: []byte(filter)}}}
	w.send(sub.AppendTo(nil, mqtt.V311))
	w.expect([]byte{0x90, 3, 0, 1, 0})
}

// BenchmarkPublishLimited is that with limits that are never reached: of the client alone, and all there are.
func BenchmarkPublishLimited(b *testing.B) {
	const most = 1_000_000_000
	own := limit.DefaultRates()
	own.Client = limit.ClientRate{PublishMessages: most, PublishBytes: most}
	all := own
	all.Listener, all.Total = limit.Rate{PublishMessages: most, PublishBytes: most}, limit.Rate{PublishMessages: most, PublishBytes: most}
	all.Client.DeliverMessages, all.Client.DeliverBytes = most, most
	b.Run("own", func(b *testing.B) { benchmarkPublish(b, broker.Options{Shards: 1, Rates: &own}, 1) })
	b.Run("all", func(b *testing.B) { benchmarkPublish(b, broker.Options{Shards: 1, Rates: &all}, 1) })
}

// manyRules are n rules of which a few concern everybody, and the rest users who are not there.
func manyRules(tb testing.TB, n int) *acl.Engine {
	rules := []auth.Rule{{Name: "all", Actions: everything, Topics: []string{"bench/#", "t/#"}}, {Name: "not", Deny: true, Actions: everything, Topics: []string{"+/secret/#"}}}
	for i := range n - len(rules) {
		rules = append(rules, auth.Rule{
			Name: fmt.Sprint("rule ", i), Actions: everything, Topics: []string{fmt.Sprintf("bench/%d/#", i)}, Who: auth.Who{Users: []string{fmt.Sprint("user", i)}},
		})
	}
	return policy(tb, rules...)
}

// BenchmarkPublish is the whole walk of a 64-byte QoS 0 message over loopback TCP, in blocks of 500, without rules and with 10,000 of
// them: the time is the broker's and the test's own. Steady state allocates nothing.
func BenchmarkPublish(b *testing.B) {
	for _, receivers := range []int{1, 100} {
		for _, rules := range []int{0, 10_000} {
			b.Run(fmt.Sprintf("receivers=%d/rules=%d", receivers, rules), func(b *testing.B) {
				o := broker.Options{Shards: 1}
				if rules > 0 {
					o.Authz = manyRules(b, rules)
				}
				benchmarkPublish(b, o, receivers)
			})
		}
	}
}

func benchmarkPublish(b *testing.B, o broker.Options, receivers int) {
	addr := start(b, o)
	var subs []wire
	for i := range receivers {
		w := connect(b, addr, fmt.Sprint("s", i))
		w.subscribe("bench/topic")
		subs = append(subs, w)
	}
	pub := connect(b, addr, "p")
	packet := (&mqtt.Publish{Topic: []byte("bench/topic"), Payload: make([]byte, 64)}).AppendTo(nil, mqtt.V311)
	const block = 500
	out := bytes.Repeat(packet, block)
	in := make([]byte, len(out))
	round := func() {
		pub.send(out)
		for _, s := range subs {
			if _, err := io.ReadFull(s, in); err != nil {
				b.Fatal(err)
			}
		}
	}
	round()
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += block * receivers {
		round()
	}
}
