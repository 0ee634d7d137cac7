package broker_test

import (
	"fmt"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
)

// BenchmarkRows tells of 100,000 sessions.
func BenchmarkRows(b *testing.B) {
	st := mem.New()
	records := make([]store.Record, 0, 100_000)
	for i := range cap(records) {
		id := store.SessionID(i + 1)
		records = append(records, store.Record{Op: store.PutSession, Session: id, Meta: &store.Session{ID: id, ClientID: fmt.Sprintf("client-%06d", i), Version: 5, Expiry: 0xFFFFFFFF}})
	}
	done := make(chan error, 1)
	st.Commit(&store.Batch{Records: records, Done: func(err error) { done <- err }})
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	s := serve(b, broker.Options{Store: st})
	var rows []broker.Row
	for b.Loop() {
		var err error
		rows, err = broker.Rows(b.Context(), s.View(), rows, func(r *broker.Row) broker.Row { return *r })
		if err != nil || len(rows) != len(records) {
			b.Fatalf("%d rows: %v", len(rows), err)
		}
	}
}
