package storetest_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/broker/store/storetest"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// TestHeldPasses: a Held that lets everything through is a store like another.
func TestHeldPasses(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store {
		h := storetest.NewHeld(mem.New())
		h.Pass()
		return h
	})
}

func put(id store.SessionID) store.Record {
	return store.Record{Op: store.PutSession, Session: id, Meta: &store.Session{ID: id}}
}

func enqueue(id store.SessionID) store.Record {
	return store.Record{Op: store.Enqueue, Message: &mqtt.Message{}, Targets: []store.Target{{Session: id}}}
}

func positions(t *testing.T, s store.Store, id store.SessionID) (seqs []uint64) {
	t.Helper()
	items, _, err := s.Read(id, 0, 100, make([]store.Queued, 0, 100), 1<<20)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	for _, it := range items {
		seqs = append(seqs, it.Seq)
	}
	return seqs
}

func TestHeld(t *testing.T) {
	h := storetest.NewHeld(mem.New())
	var outcomes []error
	commit := func(r store.Record, wantSeq uint64) {
		t.Helper()
		h.Commit(&store.Batch{Records: []store.Record{r}, Done: func(err error) { outcomes = append(outcomes, err) }})
		if r.Op == store.Enqueue && r.Targets[0].Seq != wantSeq {
			t.Fatalf("Seq = %d, want %d", r.Targets[0].Seq, wantSeq)
		}
	}
	expect := func(waiting, ended int, failed error, seqs ...uint64) {
		t.Helper()
		if h.Waiting() != waiting || len(outcomes) != ended {
			t.Fatalf("%d wait, %d ended; want %d, %d", h.Waiting(), len(outcomes), waiting, ended)
		}
		if ended > 0 && !errors.Is(outcomes[ended-1], failed) {
			t.Fatalf("outcome %v, want %v", outcomes[ended-1], failed)
		}
		if got := positions(t, h, 1); !slices.Equal(got, seqs) {
			t.Fatalf("queued: %v, want %v", got, seqs)
		}
	}
	commit(put(1), 0)
	commit(enqueue(1), 1)
	commit(enqueue(1), 2)
	expect(3, 0, nil)
	h.Release(2)
	expect(1, 2, nil, 1)

	full := errors.New("disk full")
	commit(enqueue(1), 3)
	commit(put(2), 0)
	commit(enqueue(2), 1)
	commit(store.Record{Op: store.EndSession, Session: 1}, 0)
	if n := h.Fail(full); n != 5 {
		t.Fatalf("Fail ended %d", n)
	}
	expect(0, 7, full, 1)
	if st := h.Stats(); st.Sessions != 1 || st.Messages != 1 {
		t.Fatalf("Stats = %+v", st)
	}

	h.Release(1) // for one to come
	commit(enqueue(1), 4)
	expect(0, 8, nil, 1, 4)
	commit(enqueue(2), 0)
	expect(1, 8, nil, 1, 4)
	h.Pass()
	commit(enqueue(1), 5)
	expect(0, 10, nil, 1, 4, 5)
	h.Hold()
	commit(enqueue(1), 6)
	expect(1, 10, nil, 1, 4, 5)
	if err := h.Close(); err != nil || !errors.Is(outcomes[10], store.ErrClosed) {
		t.Fatalf("Close: %v, outcome %v", err, outcomes[10])
	}
}

func TestHeldAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := storetest.NewHeld(mem.New())
		arrived := false
		go func() { h.Await(2); arrived = true }()
		h.Commit(&store.Batch{Records: []store.Record{put(1)}})
		synctest.Wait()
		if arrived {
			t.Fatal("Await(2) returned with one commit")
		}
		h.Commit(&store.Batch{Records: []store.Record{enqueue(1)}})
		synctest.Wait()
		if !arrived {
			t.Fatal("Await(2) did not return with two commits")
		}
		// A Done that commits again is let through in its turn.
		h.Commit(&store.Batch{Done: func(error) {
			h.Commit(&store.Batch{Records: []store.Record{enqueue(1)}})
		}})
		h.Pass()
		if got := positions(t, h, 1); !slices.Equal(got, []uint64{1, 2}) {
			t.Fatalf("queued: %v", got)
		}
	})
}

// TestHeldHealth: an unwell Held fails what makes it grow, and one that is ill for another reason than space everything.
func TestHeldHealth(t *testing.T) {
	h := storetest.NewHeld(mem.New())
	h.Pass()
	commit := func(want error, records ...store.Record) {
		t.Helper()
		h.Commit(&store.Batch{Records: records, Done: func(err error) {
			if !errors.Is(err, want) {
				t.Errorf("outcome %v, want %v", err, want)
			}
		}})
	}
	commit(nil, put(1), enqueue(1))
	h.SetHealth(store.ErrFull)
	if err := h.Health(); !errors.Is(err, store.ErrFull) {
		t.Errorf("Health: %v", err)
	}
	commit(store.ErrFull, enqueue(1))
	commit(store.ErrFull, put(2))
	commit(nil, put(1))
	commit(nil, store.Record{Op: store.Settle, Session: 1, Seq: 1})
	ill := errors.New("ill")
	h.SetHealth(ill)
	commit(ill, put(1))
	h.SetHealth(nil)
	commit(nil, put(2), enqueue(1), enqueue(2))
	if got := positions(t, h, 1); !slices.Equal(got, []uint64{3}) { // 2 was lost
		t.Errorf("positions %v", got)
	}
	if err := h.Health(); err != nil {
		t.Errorf("Health: %v", err)
	}
}
