package positions

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestQueueSpace: whatever order positions are settled in, what a queue takes
// stays proportional to what is in it, and it finds exactly that.
func TestQueueSpace(t *testing.T) {
	f := func(name string, settle func(r *rand.Rand, live []uint64) int) {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			var q Queue[int]
			var sp Spare[int]
			var live []uint64
			remove := func(i int) {
				if int(live[i]) != q.Remove(live[i], &sp) || q.Remove(live[i], &sp) != 0 {
					t.Fatalf("position %d was not there, or is there for ever", live[i])
				}
				live = slices.Delete(live, i, i+1)
			}
			check := func() {
				n := len(live)
				if q.Len() != n {
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
				for seq := range q.All(0, q.last) {
					got = append(got, seq)
				}
				if !slices.Equal(got, live) {
					t.Fatalf("items %v, want %v", got, live)
				}
			}
			for step := range 20000 {
				live = append(live, q.Push(int(q.Last()+1), &sp))
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

// TestSkip: positions that were skipped hold nothing and take nothing, however many they are.
func TestSkip(t *testing.T) {
	var q Queue[int]
	var sp Spare[int]
	r := rand.New(rand.NewPCG(3, 4))
	var want []uint64
	for range 3000 {
		q.Skip(q.Last() + r.Uint64N(1<<r.Uint64N(40)))
		q.Skip(r.Uint64N(q.Last() + 1))
		seq := q.Push(1, &sp)
		if seq != q.Last() || len(want) > 0 && seq <= want[len(want)-1] {
			t.Fatalf("position %d behind %v", seq, want[len(want)-1])
		}
		want = append(want, seq)
		if q.Find(seq+1) != nil || q.Remove(seq-1, &sp) != 0 != (len(want) > 1 && want[len(want)-2] == seq-1) {
			t.Fatalf("something is beside %d", seq)
		}
		if len(want) > 1 && want[len(want)-2] == seq-1 {
			want = slices.Delete(want, len(want)-2, len(want)-1)
		}
		if r.IntN(3) == 0 {
			i := r.IntN(len(want))
			if q.Remove(want[i], &sp) != 1 {
				t.Fatalf("nothing at %d", want[i])
			}
			want = slices.Delete(want, i, i+1)
		}
		if len(q.chunks) > 16*len(want)+64 {
			t.Fatalf("%d places for %d positions", len(q.chunks), len(want))
		}
	}
	var got []uint64
	for seq := range q.All(0, math.MaxUint64) {
		got = append(got, seq)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("positions %v, want %v", got, want)
	}
}
