package load

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"
	"time"
)

func files(m map[string]string) reads {
	return func(name string) ([]byte, error) {
		if s, ok := m[name]; ok {
			return []byte(s), nil
		}
		return nil, os.ErrNotExist
	}
}

func TestMachineTicks(t *testing.T) {
	a, ok := machineTicks([]byte("cpu  100 10 50 800 20 5 5 10 3 0\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 12 cpu\n"))
	if !ok || a != (ticks{busy: 170, idle: 820, steal: 10, cores: 2}) {
		t.Fatalf("%+v, %v", a, ok)
	}
	b := ticks{busy: 170 + 50, idle: 820 + 100, steal: 10 + 50, cores: 2}
	if m := b.since(&a); *m != (Machine{CPU: 0.5, Steal: 0.5, Cores: 2}) {
		t.Errorf("%+v", *m)
	}
	if m := a.since(&a); m != nil {
		t.Errorf("of no time: %+v", m)
	}
	for _, bad := range []string{"", "cpu", "cpu 1 2 3 4\n", "cpu 1 2 x 4 5\ncpu0 1\n"} {
		if got, ok := machineTicks([]byte(bad)); ok {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func TestCgroup(t *testing.T) {
	f := func(m map[string]string, want float64, known bool) {
		t.Helper()
		if got, ok := cgroupCores(files(m)); ok != known || known && got != want {
			t.Errorf("%v: %v, %v", m, got, ok)
		}
	}
	f(nil, 0, false)
	f(map[string]string{"/sys/fs/cgroup/cpu.max": "max 100000\n"}, 0, false)
	f(map[string]string{"/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5, true)
	f(map[string]string{"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 0, false)
	f(map[string]string{"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 0.5, true)
	if d, ok := cgroupThrottled(files(map[string]string{"/sys/fs/cgroup/cpu.stat": "usage_usec 5\nthrottled_usec 2000\n"})); !ok || d != 2*time.Millisecond {
		t.Errorf("%v, %v", d, ok)
	}
	if d, ok := cgroupThrottled(files(map[string]string{"/sys/fs/cgroup/cpu/cpu.stat": "throttled_time 2000\n"})); !ok || d != 2*time.Microsecond {
		t.Errorf("%v, %v", d, ok)
	}
	if _, ok := cgroupThrottled(files(nil)); ok {
		t.Error("throttled without a control group")
	}
}

func TestQuantile(t *testing.T) {
	h := metrics.Float64Histogram{Counts: []uint64{10, 90, 100}, Buckets: []float64{0, 1, 2, math.Inf(1)}}
	before := metrics.Float64Histogram{Counts: []uint64{10, 80, 100}, Buckets: h.Buckets}
	if q, ok := quantile(h, before, 0.99); !ok || q != 2 {
		t.Errorf("%v, %v", q, ok)
	}
	if q, ok := quantile(h, metrics.Float64Histogram{}, 0.99); !ok || q != 2 {
		t.Errorf("the last bucket: %v, %v", q, ok)
	}
	if _, ok := quantile(h, h, 0.99); ok {
		t.Error("a quantile of nothing")
	}
}

// status is a line of /proc/self/status, in KiB.
func status(t *testing.T, key string) float64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == key {
			n, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in /proc/self/status", key)
	return 0
}

// TestEqualsProc works for a while and compares with what /proc says, within 2 %.
func TestEqualsProc(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	cpu := func() float64 { // utime and stime, in ticks
		b, err := os.ReadFile("/proc/self/stat")
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
		u, _ := strconv.ParseFloat(f[11], 64)
		s, _ := strconv.ParseFloat(f[12], 64)
		return (u + s) / 100
	}
	within := func(what string, got, want, part, slack float64) {
		t.Helper()
		if math.Abs(got-want) > want*part+slack {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	var opened []*os.File
	for range 50 {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		opened = append(opened, f)
	}
	heavy := make([]byte, 64<<20)
	for i := range heavy {
		heavy[i] = 1
	}
	r := NewReader()
	before, began := cpu(), time.Now()
	r.Read(began)
	for x := 0; time.Since(began) < 1500*time.Millisecond; x++ { // busy
		heavy[x%len(heavy)]++
	}
	debug.FreeOSMemory() // a collection, too
	now := time.Now()
	l := r.Read(now)
	used := cpu() - before
	within("cpu", *l.CPU, used/now.Sub(began).Seconds(), 0.02, 2*tick.Seconds())
	within("rss", float64(*l.Memory.RSS)/1024, status(t, "VmRSS:"), 0.02, 0)
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	within("fds", float64(*l.FDs.Open), float64(len(names)), 0.02, 1)
	if l.Machine == nil || l.Machine.CPU < *l.CPU*0.7 || l.Machine.Cores != runtime.NumCPU() || l.Cores <= 0 {
		t.Errorf("%+v", l)
	}
	if l.GC.PauseP99 == nil || *l.GC.PauseP99 <= 0 || *l.GC.PauseP99 > 1 || l.GC.Cycles == 0 || l.Goroutines < 1 || l.FDs.Limit == nil || l.Memory.Limit == nil {
		t.Errorf("%+v", l)
	}
	if l.Memory.Heap < 64<<20 || l.Memory.Heap > 200<<20 {
		t.Errorf("heap %d", l.Memory.Heap)
	}
	runtime.KeepAlive(heavy)
	runtime.KeepAlive(opened)
}

func BenchmarkRead(b *testing.B) {
	r := NewReader()
	b.ReportAllocs()
	for b.Loop() {
		r.Read(time.Now())
	}
}
