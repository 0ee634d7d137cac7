package broker_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// filled returns a store with so many offline sessions of two subscriptions and ten queued messages each, and so many
// retained messages of 64 bytes.
func filled(tb testing.TB, sessions, retained int) *mem.Store {
	tb.Helper()
	st := mem.New()
	batch := store.Batch{Done: func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}}
	commit := func(least int) {
		if len(batch.Records) >= least {
			st.Commit(&batch)
			batch.Records = nil
		}
	}
	for i := range sessions {
		id := store.SessionID(i + 1)
		name := fmt.Sprintf("device-%07d", i)
		batch.Records = append(batch.Records,
			store.Record{Op: store.PutSession, Session: id, Meta: &store.Session{ID: id, ClientID: name, Version: mqtt.V5, Expiry: 1e6, Disconnected: time.Now().UnixMilli(), Unsent: 1}},
			store.Record{Op: store.Subscribe, Session: id, Subscription: store.Subscription{Filter: "site/" + name + "/cmd", Options: 1}},
			store.Record{Op: store.Subscribe, Session: id, Subscription: store.Subscription{Filter: "site/" + name + "/config/#", Options: 1}})
		for range 10 {
			m := &mqtt.Message{Topic: []byte("site/" + name + "/cmd"), Payload: make([]byte, 64), QoS: 1}
			batch.Records = append(batch.Records, store.Record{Op: store.Enqueue, Message: m.Keep(), Targets: []store.Target{{Session: id, Delivery: store.Delivery{QoS: 1}}}})
		}
		commit(4096)
	}
	for i := range retained {
		m := &mqtt.Message{Topic: fmt.Appendf(nil, "site/%04d/device/%07d/state", i%1000, i), Payload: binary.BigEndian.AppendUint64(make([]byte, 56), uint64(i)), QoS: 1, Retain: true}
		batch.Records = append(batch.Records, store.Record{Op: store.Retain, Message: m.Keep()})
		commit(4096)
	}
	commit(1)
	return st
}

func heapInUse() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// BenchmarkRestore is what a broker adds to a restart: B/session and B/retained are what it needs beside the store,
// which holds the messages themselves.
func BenchmarkRestore(b *testing.B) {
	for _, n := range []struct{ sessions, retained int }{{100_000, 0}, {0, 1_000_000}, {100_000, 1_000_000}} {
		b.Run(fmt.Sprintf("sessions=%d/retained=%d", n.sessions, n.retained), func(b *testing.B) {
			st := filled(b, n.sessions, n.retained)
			for b.Loop() {
				b.StopTimer()
				st = st.Reopen()
				before := heapInUse()
				b.StartTimer()
				br, err := broker.New(broker.Options{Store: st})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				used := heapInUse() - before
				if n.retained == 0 {
					b.ReportMetric(float64(used)/float64(n.sessions), "B/session")
				} else if n.sessions == 0 {
					b.ReportMetric(float64(used)/float64(n.retained), "B/retained")
				}
				if err := br.Close(context.Background()); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/restart")
		})
	}
}
