package tally

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
)

func TestNames(t *testing.T) {
	n := NewNames(1000)
	known := map[string]Topic{}
	for _, name := range []string{"a/b/c", "a", "/", "", "//", "a/", "/a", "a/b", "$SYS/x", "ab/c", "a/b/c/d/e"} {
		if name == "" {
			continue
		}
		known[name] = n.Number([]byte(name))
	}
	for name, topic := range known {
		if got := n.Name(topic); got != name || n.Find([]byte(name)) != topic || n.Number([]byte(name)) != topic {
			t.Errorf("%q became %q", name, got)
		}
		if n.Parent(topic) >= topic {
			t.Errorf("%q stands before its branch", name)
		}
	}
	for _, name := range []string{"b", "a/c", "a/b/", "b/c"} {
		if n.Find([]byte(name)) != 0 {
			t.Errorf("%q is known", name)
		}
	}
	if got := n.Name(n.Nearest([]byte("a/b/x/y"))); got != "a/b" {
		t.Errorf("nearest is %q", got)
	}
}

func TestNamesBound(t *testing.T) {
	n := NewNames(64)
	numbers := map[Topic]int{}
	for i := range 10_000 {
		numbers[n.Number(fmt.Appendf(nil, "b%d/%d/x", i%20, i))]++
	}
	if n.Len() > 64+64/restPart+2 {
		t.Errorf("%d numbers", n.Len())
	}
	rests := 0
	for topic, count := range numbers {
		if n.IsRest(topic) {
			rests += count
			if count < 2 {
				t.Errorf("%s: %d", n.Name(topic), count)
			}
		}
	}
	if rests < 9_900 {
		t.Errorf("%d counted with rests", rests)
	}
}

// TestRate: a steady stream has its rate in all averages in the end, and is forgotten as a load average forgets.
func TestRate(t *testing.T) {
	var r Rate
	total := uint64(0)
	for s := range uint32(1000) {
		for range 50 {
			if !r.Counts(1000 + s) {
				r.Fold(1000+s, total)
			}
			total++
		}
	}
	got := r.At(2000, total)
	if got.Now != 10 || math.Abs(float64(got.Average[2])-10) > 0.1 {
		t.Errorf("%v, want 10 a second", got)
	}
	got = r.At(2000+12, total)
	if got.Now != 0 || math.Abs(float64(got.Average[0])-10/math.E) > 0.05 {
		t.Errorf("a minute later %v, want %.2f over a minute", got, 10/math.E)
	}
	if r.At(2000+100_000, total).Average[2] != 0 {
		t.Error("it is never forgotten")
	}
}

// TestSketch: against exact counts of a stream with a long tail, over several loops.
func TestSketch(t *testing.T) {
	const loops = 3
	exact := map[string]uint64{}
	lists := make([][]Heavy, loops)
	var sketches [loops]sketch
	total := uint64(0)
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, 1<<20)
	for range 300_000 {
		name := fmt.Sprint(zipf.Uint64())
		weight := uint64(1 + rand.IntN(3))
		exact[name] += weight
		total += weight
		sketches[rand.IntN(loops)].add([]byte(name), weight)
	}
	for i := range sketches {
		s := &sketches[i]
		for _, h := range s.by {
			lists[i] = append(lists[i], Heavy{h.name, h.weight, h.error})
		}
	}
	all, misses := Heaviest(lists)
	if bound := total / sketchSize * 11 / 10; misses > bound {
		t.Errorf("up to %d may be missed, the bound is %d", misses, bound)
	}
	found := map[string]bool{}
	for _, h := range all {
		found[h.Name] = true
		if x := exact[h.Name]; h.Weight < x || h.Weight-h.Error > x {
			t.Fatalf("%s weighs %d, said are %d to %d", h.Name, x, h.Weight-h.Error, h.Weight)
		}
	}
	for name, x := range exact {
		if x > misses && !found[name] {
			t.Errorf("%s weighs %d and is missed", name, x)
		}
	}
}

// TestNamesTogether: loops that meet the same new names at the same time get the same numbers, also for what there is no room for.
func TestNamesTogether(t *testing.T) {
	const loops, topics, limit = 4, 3000, 2500
	n := NewNames(limit)
	name := func(loop, k int) (branch, name string) {
		x := (k + loop*100) % topics
		branch = fmt.Sprintf("a/%d/", x%7)
		return branch, branch + fmt.Sprint(x)
	}
	var got [loops][topics]Topic
	var all sync.WaitGroup
	for i := range loops {
		all.Go(func() {
			for k := range topics {
				_, name := name(i, k)
				got[i][k] = n.Number([]byte(name))
			}
		})
	}
	all.Wait()
	for i := range loops {
		for k := range topics {
			branch, want := name(i, k)
			if n.IsRest(got[i][k]) {
				if n.Find([]byte(want)) != 0 {
					t.Fatalf("%q has a number and is counted with the rest", want)
				}
				want = branch + RestName
			}
			if was := n.Name(got[i][k]); was != want {
				t.Fatalf("%q is %q", want, was)
			}
		}
	}
	if n.Len() < limit {
		t.Errorf("%d numbers", n.Len())
	}
}

func TestPublishers(t *testing.T) {
	var p Publishers
	numbers := map[string]Publisher{}
	for i := range publishers + 10 {
		id := fmt.Sprint(i)
		numbers[id] = p.Number(id, 0)
	}
	for i := range 10 {
		if id := fmt.Sprint(publishers + i); p.ID(numbers[id]) != id || p.Number(id, numbers[id]) != numbers[id] {
			t.Errorf("%s is not remembered", id)
		}
	}
	if got := p.ID(numbers["5"]); got != "" {
		t.Errorf("the one of before is %q", got)
	}
}

func TestSizeClass(t *testing.T) {
	for i, limit := range SizeLimits() {
		if sizeClass(limit) != i || sizeClass(limit+1) != i+1 {
			t.Errorf("%d bytes are class %d, one more %d; want %d", limit, sizeClass(limit), sizeClass(limit+1), i)
		}
	}
	if sizeClass(0) != 0 {
		t.Error("an empty payload")
	}
}

// TestSelect compares answers with those made the long way.
func TestSelect(t *testing.T) {
	names := NewNames(10_000)
	x := NewTopics(names, 16, 1<<20)
	for i := range 2000 {
		name := fmt.Appendf(nil, "%d/%d/%d", rand.IntN(5), rand.IntN(10), rand.IntN(20))
		tag, topic := x.Tag(name)
		x.Published(tag, int64(i), 1, &Message{Name: name, Payload: name, Copies: uint64(i % 3)})
		for range i % 3 {
			x.Sent(topic, 1)
		}
	}
	v := NewView(names, 1)
	for next := x.Read(v, 0, 100); next != 0; {
		next = x.Read(v, next, 100)
	}
	branches := v.Branches()
	if s := branches[Root]; s.Messages != 2000 || s.Copies != s.Sent || s.Copies != 1999 {
		t.Errorf("the root: %+v", s)
	}
	top, matched := v.Select(branches, &Query{Limit: 3, Order: MostMessages})
	if matched != 5 || len(top) != 3 || top[0].Children != 10 || top[0].Sum.Messages < top[2].Sum.Messages {
		t.Errorf("%d matched: %+v", matched, top)
	}
	flat, all := v.Select(nil, &Query{Flat: true, Branch: names.Find([]byte("3/4")), Limit: 1000})
	sum := uint64(0)
	for _, f := range flat {
		sum += f.Sum.Messages
	}
	if all != len(flat) || sum != branches[names.Find([]byte("3/4"))].Messages {
		t.Errorf("%d of %d, %d messages", len(flat), all, sum)
	}
	if !slices.IsSortedFunc(flat, func(a, b Found) int { return (&worst{v: v, q: &Query{}}).compare(a, b) }) {
		t.Error("not sorted by name")
	}
	var pages []Found
	for after := 0; after < all; after += 7 {
		part, _ := v.Select(nil, &Query{Flat: true, Branch: names.Find([]byte("3/4")), Limit: 7, After: after})
		pages = append(pages, part...)
	}
	if !slices.EqualFunc(pages, flat, func(a, b Found) bool { return a.Topic == b.Topic }) {
		t.Error("pages are not the whole")
	}
}

// BenchmarkPublished is what the books of topics add to a message of QoS 0 that one receiver gets.
func BenchmarkPublished(b *testing.B) {
	x := NewTopics(NewNames(1000), 256, 1<<20)
	name, payload := []byte("bench/topic"), make([]byte, 64)
	tag, topic := x.Tag(name)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		x.Published(tag, int64(i>>10), uint32(i>>20), &Message{Name: name, Payload: payload, Publisher: 1, Copies: 1})
		x.Sent(topic, 1)
	}
}

// BenchmarkMillion is a million topics: their memory, and how long it takes to read them.
func BenchmarkMillion(b *testing.B) {
	const topics = 950_000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	x := NewTopics(NewNames(1_000_000), 256, 32<<20)
	payload := make([]byte, 64)
	for i := range topics {
		name := fmt.Appendf(nil, "site/%d/line/%d/device-%d/temperature", i%20, i/20%50, i/1000)
		if i%2 == 0 {
			name = fmt.Appendf(nil, "site/%d/line/%d/device-%d", i%20, i/20%50, i/1000)
		}
		tag, topic := x.Tag(name)
		x.Published(tag, 1, 1, &Message{Name: name, Payload: payload, Copies: 1})
		x.Sent(topic, 1)
	}
	b.Logf("%d bytes for each of %d topics and branches", (heap()-before)/uint64(x.names.Len()), x.names.Len())
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			v := NewView(x.names, 1)
			for next := x.Read(v, 0, 4096); next != 0; {
				next = x.Read(v, next, 4096)
			}
			v.Branches()
		}
	})
	v := NewView(x.names, 1)
	for next := x.Read(v, 0, 4096); next != 0; {
		next = x.Read(v, next, 4096)
	}
	branches := v.Branches()
	for name, q := range maps.All(map[string]*Query{"tree": {}, "top": {Flat: true, Order: MostMessages}, "word": {Flat: true, Word: []byte("device-7/")}}) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				v.Select(branches, q)
			}
		})
	}
}
