package load

import (
	"math"
	"os"
	"runtime/metrics"
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

func BenchmarkRead(b *testing.B) {
	r := NewReader()
	b.ReportAllocs()
	for b.Loop() {
		r.Read(time.Now())
	}
}
