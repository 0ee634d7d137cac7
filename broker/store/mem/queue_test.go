package mem

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// TestQueueSpace: whatever order positions are settled in, what a queue takes
// stays proportional to what is in it, and it finds exactly that.
func TestQueueSpace(t *testing.T) {
	how := &store.Delivery{}
	f := func(name string, settle func(r *rand.Rand, live []uint64) int) {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			var q queue
			var sp spare
			var live []uint64
			remove := func(i int) {
				if q.remove(live[i], &sp).how == nil || q.remove(live[i], &sp).how != nil {
					t.Fatalf("position %d was not there, or is there for ever", live[i])
				}
				live = slices.Delete(live, i, i+1)
			}
			check := func() {
				n := len(live)
				if q.live+q.oldies != n {
					t.Fatalf("%d + %d live, want %d", q.live, q.oldies, n)
				}
				if span := (len(q.chunks) - q.head) * perChunk; span > sparse*n+slack+perChunk {
					t.Fatalf("chunks span %d for %d live", span, n)
				}
				if window := len(q.chunks) - q.head; q.head > max(fewChunks, window) || cap(q.chunks) > 16*max(fewChunks, window) {
					t.Fatalf("%d chunk places behind, %d in use, room for %d", q.head, window, cap(q.chunks))
				}
				if len(q.old) > 2*n || cap(q.old) > 8*n+8 {
					t.Fatalf("old: %d of %d for %d live", len(q.old), cap(q.old), n)
				}
				got := []uint64{}
				for seq := range q.items(0, q.last) {
					got = append(got, seq)
				}
				if !slices.Equal(got, live) {
					t.Fatalf("items %v, want %v", got, live)
				}
			}
			for step := range 20000 {
				live = append(live, q.push(item{how: how}, &sp))
				for len(live) > 0 && r.IntN(100) < 48 {
					i := settle(r, live)
					if i < 0 {
						break
					}
					remove(i)
				}
				if step%50 == 0 {
					check()
				}
				if len(live) > 3000 {
					for len(live) > 10 {
						remove(r.IntN(len(live)))
					}
					check()
				}
			}
			for len(live) > 0 {
				remove(r.IntN(len(live)))
			}
			if q.old != nil || len(q.chunks) != 0 || cap(q.chunks) > 2*fewChunks {
				t.Fatalf("an empty queue holds %d old, %d chunks of %d", len(q.old), len(q.chunks), cap(q.chunks))
			}
		})
	}
	f("oldest first", func(*rand.Rand, []uint64) int { return 0 })
	f("newest first", func(_ *rand.Rand, live []uint64) int { return len(live) - 1 })
	f("any", func(r *rand.Rand, live []uint64) int { return r.IntN(len(live)) })
	f("all but the oldest", func(_ *rand.Rand, live []uint64) int { return min(1, len(live)-1) })
	f("all but every hundredth", func(_ *rand.Rand, live []uint64) int {
		return slices.IndexFunc(live, func(seq uint64) bool { return seq%100 != 0 })
	})
}

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
