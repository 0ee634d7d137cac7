package topic

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTable holds the table to a map, also with hashes that are equal or crowd at one end.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tab table
		m := map[uint32][]uint32{} // hash to references
		hashGen := rapid.OneOf(rapid.Uint32(), rapid.Uint32Range(0, 5), rapid.Uint32Min(^uint32(0)-5))
		n := 0
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				hashes := rapid.SliceOfN(hashGen, 1, 40).Draw(t, "hashes")
				for _, hash := range hashes {
					n++
					tab.insert(hash, uint32(n))
					m[hash] = append(m[hash], uint32(n))
				}
			},
			"drop": func(t *rapid.T) {
				for hash, refs := range m { // in any order, up to one half
					if len(refs) > 0 && hash%2 == uint32(n)%2 {
						tab.drop(hash, refs[0])
						m[hash] = refs[1:]
					}
				}
				tab.drop(7, 1<<31) // is not there
			},
			"": func(t *rapid.T) {
				used := 0
				for hash, want := range m {
					var got []uint32
					for at, ref := tab.first(hash); ref != 0; at, ref = tab.next(hash, at) {
						got = append(got, ref)
					}
					slices.Sort(got)
					if !slices.Equal(got, want) {
						t.Fatalf("hash %x: %v, want %v", hash, got, want)
					}
					used += len(want)
				}
				if tab.used != used {
					t.Fatalf("used is %d, want %d", tab.used, used)
				}
			},
		})
	})
}

// TestSlab: runs never overlap, and what is released serves again.
func TestSlab(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSlab[uint32](2)
		type run struct {
			unit uint32
			n    int
			mark uint32
		}
		var runs []run
		mark := uint32(0)
		t.Repeat(map[string]func(*rapid.T){
			"alloc": func(t *rapid.T) {
				for _, n := range rapid.SliceOfN(rapid.IntRange(1, longestRun), 1, 50).Draw(t, "units") {
					mark++
					r := run{s.alloc(n), n, mark}
					for i := range s.run(r.unit, 2*n) {
						s.run(r.unit, 2*n)[i] = mark
					}
					runs = append(runs, r)
				}
			},
			"release": func(t *rapid.T) {
				for range rapid.IntRange(0, 60).Draw(t, "n") {
					if len(runs) == 0 {
						return
					}
					i := rapid.IntRange(0, len(runs)-1).Draw(t, "i")
					s.release(runs[i].unit, runs[i].n)
					runs = slices.Delete(runs, i, i+1)
				}
			},
			"": func(t *rapid.T) {
				for _, r := range runs {
					for _, v := range s.run(r.unit, 2*r.n) {
						if v != r.mark || r.unit == 0 {
							t.Fatalf("run %d of %d units is overwritten", r.unit, r.n)
						}
					}
				}
				if int(s.live) != len(runs) {
					t.Fatalf("%d live, want %d", s.live, len(runs))
				}
			},
		})
	})
}
