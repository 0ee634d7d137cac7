package tally

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
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

// update brings a view up to date, a few topics at a time.
func update(v *View, slot uint32, most int, loops ...*Topics) (read int) {
	v.Begin(slot)
	for _, x := range loops {
		x.Settle()
		x.Touched(v)
	}
	for some, sums := range v.Changed(most) {
		for _, x := range loops {
			x.Read(slot, some, sums)
		}
		read += len(some)
	}
	v.End([Weights][][]Heavy{})
	return read
}

// TestView has two loops count at random: a view that was brought up to date time and again says the same as one that is read anew, and both what was counted.
func TestView(t *testing.T) {
	names := NewNames(10_000)
	loops := []*Topics{NewTopics(names, 16, 1<<20), NewTopics(names, 16, 1<<20)}
	v := NewView(names)
	few := []string{"a", "a/b", "a/b/c", "/", "", "$SYS/x"}
	total := Counts{}
	for slot := uint32(1); slot < 40; slot++ {
		for range rand.IntN(300) {
			name := fmt.Appendf(nil, "%d/%d/%d", rand.IntN(5), rand.IntN(10), rand.IntN(20))
			if i := rand.IntN(20); i < len(few) {
				name = []byte(few[i])
			}
			x := loops[rand.IntN(2)]
			switch rand.IntN(8) {
			case 0:
				x.Dropped(x.Number(name), name, 3, 2)
				total.Dropped += 2
			case 1:
				x.Ended(name, End(0))
			case 2:
				x.Anew(x.Number(name), 1)
				x.Sent(x.Number(name), 1)
				total.Copies++
				total.Sent++
			default:
				tag, _ := x.Tag(name)
				x.Published(tag, int64(slot)*5000, slot, &Message{Name: name, Payload: name, Copies: 1})
				total.Messages++
				total.Copies++
				total.Bytes += uint64(len(name))
			}
		}
		if rand.IntN(3) == 0 {
			update(v, slot, 7, loops...)
		}
	}
	const now = 41
	if update(v, now, 7, loops...); update(v, now, 7, loops...) != 0 {
		t.Error("there is something to read when nothing was counted")
	}
	anew := NewView(names)
	update(anew, now, 1000, loops...)
	near := func(a, b Rates) bool {
		for i := range a.Average {
			if d := a.Average[i] - b.Average[i]; d > 0.01 || d < -0.01 {
				return false
			}
		}
		return a.Now == b.Now
	}
	for i := Root; i < Topic(names.Len()); i++ {
		own, rates := v.Own(i)
		ownAnew, ratesAnew := anew.Own(i)
		sum, all := v.Branch(i)
		sumAnew, allAnew := anew.Branch(i)
		if *own != *ownAnew || *sum != *sumAnew || !near(*rates, *ratesAnew) || !near(*all, *allAnew) || v.Children(i) != anew.Children(i) {
			t.Errorf("%q is %+v %v of %+v %v, anew %+v %v of %+v %v", names.Name(i), own, rates, sum, all, ownAnew, ratesAnew, sumAnew, allAnew)
		}
		below := *own
		n := 0
		for c := range v.Below(i) {
			s, _ := v.Branch(c)
			below.change(s, &Counts{})
			n++
		}
		if below != *sum || n != v.Children(i) {
			t.Errorf("%q is %+v, what is below it and itself %+v", names.Name(i), sum, below)
		}
	}
	sum, _ := v.Branch(Root)
	if sum.Messages != total.Messages || sum.Copies != total.Copies || sum.Sent != total.Sent || sum.Bytes != total.Bytes || sum.Dropped != total.Dropped {
		t.Errorf("all is %+v, counted %+v", sum, total)
	}
	listed := map[Topic]bool{}
	for _, i := range v.Listed() {
		listed[i] = true
	}
	for i := Root + 1; i < Topic(names.Len()); i++ {
		if own, _ := v.Own(i); (*own != Counts{}) != listed[i] {
			t.Errorf("%q is listed: %v; %+v", names.Name(i), listed[i], own)
		}
	}
	if len(listed) != len(v.Listed()) {
		t.Error("one is listed twice")
	}
}

// What an update costs is what has changed: not how many topics there are.
func TestUpdateReadsWhatChanged(t *testing.T) {
	names := NewNames(100_000)
	x, v := NewTopics(names, 0, 0), NewView(names)
	publish := func(i int, slot uint32) {
		name := fmt.Appendf(nil, "a/%d/%d", i%100, i)
		tag, topic := x.Tag(name)
		x.Published(tag, int64(slot)*5000, slot, &Message{Name: name, Copies: 1})
		x.Sent(topic, 1)
	}
	for i := range 50_000 {
		publish(i, 1)
	}
	if n := update(v, 1, 4096, x); n != 50_101 {
		t.Errorf("at first %d are read", n)
	}
	for i := range 10 {
		publish(i, 9)
		publish(i, 9)
	}
	if n := update(v, 10, 4096, x); n < 10 {
		t.Errorf("%d are read", n)
	}
	for i := range 10 {
		publish(i, 10)
	}
	if n := update(v, 10, 4096, x); n != 10 {
		t.Errorf("ten have changed, %d are read", n)
	}
	if n := update(v, 11, 4096, x); n > 20 {
		t.Errorf("the rate of ten has changed, %d are read", n)
	}
	if allocs := testing.AllocsPerRun(10, func() { update(v, 11, 4096, x) }); allocs > 20 {
		t.Errorf("%v allocations where nothing has changed", allocs)
	}
}

func TestMatching(t *testing.T) {
	names := NewNames(1000)
	x, v := NewTopics(names, 0, 0), NewView(names)
	for _, n := range []string{"a/b/c", "a", "/x", "$SYS/y", "d/"} {
		tag, _ := x.Tag([]byte(n))
		x.Published(tag, 1, 1, &Message{Name: []byte(n)})
	}
	x.Ended([]byte("a/b"), End(0)) // nothing came
	update(v, 1, 100, x)
	all := []string{"a/b/c", "a", "/x", "$SYS/y", "d/"}
	for _, f := range []string{"#", "a", "a/b", "a/b/c", "a/#", "a/b/#", "a/b/c/#", "a/b/c/d", "+", "+/+", "+/b/+", "+/#", "/x", "/+", "/#", "+/x", "$SYS/y", "$SYS/#", "$SYS/+", "+/y", "d", "d/", "d/+", "d/#", "d/+/#", "x/#", "/"} {
		var got, want []string
		for _, n := range all {
			if topic.Match(f, n) {
				want = append(want, n)
			}
		}
		for i := range v.Matching(f) {
			got = append(got, names.Name(i))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", f, got, want)
		}
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

// BenchmarkInTurn is the same of many topics in turn, in an order without pattern.
func BenchmarkInTurn(b *testing.B) {
	for _, topics := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint("topics=", topics), func(b *testing.B) {
			x := NewTopics(NewNames(1_000_000), 256, 32<<20)
			payload := make([]byte, 64)
			tags, numbers := make([]Tag, topics), make([]Topic, topics)
			for i, at := range rand.Perm(topics) {
				tags[at], numbers[at] = x.Tag(fmt.Appendf(nil, "site/%d/device/%d", i%20, i))
			}
			for i := 0; b.Loop(); i++ {
				at := i % topics
				x.Published(tags[at], int64(i>>10), uint32(i>>20), &Message{Payload: payload, Publisher: 1, Copies: 1})
				x.Sent(numbers[at], 1)
			}
		})
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
	v := NewView(x.names)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			v = NewView(x.names)
			update(v, 1, 4096, x)
		}
	})
	b.Logf("%d bytes each with a view", (heap()-before)/uint64(x.names.Len()))
	for _, changed := range []int{0, 100, 10_000, 100_000} {
		b.Run(fmt.Sprint("changed=", changed), func(b *testing.B) {
			for b.Loop() {
				for range changed {
					x.Sent(Topic(2+rand.IntN(topics)), 1)
				}
				update(v, 1, 4096, x)
			}
		})
	}
	b.Run("slot", func(b *testing.B) {
		for slot := uint32(2); b.Loop(); slot++ {
			update(v, slot, 4096, x)
		}
	})
	runtime.KeepAlive(v)
}
