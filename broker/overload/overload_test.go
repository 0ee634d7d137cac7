package overload

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestLevels goes up and down: at once up, down a level at a time after calm, and between the watermark and its lower one
// nothing changes (F141: the order of what is shed).
func TestLevels(t *testing.T) {
	w := NewWatch(Defaults())
	now := time.Unix(1, 0)
	f := func(after time.Duration, memory int64, want Level, changed bool) {
		t.Helper()
		now = now.Add(after)
		st, ch := w.Judge(now, &Sample{Memory: memory, MemoryLimit: 1000})
		if st.Level != want || ch != changed || (st.Why == "") != (want == Normal) {
			t.Errorf("%d: got %+v, %v; want %v, %v", memory, st, ch, want, changed)
		}
	}
	const s = time.Second
	f(s, 500, Normal, false)
	f(s, 849, Normal, false)
	f(s, 850, Connects, true)
	f(s, 820, Connects, false) // above 85 % less 5 % of it: not calm
	f(s, 950, Publish, true)   // two levels at once
	f(s, 940, Publish, false)
	f(5*s, 903, Publish, false)
	f(s, 890, Publish, false) // calm begins
	f(2*s, 890, Publish, false)
	f(s, 890, QoS0, true)
	f(9*s, 890, QoS0, false)
	f(s, 700, QoS0, false)
	f(s, 890, QoS0, false) // calm is over
	f(s, 700, QoS0, false)
	f(3*s, 700, Connects, true)
	f(s, 700, Connects, false)
	f(3*s, 700, Normal, true)
	f(3*s, 700, Normal, false)
}

func TestOthers(t *testing.T) {
	f := func(s Sample, want Level, scarce bool, why string) {
		t.Helper()
		st, _ := NewWatch(Defaults()).Judge(time.Unix(1, 0), &s)
		if st.Level != want || st.Descriptors != scarce || !strings.Contains(st.Why, why) {
			t.Errorf("%+v: got %+v", s, st)
		}
	}
	f(Sample{}, Normal, false, "")
	f(Sample{Memory: 5 << 30}, Normal, false, "") // nobody knows the limit
	f(Sample{Descriptors: 899, DescriptorsLimit: 1000}, Normal, false, "")
	f(Sample{Descriptors: 900, DescriptorsLimit: 1000}, Connects, true, "900 of 1000 file descriptors")
	f(Sample{Lag: 1100 * time.Millisecond}, Connects, false, "1.1s late")
	f(Sample{Lag: time.Hour}, QoS0, false, "1h0m0s late") // never refuses publishes: that would not help
	f(Sample{Lag: time.Second, Descriptors: 900, DescriptorsLimit: 1000, Memory: 96, MemoryLimit: 100}, Publish, true, "memory")
	off := NewWatch(Config{})
	if st, _ := off.Judge(time.Unix(1, 0), &Sample{Memory: 2, MemoryLimit: 1, Lag: time.Hour, Descriptors: 2, DescriptorsLimit: 1}); st.Level != Normal {
		t.Errorf("without watermarks: %+v", st)
	}
}

func TestVerify(t *testing.T) {
	c := Defaults()
	if err := c.Verify(); err != nil {
		t.Error(err)
	}
	for word, bad := range map[string]Config{
		"memory_qos0":          {MemoryQoS0: 101},
		"below":                {Below: 51},
		"calm":                 {Calm: -1},
		"watermarks of memory": {MemoryConnects: 90, MemoryQoS0: 0, MemoryPublish: 80},
		"watermarks of lag":    {LagConnects: 2, LagQoS0: 1},
	} {
		if err := bad.Verify(); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", word, err)
		}
	}
}

func TestHardLimit(t *testing.T) {
	f := func(files map[string]string, want int64) {
		t.Helper()
		got := hardLimit(func(name string) ([]byte, error) {
			if text, ok := files[name]; ok {
				return []byte(text), nil
			}
			return nil, os.ErrNotExist
		})
		if got != want {
			t.Errorf("%v: got %d, want %d", files, got, want)
		}
	}
	meminfo := "MemTotal:        8000 kB\nMemFree:  1 kB\n"
	f(nil, 0)
	f(map[string]string{"/proc/meminfo": meminfo}, 8000<<10)
	f(map[string]string{"/proc/meminfo": meminfo, "/sys/fs/cgroup/memory.max": "max\n"}, 8000<<10)
	f(map[string]string{"/proc/meminfo": meminfo, "/sys/fs/cgroup/memory.max": "4096\n"}, 4096)
	f(map[string]string{"/proc/meminfo": meminfo, "/sys/fs/cgroup/memory/memory.limit_in_bytes": fmt.Sprint(int64(1)<<62 + 7)}, 8000<<10)
}

func TestSampler(t *testing.T) {
	s := NewSampler()
	used, _ := s.Memory()
	if used < 64<<10 || used > 1<<32 {
		t.Errorf("%d bytes in use", used)
	}
	s.soft, s.hard = 1<<30, 0
	held := make([]byte, 64<<20)
	more, limit := s.Memory()
	if more < 64<<10 || limit != 1<<30 {
		t.Errorf("%d of %d", more, limit)
	}
	held[0] = 1
}

// TestShares: who sends more than the average is heavy, who sends little never is.
func TestShares(t *testing.T) {
	var s Shares[string]
	dropped := map[string]int{}
	for now := int64(0); now < 5000; now += 5 {
		for range 20 {
			if s.Heavy(now, "loud", 1000) {
				dropped["loud"]++
			}
		}
		for _, who := range []string{"a", "b", "c"} {
			if now%100 == 0 && s.Heavy(now, who, 1000) {
				dropped[who]++
			}
		}
	}
	if dropped["loud"] < 10_000 || len(dropped) != 1 {
		t.Errorf("dropped %v", dropped)
	}
}
