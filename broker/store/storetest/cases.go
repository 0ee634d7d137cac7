package storetest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// cases is the suite; each runs on a new store that has been loaded.
var cases = []struct {
	name string
	run  func(e *engine)
}{
	{"done is called once and in order", testDone},
	{"records of a batch take effect in order", testOrderInBatch},
	{"a session that does not exist is no failure", testUnknownSession},
	{"a batch that lacks something changes nothing", testWholeOrNot},
	{"positions grow by one and settle in any order", testPositions},
	{"the batch may be used again", testReuse},
	{"a long queue with one old message", testStraggler},
	{"the newest settle first", testNewestFirst},
	{"read keeps to range, room and bytes", testRead},
	{"delivery comes back as it was given", testDelivery},
	{"release lets the message go and keeps the position", testRelease},
	{"receive and complete", testReceive},
	{"subscribe, again, unsubscribe", testSubscribe},
	{"put session replaces and leaves what belongs to it", testPutSession},
	{"end session frees everything", testEndSession},
	{"retain and unretain", testRetain},
	{"a message for many is counted once", testShared},
	{"load ends with the error of a callback", testLoadError},
	{"after close everything fails", testClosed},
	{"one order of concurrent commits", testConcurrent},
	{"random batches against a naive model", testModel},
}

func testDone(e *engine) {
	const n = 200
	var mu sync.Mutex
	var order []int
	var wg sync.WaitGroup
	wg.Add(n)
	e.commit(put(1))
	for i := range n {
		e.Commit(&store.Batch{Records: []store.Record{enqueue(message("t", fmt.Sprint(i)), 1)}, Done: func(err error) {
			if err != nil {
				e.t.Errorf("Done(%v)", err)
			}
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			wg.Done() // panics when it is called too often
		}})
	}
	wg.Wait()
	e.Commit(&store.Batch{Records: []store.Record{settle(1, 1)}})
	e.commit() // an empty batch, behind one without Done
	mu.Lock()
	defer mu.Unlock()
	if len(order) != n || !slices.IsSorted(order) {
		e.t.Fatalf("Done in the order %v", order)
	}
	if got := e.read(1, 1, n, n, math.MaxInt); len(got) != n-1 || got[0].Seq != 2 {
		e.t.Fatalf("%d messages read", len(got))
	}
}

func testOrderInBatch(e *engine) {
	m := message("t", "one")
	e.commit(put(1), enqueue(m, 1), enqueue(message("t", "two"), 1), settle(1, 1), subscribe(1, "a", 1), unsubscribe(1, "a"),
		put(2), enqueue(m, 2), end(2), enqueue(m, 2))
	e.expectQueue(1, "2:two")
	e.expectQueue(2)
	e.expectStats(store.Stats{Sessions: 1, Messages: 1, Bytes: int64(m.Bytes())})
}

func testUnknownSession(e *engine) {
	m := message("t", "x")
	r := enqueue(m, 7, 1, 8)
	r.Targets[0].Seq = 99 // left over from an earlier use
	e.commit(put(1), settle(7, 1), release(7, 1), subscribe(7, "a", 0), unsubscribe(7, "a"), receive(7, 1), complete(7, 1), end(7), r)
	if s := [3]uint64{r.Targets[0].Seq, r.Targets[1].Seq, r.Targets[2].Seq}; s != [3]uint64{0, 1, 0} {
		e.t.Fatalf("Seq = %v", s)
	}
	if seqs := e.enqueue(m, 8); seqs[0] != 0 {
		e.t.Fatalf("Seq = %v", seqs)
	}
	e.expectQueue(1, "1:x")
	e.expectQueue(7)
	e.expectStats(store.Stats{Sessions: 1, Messages: 1, Bytes: int64(m.Bytes())})
}

func testWholeOrNot(e *engine) {
	m := message("t", "x")
	e.commit(put(1), enqueue(m, 1))
	before := e.Stats()
	for _, bad := range []store.Record{
		{},
		{Op: 255, Session: 1},
		{Op: store.PutSession, Session: 3},
		{Op: store.PutSession, Session: 3, Meta: &store.Session{ID: 4}},
		{Op: store.Enqueue, Targets: []store.Target{{Session: 1}}},
		{Op: store.Retain},
		{Op: store.Unretain},
	} {
		e.refuse(put(2), enqueue(m, 1), settle(1, 1), subscribe(1, "a", 1), receive(1, 1), retain(m), bad)
		e.refuse(bad, end(1))
		e.expectStats(before)
		e.expectQueue(1, "1:x")
	}
	// The engine goes on; positions of a batch that failed may be lost.
	if seqs := e.enqueue(m, 1); seqs[0] < 2 {
		e.t.Fatalf("Seq = %v", seqs)
	}
}

func testReceive(e *engine) {
	e.commit(put(1), put(2))
	for _, id := range []uint16{65535, 1, 300, 2} {
		e.commit(receive(1, id))
	}
	e.commit(receive(1, 300), complete(1, 2), complete(1, 77), receive(2, 9))
	e.reopen(dump{sessions: []store.Recovered{
		{Session: *put(1).Meta, Received: []uint16{1, 300, 65535}, First: 1, Next: 1},
		{Session: *put(2).Meta, Received: []uint16{9}, First: 1, Next: 1},
	}})
	e.commit(complete(1, 1), complete(1, 300), complete(1, 65535), end(2))
	e.reopen(dump{sessions: []store.Recovered{{Session: *put(1).Meta, First: 1, Next: 1}}})
}

func testSubscribe(e *engine) {
	e.commit(put(1), put(2))
	again := subscribe(1, "a/+", 2)
	again.Subscription.ID = 268435455
	e.commit(subscribe(1, "a/+", 1), subscribe(1, "#", 0), subscribe(1, "$share/g/a/+", 1), subscribe(2, "a/+", 1))
	e.expectStats(store.Stats{Sessions: 2, Subscriptions: 4})
	e.commit(again, unsubscribe(1, "#"), unsubscribe(1, "#"), unsubscribe(1, "b"))
	e.expectStats(store.Stats{Sessions: 2, Subscriptions: 3})
	e.reopen(dump{sessions: []store.Recovered{
		{Session: *put(1).Meta, First: 1, Next: 1, Subscriptions: []store.Subscription{
			{Filter: "$share/g/a/+", Options: 1}, {Filter: "a/+", Options: 2, ID: 268435455},
		}},
		{Session: *put(2).Meta, First: 1, Next: 1, Subscriptions: []store.Subscription{{Filter: "a/+", Options: 1}}},
	}})
}

func testPutSession(e *engine) {
	m := message("t", "x")
	e.commit(put(1), subscribe(1, "a", 1), enqueue(m, 1), receive(1, 5))
	changed := store.Session{
		ID: 1, ClientID: "c", Owner: "somebody", Version: 4, Expiry: 60, Disconnected: 987654321,
		Will: &store.Will{Message: message("w", "bye"), Delay: 30},
	}
	e.commit(store.Record{Op: store.PutSession, Session: 1, Meta: &changed})
	e.expectQueue(1, "1:x")
	e.expectStats(store.Stats{Sessions: 1, Subscriptions: 1, Messages: 1, Bytes: int64(m.Bytes())})
	want := dump{sessions: []store.Recovered{{
		Session: changed, Subscriptions: []store.Subscription{{Filter: "a", Options: 1}}, Received: []uint16{5},
		First: 1, Next: 2, Messages: 1, Bytes: m.Bytes(),
	}}}
	e.reopen(want)
	changed.Will = nil
	e.commit(store.Record{Op: store.PutSession, Session: 1, Meta: &changed})
	want.sessions[0].Session = changed
	e.reopen(want)
}

func testEndSession(e *engine) {
	m := message("t", "x")
	e.commit(put(1), put(2), subscribe(1, "a", 1), subscribe(2, "a", 1), receive(1, 5))
	for range 100 {
		e.enqueue(m, 1)
	}
	e.enqueue(m, 1, 2)
	e.commit(settle(1, 1), release(1, 2))
	e.commit(end(1))
	e.expectStats(store.Stats{Sessions: 1, Subscriptions: 1, Messages: 1, Bytes: int64(m.Bytes())})
	e.expectQueue(1)
	e.expectQueue(2, "1:x")
	e.commit(settle(1, 3), release(1, 4), subscribe(1, "b", 1), enqueue(m, 1), end(1))
	e.reopen(dump{sessions: []store.Recovered{{
		Session: *put(2).Meta, Subscriptions: []store.Subscription{{Filter: "a", Options: 1}},
		First: 1, Next: 2, Messages: 1, Bytes: m.Bytes(),
	}}})
	e.commit(end(2))
	e.expectStats(store.Stats{})
	e.reopen(dump{})
}

func testRetain(e *engine) {
	a, a2, b := message("a", "one"), message("a", "the second"), message("b/c", "x")
	a2.Forward, a2.Expires, a2.Retain = []byte{1, 1}, 77, true
	e.commit(retain(a), retain(b), unretain("never"))
	e.expectStats(store.Stats{Retained: 2, RetainedBytes: int64(a.Bytes() + b.Bytes())})
	e.commit(retain(a2))
	e.expectStats(store.Stats{Retained: 2, RetainedBytes: int64(a2.Bytes() + b.Bytes())})
	e.reopen(dump{retained: []mqtt.Message{*a2, *b}})
	e.commit(unretain("a"), unretain("a"))
	e.expectStats(store.Stats{Retained: 1, RetainedBytes: int64(b.Bytes())})
	e.reopen(dump{retained: []mqtt.Message{*b}})
	e.commit(unretain("b/c"))
	e.expectStats(store.Stats{})
}

func testLoadError(e *engine) {
	r, ok := e.Store.(Reopener)
	if !ok {
		return
	}
	e.commit(put(1), put(2), retain(message("t", "x")))
	boom := errors.New("boom")
	none := func(*mqtt.Message) error { e.t.Error("a retained message after an error"); return nil }
	calls := 0
	e.Store = r.Reopen(e.t)
	if err := e.Load(func(*store.Recovered) error { calls++; return boom }, none); !errors.Is(err, boom) || calls != 1 {
		e.t.Fatalf("Load = %v after %d calls", err, calls)
	}
	e.Store = e.Store.(Reopener).Reopen(e.t)
	if err := e.Load(func(*store.Recovered) error { return nil }, func(*mqtt.Message) error { return boom }); !errors.Is(err, boom) {
		e.t.Fatalf("Load = %v", err)
	}
}

func testClosed(e *engine) {
	m := message("t", "x")
	e.commit(put(1), enqueue(m, 1))
	for range 2 {
		if err := e.Close(); err != nil {
			e.t.Fatalf("Close: %v", err)
		}
	}
	if err := e.refuse(enqueue(m, 1)); !errors.Is(err, store.ErrClosed) {
		e.t.Fatalf("Commit after Close: %v", err)
	}
	if _, _, err := e.Read(1, 1, 1, make([]store.Queued, 0, 1), 1); !errors.Is(err, store.ErrClosed) {
		e.t.Fatalf("Read after Close: %v", err)
	}
	if err := e.Load(nil, nil); !errors.Is(err, store.ErrClosed) {
		e.t.Fatalf("Load after Close: %v", err)
	}
	e.reopen(dump{sessions: []store.Recovered{{Session: *put(1).Meta, First: 1, Next: 2, Messages: 1, Bytes: m.Bytes()}}})
}
