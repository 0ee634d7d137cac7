package record_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/record"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

func msg(topic, payload string) *mqtt.Message {
	return &mqtt.Message{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, Publisher: "publisher"}
}

// examples has every Op, with all that it can carry and with as little as it can.
func examples() []store.Record {
	full := &mqtt.Message{
		Topic: []byte("a/b"), Payload: bytes.Repeat([]byte("p"), 300), Forward: []byte{1, 0},
		Publisher: "client", Expires: -5, At: 1 << 41, QoS: 2, Retain: true,
	}
	ids := []uint32{1, math.MaxUint32}
	return []store.Record{
		{Op: store.PutSession, Session: 7, Meta: &store.Session{ID: 7}},
		{Op: store.PutSession, Session: math.MaxUint64, Meta: &store.Session{
			ID: math.MaxUint64, ClientID: "c", Owner: "o", Version: mqtt.V5, Expiry: math.MaxUint32, Disconnected: -1 << 40,
			Unsent: 1 << 60, Will: &store.Will{Message: full, Delay: 9},
		}},
		{Op: store.EndSession, Session: 300},
		{Op: store.Subscribe, Session: 1, Subscription: store.Subscription{Filter: "a/#", Options: 0xFF, ID: math.MaxUint32}},
		{Op: store.Subscribe, Session: 1},
		{Op: store.Unsubscribe, Session: 1, Subscription: store.Subscription{Filter: "a/#"}},
		{Op: store.Enqueue, Message: full, Targets: []store.Target{
			{Session: 1, Seq: 3, Delivery: store.Delivery{QoS: 2, Retain: true}},
			{Session: math.MaxUint64, Seq: 1, Delivery: store.Delivery{Group: "$share/g/a/b", SubscriptionIDs: ids}},
			{Session: 1, Seq: math.MaxUint64, Delivery: store.Delivery{QoS: 1, SubscriptionIDs: ids[:1]}},
			{Session: 2, Seq: 1, Delivery: store.Delivery{QoS: 1, Group: "g"}},
		}},
		{Op: store.Enqueue, Message: &mqtt.Message{}},
		{Op: store.Settle, Session: 5, Seq: 1},
		{Op: store.Release, Session: math.MaxUint64, Seq: math.MaxUint64},
		{Op: store.Receive, Session: 5, PacketID: 0xFFFF},
		{Op: store.Complete},
		{Op: store.Retain, Message: full},
		{Op: store.Retain, Message: &mqtt.Message{Topic: []byte("t")}},
		{Op: store.Unretain, Message: &mqtt.Message{Topic: []byte("t")}},
	}
}

// text tells all that counts in a record.
func text(r *store.Record) string {
	s := fmt.Sprintf("op %d session %d", r.Op, r.Session)
	switch r.Op {
	case store.PutSession:
		meta := *r.Meta
		meta.Will = nil
		s += fmt.Sprintf(" %+v", meta)
		if w := r.Meta.Will; w != nil {
			s += fmt.Sprintf(" will %d %s", w.Delay, messageText(w.Message))
		}
	case store.Subscribe, store.Unsubscribe:
		s += fmt.Sprintf(" %+v", r.Subscription)
	case store.Settle, store.Release:
		s += fmt.Sprint(" seq ", r.Seq)
	case store.Receive, store.Complete:
		s += fmt.Sprint(" packet ", r.PacketID)
	case store.Enqueue, store.Retain, store.Unretain:
		s += " " + messageText(r.Message)
	case store.EndSession:
	}
	if r.Op == store.Enqueue {
		for _, t := range r.Targets {
			s += fmt.Sprintf(" %+v", t)
		}
	}
	return s
}

func messageText(m *mqtt.Message) string {
	return fmt.Sprintf("%q %q %q %q %d %d %d %t", m.Topic, m.Payload, m.Forward, m.Publisher, m.Expires, m.At, m.QoS, m.Retain)
}

// TestRoundTrip: what is decoded is what was appended, into memory that held any other record before.
func TestRoundTrip(t *testing.T) {
	var used store.Record
	for range 3 {
		for _, want := range examples() {
			body := record.Append([]byte("x"), &want)[1:]
			var fresh store.Record
			for _, got := range []*store.Record{&fresh, &used} {
				if err := record.Decode(body, got); err != nil {
					t.Fatalf("Decode(%x) of %s: %v", body, text(&want), err)
				}
				if text(got) != text(&want) {
					t.Errorf("got  %s\nwant %s", text(got), text(&want))
				}
			}
			isBody := want.Op == store.Enqueue || want.Op == store.Retain
			if record.IsBody(body) != isBody {
				t.Errorf("IsBody of op %d = %t", want.Op, !isBody)
			}
			if op := record.Op(body); op != want.Op && op != record.Changes {
				t.Errorf("Op = %d, want %d", op, want.Op)
			}
			if want.Op != store.Unretain && record.Decode(body[:len(body)-1], &used) == nil {
				t.Errorf("a body without its last byte passed: %s", text(&want))
			}
		}
	}
}

// TestNotGiven: a target without a position leaves no trace.
func TestNotGiven(t *testing.T) {
	r := store.Record{Op: store.Enqueue, Message: msg("t", "x"), Targets: []store.Target{{Session: 1}, {Session: 2, Seq: 9}, {Session: 3}}}
	var got store.Record
	if err := record.Decode(record.Append(nil, &r), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Targets) != 1 || got.Targets[0].Session != 2 || got.Targets[0].Seq != 9 {
		t.Errorf("targets %+v", got.Targets)
	}
}

// TestRuns: the small changes that stand together share a body, and all come back in their order.
func TestRuns(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	kinds := examples()
	for range 500 {
		var batch []store.Record
		for range 1 + r.IntN(20) {
			e := kinds[r.IntN(len(kinds))]
			if e.Op >= store.Settle && e.Op <= store.Complete {
				e.Session = store.SessionID(r.Uint64() >> r.IntN(64))
				if n := len(batch); n > 0 && r.IntN(2) == 0 {
					e.Session = batch[n-1].Session
				}
				e.Seq, e.PacketID = e.Seq>>r.IntN(64), e.PacketID>>r.IntN(16)
			}
			batch = append(batch, e)
		}
		var got []string
		var used store.Record
		for rest := batch; len(rest) > 0; {
			body, n := record.AppendRun(nil, rest)
			if n == 0 || n > 1 && record.Op(body) != record.Changes {
				t.Fatalf("%d records in a body %x", n, body)
			}
			if err := record.Each(body, &used, func(r *store.Record) error { got = append(got, text(r)); return nil }); err != nil {
				t.Fatal(err)
			}
			if err := record.Decode(body, &used); (err == nil) != (n == 1) {
				t.Fatalf("Decode of %d changes: %v", n, err)
			}
			rest = rest[n:]
		}
		for i := range batch {
			if i >= len(got) || got[i] != text(&batch[i]) {
				t.Fatalf("record %d of %d: got %v\nwant %s", i, len(batch), got[i:min(i+1, len(got))], text(&batch[i]))
			}
		}
	}
}

// TestSize: an acknowledgement takes 4 to 8 bytes, also alone; a message 20 and what it holds.
func TestSize(t *testing.T) {
	f := func(name string, least, most int, records ...store.Record) {
		body, n := record.AppendRun(nil, records)
		if per := (len(body) + n - 1) / n; per < least || per > most {
			t.Errorf("%s: %d bytes each, want %d to %d", name, per, least, most)
		}
	}
	f("alone", 4, 8, store.Record{Op: store.Settle, Session: 900_000, Seq: 400_000})
	r := rand.New(rand.NewPCG(1, 1))
	var any, same, one []store.Record
	for i := range uint64(100) {
		any = append(any, store.Record{Op: store.Settle, Session: store.SessionID(r.IntN(1_000_000)), Seq: 400_000 + i})
		same = append(same, store.Record{Op: store.Settle, Session: 900_000, Seq: 400_000 + i})
		one = append(one, store.Record{Op: store.Settle, Session: 900_000 + store.SessionID(i), Seq: 1000 + i})
	}
	f("of many sessions", 4, 8, any...)
	f("of one session", 2, 3, same...)
	f("of neighbours", 3, 4, one...)
	e := store.Record{Op: store.Enqueue, Message: msg("sensors/room/17/temp", "21.5"), Targets: []store.Target{{Session: 900_000, Seq: 400_000, Delivery: store.Delivery{QoS: 1}}}}
	whole := len(record.Append(nil, &e))
	if over := whole - len("sensors/room/17/temp") - len("21.5") - len("publisher"); over > 14 {
		t.Errorf("a message takes %d bytes beyond what it holds", over)
	}
	for i := range uint64(99) {
		e.Targets = append(e.Targets, store.Target{Session: store.SessionID(900_001 + i), Seq: 400_000 + i, Delivery: store.Delivery{QoS: 1}})
	}
	if per := float64(len(record.Append(nil, &e))-whole) / 99; per > 3.1 {
		t.Errorf("a further target takes %v bytes", per)
	}
}

// TestMessage: the kept copy is whole, shares nothing with the body, and costs two allocations.
func TestMessage(t *testing.T) {
	for _, r := range examples() {
		body := record.Append(nil, &r)
		m, err := record.Message(body)
		if !record.IsBody(body) {
			if err == nil {
				t.Errorf("a message in %s", text(&r))
			}
			continue
		}
		clear(body)
		if err != nil || messageText(m) != messageText(r.Message) || !m.Kept() || m.Keep() != m {
			t.Errorf("Message = %s, %v, kept %t; want %s", messageText(m), err, m.Kept(), messageText(r.Message))
		}
	}
	r := examples()[6]
	body := record.Append(nil, &r)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := record.Message(body); err != nil {
			t.Fatal(err)
		}
	}); n != 2 {
		t.Errorf("%v allocations", n)
	}
}

// TestWithoutTime: retained messages that were written before they had a time are read, and have none.
func TestWithoutTime(t *testing.T) {
	for _, body := range []string{"\x0a\x05\x01\x02thi", "\x0a\x35\x01\x02\x01\x0athip"} { // plain; with an expiry and a publisher
		var r store.Record
		if err := record.Decode([]byte(body), &r); err != nil || r.Message.At != 0 || string(r.Message.Payload) != "hi" || !r.Message.Retain {
			t.Errorf("%x: %s, %v", body, text(&r), err)
		}
		if again := record.Append(nil, &r); string(again) != body {
			t.Errorf("%x became %x", body, again)
		}
	}
}

// TestDelivery finds each target, and no other.
func TestDelivery(t *testing.T) {
	r := examples()[6]
	body := record.Append(nil, &r)
	for _, want := range r.Targets {
		got, ok := record.Delivery(bytes.Clone(body), want.Session, want.Seq)
		if !ok || !reflect.DeepEqual(got, want.Delivery) {
			t.Errorf("Delivery(%d, %d) = %+v, %t", want.Session, want.Seq, got, ok)
		}
	}
	if _, ok := record.Delivery(body, 1, 4); ok {
		t.Error("found a target that is not there")
	}
	if _, ok := record.Delivery(record.Append(nil, &store.Record{Op: store.Retain, Message: r.Message}), 1, 3); ok {
		t.Error("found a target of a retained message")
	}
}

// TestMalformed: what Append never writes is refused.
func TestMalformed(t *testing.T) {
	f := func(name string, body ...byte) {
		t.Helper()
		var r store.Record
		if err := record.Decode(body, &r); err == nil {
			t.Errorf("%s: %x passed as %s", name, body, text(&r))
		}
	}
	f("nothing")
	f("op 0", 0)
	f("op of the future", 12, 0)
	f("a small change as a body of its own", byte(store.Settle), 1, 1)
	f("an empty list, where one change is wanted", byte(record.Changes))
	f("packet identifier above 65535", byte(record.Changes), 2, 0x80, 0x80, 4)
	f("session far beyond 64 bits", byte(record.Changes), 4, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 1)
	f("QoS 3", byte(store.Retain), 3, 0, 0)
	f("unknown bit of a message", byte(store.Retain), 64, 0, 0)
	f("payload longer than the body", byte(store.Retain), 0, 0, 5, 1)
	f("more targets than bytes", byte(store.Enqueue), 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 7, 1, 2, 2)
	f("a position 0", byte(store.Enqueue), 0, 0, 0, 1, 1, 2, 0)
	f("unknown bit of a target", byte(store.Enqueue), 0, 0, 0, 1, 32, 2, 2)
	f("unknown bit of a session", byte(store.PutSession), 2, 5, 1, 0, 0, 0, 0, 0)
	f("rest behind it", byte(store.EndSession), 1, 1)
}

// FuzzDecode: no input panics or takes more memory than it justifies, and what passes is the same
// when it is written and read again.
func FuzzDecode(f *testing.F) {
	for _, r := range examples() {
		f.Add(record.Append(nil, &r))
	}
	list, _ := record.AppendRun(nil, examples()[8:12])
	f.Add(list)
	var used store.Record
	f.Fuzz(func(t *testing.T, body []byte) {
		var all, again []store.Record
		var first []string
		err := record.Each(body, &used, func(r *store.Record) error {
			first = append(first, text(r))
			out := record.Append(nil, r)
			var back store.Record
			if err := record.Decode(out, &back); err != nil || text(&back) != text(r) {
				t.Fatalf("%s\nwas written as %x\nand read as %s, %v", text(r), out, text(&back), err)
			}
			if second := record.Append(nil, &back); !bytes.Equal(out, second) {
				t.Fatalf("written as %x, then as %x", out, second)
			}
			all = append(all, back)
			return nil
		})
		if err != nil && len(first) > 0 {
			t.Fatalf("%d changes of a malformed body were handed out", len(first))
		}
		if m, merr := record.Message(body); merr == nil && err == nil && messageText(m) != messageText(all[0].Message) {
			t.Fatalf("Message says %s", messageText(m))
		}
		for rest := all; len(rest) > 0; {
			run, n := record.AppendRun(nil, rest)
			var r store.Record
			if err := record.Each(run, &r, func(r *store.Record) error { again = append(again, store.Record{Op: r.Op}); return nil }); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if len(again) != len(all) {
			t.Fatalf("%d changes became %d", len(all), len(again))
		}
	})
}

// TestAppetite: a body that announces much gets no more than it brings.
func TestAppetite(t *testing.T) {
	f := func(name string, most uint64, body ...byte) {
		least := uint64(math.MaxUint64) // of some times, as others in this process allocate too
		for range 5 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var r store.Record
			if record.Decode(body, &r) == nil {
				t.Errorf("%s passed", name)
			}
			runtime.ReadMemStats(&after)
			least = min(least, after.TotalAlloc-before.TotalAlloc)
		}
		if least > most {
			t.Errorf("%s: %d bytes for an input of %d", name, least, len(body))
		}
	}
	f("2^32 targets", 4096, byte(store.Enqueue), 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 15, 1, 2, 2)
	f("2^32 identifiers", 4096, byte(store.Enqueue), 0, 0, 0, 1, 16, 2, 2, 0xFF, 0xFF, 0xFF, 0xFF, 15, 1)
	f("10,000 targets of 3 bytes", 30_000*64, append([]byte{byte(store.Enqueue), 0, 0, 0, 0x90, 0x4E}, make([]byte, 30_000)...)...)
}

func BenchmarkRecord(b *testing.B) {
	e := store.Record{Op: store.Enqueue, Message: msg("sensors/room/17/temp", string(make([]byte, 64))), Targets: []store.Target{{Session: 900_000, Seq: 400_000, Delivery: store.Delivery{QoS: 1}}}}
	body := record.Append(nil, &e)
	dst := make([]byte, 0, 4096)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst = record.Append(dst[:0], &e)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		var r store.Record
		for b.Loop() {
			if err := record.Decode(body, &r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("message", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := record.Message(body); err != nil {
				b.Fatal(err)
			}
		}
	})
	acks := make([]store.Record, 100)
	for i := range acks {
		acks[i] = store.Record{Op: store.Settle, Session: store.SessionID(i * 37 % 1000), Seq: uint64(i + 1000)}
	}
	b.Run("acks", func(b *testing.B) {
		b.ReportAllocs()
		var r store.Record
		n := 0
		for b.Loop() {
			dst, _ = record.AppendRun(dst[:0], acks)
			if err := record.Each(dst, &r, func(*store.Record) error { n++; return nil }); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/ack")
	})
}
