package broker_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
)

// queued are the positions in a client's queue.
func (s *served) queued(id string) (positions []uint64) {
	s.t.Helper()
	list, _, err := s.View().Queue(s.t.Context(), id, 0, 1000)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, w := range list {
		positions = append(positions, w.Position)
	}
	return positions
}

func (s *served) queues(id string, n int) {
	s.t.Helper()
	if at := s.queued(id); len(at) != n {
		s.t.Fatalf("%s: %v are queued, want %d", id, at, n)
	}
}

// TestRemoveQueued: one message goes out of a queue, the others come, and the books have it.
func TestRemoveQueued(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		s := serve(t, broker.Options{Shards: shards})
		k, ctx := s.Control(), t.Context()
		kept := s.client("id=kept expiry=100")
		kept.subscribe("t qos=1")
		brief := s.client("id=brief receive-max=1")
		brief.subscribe("t qos=1")
		pub := s.client("id=pub")
		pub.give(1, 1, "t", "")
		kept.expect("PUBLISH")
		brief.expect("PUBLISH")
		if err := k.RemoveQueued(ctx, "kept", 1); !errors.Is(err, broker.ErrInFlight) {
			t.Errorf("in flight: %v", err)
		}
		kept.leave(s, 2)
		pub.give(4, 1, "t", "")
		s.queues("kept", 5)
		s.queues("brief", 4)
		for _, x := range []struct {
			id string
			at uint64
			is error
		}{
			{"kept", 1, nil},
			{"kept", 1, broker.ErrNoMessage},
			{"kept", 3, nil},
			{"kept", 0, broker.ErrNoMessage},
			{"kept", 99, broker.ErrNoMessage},
			{"brief", 1, broker.ErrNoMessage},
			{"brief", 3, nil},
			{"brief", 3, broker.ErrNoMessage},
			{"nobody", 1, broker.ErrNoClient},
		} {
			if err := k.RemoveQueued(ctx, x.id, x.at); !errors.Is(err, x.is) && (x.is != broker.ErrNoMessage || !errors.Is(err, broker.ErrInFlight)) {
				t.Errorf("%s %d: %v, want %v", x.id, x.at, err, x.is)
			}
		}
		if err := k.RequeueQueued(ctx, "kept", 2); !errors.Is(err, broker.ErrNoGroup) {
			t.Error(err)
		}
		s.queues("kept", 3)
		kept = s.client("id=kept expiry=100")
		for _, at := range []int{2, 4, 5} {
			kept.expect(fmt.Sprintf("PUBLISH qos=1 id=%d", at))
			kept.send(fmt.Sprintf("PUBACK id=%d", at))
		}
		for _, at := range []int{1, 2, 4, 5} {
			if brief.send(fmt.Sprintf("PUBACK id=%d", at)); at < 5 {
				brief.expect("PUBLISH")
			}
		}
		s.books(map[string]int{"received": 5, "routed": 5, "copies": 10, "acked": 7, "removed": 3})
	})
}

// TestPurgeQueue: all that waits goes, what is in flight stays, and what comes later comes; also after a restart.
func TestPurgeQueue(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		st := mem.New()
		s := serve(t, broker.Options{Shards: shards, Store: st})
		ctx := t.Context()
		purge := func(id string, preview bool, messages, stay int) {
			t.Helper()
			x, err := s.Control().PurgeQueue(ctx, id, preview)
			if err != nil || x.Messages != messages || x.Bytes < int64(messages)*100 || x.Stay != stay {
				t.Errorf("%s: %+v %v, want %d and %d that stay", id, x, err, messages, stay)
			}
		}
		const n = 1500 // more than one turn takes
		kept := s.client("id=kept expiry=100 receive-max=2")
		kept.subscribe("t qos=1")
		brief := s.client("id=brief receive-max=2")
		brief.subscribe("t qos=1, zero")
		s.away("id=away expiry=100", "t qos=1")
		pub := s.client("id=pub")
		for range 3 {
			pub.give(n/3, 1, "t", "")
		}
		pub.give(3, 0, "zero", "")
		kept.expect("PUBLISH", "PUBLISH")
		brief.expect("PUBLISH", "PUBLISH")
		s.books(map[string]int{"received": n + 3, "routed": n + 3, "copies": 3*n + 3, "queued": 3*n + 3})
		for _, preview := range []bool{true, false} {
			purge("kept", preview, n-2, 2)
			purge("brief", preview, n-2+3, 2)
			purge("away", preview, n, 0)
		}
		purge("away", false, 0, 0)
		s.books(map[string]int{"received": n + 3, "routed": n + 3, "copies": 3*n + 3, "removed": 3*n - 1, "queued": 4})
		pub.give(1, 1, "t", "")
		for _, p := range []*peer{kept, brief} {
			p.send("PUBACK id=1", "PUBACK id=2")
			p.expect(fmt.Sprintf("PUBLISH qos=1 id=%d", n+1))
			p.send(fmt.Sprintf("PUBACK id=%d", n+1))
		}
		s.books(map[string]int{"received": n + 4, "routed": n + 4, "copies": 3*n + 6, "removed": 3*n - 1, "acked": 6, "queued": 1})
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		s = serve(t, broker.Options{Shards: shards, Store: st})
		purge("away", false, 1, 0)
		s.books(map[string]int{"start": 1, "removed": 1})
	})
}

// TestRequeueQueued: what waits for a member of a group that does not read goes to another, or stays when there is none.
func TestRequeueQueued(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		for _, words := range []string{"id=stuck receive-max=1", "id=stuck expiry=100 receive-max=1"} {
			s := serve(t, broker.Options{Shards: shards})
			k, ctx := s.Control(), t.Context()
			stuck := s.client(words)
			stuck.subscribe("$share/g/t qos=1")
			s.client("id=pub").give(3, 1, "t", "")
			stuck.expect("PUBLISH")
			s.queues("stuck", 2)
			if err := k.RequeueQueued(ctx, "stuck", 2); !errors.Is(err, broker.ErrNobody) {
				t.Errorf("alone: %v", err)
			}
			s.queues("stuck", 2)
			other := s.client("id=other")
			other.subscribe("$share/g/t qos=1")
			if err := k.RequeueQueued(ctx, "stuck", 2); err != nil {
				t.Error(err)
			}
			other.expect("PUBLISH")
			other.send("PUBACK id=1")
			s.queues("stuck", 1)
			stuck.send("PUBACK id=1")
			stuck.expect("PUBLISH qos=1 id=3")
			stuck.send("PUBACK id=3")
			s.books(map[string]int{"received": 3, "routed": 3, "copies": 4, "requeued": 1, "acked": 3})
		}
	})
}
