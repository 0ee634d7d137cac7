package topic

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// scanModel follows one cursor: which matching names have been there all the time, and which were visited.
type scanModel struct {
	filter  string
	cursor  *Cursor[int]
	steady  map[string]bool
	visited map[string]bool
}

func (s *scanModel) next(t *rapid.T, kept map[string]int, budget int) (done bool) {
	return s.cursor.Next(budget, func(name string, v int) bool {
		if !naiveMatch(s.filter, name) {
			t.Fatalf("Scan(%q) visits %q", s.filter, name)
		}
		if want, ok := kept[name]; !ok || v != want {
			t.Fatalf("Scan(%q) visits %q = %d, kept is %d, %v", s.filter, name, v, want, ok)
		}
		if s.visited[name] {
			t.Fatalf("Scan(%q) visits %q twice", s.filter, name)
		}
		s.visited[name] = true
		return v%3 != 0 // "enough for now" must lose nothing
	})
}

func (s *scanModel) check(t *rapid.T) {
	for name := range s.steady {
		if !s.visited[name] {
			t.Fatalf("Scan(%q) has missed %q", s.filter, name)
		}
	}
}

// TestRetainedProperty holds the tree to a map under random changes, with several cursors open all the time.
func TestRetainedProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree, kept := NewRetained[int](), map[string]int{}
		var scans []*scanModel
		n := 0
		set := func(t *rapid.T) {
			name := nameGen.Draw(t, "name")
			n++
			old, had := tree.Set(name, n)
			if want, ok := kept[name]; had != ok || old != want {
				t.Fatalf("Set(%q) = %d, %v, want %d, %v", name, old, had, want, ok)
			}
			kept[name] = n
		}
		t.Repeat(map[string]func(*rapid.T){
			"set":   set,
			"set 2": set,
			"delete": func(t *rapid.T) {
				name := nameGen.Draw(t, "name")
				if len(kept) > 0 && rapid.Bool().Draw(t, "known") {
					name = rapid.SampledFrom(slices.Sorted(maps.Keys(kept))).Draw(t, "known name")
				}
				old, had := tree.Delete([]byte(name))
				if want, ok := kept[name]; had != ok || old != want {
					t.Fatalf("Delete(%q) = %d, %v, want %d, %v", name, old, had, want, ok)
				}
				delete(kept, name)
				for _, s := range scans {
					delete(s.steady, name)
				}
			},
			"get": func(t *rapid.T) {
				name := nameGen.Draw(t, "name")
				got, ok := tree.Get([]byte(name))
				if want, had := kept[name]; got != want || ok != had {
					t.Fatalf("Get(%q) = %d, %v, want %d, %v", name, got, ok, want, had)
				}
			},
			"scan": func(t *rapid.T) {
				filter := filterGen.Draw(t, "filter")
				s := &scanModel{filter, tree.Scan(filter), map[string]bool{}, map[string]bool{}}
				for name := range kept {
					if naiveMatch(filter, name) {
						s.steady[name] = true
					}
				}
				scans = append(scans, s)
			},
			"next": func(t *rapid.T) {
				if len(scans) == 0 {
					t.Skip("no cursor")
				}
				i := rapid.IntRange(0, len(scans)-1).Draw(t, "cursor")
				if scans[i].next(t, kept, rapid.IntRange(1, 7).Draw(t, "budget")) {
					scans[i].check(t)
					scans = slices.Delete(scans, i, i+1)
				}
			},
			"close": func(t *rapid.T) {
				if len(scans) > 2 {
					scans[0].cursor.Close()
					scans = scans[1:]
				}
			},
			"": func(t *rapid.T) {
				if tree.Len() != len(kept) {
					t.Fatalf("Len() = %d, want %d", tree.Len(), len(kept))
				}
			},
		})
		for _, s := range scans {
			for !s.next(t, kept, 3) {
			}
			s.check(t)
		}
		for name := range kept {
			tree.Delete([]byte(name))
		}
		if tree.nodes.live != 0 || tree.values.live != 0 || tree.levels.recs.live != 0 || len(tree.pins) != 0 {
			t.Fatalf("an empty tree holds %d nodes, %d values, %d levels, %d pins",
				tree.nodes.live, tree.values.live, tree.levels.recs.live, len(tree.pins))
		}
	})
}

// collect returns the names that a scan visits, in slices of budget.
func collect(tree *Retained[int], filter string, budget int) (names []string, slices int) {
	for c := tree.Scan(filter); ; slices++ {
		if c.Next(budget, func(name string, _ int) bool { names = append(names, name); return true }) {
			return names, slices
		}
	}
}

// TestScanIsComplete: a scan is never truncated, whatever the size of its slices.
func TestScanIsComplete(t *testing.T) {
	tree := NewRetained[int]()
	const n = 20_000
	for i := range n {
		tree.Set(fmt.Sprintf("site/%d/device/%d/temperature", i%100, i), i)
	}
	for filter, want := range map[string]int{
		"#": n, "site/#": n, "site/7/#": n / 100, "+/7/+/+/temperature": n / 100, "site/+/device/77/+": 1,
		"site/77/device/77/temperature": 1, "site/+/device/+/humidity": 0, "+": 0, "nothing/#": 0,
	} {
		for _, budget := range []int{1, 100, 1 << 30} {
			names, _ := collect(tree, filter, budget)
			slices.Sort(names)
			if len(names) != want || len(slices.Compact(names)) != want {
				t.Errorf("Scan(%q), budget %d: %d names, want %d", filter, budget, len(names), want)
			}
		}
	}
}

// TestScanCost: F092, a filter of 128 '+' over a deep, branching tree takes a few steps per node, in slices.
func TestScanCost(t *testing.T) {
	tree := NewRetained[int]()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		var name strings.Builder
		for d := range 128 {
			fmt.Fprintf(&name, "%d/", rng.IntN(2)*(d%8))
		}
		tree.Set(name.String()[:name.Len()-1], i)
	}
	const budget = 500
	names, slices := collect(tree, strings.Repeat("+/", 127)+"+", budget)
	if most := 3 * int(tree.nodes.live) / budget; len(names) != 1000 || slices > most {
		t.Errorf("%d names in %d slices of %d steps, for %d nodes", len(names), slices, budget, tree.nodes.live)
	}
}

// TestRetainedDeep: F053, a name of 65,536 levels costs no stack.
func TestRetainedDeep(t *testing.T) {
	tree := NewRetained[int]()
	name := strings.Repeat("/", MaxBytes)
	tree.Set(name, 1)
	tree.Set("a", 2)
	for _, filter := range []string{"#", "/#", strings.Repeat("+/", MaxBytes/2) + "#", name} {
		names, _ := collect(tree, filter, 1000)
		if !slices.Contains(names, name) {
			t.Errorf("Scan(%.20q): %d names, the deep one is missing", filter, len(names))
		}
	}
	if _, had := tree.Delete([]byte(name)); !had || tree.nodes.live != 1 {
		t.Errorf("deleted: %v; %d nodes are left, want 1", had, tree.nodes.live)
	}
}

// TestRetainedChurnDoesNotGrow: F100 for retained messages, with a cursor that stands in the middle all the time.
func TestRetainedChurnDoesNotGrow(t *testing.T) {
	tree := NewRetained[int]()
	for i := range 100 {
		tree.Set(fmt.Sprint("a/", i), i)
	}
	c := tree.Scan("#")
	c.Next(50, func(string, int) bool { return true })
	churn := func(from, to int) {
		for i := from; i < to; i++ {
			name := fmt.Sprint("a/", i)
			tree.Set(name, i)
			tree.Delete([]byte(name))
		}
	}
	churn(0, 10_000)
	before := tree.Bytes()
	churn(10_000, 50_000)
	if after := tree.Bytes(); after > before {
		t.Errorf("%d bytes after 10,000 changes, %d after 50,000", before, after)
	}
	c.Close()
	c.Close()
	if tree.nodes.live != 0 || len(tree.pins) != 0 {
		t.Errorf("%d nodes and %d pins are left", tree.nodes.live, len(tree.pins))
	}
	if !c.Next(1, nil) {
		t.Error("a closed cursor is not done")
	}
}

// TestScanPanic: a visit that panics leaves the tree unlocked and the cursor's pin right.
func TestScanPanic(t *testing.T) {
	tree := NewRetained[int]()
	for i := range 10 {
		tree.Set(fmt.Sprint(i), i)
	}
	c := tree.Scan("#")
	func() {
		defer func() { recover() }()
		c.Next(100, func(string, int) bool { panic("visit") })
	}()
	left := 0
	for !c.Next(1, func(string, int) bool { left++; return true }) {
	}
	if left != 9 || len(tree.pins) != 0 {
		t.Errorf("%d names after the panic, %d pins", left, len(tree.pins))
	}
}

// TestConcurrentRetained: scans see what is there all the time exactly once while others come and go.
func TestConcurrentRetained(t *testing.T) {
	tree := NewRetained[int]()
	const n = 300
	steady := func(i int) string { return fmt.Sprintf("s/%d/v", i) }
	for i := range n {
		tree.Set(steady(i), i)
	}
	stop := make(chan struct{})
	var writers, readers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := rng.IntN(n)
				name := fmt.Sprintf("s/%d/%s", i, []string{"x", "v/x", "v/y/z"}[rng.IntN(3)])
				if rng.IntN(2) == 0 {
					name = fmt.Sprintf("s/new%d/v", i)
				}
				tree.Set(name, -1)
				tree.Set(steady(i), i)
				tree.Get([]byte(name))
				tree.Delete([]byte(name))
			}
		})
		readers.Go(func() {
			for round := range 30 {
				filter := []string{"#", "s/+/v", "s/#", "+/+/+"}[round%4]
				seen := map[string]int{}
				for c := tree.Scan(filter); !c.Next(17, func(name string, _ int) bool { seen[name]++; return true }); {
				}
				for i := range n {
					if seen[steady(i)] != 1 {
						t.Errorf("Scan(%q) visits %q %d times", filter, steady(i), seen[steady(i)])
					}
				}
				tree.Scan(filter).Close()
				c := tree.Scan(filter)
				c.Next(5, func(string, int) bool { return true })
				c.Close()
			}
		})
	}
	readers.Wait()
	close(stop)
	writers.Wait()
	for i := range n {
		tree.Delete([]byte(steady(i)))
	}
	if tree.Len() != 0 || tree.nodes.live != 0 || len(tree.pins) != 0 {
		t.Errorf("%d names, %d nodes, %d pins are left", tree.Len(), tree.nodes.live, len(tree.pins))
	}
}
