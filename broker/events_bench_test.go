package broker_test

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// absent are n sessions without a connection that a message to bench/topic does not reach, and somebody who sends it.
func absent(tb testing.TB, o broker.Options, n int) (pub wire, block []byte) {
	addr := start(tb, o)
	for i := range n {
		w := lasting(tb, addr, fmt.Sprint("gone", i))
		w.subscribe("bench/topic")
		w.send((&mqtt.Disconnect{}).AppendTo(nil, mqtt.V311, 0))
		w.Close()
	}
	packet := (&mqtt.Publish{Topic: []byte("bench/topic"), Payload: make([]byte, 64)}).AppendTo(nil, mqtt.V311)
	return connect(tb, addr, "p"), bytes.Repeat(packet, 500)
}

// lasting connects with a session that outlives the connection.
func lasting(tb testing.TB, addr, id string) wire {
	tb.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	w := wire{tb, nc}
	w.send((&mqtt.Connect{Version: mqtt.V311, ClientID: []byte(id)}).AppendTo(nil))
	w.expect([]byte{0x20, 2, 0, 0})
	return w
}

func (w wire) ping() {
	w.tb.Helper()
	w.send(mqtt.AppendPing(nil, mqtt.PINGREQ))
	w.expect([]byte{0xD0, 0})
}

// lossAllocs counts the allocations for each message that does not reach somebody.
func lossAllocs(tb testing.TB, o broker.Options) float64 {
	pub, block := absent(tb, o, 3)
	for range 20 {
		pub.send(block)
		pub.ping()
	}
	return leastAllocs(500*3, func() {
		pub.send(block)
		pub.ping()
	})
}

// BenchmarkDrop is a 64-byte QoS 0 message to 10 clients that are not connected, for each of them, with and without somebody who is told.
func BenchmarkDrop(b *testing.B) {
	for name, events := range map[string]broker.Events{"untold": nil, "told": func(broker.Event) {}} {
		b.Run(name, func(b *testing.B) {
			const receivers = 10
			pub, block := absent(b, broker.Options{Shards: 1, Events: events}, receivers)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += 500 * receivers {
				pub.send(block)
				pub.ping()
			}
		})
	}
}

// BenchmarkConnect is a connection: TCP, CONNECT, CONNACK, DISCONNECT.
func BenchmarkConnect(b *testing.B) {
	for name, events := range map[string]broker.Events{"untold": nil, "told": func(broker.Event) {}} {
		b.Run(name, func(b *testing.B) {
			addr := start(b, broker.Options{Shards: 1, Events: events})
			bye := (&mqtt.Disconnect{}).AppendTo(nil, mqtt.V311, 0)
			b.ReportAllocs()
			for b.Loop() {
				w := connect(quietTB{b}, addr, "c")
				w.send(bye)
				w.Close()
			}
		})
	}
}

// quietTB takes no cleanups: there would be one for each connection.
type quietTB struct{ testing.TB }

func (quietTB) Cleanup(func()) {}
