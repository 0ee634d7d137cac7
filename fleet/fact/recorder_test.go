package fact_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/fact/memory"
)

func open(t testing.TB, o fact.Options) *fact.Recorder {
	t.Helper()
	if o.Store == nil {
		o.Store = &memory.Store{}
	}
	r, err := fact.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func shut(t testing.TB, r *fact.Recorder) {
	t.Helper()
	if err := r.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func ask(t *testing.T, r *fact.Recorder, q fact.Query) []fact.Fact {
	t.Helper()
	p, err := r.Query(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return p.Facts
}

// What was recorded can be asked for at once, in the order in which it came, by ids that grow, also across a restart with a clock
// that was set back.
func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory.Store{}
		future := fact.IDAt(time.Now().Add(time.Hour))
		if err := store.Append(t.Context(), []fact.Fact{{ID: future, At: time.Now(), Kind: fact.Started}}); err != nil {
			t.Fatal(err)
		}
		r := open(t, fact.Options{Store: store})
		for i := range 10 {
			r.Record(fact.Fact{Kind: fact.Connected, Client: fmt.Sprint("c", i)})
		}
		r.Record(fact.Fact{Kind: fact.Dropped, At: time.Now().Add(time.Hour), Topic: strings.Repeat("ä", 40_000)})
		got := ask(t, r, fact.Query{Oldest: true})
		if len(got) != 12 {
			t.Fatalf("%d facts", len(got))
		}
		for i, f := range got[1:] {
			if f.ID != future+uint64(i)+1 || !f.At.Equal(time.Now().Truncate(time.Microsecond)) {
				t.Errorf("%d: %+v", i, f)
			}
		}
		if n := len(got[11].Topic); n != 1024 || !strings.HasPrefix(strings.Repeat("ä", 40_000), got[11].Topic) {
			t.Errorf("a topic of %d bytes", n)
		}
		if found := ask(t, r, fact.Query{Topic: strings.Repeat("ä", 40_000)}); len(found) != 1 {
			t.Error("a topic that was cut is not found")
		}
		shut(t, r)
		r.Record(fact.Fact{Kind: fact.Connected})
		if r.Stats(t.Context()).NotRecorded != 1 {
			t.Error("what comes after the end is not counted")
		}
		shut(t, r) // a second time
	})
}

// What comes is kept without anybody asking, some 200 ms later.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &counting{}
		r := open(t, fact.Options{Store: store})
		defer shut(t, r)
		for range 100 {
			r.Record(fact.Fact{Kind: fact.Connected})
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n, facts := store.counts(); n < 4 || n > 6 || facts != 100 {
			t.Errorf("%d facts in %d batches within a second", facts, n)
		}
	})
}

// counting is a store that can fail and hang.
type counting struct {
	memory.Store
	mu      sync.Mutex
	batches int
	facts   int
	err     error
	hang    chan struct{}
}

func (c *counting) counts() (batches, facts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.batches, c.facts
}

func (c *counting) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *counting) Append(ctx context.Context, facts []fact.Fact) error {
	if c.hang != nil {
		<-c.hang
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batches++
	if c.err != nil {
		return c.err
	}
	c.facts += len(facts)
	return c.Store.Append(ctx, facts)
}

// A store that hangs stops nobody: recording goes on until its bounds, watching too, and what did not fit is counted and told.
func TestHangingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &counting{hang: make(chan struct{})}
		r := open(t, fact.Options{Store: store, Waiting: 100})
		live := r.Watch(fact.Query{})
		for range 10 {
			for range 100 {
				r.Record(fact.Fact{Kind: fact.Connected})
			}
			if facts, lost, err := live.Next(t.Context()); len(facts) != 100 || lost != 0 || err != nil {
				t.Fatalf("who watches gets %d facts, %d lost, %v", len(facts), lost, err)
			}
		}
		close(store.hang)
		time.Sleep(time.Minute)
		synctest.Wait()
		_, kept := store.counts()
		told := ask(t, r, fact.Query{Kinds: []fact.Kind{fact.NotRecorded}})
		if len(told) == 0 || kept < 200 || kept+int(sum(told))-len(told) != 1000 {
			t.Errorf("%d kept, %+v", kept, told)
		}
		shut(t, r)
	})
}

func sum(facts []fact.Fact) (n uint64) {
	for _, f := range facts {
		n += f.Count
	}
	return n
}

// A store that fails is tried again from time to time; what is missing is told when it works again.
func TestFailingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &counting{err: errors.New("no space left on device")}
		r := open(t, fact.Options{Store: store, MaxAge: time.Hour})
		for range 600 { // ten minutes
			r.Record(fact.Fact{Kind: fact.Connected})
			time.Sleep(time.Second)
		}
		if tries, _ := store.counts(); tries < 5 || tries > 20 {
			t.Errorf("%d tries in ten minutes", tries)
		}
		store.fail(nil)
		time.Sleep(2 * time.Minute)
		r.Record(fact.Fact{Kind: fact.Disconnected})
		time.Sleep(time.Second)
		told := ask(t, r, fact.Query{Kinds: []fact.Kind{fact.NotRecorded}})
		if len(told) != 1 || told[0].Count != 600 || told[0].Reason != "store" || r.Stats(t.Context()).NotRecorded != 600 {
			t.Errorf("%+v, %+v", told, r.Stats(t.Context()))
		}
		shut(t, r)
	})
}

// More than fits at once is counted, and told as soon as there is room.
func TestTooFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, fact.Options{Waiting: 1000, Bytes: 50 * 1000})
		defer shut(t, r)
		for range 5000 {
			r.Record(fact.Fact{Kind: fact.Connected})
		}
		facts := ask(t, r, fact.Query{Limit: 10_000})
		if told := facts[0]; told.Kind != fact.NotRecorded || int(told.Count)+len(facts)-1 != 5000 || len(facts) > 210 {
			t.Errorf("%d facts, the last %+v", len(facts), told)
		}
	})
}

// Who watches, as each webhook does, gets what its filter asks for; who is too slow is told how many it missed, in a bounded queue, and holds up nobody (F196).
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, fact.Options{})
		all, some, slow := r.Watch(fact.Query{}), r.Watch(fact.Query{Topic: "a/#", Clients: []string{"x"}}), r.Watch(fact.Query{})
		for i := range 20_000 {
			r.Record(fact.Fact{Kind: fact.Dropped, Client: "xy"[i%2 : i%2+1], Topic: "a/b/#"[:3+2*(i/2%2)]})
			if i%1000 == 999 {
				if err := r.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				a, _, _ := all.Next(t.Context())
				b, _, _ := some.Next(t.Context())
				if len(a) != 1000 || len(b) != 500 || b[0].Client != "x" {
					t.Fatalf("%d and %d", len(a), len(b))
				}
			}
		}
		if got, lost, err := slow.Next(t.Context()); len(got)+int(lost) != 20_000 || lost == 0 || err != nil {
			t.Errorf("%d and %d lost, %v", len(got), lost, err)
		}
		some.Close()
		if _, _, err := some.Next(t.Context()); !errors.Is(err, fact.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		r.Record(fact.Fact{Kind: fact.Stopping})
		shut(t, r)
		if got, _, err := all.Next(t.Context()); len(got) != 1 || err != nil {
			t.Errorf("the last facts: %v %v", got, err)
		}
		if _, _, err := all.Next(t.Context()); !errors.Is(err, fact.ErrClosed) {
			t.Errorf("the recorder is closed: %v", err)
		}
		if _, _, err := r.Watch(fact.Query{}).Next(t.Context()); !errors.Is(err, fact.ErrClosed) {
			t.Errorf("the recorder was closed before: %v", err)
		}
	})
}

// What is too old or too much goes, by itself.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory.Store{}
		r := open(t, fact.Options{Store: store, MaxAge: time.Hour, MaxBytes: 1 << 20})
		defer shut(t, r)
		for range 20 {
			for range 1000 {
				r.Record(fact.Fact{Kind: fact.Connected})
			}
			time.Sleep(time.Second)
		}
		if z, _ := store.Size(t.Context()); z.Bytes > 1<<20 || z.Bytes < 1<<19 {
			t.Errorf("%d bytes", z.Bytes)
		}
		time.Sleep(time.Hour + 2*time.Minute)
		synctest.Wait()
		if z, _ := store.Size(t.Context()); z.Bytes != 0 {
			t.Errorf("%d bytes after an hour", z.Bytes)
		}
	})
}

// Many record, ask and watch at once.
func TestConcurrent(t *testing.T) {
	r := open(t, fact.Options{Every: time.Millisecond})
	const each = 2000
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range each {
				r.Record(fact.Fact{Kind: fact.Connected, Client: fmt.Sprint(g), Count: uint64(i + 1), Detail: map[string]string{"a": "b"}})
			}
		})
	}
	got := make(chan int)
	live := r.Watch(fact.Query{})
	go func() {
		n := 0
		for n < 4*each {
			facts, lost, err := live.Next(context.Background())
			if err != nil {
				break
			}
			n += len(facts) + int(lost)
		}
		got <- n
	}()
	for range 50 {
		ask(t, r, fact.Query{Clients: []string{"1"}})
	}
	all.Wait()
	if n := <-got; n != 4*each {
		t.Errorf("who watches got %d", n)
	}
	for g := range 4 {
		facts := ask(t, r, fact.Query{Clients: []string{fmt.Sprint(g)}, Limit: fact.MaxLimit, Oldest: true})
		if len(facts) != each || !slices.IsSortedFunc(facts, func(a, b fact.Fact) int { return int(a.Count) - int(b.Count) }) {
			t.Errorf("%d of goroutine %d", len(facts), g)
		}
	}
	shut(t, r)
}

// A sink gets what is left when it is stopped, and is closed.
func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, fact.Options{})
		defer shut(t, r)
		s := &sink{}
		stop := r.Feed(fact.Query{Kinds: []fact.Kind{fact.Admin}}, s)
		for _, k := range fact.Kinds() {
			r.Record(fact.Fact{Kind: k})
		}
		if err := stop(t.Context()); err != nil || s.n != 1 || !s.closed {
			t.Errorf("%+v %v", s, err)
		}
	})
}

type sink struct {
	n      int
	closed bool
}

func (s *sink) Send(_ context.Context, facts []fact.Fact, _ uint64) { s.n += len(facts) }
func (s *sink) Close() error                                        { s.closed = true; return nil }

// Every kind that there is is among Kinds: filters refuse others.
func TestKinds(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "fact.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "Kind" {
			declared++
			name, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil || !slices.Contains(fact.Kinds(), fact.Kind(name)) {
				t.Errorf("%s is not among the kinds", name)
			}
		}
		return true
	})
	if n := len(fact.Kinds()); n != declared {
		t.Errorf("%d kinds, but %d are declared", n, declared)
	}
}

// The cost of telling a fact, on the goroutine that tells it.
func BenchmarkRecord(b *testing.B) {
	r := open(b, fact.Options{Store: &nowhere{}})
	defer shut(b, r)
	f := fact.Fact{Kind: fact.Disconnected, Client: "press-07", User: "ann", Address: "192.0.2.7:1883", Listener: "plain", Reason: "keep_alive", Code: 0x8d, Text: "press-07 was disconnected: nothing came for 1.5 times its keep-alive of 60 s."}
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		r.Record(f)
		if n%4096 == 0 { // what the other goroutines do is theirs
			b.StopTimer()
			if err := r.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	}
	if lost := r.Stats(b.Context()).NotRecorded; lost > 0 {
		b.Errorf("%d lost", lost)
	}
}

type nowhere struct{ memory.Store }

func (*nowhere) Append(context.Context, []fact.Fact) error { return nil }

// What a store that hangs has not kept yet is found all the same, at once, in both orders and over pages; nothing is found twice when
// it has kept it.
func TestAskWhileStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &counting{}
		r := open(t, fact.Options{Store: store})
		record := func(from, to int) {
			for i := from; i < to; i++ {
				r.Record(fact.Fact{Kind: fact.Connected, Client: "xy"[i%2 : i%2+1], Count: uint64(i)})
			}
		}
		record(0, 40)
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		store.hang = make(chan struct{})
		record(40, 70)
		time.Sleep(time.Second) // the store has them in hand
		record(70, 90)
		time.Sleep(time.Second) // they wait for the store
		record(90, 100)
		check := func() {
			t.Helper()
			for _, oldest := range []bool{false, true} {
				for _, limit := range []int{7, 10, 25, 1000} {
					var got []uint64
					q := fact.Query{Clients: []string{"x"}, Oldest: oldest, Limit: limit}
					for more := true; more; {
						p, err := r.Query(t.Context(), q)
						if err != nil || len(p.Facts) > limit {
							t.Fatal(len(p.Facts), err)
						}
						for _, f := range p.Facts {
							got = append(got, f.Count)
						}
						if more = p.Next != 0; oldest {
							q.After = p.Next
						} else {
							q.Before = p.Next
						}
					}
					if oldest {
						slices.Reverse(got)
					}
					for i, n := range got {
						if n != uint64(98-2*i) {
							t.Fatalf("oldest first %v, limit %d: %v", oldest, limit, got)
						}
					}
					if len(got) != 50 {
						t.Errorf("oldest first %v, limit %d: %d facts, want 50", oldest, limit, len(got))
					}
				}
			}
			all := ask(t, r, fact.Query{Limit: 1000})
			if got := ask(t, r, fact.Query{Before: all[79].ID, After: all[95].ID, Limit: 1000}); len(got) != 15 || got[0].ID != all[80].ID {
				t.Errorf("between two ids: %+v", got)
			}
		}
		check()
		close(store.hang)
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		check()
		shut(t, r)
	})
}
