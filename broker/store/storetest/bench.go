package storetest

import (
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Bench measures what a broker asks of an engine most. open is as for Run.
func Bench(b *testing.B, open func(b *testing.B) store.Store) {
	run := func(name string, f func(b *testing.B, e *benchEngine)) {
		b.Run(name, func(b *testing.B) {
			e := &benchEngine{open(b)}
			none := func(*mqtt.Message) error { return nil }
			if err := e.Load(func(*store.Recovered) error { return nil }, none); err != nil {
				b.Fatalf("Load: %v", err)
			}
			b.ReportAllocs()
			f(b, e)
			if err := e.Close(); err != nil {
				b.Fatalf("Close: %v", err)
			}
		})
	}
	for _, n := range []int{1, 10, 1000} {
		run(fmt.Sprintf("enqueue+settle/targets=%d", n), func(b *testing.B, e *benchEngine) { benchSettle(b, e, n) })
	}
	run("enqueue+settle/parallel", benchParallel)
	run("enqueue+settle/behind an old one", func(b *testing.B, e *benchEngine) {
		e.sessions(b, 1)
		e.commit(b, enqueue(message("t", "old"), 1))
		benchSettle(b, e, 1)
	})
	run("retain", benchRetain)
	run("offline/sessions=1", func(b *testing.B, e *benchEngine) { benchOffline(b, e, 1) })
	run("offline/sessions=1000", func(b *testing.B, e *benchEngine) { benchOffline(b, e, 1000) })
}

// outcome waits for a batch at the price of two atomic additions when Done was
// called before Commit returned.
type outcome struct {
	err   error
	ended atomic.Int32
	woken chan struct{}
}

func newOutcome() *outcome { return &outcome{woken: make(chan struct{}, 1)} }

func (o *outcome) done(err error) {
	o.err = err
	if o.ended.Add(1) == 2 {
		o.woken <- struct{}{}
	}
}

func (o *outcome) wait(b *testing.B) {
	if o.ended.Add(1) == 1 {
		<-o.woken
	}
	o.ended.Store(0)
	if o.err != nil {
		b.Fatalf("Commit: %v", o.err)
	}
}

// benchEngine commits one batch at a time.
type benchEngine struct {
	store.Store
}

func (e *benchEngine) commit(b *testing.B, records ...store.Record) {
	o := newOutcome()
	e.Commit(&store.Batch{Records: records, Done: o.done})
	o.wait(b)
}

func (e *benchEngine) sessions(b *testing.B, n int) (ids []store.SessionID) {
	for id := store.SessionID(1); id <= store.SessionID(n); id++ {
		e.commit(b, put(id), subscribe(id, "t", 1))
		ids = append(ids, id)
	}
	return ids
}

// benchSettle is one message for n sessions that acknowledge it in a batch of
// their own each; the time is for the whole message.
func benchSettle(b *testing.B, e *benchEngine, n int) {
	turn := flow(b, e, e.sessions(b, n))
	for b.Loop() {
		turn()
	}
}

// flow returns what queues a message for sessions and settles it for each.
func flow(b *testing.B, e *benchEngine, ids []store.SessionID) func() {
	o := newOutcome()
	queue := &store.Batch{Records: []store.Record{enqueue(message("t", "x"), ids...)}, Done: o.done}
	ack := &store.Batch{Records: make([]store.Record, 1), Done: o.done}
	targets, r := queue.Records[0].Targets, &ack.Records[0]
	r.Op = store.Settle
	return func() {
		e.Commit(queue)
		o.wait(b)
		for i := range targets {
			r.Session, r.Seq = targets[i].Session, targets[i].Seq
			e.Commit(ack)
			o.wait(b)
		}
	}
}

// benchParallel is one message for one session, from every processor for its own.
func benchParallel(b *testing.B, e *benchEngine) {
	e.sessions(b, 64)
	var id atomic.Uint64
	b.RunParallel(func(pb *testing.PB) {
		turn := flow(b, e, []store.SessionID{store.SessionID(id.Add(1))})
		for pb.Next() {
			turn()
		}
	})
}

// benchRetain replaces the retained messages of 1,000 topics in turn.
func benchRetain(b *testing.B, e *benchEngine) {
	var records []store.Record
	for i := range 1000 {
		records = append(records, retain(message(fmt.Sprint("sensors/room/", i, "/temperature"), "21.5")))
	}
	o := newOutcome()
	batch := &store.Batch{Records: make([]store.Record, 1), Done: o.done}
	for i := 0; b.Loop(); i++ {
		batch.Records[0] = records[i%len(records)]
		e.Commit(batch)
		o.wait(b)
	}
}

// benchOffline queues a million positions, for each of the sessions the same
// messages, and reads them back, a position a turn. B/queued is the heap that a
// position costs beyond the mqtt.Message.
func benchOffline(b *testing.B, e *benchEngine, sessions int) {
	const total = 1_000_000
	ids := e.sessions(b, sessions)
	before := heap()
	records := make([]store.Record, 0, 1000)
	for i := range total / sessions {
		records = append(records, enqueue(message("t", "x"), ids...))
		if len(records)*sessions >= cap(records) || i == total/sessions-1 {
			e.commit(b, records...)
			records = records[:0]
		}
	}
	perPosition := float64(int64(heap())-int64(before)) / total
	dst := make([]store.Queued, 0, 100)
	read, id, from, to := 0, store.SessionID(1), uint64(1), uint64(total/sessions)
	for b.Loop() {
		if read--; read > 0 {
			continue
		}
		items, next, err := e.Read(id, from, to, dst[:0], math.MaxInt)
		if err != nil || len(items) == 0 {
			b.Fatalf("Read gave %d, %v", len(items), err)
		}
		read, from = len(items), next
		if from > to {
			id, from = id%store.SessionID(sessions)+1, 1
		}
	}
	b.ReportMetric(perPosition, "B/queued")
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var st runtime.MemStats
	runtime.ReadMemStats(&st)
	return st.HeapAlloc
}
