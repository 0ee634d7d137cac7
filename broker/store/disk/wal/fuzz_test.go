package wal

import (
	"hash/crc32"
	"slices"
	"testing"
	"testing/synctest"
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func TestFrame(t *testing.T) {
	s := newSeed([16]byte{7})
	for _, body := range []string{"x", "hello", string(make([]byte, 5000))} {
		g, _ := makeGroup(body)
		b := g.Buf[groupSize:]
		sealFrame(b, s.at(3, 5000))
		got, last, ok := parseFrame(append(b, "behind"...), s.at(3, 5000))
		if !ok || !last || string(got) != body {
			t.Fatalf("%q %v %v", got, last, ok)
		}
		for _, seed := range []uint32{s.at(4, 5000), s.at(3, 5001), newSeed([16]byte{8}).at(3, 5000)} {
			if _, _, ok := parseFrame(b, seed); ok {
				t.Fatal("a frame parses where it does not belong")
			}
		}
	}
	h := header{kind: kindCold, number: 5, after: 4, store: [16]byte{9}, size: 1 << 30, created: 77}
	b := make([]byte, headerUsed)
	h.put(b)
	if got, err := parseHeader(b); err != nil || got != h {
		t.Fatal(got, err)
	}
	gh := groupHeader{number: 1 << 40, durable: 5, stamp: -1, bytes: 9, prev: Pos{3, 4}}
	gh.put(b, 6)
	if got, ok := parseGroup(b, 6); !ok || got != gh {
		t.Fatal(got, ok)
	}
}

// FuzzScan lays arbitrary bytes over a log: never a panic, never a record that was not written, never one twice or out
// of order; and what comes after goes on.
func FuzzScan(f *testing.F) {
	f.Add(uint32(headerSize), []byte{0, 0, 0, 0}, false)
	f.Add(uint32(0), make([]byte, 100), true)
	f.Add(uint32(headerSize+groupSize+4), []byte{1, 0, 0, 0x80}, true)
	f.Add(uint32(testSegment-3), []byte("abcdef"), false)
	f.Fuzz(func(t *testing.T, at uint32, junk []byte, second bool) {
		synctest.Test(t, func(t *testing.T) {
			sys := newMemory()
			l := begin(t, sys)
			var want []string
			for i := range 24 {
				batch := []string{body(3*i, 400), body(3*i+1, 3), body(3*i+2, 90)}
				add(t, l, i%3 > 0, batch[0]+"+"+batch[1], batch[2])
				want = append(want, batch...)
			}
			synctest.Wait()
			dead := sys.clone()
			end(t, l)
			n := uint32(1)
			if second {
				n = 2
			}
			b := dead.bytes(t, n)
			copy(b[int(at)%len(b):], junk)
			l, err := Open(dead, "log", options())
			if err != nil {
				t.Skip() // a header of a later version, with a checksum
			}
			next := 0
			see := func(r Record) error {
				i := slices.Index(want[next:], string(r.Body))
				if i < 0 {
					t.Fatalf("a record that was not written, or again: %q", r.Body)
				}
				next += i + 1
				return nil
			}
			if _, err := l.Replay(Pos{}, see); err != nil {
				t.Fatal(err)
			}
			if err := l.Start(); err != nil {
				t.Fatal(err)
			}
			add(t, l, true, "after")
			end(t, l)
			_, got, _ := reopen(t, dead, Pos{})
			if len(got) == 0 || got[len(got)-1] != "after" {
				t.Fatalf("%d records, and not the last", len(got))
			}
		})
	})
}
