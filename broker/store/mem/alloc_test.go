package mem

import (
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// TestAllocations: the flow of a live session allocates nothing.
func TestAllocations(t *testing.T) {
	s := New()
	s.Commit(&store.Batch{Records: []store.Record{{Op: store.PutSession, Session: 1, Meta: &store.Session{ID: 1}}}})
	enqueue := store.Batch{Records: []store.Record{{Op: store.Enqueue, Message: &mqtt.Message{}, Targets: []store.Target{
		{Session: 1, Delivery: store.Delivery{QoS: 1, SubscriptionIDs: []uint32{7}}},
	}}}}
	settle := store.Batch{Records: []store.Record{{Op: store.Settle, Session: 1}}}
	got := testing.AllocsPerRun(1000, func() {
		s.Commit(&enqueue)
		settle.Records[0].Seq = enqueue.Records[0].Targets[0].Seq
		s.Commit(&settle)
	})
	if got != 0 {
		t.Fatalf("%v allocations per message", got)
	}
}
