package storetest

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

func testPositions(e *engine) {
	e.commit(put(1), put(2))
	for i := range uint64(100) {
		if got := e.enqueue(message("t", fmt.Sprint(i)), 1); got[0] != i+1 {
			e.t.Fatalf("Seq = %v, want %d", got, i+1)
		}
	}
	if got := e.enqueue(message("t", "x"), 2, 1, 2); !slices.Equal(got, []uint64{1, 101, 2}) {
		e.t.Fatalf("Seq = %v", got)
	}
	e.expectQueue(2, "1:x", "2:x")
	var want []string
	for seq := uint64(1); seq <= 100; seq++ {
		if seq%7 != 0 {
			e.commit(settle(1, 101-seq))
			e.commit(settle(1, 101-seq)) // again: ignored
		}
	}
	e.commit(settle(1, 0), settle(1, 500), settle(1, math.MaxUint64), release(1, 500))
	for seq := uint64(1); seq <= 100; seq++ {
		if (101-seq)%7 == 0 {
			want = append(want, fmt.Sprintf("%d:%d", seq, seq-1))
		}
	}
	e.expectQueue(1, append(want, "101:x")...)
	for seq := uint64(1); seq <= 101; seq++ {
		e.commit(settle(1, seq))
	}
	e.expectQueue(1)
	if got := e.enqueue(message("t", "y"), 1); got[0] != 102 {
		e.t.Fatalf("Seq = %v: a position is never used twice", got)
	}
	e.expectQueue(1, "102:y")
}

func testReuse(e *engine) {
	ids := []uint32{3, 4}
	will := &store.Will{Message: message("w", "gone"), Delay: 5}
	meta := &store.Session{ID: 1, ClientID: "c", Will: will}
	records := []store.Record{
		{Op: store.PutSession, Session: 1, Meta: meta},
		{Op: store.Enqueue, Message: message("t", "first"), Targets: []store.Target{
			{Session: 1, Delivery: store.Delivery{QoS: 1, Group: "$share/g/t", SubscriptionIDs: ids}},
		}},
	}
	e.commit(records...)
	ids[0] = 99
	*meta, *will = store.Session{}, store.Will{}
	records[1] = enqueue(message("t", "second"), 1)
	e.commit(records[1:]...)
	e.expectQueue(1, "1:first", "2:second")
	got := e.read(1, 1, 1, 1, 0)[0].Delivery
	if want := (store.Delivery{QoS: 1, Group: "$share/g/t", SubscriptionIDs: []uint32{3, 4}}); !reflect.DeepEqual(got, want) {
		e.t.Fatalf("Delivery = %+v, want %+v", got, want)
	}
	m := message("w", "gone")
	want := dump{sessions: []store.Recovered{{
		Session: store.Session{ID: 1, ClientID: "c", Will: &store.Will{Message: m, Delay: 5}},
		First:   1, Next: 3, Messages: 2, Bytes: message("t", "first").Bytes() + message("t", "second").Bytes(),
	}}}
	e.reopen(want)
}

func testStraggler(e *engine) {
	const n = 2500
	e.commit(put(1))
	stuck := []string{}
	for i := uint64(1); i <= n; i++ {
		e.enqueue(message("t", fmt.Sprint(i)), 1)
		switch {
		case i == 1 || i == 3 || i == 700:
			stuck = append(stuck, fmt.Sprintf("%d:%d", i, i))
		case i == 1200:
			stuck = append(stuck, "1200:released")
			e.commit(release(1, i))
		default:
			e.commit(settle(1, i))
		}
		if i%500 == 0 {
			e.expectQueue(1, stuck...)
		}
	}
	for _, to := range []uint64{3, 699} {
		if got := e.read(1, 2, to, 4, math.MaxInt); len(got) != 1 || got[0].Seq != 3 {
			e.t.Fatalf("Read(2, %d) = %v", to, got)
		}
	}
	e.commit(settle(1, 1), settle(1, 2), settle(1, 1200))
	e.expectQueue(1, "3:3", "700:700")
	e.commit(release(1, 700), settle(1, 3))
	e.expectQueue(1, "700:released")
	e.reopen(dump{sessions: []store.Recovered{{Session: *put(1).Meta, First: 700, Next: n + 1}}})
	e.commit(settle(1, 700))
	e.expectQueue(1)
	e.reopen(dump{sessions: []store.Recovered{{Session: *put(1).Meta, First: n + 1, Next: n + 1}}})
}

func testNewestFirst(e *engine) {
	e.commit(put(1))
	var live []uint64
	settleTo := func(n int) {
		for len(live) > n {
			e.commit(settle(1, live[len(live)-1]))
			live = live[:len(live)-1]
		}
		var want []string
		for _, seq := range live {
			want = append(want, fmt.Sprintf("%d:x", seq))
		}
		e.expectQueue(1, want...)
	}
	for i := range 600 {
		live = append(live, e.enqueue(message("t", "x"), 1)...)
		settleTo(1 + i/100) // one more stays every hundred
	}
	settleTo(0)
	for range 100 {
		live = append(live, e.enqueue(message("t", "x"), 1)...)
	}
	for n := range 100 {
		settleTo(99 - n)
	}
	e.expectStats(store.Stats{Sessions: 1})
}

func testRead(e *engine) {
	e.commit(put(1))
	weight := message("t", "x").Bytes()
	for range 60 {
		e.enqueue(message("t", "x"), 1)
	}
	for seq := uint64(20); seq < 40; seq++ {
		e.commit(settle(1, seq))
	}
	f := func(from, to uint64, room, maxBytes int, first, last uint64, n int, done bool) {
		e.t.Helper()
		items, next, err := e.Read(1, from, to, make([]store.Queued, 1, room+1), maxBytes)
		if err != nil {
			e.t.Fatalf("Read: %v", err)
		}
		items = items[1:]
		if len(items) != n || n > 0 && (items[0].Seq != first || items[n-1].Seq != last) {
			e.t.Fatalf("Read(%d, %d) into %d, %d bytes: %v", from, to, room, maxBytes, items)
		}
		if next <= last || next < from || done && next <= to {
			e.t.Fatalf("Read(%d, %d) into %d, %d bytes: next = %d", from, to, room, maxBytes, next)
		}
		if again := e.read(1, next, to, room, maxBytes); !done && (len(again) == 0 || again[0].Seq <= last) {
			e.t.Fatalf("Read from next gave %v", again)
		}
	}
	all := math.MaxInt
	f(1, 60, 100, all, 1, 60, 40, true)
	f(0, 60, 100, all, 1, 60, 40, true)
	f(1, 1000, 100, all, 1, 60, 40, true)
	f(5, 5, 100, all, 5, 5, 1, true)
	f(20, 39, 100, all, 0, 0, 0, true)
	f(15, 45, 100, all, 15, 45, 11, true)
	f(61, 70, 100, all, 0, 0, 0, true)
	f(9, 8, 100, all, 0, 0, 0, true)
	f(1, 60, 7, all, 1, 7, 7, false)
	f(18, 60, 3, all, 18, 40, 3, false)
	f(1, 60, 100, 3*weight, 1, 3, 3, false)
	f(1, 60, 100, 3*weight-1, 1, 2, 2, false)
	f(1, 60, 100, 0, 1, 1, 1, false)
	f(1, 60, 1, -1, 1, 1, 1, false)
	f(59, 60, 100, 2*weight, 59, 60, 2, true)
	e.commit(release(1, 58), release(1, 59)) // these weigh nothing
	f(57, 60, 100, 2*weight, 57, 60, 4, true)
	f(57, 60, 100, weight, 57, 59, 3, false)
	if got := e.read(2, 1, 100, 10, all); len(got) != 0 {
		e.t.Fatalf("a session that does not exist has %v", got)
	}
}

func testDelivery(e *engine) {
	e.commit(put(1), put(2))
	var want []store.Delivery
	for i := range uint32(100) {
		want = append(want,
			store.Delivery{QoS: mqtt.QoS(i % 3), Retain: i%2 == 0},
			store.Delivery{QoS: 1, SubscriptionIDs: []uint32{i % 20}},
			store.Delivery{QoS: 2, SubscriptionIDs: []uint32{i % 3, 268435455}, Retain: true},
			store.Delivery{QoS: 1, Group: fmt.Sprint("$share/g", i%4, "/a/+")})
	}
	m := message("t", "x")
	m.Forward, m.Expires = []byte{1, 2, 3}, 12345
	for _, d := range want {
		e.commit(store.Record{Op: store.Enqueue, Message: m, Targets: []store.Target{
			{Session: 1, Delivery: d}, {Session: 2, Delivery: store.Delivery{QoS: 1}},
		}})
	}
	for i, q := range e.read(1, 1, uint64(len(want)), 16, math.MaxInt) {
		q.Delivery.SubscriptionIDs = nilIfEmpty(q.Delivery.SubscriptionIDs)
		if !reflect.DeepEqual(q.Delivery, want[i]) {
			e.t.Fatalf("Delivery %d = %+v, want %+v", i, q.Delivery, want[i])
		}
		if !reflect.DeepEqual(plain(q.Message), plain(m)) {
			e.t.Fatalf("Message %d = %+v, want %+v", i, q.Message, m)
		}
	}
}

func testRelease(e *engine) {
	m := message("t", "x")
	e.commit(put(1), put(2))
	e.enqueue(m, 1, 2)
	e.enqueue(message("t", "y"), 1)
	e.commit(release(1, 1))
	e.commit(release(1, 1))
	e.expectQueue(1, "1:released", "2:y")
	if q := e.read(1, 1, 1, 1, 0)[0]; q.Message != nil || !reflect.DeepEqual(q.Delivery, store.Delivery{}) {
		e.t.Fatalf("released: %+v", q)
	}
	e.expectQueue(2, "1:x")
	e.expectStats(store.Stats{Sessions: 2, Messages: 2, Bytes: 2 * int64(m.Bytes())})
	e.commit(release(2, 1))
	e.expectStats(store.Stats{Sessions: 2, Messages: 1, Bytes: int64(m.Bytes())})
	e.reopen(dump{sessions: []store.Recovered{
		{Session: *put(1).Meta, First: 1, Next: 3, Messages: 1, Bytes: m.Bytes()},
		{Session: *put(2).Meta, First: 1, Next: 2},
	}})
	e.expectQueue(1, "1:released", "2:y")
	e.commit(settle(1, 1), settle(2, 1), settle(1, 2), release(1, 2))
	e.expectQueue(1)
	e.expectQueue(2)
	e.expectStats(store.Stats{Sessions: 2})
}

func testShared(e *engine) {
	const n = 1000
	var ids []store.SessionID
	var records []store.Record
	for id := store.SessionID(1); id <= n; id++ {
		ids = append(ids, id)
		records = append(records, put(id))
	}
	e.commit(records...)
	m := message("t", "for all")
	e.enqueue(m, ids...)
	e.expectStats(store.Stats{Sessions: n, Messages: 1, Bytes: int64(m.Bytes())})
	e.enqueue(m, ids...) // published again
	e.expectStats(store.Stats{Sessions: n, Messages: 2, Bytes: 2 * int64(m.Bytes())})
	for _, id := range ids[1:] {
		e.commit(settle(id, 1), settle(id, 2))
	}
	e.expectStats(store.Stats{Sessions: n, Messages: 2, Bytes: 2 * int64(m.Bytes())})
	e.expectQueue(1, "1:for all", "2:for all")
	e.commit(settle(1, 1))
	e.expectStats(store.Stats{Sessions: n, Messages: 1, Bytes: int64(m.Bytes())})
	e.commit(end(1))
	e.expectStats(store.Stats{Sessions: n - 1})
}

// testConcurrent commits for two sessions from many goroutines and reads all
// the while.
func testConcurrent(e *engine) {
	const writers, each = 8, 200
	e.commit(put(1), put(2))
	var kept atomic.Uint64 // the highest position of session 1 whose Done was called
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for dst := make([]store.Queued, 0, writers*each); ; {
			hi := kept.Load()
			items, next, err := e.Read(1, 1, hi, dst, math.MaxInt)
			if err != nil || uint64(len(items)) != hi || next <= hi {
				e.t.Errorf("Read(1, %d) gave %d, next %d, %v: a gap", hi, len(items), next, err)
				return
			}
			e.Stats()
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	group(writers, func(w int) {
		var before uint64
		for i := range each {
			r := enqueue(message("t", fmt.Sprint(w, " ", i)), 1, 2)
			out := e.start(r)
			seq := r.Targets[0].Seq
			if seq <= before {
				e.t.Errorf("Seq = %d after %d", seq, before)
			}
			before = seq
			if err := <-out; err != nil {
				e.t.Errorf("Commit: %v", err)
			}
			for old := kept.Load(); old < seq && !kept.CompareAndSwap(old, seq); old = kept.Load() {
			}
		}
	})
	close(stop)
	reader.Wait()
	one, two := e.read(1, 1, writers*each, 100, math.MaxInt), e.read(2, 1, writers*each, 100, math.MaxInt)
	if len(one) != writers*each || len(two) != len(one) {
		e.t.Fatalf("%d and %d messages", len(one), len(two))
	}
	for i := range one {
		if one[i].Seq != uint64(i+1) || tell(one[i]) != tell(two[i]) {
			e.t.Fatalf("at %d: %s and %s: not one order", i+1, tell(one[i]), tell(two[i]))
		}
	}
	group(writers, func(w int) { // every position settled by somebody, some by two
		for seq := uint64(1); seq <= writers*each; seq++ {
			if seq%writers == uint64(w) || seq%10 == 0 {
				e.Commit(&store.Batch{Records: []store.Record{settle(1, seq), settle(2, seq)}})
			}
		}
	})
	e.commit()
	e.expectStats(store.Stats{Sessions: 2})
}
