package history

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// feed runs a process of n series for a time: gauges (even) and counters (odd), and returns what it fed.
func feed(h *History, n int, from time.Time, d time.Duration, value func(i int, at int64) float64) {
	samples := make([]Sample, n)
	for at := from.Unix(); at < from.Add(d).Unix(); at++ {
		for i := range samples {
			samples[i] = Sample{Metric: fmt.Sprintf("m%d", i), Kind: Kind(i % 2), Value: value(i, at)}
		}
		h.Append(time.Unix(at, 0), samples)
	}
}

func all(string, string) bool { return true }

func only(name string) func(string, string) bool {
	return func(metric, _ string) bool { return metric == name }
}

func TestCodec(t *testing.T) {
	values := []float64{0, 1, -1, 0.5, math.Pi, 1e18, -1e300, 1 << 51, 1 << 53, math.Inf(1), 3, 3, 1e-9}
	var b []byte
	before := 0.0
	for _, v := range values {
		b = appendValue(b, v, before)
		before = v
	}
	r := reader{b: b}
	before = 0
	for _, want := range values {
		if before = r.value(before); before != want || r.bad {
			t.Errorf("got %v, want %v", before, want)
		}
	}
	if len(r.b) != 0 {
		t.Errorf("%d bytes are left", len(r.b))
	}
}

func FuzzWalk(f *testing.F) {
	h, err := Open(Options{})
	if err != nil {
		f.Fatal(err)
	}
	feed(h, 5, time.Unix(1e9, 0), time.Minute, func(i int, at int64) float64 { return float64(i) * float64(at%7) / 3 })
	f.Add(h.tiers[0].files[0].mem[len(magic):])
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) == 0 || len(payload) > maxFrame {
			return
		}
		b := append([]byte(magic), h.tiers[0].files[0].mem[len(magic):]...)
		b = frame(b, payload) // with a good checksum: what is inside may be anything
		ids := 0
		_ = walk(b, func(string, string, Kind) int { ids++; return ids - 1 }, nil, func(int64, int, triple) {})
		var found file
		_ = found.check(append([]byte(magic), payload...))
	})
}

// TestResolutions feeds three days and asks at each resolution.
func TestResolutions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := Open(Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		begin := time.Now().Truncate(time.Hour)
		total := 26 * time.Hour
		time.Sleep(total)
		// The gauge is the second within its minute; the counter grows by 3 a second.
		feed(h, 2, begin, total, func(i int, at int64) float64 {
			if i == 0 {
				return float64(at % 60)
			}
			return float64(3 * (at - begin.Unix() + 1))
		})
		end := begin.Add(total)
		f := func(from time.Time, step, got time.Duration, points int, mean, low, high float64) {
			t.Helper()
			list, real := h.Query(Query{Match: all, From: from, To: end, Step: step})
			if len(list) != 2 || real != got {
				t.Fatalf("%d series at %v, want 2 at %v", len(list), real, got)
			}
			g, c := list[0], list[1]
			if d := len(g.Points) - points; d < -2 || d > 1 {
				t.Errorf("%d points, want about %d", len(g.Points), points)
			}
			p := g.Points[2]
			if p.Value != mean || len(g.Low) > 2 && (g.Low[2].Value != low || g.High[2].Value != high) {
				t.Errorf("at %v: %v, from %v to %v; want %v, %v, %v", step, p, g.Low[2], g.High[2], mean, low, high)
			}
			for _, p := range c.Points {
				if math.Abs(p.Value-3) > 1e-9 {
					t.Errorf("at %v: the rate at %v is %v", step, time.Unix(p.At, 0), p.Value)
				}
			}
		}
		f(end.Add(-time.Hour), 10*time.Second, 10*time.Second, 360, 24.5, 20, 29)
		f(end.Add(-time.Hour), time.Minute, time.Minute, 60, 29.5, 0, 59)
		f(end.Add(-24*time.Hour), 10*time.Minute, 10*time.Minute, 144, 29.5, 0, 59)
		f(begin, time.Hour, time.Hour, 26, 29.5, 0, 59)
		f(begin, 10*time.Second, time.Minute, 26*60, 29.5, 0, 59) // ten seconds are kept for a day only
		f(end.Add(-5*time.Hour), 0, 30*time.Second, 600, 14.5, 0, 29)
		if list, _ := h.Query(Query{Match: only("m1"), From: end.Add(-time.Hour), To: end, Step: time.Hour}); len(list) != 1 || math.Abs(list[0].Sum-3*3600) > 60 {
			t.Errorf("the increase of an hour: %+v", list)
		}
		for i := range h.tiers {
			if n := len(h.tiers[i].files); n > 14 {
				t.Errorf("%d files of %s", n, h.tiers[i].name)
			}
		}
	})
}

// TestRestart ends without a word, as kill -9 does, in the middle of a frame, and goes on.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		open := func() *History {
			h, err := Open(Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		begin := time.Now().Truncate(time.Hour)
		h := open()
		up := func(start time.Time) func(int, int64) float64 {
			return func(i int, at int64) float64 { return float64(at - start.Unix() + 1) }
		}
		feed(h, 2, begin, 15*time.Minute+5*time.Second, up(begin))
		time.Sleep(15*time.Minute + 5*time.Second)
		path := h.tiers[0].files[0].path
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b[:len(b)-3], 0o600); err != nil {
			t.Fatal(err)
		}
		h = open()
		if f := h.Figures(); f.Aside != 0 || f.Series != 2 {
			t.Errorf("after a kill: %+v", f)
		}
		again := begin.Add(15*time.Minute + 5*time.Second)
		feed(h, 2, again, 15*time.Minute, up(again))
		time.Sleep(15 * time.Minute)
		list, _ := h.Query(Query{Match: only("m1"), From: begin, To: begin.Add(time.Hour), Step: 10 * time.Minute})
		if len(list) != 1 || len(list[0].Points) != 3 {
			t.Fatalf("got %+v", list)
		}
		if sum := list[0].Sum; sum < 1780 || sum > 1800 { // both processes'
			t.Errorf("the increase is %v", sum)
		}
		for _, p := range list[0].Points {
			if p.Value < 0.9 || p.Value > 1.02 {
				t.Errorf("the rate is %v", p)
			}
		}
		// The step that the kill fell into has what was before it, too.
		if rows, _ := h.Query(Query{Match: only("m0"), From: begin, To: begin.Add(time.Hour), Step: 10 * time.Minute}); rows[0].Low[1].Value > 10 || rows[0].High[1].Value < 890 {
			t.Errorf("got %+v", rows[0])
		}
		h.Close()
	})
}

// TestDamage sets aside what is damaged, keeps what comes before it, and goes on.
func TestDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now().Truncate(time.Hour)
		value := func(i int, at int64) float64 { return float64(at) }
		feed(h, 2, begin, time.Hour, value)
		time.Sleep(time.Hour)
		path := h.tiers[0].files[0].path
		h.Close()
		b, _ := os.ReadFile(path)
		b[len(b)/2] ^= 4
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "1m-17"+suffix), []byte("no"), 0o600); err != nil {
			t.Fatal(err)
		}
		if h, err = Open(Options{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if f := h.Figures(); f.Aside != 2 {
			t.Errorf("%+v", f)
		}
		if kept, err := filepath.Glob(filepath.Join(dir, "*.damaged")); len(kept) != 1 || err != nil {
			t.Errorf("set aside: %v, %v", kept, err)
		}
		feed(h, 2, begin.Add(time.Hour), time.Minute, value)
		list, _ := h.Query(Query{Match: only("m0"), From: begin, To: begin.Add(2 * time.Hour), Step: 10 * time.Second})
		if len(list) != 1 || len(list[0].Points) < 150 || len(list[0].Points) > 220 {
			t.Errorf("%d points are left", len(list[0].Points))
		}
	})
}

// TestFull: a full disk, or one that takes nothing, makes a gap and nothing else.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := int64(1 << 40)
		h, err := Open(Options{Dir: t.TempDir(), Free: func() int64 { return free }})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		begin := time.Now().Truncate(time.Hour)
		value := func(i int, at int64) float64 { return float64(at) }
		feed(h, 2, begin, time.Minute, value)
		free = 1 << 20
		feed(h, 2, begin.Add(time.Minute), time.Minute, value)
		free = 1 << 40
		h.tiers[0].out.Close() // the next write fails
		feed(h, 2, begin.Add(2*time.Minute), 2*time.Minute, value)
		time.Sleep(4 * time.Minute)
		list, _ := h.Query(Query{Match: only("m0"), From: begin, To: begin.Add(time.Hour), Step: 10 * time.Second})
		if n := len(list[0].Points); n < 15 || n > 18 {
			t.Errorf("%d points", n)
		}
		if f := h.Figures(); f.Dropped == 0 {
			t.Errorf("%+v", f)
		}
	})
}

// TestBounded: the oldest of the finest goes first.
func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 300 << 10
		h, err := Open(Options{Bytes: most})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now().Truncate(time.Hour)
		feed(h, 20, begin, 14*time.Hour, func(i int, at int64) float64 { return rand.Float64() })
		time.Sleep(14 * time.Hour)
		f := h.Figures()
		if f.Bytes > 2*most || len(h.tiers[0].files) > 2 || len(h.tiers[2].files) != 1 {
			t.Errorf("%+v, %d, %d", f, len(h.tiers[0].files), len(h.tiers[2].files))
		}
		many := make([]Sample, maxSeries+10)
		for i := range many {
			many[i].Metric = fmt.Sprint(i)
		}
		h.Append(time.Now(), many)
		if f := h.Figures(); f.Series != maxSeries || f.Dropped < 10 {
			t.Errorf("%+v", f)
		}
	})
}

// TestClockSetBack drops a little, or sets aside what is of the future.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := Open(Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		begin := time.Now().Truncate(time.Hour)
		value := func(i int, at int64) float64 { return float64(at) }
		feed(h, 1, begin.Add(240*time.Hour), time.Hour, value)
		feed(h, 1, begin, time.Minute, value)
		list, _ := h.Query(Query{Match: all, From: begin, To: begin.Add(time.Hour), Step: 10 * time.Second})
		if len(list) != 1 || len(list[0].Points) < 4 {
			t.Errorf("got %+v", list)
		}
	})
}

// BenchmarkAppend is a second of a process with 300 figures.
func BenchmarkAppend(b *testing.B) {
	h, err := Open(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	samples := many(300)
	at := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(time.Second)
		step(samples)
		h.Append(at, samples)
	}
}

func many(n int) []Sample {
	samples := make([]Sample, n)
	for i := range samples {
		samples[i] = Sample{Metric: fmt.Sprintf("metric_%d_total", i/3), Labels: fmt.Sprintf("{listener=%q}", fmt.Sprint(i%3)), Kind: Kind(i % 2)}
	}
	return samples
}

// step is a second of a busy process: a third of the figures are busy counters, a third noisy gauges, a third hardly move.
func step(samples []Sample) {
	for i := range samples {
		switch i % 3 {
		case 0:
			samples[i].Kind, samples[i].Value = Counter, samples[i].Value+float64(rand.IntN(200))
		case 1:
			samples[i].Kind, samples[i].Value = Gauge, math.Abs(samples[i].Value+rand.NormFloat64())
		default:
			if rand.IntN(1000) == 0 {
				samples[i].Value++
			}
		}
	}
}

// aDay is 24 hours and a bit of so many series at 10 s, on disk.
func aDay(b testing.TB, series int) (*History, time.Time) {
	h, err := Open(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	end := time.Now().Truncate(10 * time.Second)
	samples := make([]Sample, series)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range samples {
		samples[i] = Sample{Metric: fmt.Sprintf("m%d", i), Kind: Kind(i % 2)}
	}
	for at := end.Add(-25 * time.Hour); at.Before(end); at = at.Add(10 * time.Second) {
		for i := range samples {
			if i%2 == 0 {
				samples[i].Value = 100 * r.Float64()
			} else {
				samples[i].Value += float64(r.IntN(1000))
			}
		}
		h.Append(at, samples)
	}
	return h, end
}

func BenchmarkQueryDay(b *testing.B) {
	h, end := aDay(b, 400)
	defer h.Close()
	b.ResetTimer()
	for range b.N {
		list, _ := h.Query(Query{Match: only("m7"), From: end.Add(-24 * time.Hour), To: end, Step: 10 * time.Second})
		if len(list) != 1 || len(list[0].Points) < 8600 {
			b.Fatal(len(list), len(list[0].Points))
		}
	}
}

// TestIncreases counts events that are counted from the first one on, at any time: in the first step of a process, late, after a restart, and
// after one so late that its file is a new one. None is lost, and none of a time before the question is told.
func TestIncreases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		begin := time.Now().Truncate(time.Hour)
		time.Sleep(time.Until(begin.Add(time.Hour)))
		begin = time.Now()
		counts := map[string]float64{}
		var h *History
		open := func() {
			var err error
			if h, err = Open(Options{Dir: dir}); err != nil {
				t.Fatal(err)
			}
			clear(counts)
		}
		stop := func() {
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
		}
		run := func(d time.Duration, more map[string]float64) {
			for name, n := range more {
				counts[name] += n
			}
			for range d / time.Second {
				samples := []Sample{{Metric: "all", Kind: Counter, Value: 1000}}
				for name, n := range counts {
					samples = append(samples, Sample{Metric: "dropped", Labels: name, Kind: Counter, Value: n})
				}
				h.Append(time.Now(), samples)
				time.Sleep(time.Second)
			}
		}
		expect := func(what string, from time.Time, want map[string]float64) {
			t.Helper()
			for name, n := range want {
				for _, step := range []time.Duration{10 * time.Second, time.Minute, 10 * time.Minute} {
					one := func(metric, labels string) bool { return metric == "dropped" && labels == name }
					got := 0.0
					list, _ := h.Query(Query{Match: one, From: from, To: time.Now(), Step: step})
					if len(list) > 0 {
						got = list[0].Sum
					}
					if got != n {
						t.Errorf("%s: by steps of %v %v of %s, want %v", what, step, got, name, n)
					}
				}
			}
		}
		open()
		run(time.Minute, map[string]float64{"a": 5})
		run(time.Hour, map[string]float64{"b": 6}) // late
		run(time.Minute, map[string]float64{"a": 2})
		expect("one process", begin, map[string]float64{"a": 7, "b": 6})
		run(3*time.Second, map[string]float64{"a": 40, "c": 4}) // as it stops
		stop()
		open()
		run(30*time.Second, nil)
		run(time.Minute, map[string]float64{"a": 1, "b": 1})
		expect("two processes", begin, map[string]float64{"a": 48, "b": 7, "c": 4})
		expect("a part of it", begin.Add(30*time.Minute), map[string]float64{"a": 43, "b": 1, "c": 4})
		run(3*time.Hour, nil) // files are full
		stop()
		time.Sleep(5 * time.Hour)
		open()
		again := time.Now()
		run(15*time.Second, map[string]float64{"a": 3, "d": 2})
		run(10*time.Minute, map[string]float64{"b": 9})
		whole := map[string]float64{"a": 51, "b": 16, "c": 4, "d": 2}
		expect("a day", begin, whole)
		expect("after the pause", again.Truncate(10*time.Minute), map[string]float64{"a": 3, "b": 9, "c": 0, "d": 2})
		stop()
		open()
		expect("after a restart", begin, whole)
		stop()
	})
}
