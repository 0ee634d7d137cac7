package topic

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

// model is the index as it would be if nothing cost anything.
type model map[string]map[uint32]uint32

func (m model) set(filter string, e Entry) bool {
	_, replaced := m[filter][e.ID]
	if m[filter] == nil {
		m[filter] = map[uint32]uint32{}
	}
	m[filter][e.ID] = e.Options
	return replaced
}

func (m model) delete(filter string, id uint32) bool {
	_, existed := m[filter][id]
	delete(m[filter], id)
	return existed
}

func (m model) match(name string) (out []Entry) {
	for filter, entries := range m {
		if !naiveMatch(filter, name) {
			continue
		}
		for id, options := range entries {
			out = append(out, Entry{id, options})
		}
	}
	return sorted(out)
}

func (m model) len() (n int) {
	for _, entries := range m {
		n += len(entries)
	}
	return n
}

func sorted(entries []Entry) []Entry {
	out := slices.Clone(entries)
	slices.SortFunc(out, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Options, b.Options))
	})
	return out
}

// Levels are few, so that filters and names meet; some are empty, begin with '$', or need longer records.
var (
	levelGen  = rapid.SampledFrom([]string{"", "a", "b", "c", "$a", "$SYS", "elevenbytes", strings.Repeat("long", 300)})
	nameGen   = rapid.Custom(func(t *rapid.T) string { return genPath(t, levelGen) })
	filterGen = rapid.Custom(func(t *rapid.T) string {
		s := genPath(t, rapid.OneOf(levelGen, rapid.Just("+")))
		if rapid.IntRange(0, 3).Draw(t, "multi") == 0 {
			if s == "" {
				return "#"
			}
			return s + "/#"
		}
		return s
	})
)

func genPath(t *rapid.T, level *rapid.Generator[string]) string {
	s := strings.Join(rapid.SliceOfN(level, 1, 5).Draw(t, "levels"), "/")
	if s == "" {
		return "/"
	}
	return s
}

// TestIndexProperty holds index and cache to the model under random changes.
// [MQTT5 MQTT-3.8.4-3] [MQTT311 MQTT-3.8.4-3] F093: an identical filter replaces.
// [MQTT5 MQTT-3.10.4-1] [MQTT311 MQTT-3.10.4-1] F098: exactly the named filter goes.
// F094: overlapping filters yield one entry each.
func TestIndexProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, m := NewIndex(), model{}
		c := NewCache(x, 4)
		idGen := rapid.Uint32Range(0, 5)
		if rapid.Bool().Draw(t, "many") {
			idGen = rapid.Uint32Range(0, 200) // long rosters
		}
		set := func(t *rapid.T) {
			filter, e := filterGen.Draw(t, "filter"), Entry{idGen.Draw(t, "id"), rapid.Uint32Range(0, 3).Draw(t, "options")}
			if got, want := x.Set(filter, e), m.set(filter, e); got != want {
				t.Fatalf("Set(%q, %v) = %v", filter, e, got)
			}
		}
		remove := func(t *rapid.T, filter string, id uint32) {
			if got, want := x.Delete(filter, id), m.delete(filter, id); got != want {
				t.Fatalf("Delete(%q, %d) = %v", filter, id, got)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"set":   set,
			"set 2": set,
			"set crowd": func(t *rapid.T) {
				filter := filterGen.Draw(t, "filter")
				from := idGen.Draw(t, "from")
				for id := from; id < from+rapid.Uint32Range(0, 90).Draw(t, "n"); id++ {
					x.Set(filter, Entry{ID: id})
					m.set(filter, Entry{ID: id})
				}
			},
			"delete": func(t *rapid.T) { remove(t, filterGen.Draw(t, "filter"), idGen.Draw(t, "id")) },
			"delete known": func(t *rapid.T) {
				if len(m) == 0 {
					t.Skip("empty")
				}
				filter := rapid.SampledFrom(slices.Sorted(maps.Keys(m))).Draw(t, "filter")
				for _, id := range rapid.SliceOfN(idGen, 0, 60).Draw(t, "ids") {
					remove(t, filter, id)
				}
			},
			"match": func(t *rapid.T) {
				name := nameGen.Draw(t, "name")
				want := m.match(name)
				if got := sorted(x.Match([]byte(name), nil)); !slices.Equal(got, want) {
					t.Fatalf("Match(%q) = %v, want %v", name, got, want)
				}
				if got := sorted(c.Match([]byte(name))); !slices.Equal(got, want) {
					t.Fatalf("Cache.Match(%q) = %v, want %v", name, got, want)
				}
			},
			"": func(t *rapid.T) {
				if x.Len() != m.len() {
					t.Fatalf("Len() = %d, want %d", x.Len(), m.len())
				}
			},
		})
	})
}

// FuzzMatch holds index, cache, retained tree and Match to the naive matcher. Any name goes; filters are made valid.
func FuzzMatch(f *testing.F) {
	for _, c := range matchTable {
		if len(c.filter)+len(c.name) < 100 {
			f.Add(c.filter, c.name)
		}
	}
	f.Add("a/+\na/#\n#\na/b", "a/b")
	f.Fuzz(func(t *testing.T, filters, name string) {
		if ValidName(name) != nil {
			t.Skip()
		}
		x, m := NewIndex(), model{}
		c := NewCache(x, 2)
		r := NewRetained[int]()
		r.Set(name, 1)
		for i, filter := range strings.Split(filters, "\n") {
			if ValidFilter(filter) != nil {
				continue
			}
			e := Entry{ID: uint32(i)}
			x.Set(filter, e)
			m.set(filter, e)
			want := naiveMatch(filter, name)
			if Match(filter, name) != want {
				t.Errorf("Match(%q, %q) = %v", filter, name, !want)
			}
			visited := 0
			for cur := r.Scan(filter); !cur.Next(3, func(string, int) bool { visited++; return true }); {
			}
			if visited == 1 != want {
				t.Errorf("Scan(%q) over %q: %d visits", filter, name, visited)
			}
		}
		for range 2 { // with the filters, then with half of them gone
			want := m.match(name)
			if got := sorted(x.Match([]byte(name), nil)); !slices.Equal(got, want) {
				t.Errorf("filters %q, name %q: %v, want %v", filters, name, got, want)
			}
			if got := sorted(c.Match([]byte(name))); !slices.Equal(got, want) {
				t.Errorf("cache: filters %q, name %q: %v, want %v", filters, name, got, want)
			}
			for filter, entries := range m {
				for id := range entries {
					if id%2 == 0 {
						x.Delete(filter, id)
						m.delete(filter, id)
					}
				}
			}
		}
	})
}

// TestDeleteIsExact: F098, [MQTT5 MQTT-3.10.4-1] [MQTT311 MQTT-3.10.4-1].
func TestDeleteIsExact(t *testing.T) {
	x := NewIndex()
	filters := []string{"t", "$share/g/t", "t/", "/t", "t/#", "t/+", "T", "#", "+"}
	for _, filter := range filters {
		x.Set(filter, Entry{ID: 7})
	}
	for i, filter := range filters {
		if x.Delete(filter, 8) || !x.Delete(filter, 7) || x.Delete(filter, 7) {
			t.Errorf("Delete(%q): not exactly once and not exactly this", filter)
		}
		if left := len(filters) - i - 1; x.Len() != left {
			t.Errorf("after %q: %d entries, want %d", filter, x.Len(), left)
		}
	}
}

// TestChurnDoesNotGrow: F100, subscribing and unsubscribing for long leaves the memory as it was.
func TestChurnDoesNotGrow(t *testing.T) {
	for name, filter := range map[string]func(i int) string{
		"same exact":     func(int) string { return "a/b/c" },
		"same wildcard":  func(int) string { return "a/+/c/#" },
		"other exact":    func(i int) string { return fmt.Sprint("site/", i, "/device/", i*7919%100003) },
		"other wildcard": func(i int) string { return fmt.Sprint("site/", i, "/+/device/", i*7919%100003) },
		"other lengths":  func(i int) string { return fmt.Sprint("+/", strings.Repeat("x", i*31%1500), i) },
		"exact lengths":  func(i int) string { return fmt.Sprint(strings.Repeat("x", i*31%1500), i) },
	} {
		t.Run(name, func(t *testing.T) {
			const standing = 100 // subscriptions at any time
			x := NewIndex()
			churn := func(from, to int) {
				for i := from; i < to; i++ {
					x.Set(filter(i), Entry{ID: uint32(i)})
					if i >= standing {
						x.Delete(filter(i-standing), uint32(i-standing))
					}
				}
			}
			churn(0, 10_000)
			before := x.Bytes()
			churn(10_000, 50_000)
			if after := x.Bytes(); after > before+before/4 || x.Len() != standing {
				t.Errorf("%d bytes after 10,000 changes, %d after 50,000; %d entries", before, after, x.Len())
			}
		})
	}
}

// TestEmptiedIndexGivesBack: what 100,000 subscriptions took is free when they are gone.
func TestEmptiedIndexGivesBack(t *testing.T) {
	x := NewIndex()
	filter := func(i int) string { return fmt.Sprint([]string{"", "+/"}[i%2], "device/", i, "/state") }
	for i := range 100_000 {
		x.Set(filter(i), Entry{ID: uint32(i)})
	}
	full := x.Bytes()
	for i := range 100_000 {
		x.Delete(filter(i), uint32(i))
	}
	if empty := x.Bytes(); empty > full/8 || x.Len() != 0 {
		t.Errorf("full %d bytes, empty %d bytes, %d entries", full, empty, x.Len())
	}
}

// TestMassLeave: F102, everybody leaves one filter in time that grows with their number, not its square.
func TestMassLeave(t *testing.T) {
	const n = 100_000
	for _, filter := range []string{"a/b", "a/+"} {
		x := NewIndex()
		for id := range uint32(n) {
			x.Set(filter, Entry{ID: id})
		}
		start := time.Now()
		for id := range uint32(n) {
			if !x.Delete(filter, id) {
				t.Fatalf("%q: %d was not there", filter, id)
			}
		}
		// About 10 ms; a scan per removal would take seconds.
		if took := time.Since(start); took > 3*time.Second || x.Len() != 0 {
			t.Errorf("%q: %d leave in %v; %d remain", filter, n, took, x.Len())
		}
	}
}

// TestDeepFilters: F053 and F092, depth costs no stack, and branching costs at most a visit of each node.
func TestDeepFilters(t *testing.T) {
	x := NewIndex()
	deep := strings.Repeat("+/", 127) + "+"
	x.Set(deep, Entry{ID: 1})
	n := uint32(2)
	for i := 0; i < len(deep); i += 2 { // one filter for each level that is a literal instead
		x.Set(deep[:i]+"a"+deep[i+1:], Entry{ID: n})
		n++
	}
	name := []byte(strings.Repeat("a/", 127) + "a")
	if got := x.Match(name, nil); len(got) != 129 {
		t.Errorf("%d of 129 filters match", len(got))
	}
	longest := strings.Repeat("/", MaxBytes)
	x.Set(longest, Entry{ID: n})
	x.Set(strings.Repeat("+/", MaxBytes/2)+"+", Entry{ID: n + 1})
	if got := x.Match([]byte(longest), nil); len(got) != 1 {
		t.Errorf("%d of 1 filters match", len(got))
	}
	if got := x.Match([]byte(longest[:MaxBytes/2]), nil); len(got) != 1 || got[0].ID != n+1 {
		t.Errorf("%v, want the filter of 32,768 '+'", got)
	}
	if !x.Delete(strings.Repeat("+/", MaxBytes/2)+"+", n+1) {
		t.Error("the filter of 32,768 '+' is not there")
	}
}

func TestTooLongPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"Index":    func() { NewIndex().Set(strings.Repeat("x", MaxBytes+1), Entry{}) },
		"Retained": func() { NewRetained[int]().Set(strings.Repeat("x", MaxBytes+1), 0) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// TestConcurrentIndex: what is there all the time is always found, through the index and through a cache, while
// others come and go around it in the same shards and nodes; and a change is seen at once by the one who made it.
func TestConcurrentIndex(t *testing.T) {
	x := NewIndex()
	stable := map[string]int{"s/1/a": 3, "s/2/a": 2, "other": 1}
	for i, filter := range []string{"s/1/a", "s/+/a", "#"} {
		x.Set(filter, Entry{ID: uint32(i)})
	}
	const churners = 1000 // the first ID that is not stable
	var stop atomic.Bool
	var writers, readers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			c := NewCache(x, 16)
			for i := range 3000 {
				id := uint32(churners + w)
				filters := []string{"s/1/a", "s/+/a", "s/2/a", fmt.Sprint("s/", i, "/+"), fmt.Sprint("new/", i)}
				filter := filters[i%len(filters)]
				name := []byte(strings.ReplaceAll(filter, "+", "2"))
				has := func() bool {
					return slices.ContainsFunc(c.Match(name), func(e Entry) bool { return e.ID == id })
				}
				if x.Set(filter, Entry{ID: id}); !has() {
					t.Errorf("Set(%q) is not seen", filter)
				}
				if x.Delete(filter, id); has() {
					t.Errorf("Delete(%q) is not seen", filter)
				}
			}
		})
		readers.Go(func() {
			c := NewCache(x, 2)
			var dst []Entry
			for !stop.Load() {
				for name, want := range stable {
					dst = x.Match([]byte(name), dst[:0])
					for _, got := range [][]Entry{dst, c.Match([]byte(name))} {
						n := 0
						for _, e := range got {
							if e.ID < churners {
								n++
							}
						}
						if n != want {
							t.Errorf("%q: %v, want %d stable entries", name, got, want)
							return
						}
					}
				}
				x.Len()
				x.Bytes()
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
}

// TestMatchDoesNotAllocate in steady state, with a destination that is large enough.
func TestMatchDoesNotAllocate(t *testing.T) {
	x := NewIndex()
	for i := range 200 {
		x.Set("a/b/c", Entry{ID: uint32(i)})
		x.Set("a/+/c", Entry{ID: uint32(i)})
		x.Set(strings.Repeat("+/", i)+"#", Entry{ID: uint32(i)})
	}
	c := NewCache(x, 16)
	dst := make([]Entry, 0, 1000)
	for _, name := range [][]byte{[]byte("a/b/c"), []byte(strings.Repeat("a/", 127) + "a")} {
		if n := testing.AllocsPerRun(1000, func() { dst = x.Match(name, dst[:0]) }); n > poolMiss {
			t.Errorf("Match(%.20q): %v allocations", name, n)
		}
		if n := testing.AllocsPerRun(1000, func() { c.Match(name) }); n > poolMiss {
			t.Errorf("Cache.Match(%.20q): %v allocations", name, n)
		}
	}
}

// TestCacheGrows: a cache becomes as large as what is asked of it, within its bound, and answers the same on the way.
func TestCacheGrows(t *testing.T) {
	x := NewIndex()
	x.Set("a/#", Entry{ID: 1})
	x.Set("a/7", Entry{ID: 2})
	c := NewCache(x, 4*cacheSlots)
	if len(c.slots) != cacheSlots {
		t.Errorf("%d slots at the beginning", len(c.slots))
	}
	for i := range 10 * c.most {
		want := 1
		if i%c.most == 7 {
			want = 2
		}
		if got := c.Match(fmt.Appendf(nil, "a/%d", i%c.most)); len(got) != want {
			t.Fatalf("a/%d has %d entries", i%c.most, len(got))
		}
		if note := c.Note(); *note != 0 && *note != uint32(i%c.most)+1 {
			t.Fatalf("the note of a/%d is %d", i%c.most, *note)
		}
		*c.Note() = uint32(i%c.most) + 1
	}
	if len(c.slots) != c.most {
		t.Errorf("%d slots at the end", len(c.slots))
	}
}

// TestCacheSlot: a slot is two lines of memory, and the garbage collector has nothing to look for in it.
func TestCacheSlot(t *testing.T) {
	if n := unsafe.Sizeof(cached{}); n != 128 {
		t.Errorf("a slot has %d bytes", n)
	}
	for f := range reflect.TypeFor[cached]().Fields() {
		if k := f.Type.Kind(); k == reflect.Pointer || k == reflect.Slice || k == reflect.String {
			t.Errorf("%s is a %s", f.Name, k)
		}
	}
}

// TestCacheKeeps: names of all lengths and results of all sizes come back as they are, also where slots change between short and long; and where more
// names come in turn than there are slots, some stay.
func TestCacheKeeps(t *testing.T) {
	x := NewIndex()
	var names [][]byte
	for i := range 3000 {
		name := fmt.Appendf(nil, "a/%d/", i)
		name = append(name, strings.Repeat("x", i%300)...)
		names = append(names, name)
		for id := range i % 70 {
			x.Set(string(name), Entry{ID: uint32(id)})
		}
	}
	c := NewCache(x, 2048)
	kept := 0
	for round := range 6 {
		for i, name := range names {
			got := c.Match(name)
			if len(got) != i%70 {
				t.Fatalf("%.20s has %d entries, want %d", name, len(got), i%70)
			}
			for id, e := range got {
				if int(e.ID) >= i%70 || slices.ContainsFunc(got[:id], func(o Entry) bool { return o.ID == e.ID }) {
					t.Fatalf("%.20s: %v", name, got)
				}
			}
			if n := c.Note(); n == nil {
				if len(name) <= cacheName && len(got) <= cacheEntries {
					t.Fatalf("%.20s is not kept", name)
				}
			} else if *n != 0 && *n != uint32(i)+1 {
				t.Fatalf("%.20s has the note of another", name)
			} else {
				if *n != 0 && round > 2 {
					kept++
				}
				*n = uint32(i) + 1
			}
		}
	}
	if kept < len(names) { // of three rounds
		t.Errorf("%d of %d names in turn were still there when they came again", kept, 3*len(names))
	}
}
