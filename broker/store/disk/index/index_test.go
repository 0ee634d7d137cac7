package index_test

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"unsafe"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/index"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/record"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

func put(id store.SessionID) store.Record {
	return store.Record{Op: store.PutSession, Session: id, Meta: &store.Session{ID: id, ClientID: fmt.Sprint("client ", id), Owner: "o"}}
}

func enqueue(m *mqtt.Message, ids ...store.SessionID) store.Record {
	r := store.Record{Op: store.Enqueue, Message: m}
	for _, id := range ids {
		r.Targets = append(r.Targets, store.Target{Session: id, Delivery: store.Delivery{QoS: 1}})
	}
	return r
}

func message(topic string) *mqtt.Message {
	return (&mqtt.Message{Topic: []byte(topic), Payload: []byte("x")}).Keep()
}

// do gives and applies changes, each of which lies behind the one before, from at on.
func do(x *index.Index, at index.Pos, records ...store.Record) {
	x.Give(records)
	for i := range records {
		x.Apply(&records[i], at)
		at.Offset++
	}
}

// places lists the positions of a session.
func places(x *index.Index, id store.SessionID) (list []index.Place) {
	x.Places(id, 0, math.MaxInt64, math.MaxInt, func(p index.Place) bool { list = append(list, p); return true })
	return list
}

// copyOf is what a snapshot of an index in chunks of budget bytes gives back.
func copyOf(t testing.TB, x *index.Index, budget int) *index.Index {
	y := index.New()
	s := x.Snapshot()
	for more := true; more; {
		var chunk []byte
		chunk, more = s.Next(nil, budget)
		if err := y.LoadChunk(chunk); err != nil {
			t.Fatal(err)
		}
	}
	y.Loaded()
	return y
}

// TestPlaces: a range in pieces, that f ends or the number does.
func TestPlaces(t *testing.T) {
	x := index.New()
	do(x, index.Pos{Segment: 1}, put(1), enqueue(message("t"), 1), enqueue(message("t"), 1), enqueue(message("t"), 1))
	f := func(from, to uint64, most int, want uint64, seqs ...uint64) {
		t.Helper()
		var got []uint64
		next := x.Places(1, from, to, most, func(p index.Place) bool {
			if p.Seq == 3 && to == 3 {
				return false
			}
			got = append(got, p.Seq)
			return true
		})
		if next != want || fmt.Sprint(got) != fmt.Sprint(seqs) {
			t.Errorf("Places(%d, %d, %d) = %v, %d, want %v, %d", from, to, most, got, next, seqs, want)
		}
	}
	f(0, 10, 10, 11, 1, 2, 3)
	f(0, 10, 2, 3, 1, 2)
	f(2, 2, 10, 3, 2)
	f(0, 3, 10, 3, 1, 2) // the third is refused
	f(4, 10, 10, 11)
	f(0, 10, 0, 1)
	if next := x.Places(9, 4, 10, 1, nil); next != 11 {
		t.Errorf("a session that is not there: next = %d", next)
	}
}

// TestDamage: what cannot be read is lost and counted, and its segment is free.
func TestDamage(t *testing.T) {
	x := index.New()
	m := message("t")
	do(x, index.Pos{Segment: 1}, put(1), put(2), enqueue(m, 1, 2), store.Record{Op: store.Retain, Message: message("a")})
	do(x, index.Pos{Segment: 2}, enqueue(m, 1), store.Record{Op: store.Retain, Message: message("b")})
	if queued, retained := x.Forget(1); queued != 1 || retained != 1 || x.Live(1) != 0 || fmt.Sprint(x.Segments()) != "[2]" {
		t.Fatalf("Forget = %d, %d; live %d, segments %v", queued, retained, x.Live(1), x.Segments())
	}
	x = copyOf(t, x, 10)
	for id, want := range []int{1: 2, 2: 1} {
		list := places(x, store.SessionID(id))
		if len(list) != want || want > 0 && !list[0].Lost || want > 1 && list[1].Lost {
			t.Fatalf("session %d: %+v", id, list)
		}
	}
	x.Lose(1, 1)
	x.Lose(1, 1)
	x.Lose(2, 1)
	x.Lose(9, 1)
	x.LoseRetained("b", index.Pos{Segment: 9})
	want := store.Stats{Sessions: 2, Messages: 1, Bytes: int64(m.Bytes()), Retained: 1, RetainedBytes: int64(m.Bytes())}
	if st := x.Stats(); st != want || x.Lost() != 2 {
		t.Fatalf("Stats = %+v, want %+v; %d lost", st, want, x.Lost())
	}
	x.LoseRetained("b", index.Pos{Segment: 2, Offset: 1})
	x.Lose(1, 2)
	if st := x.Stats(); st != (store.Stats{Sessions: 2}) || x.Lost() != 4 || len(x.Segments()) != 0 {
		t.Fatalf("Stats = %+v, %d lost, segments %v", st, x.Lost(), x.Segments())
	}
}

// TestReap: a session that ends with a long queue is gone at once, its messages in turns.
func TestReap(t *testing.T) {
	x := index.New()
	do(x, index.Pos{Segment: 1}, put(1), put(2))
	for range 10_000 {
		do(x, index.Pos{Segment: 1}, enqueue(message("t"), 1, 2))
	}
	do(x, index.Pos{Segment: 1}, store.Record{Op: store.EndSession, Session: 1}, store.Record{Op: store.EndSession, Session: 2})
	if n := len(places(x, 2)); n != 0 || x.Stats().Sessions != 0 {
		t.Fatalf("%d positions", n)
	}
	turns := 1
	for ; x.Reap(1000); turns++ {
		if turns > 20 {
			t.Fatal("no end")
		}
	}
	if st := x.Stats(); st != (store.Stats{}) || turns < 10 || x.Reap(1) {
		t.Fatalf("Stats = %+v after %d turns", st, turns)
	}
}

// TestAppliedBefore: changes that are applied once more, all of them in their order, change nothing.
func TestAppliedBefore(t *testing.T) {
	x := index.New()
	m := message("t")
	sub := store.Subscription{Filter: "f"}
	records := []store.Record{
		put(1), put(2), put(3), enqueue(m, 1, 2, 3, 1), enqueue(m, 2), enqueue(m, 1), enqueue(m, 1),
		{Op: store.Settle, Session: 2, Seq: 1},
		{Op: store.Settle, Session: 2, Seq: 2},
		{Op: store.Release, Session: 1, Seq: 3},
		{Op: store.Receive, Session: 1, PacketID: 4},
		{Op: store.Receive, Session: 1, PacketID: 5},
		{Op: store.Complete, Session: 1, PacketID: 4},
		{Op: store.Subscribe, Session: 1, Subscription: sub},
		{Op: store.Unsubscribe, Session: 1, Subscription: sub},
		{Op: store.Subscribe, Session: 2, Subscription: sub},
		{Op: store.Retain, Message: m},
		{Op: store.Retain, Message: m},
		{Op: store.Retain, Message: message("u")},
		{Op: store.Unretain, Message: message("u")},
		put(1),
		{Op: store.EndSession, Session: 3},
	}
	do(x, index.Pos{Segment: 1}, records...)
	tell := func() string {
		s := fmt.Sprintf("%+v last %d live %d %v\n", x.Stats(), x.Last(), x.Live(1), x.RetainedByPos())
		for _, id := range []store.SessionID{1, 2, 3} {
			s += fmt.Sprintf("%d: %+v\n", id, places(x, id))
		}
		sum := 0
		if err := x.Sessions(func(r *store.Recovered) error {
			sum += len(r.Subscriptions)*1000 + len(r.Received)*100 + int(r.First*10+r.Next)*int(r.Session.ID)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(s, sum)
	}
	want := tell()
	for range 2 {
		x = copyOf(t, x, 30)
		for i := range records {
			x.Apply(&records[i], index.Pos{Segment: 1, Offset: uint32(i)})
		}
		if got := tell(); got != want {
			t.Fatalf("now\n%s\nbefore\n%s", got, want)
		}
	}
}

// TestTrim: the record that is left can be decoded into again.
func TestTrim(t *testing.T) {
	x := index.New()
	batch := []store.Record{put(1), put(2), enqueue(message("t"), 1, 2)}
	for i := range batch[2].Targets {
		batch[2].Targets[i].Delivery.SubscriptionIDs = []uint32{uint32(i) + 7}
	}
	do(x, index.Pos{}, append(batch, store.Record{Op: store.Settle, Session: 1, Seq: 1})...)
	body, at := record.Append(nil, &batch[2]), index.Pos{Offset: 2}
	var r store.Record
	for range 2 {
		if err := record.Decode(body, &r); err != nil || len(r.Targets) != 2 {
			t.Fatal(err, r.Targets)
		}
		for i := range r.Targets {
			if ids := r.Targets[i].Delivery.SubscriptionIDs; len(ids) != 1 || ids[0] != uint32(i)+7 {
				t.Fatalf("target %d has identifiers %v", i, ids)
			}
		}
		if !x.Holds(&r, at) || x.Holds(&r, index.Pos{Offset: 3}) {
			t.Fatal("Holds is wrong")
		}
		if x.Trim(&r, at); len(r.Targets) != 1 || r.Targets[0].Session != 2 {
			t.Fatalf("left: %+v", r.Targets)
		}
	}
}

// TestTopicMemory: the name of a retained topic lies in its newest message, and not in one that is gone.
func TestTopicMemory(t *testing.T) {
	x := index.New()
	name := func() *byte {
		topics := x.RetainedByPos()
		return unsafe.StringData(topics[0].Name)
	}
	kept := message("topic")
	do(x, index.Pos{Segment: 1}, store.Record{Op: store.Retain, Message: kept})
	if name() != &kept.Topic[0] {
		t.Error("the name of a new topic is a copy")
	}
	kept = message("topic")
	do(x, index.Pos{Segment: 2}, store.Record{Op: store.Retain, Message: kept})
	if name() != &kept.Topic[0] {
		t.Error("the name of a topic holds the message before")
	}
	passing := &mqtt.Message{Topic: []byte("topic")}
	do(x, index.Pos{Segment: 3}, store.Record{Op: store.Retain, Message: passing})
	if name() != &kept.Topic[0] {
		t.Error("the name of a topic is not held")
	}
}

// TestSlices: neither a long queue nor many subscriptions or identifiers make a slice of a snapshot large.
func TestSlices(t *testing.T) {
	x := index.New()
	do(x, index.Pos{Segment: 1}, put(1), put(2), put(3))
	for i := range 10_000 {
		do(x, index.Pos{Segment: uint32(i / 100), Offset: uint32(i % 100 * 100)}, enqueue(message("t"), 1, 2),
			store.Record{Op: store.Subscribe, Session: 1, Subscription: store.Subscription{Filter: fmt.Sprint("filter/", i), ID: 7}},
			store.Record{Op: store.Receive, Session: 1, PacketID: uint16(i * 6)},
			store.Record{Op: store.Retain, Message: message(fmt.Sprint("topic/", i))})
		if i%3 == 0 {
			do(x, index.Pos{}, store.Record{Op: store.Release, Session: 1, Seq: uint64(i)})
		}
	}
	do(x, index.Pos{}, store.Record{Op: store.EndSession, Session: 3})
	const budget = 1000
	s := x.Snapshot()
	y := index.New()
	n, bytes := 0, 0
	for more := true; more; n++ {
		var chunk []byte
		if chunk, more = s.Next(nil, budget); len(chunk) > budget+64 {
			t.Fatalf("a slice of %d bytes", len(chunk))
		}
		bytes += len(chunk)
		if err := y.LoadChunk(chunk); err != nil {
			t.Fatal(err)
		}
	}
	y.Loaded()
	if n < bytes/(budget+64) || n > 2*bytes/budget {
		t.Errorf("%d slices for %d bytes", n, bytes)
	}
	if x.Stats() != y.Stats() || y.Last() != 3 || fmt.Sprint(x.Segments()) != fmt.Sprint(y.Segments()) {
		t.Errorf("loaded %+v, want %+v", y.Stats(), x.Stats())
	}
	for _, id := range []store.SessionID{1, 2} {
		if fmt.Sprint(places(x, id)) != fmt.Sprint(places(y, id)) {
			t.Errorf("the queue of session %d is another", id)
		}
	}
	if fmt.Sprint(x.RetainedByPos()) != fmt.Sprint(y.RetainedByPos()) {
		t.Error("the retained messages are others")
	}
	batch := []store.Record{enqueue(message("t"), 1, 3)}
	y.Give(batch)
	if got := batch[0].Targets; got[0].Seq != 10_001 || got[1].Seq != 0 {
		t.Errorf("given %d and %d after loading", got[0].Seq, got[1].Seq)
	}
}

// TestMissingChunk: without one of the chunks, the sessions that are not in it are whole.
func TestMissingChunk(t *testing.T) {
	x := index.New()
	m := message("t")
	for id := store.SessionID(1); id <= 20; id++ {
		do(x, index.Pos{Segment: uint32(id)}, put(id), enqueue(m, id), enqueue(m, id, 1),
			store.Record{Op: store.Subscribe, Session: id, Subscription: store.Subscription{Filter: "f"}},
			store.Record{Op: store.Receive, Session: id, PacketID: 9}, store.Record{Op: store.Release, Session: id, Seq: 1})
	}
	var chunks [][]byte
	for s, more := x.Snapshot(), true; more; {
		var chunk []byte
		chunk, more = s.Next(nil, 40)
		chunks = append(chunks, chunk)
	}
	for missing := range chunks {
		y := index.New()
		for i, chunk := range chunks {
			if i == missing {
				continue
			}
			if err := y.LoadChunk(chunk); err != nil {
				t.Fatalf("without chunk %d: chunk %d: %v", missing, i, err)
			}
		}
		y.Loaded()
		whole := 0
		for id := store.SessionID(2); id <= 20; id++ {
			if fmt.Sprint(places(x, id)) == fmt.Sprint(places(y, id)) {
				whole++
			}
		}
		if whole < 16 {
			t.Errorf("without chunk %d, %d sessions are whole", missing, whole)
		}
	}
}

// TestFlow: a live session's messages cost no allocation, and what a burst took is given back.
func TestFlow(t *testing.T) {
	x := index.New()
	do(x, index.Pos{Segment: 1}, put(1))
	batch, ack := []store.Record{enqueue(message("t"), 1)}, store.Record{Op: store.Settle, Session: 1}
	if n := testing.AllocsPerRun(1000, func() {
		do(x, index.Pos{Segment: 1}, batch...)
		ack.Seq = batch[0].Targets[0].Seq
		x.Apply(&ack, index.Pos{})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	before := heap()
	first := ack.Seq + 1
	for range 100_000 {
		do(x, index.Pos{Segment: 1}, batch...)
	}
	for ack.Seq = first; ack.Seq < first+100_000; ack.Seq++ {
		x.Apply(&ack, index.Pos{})
	}
	if left := int64(heap()) - int64(before); left > 1<<19 {
		t.Errorf("%d bytes are left of 100,000 messages", left)
	}
	runtime.KeepAlive(x)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var st runtime.MemStats
	runtime.ReadMemStats(&st)
	return st.HeapAlloc
}

// TestHeap holds what things cost in memory, beside the strings; BenchmarkHeap measures ten times as many.
func TestHeap(t *testing.T) {
	measure(1, func(name string, bytes, most float64) {
		if bytes > most {
			t.Errorf("%s: %.1f bytes each, want at most %v", name, bytes, most)
		}
	})
}

func BenchmarkHeap(b *testing.B) {
	for b.Loop() {
		measure(10, func(name string, bytes, _ float64) { b.ReportMetric(bytes, "B/"+name) })
	}
}

// measure tells what one thing of a kind takes and may take, when there are scale times 100,000 of them (sessions: 10,000).
func measure(scale int, tell func(name string, bytes, most float64)) {
	n := 100_000 * scale
	f := func(name string, n int, most float64, prepare, fill func(x *index.Index)) {
		x := index.New()
		prepare(x)
		before := heap()
		fill(x)
		tell(name, float64(int64(heap())-int64(before))/float64(n), most)
		runtime.KeepAlive(x)
	}
	nothing := func(*index.Index) {}
	sessions := func(n int) func(x *index.Index) {
		return func(x *index.Index) {
			meta := &store.Session{ClientID: "c", Owner: "o"}
			for id := store.SessionID(1); id <= store.SessionID(n); id++ {
				meta.ID = id
				x.Apply(&store.Record{Op: store.PutSession, Session: id, Meta: meta}, index.Pos{})
			}
		}
	}
	queue := func(targets int) func(x *index.Index) {
		return func(x *index.Index) {
			r := store.Record{Op: store.Enqueue, Message: message("t"), Targets: make([]store.Target, targets)}
			for i := range n / targets {
				for j := range r.Targets {
					r.Targets[j].Session = store.SessionID((i*targets+j)%(n/1000) + 1)
				}
				do(x, index.Pos{Segment: 1, Offset: uint32(i)}, r)
			}
		}
	}
	f("position", n, 32, sessions(n/1000), queue(1))
	f("further-target", n, 11, sessions(n/1000), queue(100))
	f("session", n/10, 300, nothing, sessions(n/10))
	topics := make([]*mqtt.Message, n)
	for i := range topics {
		topics[i] = message(fmt.Sprint("site/", i, "/temperature"))
	}
	f("retained", n, 120, nothing, func(x *index.Index) {
		for i, m := range topics {
			x.Apply(&store.Record{Op: store.Retain, Message: m}, index.Pos{Segment: 1, Offset: uint32(i)})
		}
	})
	runtime.KeepAlive(topics)
}

// FuzzLoadChunk: no chunk panics, or takes more memory than it justifies.
func FuzzLoadChunk(f *testing.F) {
	x := index.New()
	m := message("t")
	do(x, index.Pos{Segment: 1}, put(1), put(2), enqueue(m, 1, 2), enqueue(m, 1), store.Record{Op: store.Retain, Message: m},
		store.Record{Op: store.Release, Session: 1, Seq: 2}, store.Record{Op: store.Receive, Session: 1, PacketID: 9},
		store.Record{Op: store.Subscribe, Session: 2, Subscription: store.Subscription{Filter: "f", Options: 1, ID: 2}})
	chunk, _ := x.Snapshot().Next(nil, 10_000)
	f.Add(chunk)
	f.Fuzz(func(t *testing.T, chunk []byte) {
		x := index.New()
		if x.LoadChunk(chunk) != nil {
			return
		}
		x.Loaded()
		if y := copyOf(t, x, 20); x.Stats() != y.Stats() {
			t.Fatalf("loaded %+v, then %+v", x.Stats(), y.Stats())
		}
	})
}

func BenchmarkIndex(b *testing.B) {
	x := index.New()
	for id := range store.SessionID(1000) {
		do(x, index.Pos{Segment: 1}, put(id+1))
	}
	m := message("sensors/room/17/temp")
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("enqueue+settle/targets=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			r := store.Record{Op: store.Enqueue, Message: m, Targets: make([]store.Target, n)}
			batch := []store.Record{r}
			ack := store.Record{Op: store.Settle}
			for i := 0; b.Loop(); i++ {
				for j := range r.Targets {
					r.Targets[j].Session = store.SessionID((i+j)%1000 + 1)
				}
				do(x, index.Pos{Segment: 1, Offset: uint32(i)}, batch...)
				for j := range r.Targets {
					ack.Session, ack.Seq = r.Targets[j].Session, r.Targets[j].Seq
					x.Apply(&ack, index.Pos{})
				}
			}
		})
	}
	for i := range 1_000_000 {
		do(x, index.Pos{Segment: uint32(i / 100_000), Offset: uint32(i)}, enqueue(m, store.SessionID(i%1000+1)))
	}
	b.Run("snapshot of a million positions", func(b *testing.B) {
		b.ReportAllocs()
		dst, bytes := make([]byte, 0, 1<<17), 0
		for b.Loop() {
			s, more := x.Snapshot(), true
			for bytes = 0; more; bytes += len(dst) {
				dst, more = s.Next(dst[:0], 1<<16)
			}
		}
		b.ReportMetric(float64(bytes)/1e6, "B/position")
	})
	b.Run("load of a million positions", func(b *testing.B) {
		for b.Loop() {
			copyOf(b, x, 1<<16)
		}
	})
	body := record.Append(nil, &store.Record{Op: store.Enqueue, Message: m, Targets: []store.Target{{Session: 1, Seq: 1}}})
	b.Run("replay of an enqueue", func(b *testing.B) {
		b.ReportAllocs()
		y := index.New()
		do(y, index.Pos{}, put(1))
		var r store.Record
		for i := uint64(1); b.Loop(); i++ {
			if err := record.Decode(body, &r); err != nil {
				b.Fatal(err)
			}
			r.Targets[0].Seq = i
			y.Apply(&r, index.Pos{Segment: uint32(i >> 20), Offset: uint32(i)})
		}
	})
}
