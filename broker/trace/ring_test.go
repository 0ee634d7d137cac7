package trace

import (
	"fmt"
	"strings"
	"testing"
)

// lines tells entries in short.
func lines(entries []Entry) (all []string) {
	for _, e := range entries {
		s := fmt.Sprintf("%d %s %02x %q ×%d", e.At, e.Dir, e.First, e.Topic, e.Count)
		if e.Until != e.At {
			s += fmt.Sprintf(" until %d", e.Until)
		}
		if e.Several {
			s += " several"
		}
		all = append(all, s)
	}
	return all
}

func check(t *testing.T, r *Ring, l *Log, want ...string) {
	t.Helper()
	got := strings.Join(lines(r.Entries(l)), "\n")
	if got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// TestFold: like packets of a second are one entry, also when others come between.
func TestFold(t *testing.T) {
	r, l := NewRing(1<<20, 4), Log{}
	for i := range 10 {
		r.Record(&l, int64(1000+100*i), Head{First: 0x32, ID: uint16(i + 1), Size: 10}, []byte("a"), []byte("payload"))
		r.Record(&l, int64(1000+100*i+1), Head{First: 0x40, Out: true, ID: uint16(i + 1), Size: 4}, nil, nil)
	}
	r.Record(&l, 2000, Head{First: 0x32, ID: 11, Size: 10}, []byte("a"), nil)
	check(t, r, &l, `1000 in 32 "a" ×10 until 1900`, `1001 out 40 "" ×10 until 1901`, `2000 in 32 "a" ×1`)
	e := r.Entries(&l)[0]
	if e.ID != 1 || e.Bytes != 100 || string(e.Payload) != "payl" {
		t.Errorf("%+v", e)
	}
	r.Forget(&l)
	check(t, r, &l)
}

// TestCrowd: more topics than are told apart in a second become one entry that says so.
func TestCrowd(t *testing.T) {
	r, l := NewRing(1<<20, 0), Log{}
	for i := range 30 {
		r.Record(&l, 5, Head{First: 0x30, Size: 1}, fmt.Appendf(nil, "t%02d", i), nil)
	}
	r.Record(&l, 6, Head{First: 0xE0, Size: 2}, nil, nil)
	got := lines(r.Entries(&l))
	if len(got) != crowd+1 {
		t.Fatal(strings.Join(got, "\n"))
	}
	total := 0
	for _, e := range r.Entries(&l) {
		total += e.Count
	}
	if total != 31 {
		t.Errorf("%d packets are told of 31:\n%s", total, strings.Join(got, "\n"))
	}
}

// TestLabels: what is known by its label is counted with the last like it, and nothing else is; of several topics all are.
func TestLabels(t *testing.T) {
	r, l := NewRing(1<<20, 0), Log{}
	add := func(now int64, first byte, label uint32, topic string) {
		if !l.In(now, first, 1, label) {
			r.Label(&l, now, Head{First: first, Size: 1}, label, []byte(topic), nil)
		}
	}
	for range 3 {
		add(5, 0x30, 7, "a")
	}
	add(5, 0x30, 8, "b")
	add(5, 0x32, 8, "b")
	add(5, 0x40, Bare, "")
	add(6, 0x40, Bare, "")
	if l.In(6, 0x40, 1, 0) || l.In(6, 0x42, 1, Bare) || l.In(7, 0x40, 1, Bare) || l.Out(6, 0x40, 1, Bare) {
		t.Error("something else is taken for an acknowledgement of the same time")
	}
	r.Label(&l, 6, Head{First: 0x40, Reason: 0x10, Size: 1}, 0, nil, nil)
	if l.In(6, 0x40, 1, Bare) {
		t.Error("one without a reason is taken for one with")
	}
	check(t, r, &l, `5 in 30 "a" ×3`, `5 in 30 "b" ×1`, `5 in 32 "b" ×1`, `5 in 40 "" ×2 until 6`, `6 in 40 "" ×1`)
	for i := range uint32(1000) { // more than are told apart
		add(2000, 0x30, 100+i, fmt.Sprint(i))
		add(2000, 0x30, 0, "long")
	}
	total := 0
	for _, e := range r.Entries(&l)[5:] {
		total += e.Count
	}
	if total != 2000 {
		t.Errorf("%d packets are told of 2000", total)
	}
}

// TestReach: a fast client can be looked back at for minutes.
func TestReach(t *testing.T) {
	for _, topics := range []int{1, 3, 50} {
		r, l := NewRing(1<<20, 0), Log{}
		now := int64(1e12)
		for i := range 600_000 {
			now++
			id := uint16(i)
			about := fmt.Appendf(nil, "plant/press-07/sensor-%d", i%topics)
			r.Record(&l, now, Head{First: 0x34, ID: id, Size: 100}, about, nil)
			r.Record(&l, now, Head{First: 0x50, Out: true, ID: id, Size: 4}, nil, nil)
			r.Record(&l, now, Head{First: 0x62, ID: id, Size: 4}, nil, nil)
			r.Record(&l, now, Head{First: 0x70, Out: true, ID: id, Size: 4}, nil, nil)
		}
		entries := r.Entries(&l)
		reach := now - entries[0].At
		t.Logf("%d topics, 1,000 QoS 2 messages a second: %d entries reach back %d s", topics, len(entries), reach/1000)
		if reach < shortMS/2 {
			t.Errorf("%d topics: looks back %d ms only, with %d entries", topics, reach, len(entries))
		}
	}
}

// TestBound: memory is bounded; what is oldest goes first, and what is left is right.
func TestBound(t *testing.T) {
	const clients = 10_000
	r := NewRing(256<<10, 0) // 1,024 chunks
	logs := make([]Log, clients)
	for round := range 3 {
		for i := range logs {
			for k := range 5 {
				r.Record(&logs[i], int64(round*1_000_000+i), Head{First: 0x30, Size: 9}, fmt.Appendf(nil, "c%d/r%d/%d", i, round, k), nil)
			}
		}
	}
	if r.Memory() > 256<<10 {
		t.Errorf("it takes %d bytes", r.Memory())
	}
	have := 0
	for i := range logs {
		entries := r.Entries(&logs[i])
		if len(entries) > 0 {
			have++
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Topic, fmt.Sprintf("c%d/r2/", i)) {
				t.Fatalf("client %d has %q", i, e.Topic)
			}
		}
		if (len(entries) > 0) != (i >= clients-1023) && i != clients-1023 {
			t.Fatalf("client %d has %d entries", i, len(entries))
		}
	}
	t.Logf("%d of %d clients can be looked back at in %d bytes", have, clients, r.Memory())
	if avg := testing.AllocsPerRun(1000, func() {
		for i := range 100 {
			r.Record(&logs[i], 9_000_000, Head{First: 0x30, Size: 9}, logs[i].lanes[:], nil)
		}
	}); avg != 0 {
		t.Errorf("%v allocations", avg)
	}
}

// FuzzRing: whatever is recorded, entries of each log are its own, in order, and count what came since the oldest of them.
func FuzzRing(f *testing.F) {
	f.Add([]byte("hello world, 0123456789 abcdefgh"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewRing(1, 8) // 64 chunks
		logs := make([]Log, 3)
		now := int64(1)
		for i, b := range in {
			l := int(b) % len(logs)
			if b&0x80 != 0 && i%7 == 0 {
				r.Forget(&logs[l])
				continue
			}
			now += int64(b) * int64(i%50)
			about := fmt.Sprintf("%d/%s", l, strings.Repeat("x", int(b)*2%150))
			for range 1 + int(b)%40 {
				r.Record(&logs[l], now, Head{First: 0x30 | b&7, Out: b&8 != 0, ID: uint16(i), Size: int(b)}, []byte(about), in[:min(i, 20)])
			}
		}
		for i := range logs {
			last := int64(0)
			for _, e := range r.Entries(&logs[i]) {
				if e.At < last || e.Until < e.At || e.Until > now || e.Count < 1 || !strings.HasPrefix(e.Topic, fmt.Sprint(i, "/")) {
					t.Fatalf("log %d: %+v after %d", i, e, last)
				}
				last = e.At
			}
		}
	})
}
