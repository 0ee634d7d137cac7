package wal

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

const testSegment = 16 << 10

func options() Options {
	return Options{SegmentSize: testSegment, Store: [16]byte{1, 2, 3}, Quarantine: "quarantine"}
}

// reopen opens a log and replays it from from.
func reopen(t rapid.TB, sys *memory, from Pos) (*Log, []string, Found) {
	t.Helper()
	l, err := Open(sys, "log", options())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	found, err := l.Replay(from, func(r Record) error {
		got = append(got, string(r.Body))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return l, got, found
}

// begin opens, replays and starts a log.
func begin(t rapid.TB, sys *memory) *Log {
	t.Helper()
	l, _, _ := reopen(t, sys, Pos{})
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	return l
}

// makeGroup is a group with one batch for each argument; a batch's records are separated by "+".
func makeGroup(batches ...string) (g Group, rels []uint32) {
	for _, b := range batches {
		bodies := strings.Split(b, "+")
		for i, body := range bodies {
			g.Begin()
			g.Buf = append(g.Buf, body...)
			rels = append(rels, g.End(i == len(bodies)-1))
		}
	}
	return g, rels
}

// add appends a group and returns where its records are.
func add(t rapid.TB, l *Log, sync bool, batches ...string) []Pos {
	t.Helper()
	g, rels := makeGroup(batches...)
	base, err := l.Append(&g, true, sync)
	if err != nil {
		t.Fatal(err)
	}
	at := make([]Pos, len(rels))
	for i, rel := range rels {
		at[i] = Pos{base.Segment, base.Offset + rel}
	}
	return at
}

func end(t rapid.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func same(t rapid.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got  %.300q\nwant %.300q", got, want)
	}
}

func clean(t rapid.TB, f Found) {
	t.Helper()
	if len(f.Damage) > 0 || f.Cut > 0 {
		t.Fatalf("damage %v, cut %d", f.Damage, f.Cut)
	}
}

func TestAppendAndReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newMemory()
		l := begin(t, sys)
		add(t, l, true, "a", "b+c")
		mid := l.End()
		at := add(t, l, true, "d")
		r := l.NewReader()
		if body, err := r.Read(at[0], 0); err != nil || string(body) != "d" {
			t.Fatalf("%q %v", body, err)
		}
		r.Close()
		end(t, l)

		l, got, found := reopen(t, sys, Pos{})
		same(t, got, "a", "b", "c", "d")
		clean(t, found)
		if found.Groups != 3 || found.Records != 4 || found.End != l.End() { // the third is that of Close
			t.Fatalf("%+v", found)
		}
		if err := l.Start(); err != nil {
			t.Fatal(err)
		}
		if l.End() != found.End {
			t.Fatalf("the end moved from %v to %v without a group", found.End, l.End())
		}
		add(t, l, true, "e")
		end(t, l)
		_, got, found = reopen(t, sys, mid)
		same(t, got, "d", "e")
		clean(t, found)
		_, got, _ = reopen(t, sys, found.End)
		same(t, got)
	})
}

// TestHistory runs random groups, rolls, crashes without loss and reopens against a plain list.
func TestHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(*testing.T) { history(rt) })
	})
}

func history(t *rapid.T) {
	sys := newMemory()
	l := begin(t, sys)
	var want []string
	places := map[Pos]string{}
	marks := map[Pos]int{{}: 0}
	last := int64(0)
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		switch rapid.IntRange(0, 9).Draw(t, "step") {
		default:
			var batches []string
			for range rapid.IntRange(1, 4).Draw(t, "batches") {
				size := rapid.SampledFrom([]int{1, 10, 100, 1000, 5000, 20000}).Draw(t, "size")
				b := fmt.Sprintf("%d:", len(places)+len(batches)) + strings.Repeat("x", size)
				batches = append(batches, b)
			}
			for i, at := range add(t, l, rapid.Bool().Draw(t, "sync"), batches...) {
				places[at] = batches[i]
			}
			want = append(want, batches...)
		case 0:
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
		case 1:
			marks[l.End()] = len(want)
		case 2:
			if rapid.Bool().Draw(t, "kill") {
				old := l
				synctest.Wait()
				sys = sys.clone()
				end(t, old)
			} else {
				end(t, l)
			}
			for mark, n := range marks {
				_, got, found := reopen(t, sys, mark)
				same(t, got, want[n:]...)
				clean(t, found)
			}
			var found Found
			l, _, found = reopen(t, sys, Pos{})
			if found.Stamp < last {
				t.Fatalf("the stamp went from %d to %d", last, found.Stamp)
			}
			last = found.Stamp
			if err := l.Start(); err != nil {
				t.Fatal(err)
			}
		}
	}
	r := l.NewReader()
	for at, body := range places {
		got, err := r.Read(at, rapid.IntRange(0, 30000).Draw(t, "ahead"))
		if err != nil || string(got) != body {
			t.Fatalf("read %v: %.20q %v", at, got, err)
		}
	}
	r.Close()
	var got []string
	for _, s := range l.Segments() {
		damage, err := l.Scan(s.Number, func(r Record) error {
			got = append(got, string(r.Body))
			return nil
		})
		if err != nil || len(damage) > 0 {
			t.Fatal(damage, err)
		}
	}
	same(t, got, want...)
	end(t, l)
	_, got, found := reopen(t, sys, Pos{})
	same(t, got, want...)
	clean(t, found)
}

// three is a log of three groups, the last of which ends at the end of what was written; it was never closed.
func three(t rapid.TB, sync bool) (sys *memory, bounds []Pos) {
	sys = newMemory()
	l := begin(t, sys)
	bounds = append(bounds, Pos{l.current.number, headerSize})
	for _, g := range [][]string{{"one", "two+three"}, {"four", "five"}, {"six", "seven+eight", "nine"}} {
		add(t, l, sync, g...)
		bounds = append(bounds, l.End())
	}
	synctest.Wait()
	sys = sys.clone()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return sys, bounds
}

// TestTornTail cuts the last group at every byte [F217]: with zeros behind, with other bytes behind, and the file itself.
func TestTornTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole, bounds := three(t, true)
		from, to := bounds[2].Offset, bounds[3].Offset
		for cut := from; cut < to; cut++ {
			for _, how := range []string{"zeros", "garbage", "short"} {
				sys := whole.clone()
				b := sys.bytes(t, bounds[0].Segment)
				switch how {
				case "zeros":
					clear(b[cut:])
				case "garbage":
					for i := cut; i < to; i++ {
						b[i] ^= 0x5A
					}
				case "short":
					f := sys.files[filepath.Join("log", segmentName(bounds[0].Segment))]
					f.data = f.data[:cut]
				}
				l, got, found := reopen(t, sys, Pos{})
				want := []string{"one", "two", "three", "four", "five"}
				for _, batch := range [][]string{{"six"}, {"seven", "eight"}, {"nine"}} {
					if slices.Contains(got, batch[0]) {
						want = append(want, batch...)
					}
				}
				same(t, got, want...)
				if cuts := how == "short" && cut > found.End.Offset; len(found.Damage) > 0 != cuts {
					t.Fatalf("cut at %d: %v", cut, found.Damage)
				}
				if cut >= from+groupSize && found.Cut != int64(to)-int64(found.End.Offset) && how != "short" {
					t.Fatalf("cut at %d: %d bytes cut", cut, found.Cut)
				}
				if err := l.Start(); err != nil {
					t.Fatal(err)
				}
				add(t, l, true, "ten")
				end(t, l)
				_, got, again := reopen(t, sys, Pos{})
				same(t, got, append(want, "ten")...)
				clean(t, again)
			}
		}
	})
}

// TestHoleInLastGroup loses any part of the group written last: none of it was acknowledged.
func TestHoleInLastGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole, bounds := three(t, true)
		for at := bounds[2].Offset; at < bounds[3].Offset; at++ {
			sys := whole.clone()
			b := sys.bytes(t, bounds[0].Segment)
			b[at] ^= 0xFF
			_, got, found := reopen(t, sys, Pos{})
			if len(found.Damage) > 0 || len(got) < 5 || len(got) > 8 || len(got) == 7 {
				t.Fatalf("hole at %d: %q %v", at, got, found.Damage)
			}
		}
	})
}

// TestHoleInEarlierGroup loses part of a group that another follows. When the later one says that it was synced before,
// that is damage, and what is around it stays; or else the order of unsynced writes, and the log ends there.
func TestHoleInEarlierGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, sync := range []bool{true, false} {
			whole, bounds := three(t, sync)
			for at := bounds[1].Offset; at < bounds[2].Offset; at++ {
				sys := whole.clone()
				b := sys.bytes(t, bounds[0].Segment)
				b[at] ^= 0xFF
				_, got, found := reopen(t, sys, Pos{})
				if sync {
					if len(found.Damage) == 0 || len(got) < 8 || !slices.Equal(got[len(got)-4:], []string{"six", "seven", "eight", "nine"}) {
						t.Fatalf("hole at %d: %q %v", at, got, found.Damage)
					}
				} else if len(found.Damage) > 0 || len(got) > 4 || found.Cut == 0 {
					t.Fatalf("unsynced hole at %d: %q %v, cut %d", at, got, found.Damage, found.Cut)
				}
			}
		}
	})
}

// TestBitFlip flips a bit in every 13th byte of a log that was closed: the record that it hits is missing and nothing
// else, and damage names the place [F218].
func TestBitFlip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole := newMemory()
		l := begin(t, whole)
		var want []string
		var at []Pos
		for i := range 120 {
			batch := []string{fmt.Sprintf("%d %s", i, strings.Repeat("a", i)), fmt.Sprintf("%d b", i) + strings.Repeat("\x00", i%7)}
			at = append(at, add(t, l, true, strings.Join(batch, "+"), fmt.Sprintf("%d c", i))...)
			want = append(want, batch[0], batch[1], fmt.Sprintf("%d c", i))
		}
		end(t, l)
		for n := at[0].Segment; n <= at[len(at)-1].Segment; n++ {
			limit := l.segments[n].end.Load() - groupSize // behind it Close has its own group
			for off := int64(0); off < limit; off += 13 {
				if off >= headerUsed && off < headerSize {
					continue // means nothing
				}
				sys := whole.clone()
				sys.bytes(t, n)[off] ^= 1 << (off % 8)
				_, got, found := reopen(t, sys, Pos{})
				var rest []string
				for i, p := range at {
					if p.Segment != n || off < int64(p.Offset) || off >= int64(p.Offset)+frameSize+int64(len(want[i])) {
						rest = append(rest, want[i])
					}
				}
				if !slices.Equal(got, rest) {
					t.Fatalf("segment %d, byte %d: %d records of %d; %v", n, off, len(got), len(rest), found.Damage)
				}
				covers := func(d Damage) bool {
					return strings.HasSuffix(d.File, segmentName(n)) && d.Offset <= off && off < d.Offset+d.Bytes
				}
				if len(found.Damage) != 1 || !covers(found.Damage[0]) || found.Cut > 0 {
					t.Fatalf("segment %d, byte %d: %v, cut %d", n, off, found.Damage, found.Cut)
				}
				d := found.Damage[0]
				if aside := sys.files[d.Aside]; aside == nil || !bytes.Equal(aside.data, sys.bytes(t, n)[d.Offset:d.Offset+d.Bytes]) {
					t.Fatalf("segment %d, byte %d: no copy in %q", n, off, d.Aside)
				}
			}
		}
	})
}

func isDamage(err error) bool {
	var d *DamageError
	return errors.As(err, &d)
}
