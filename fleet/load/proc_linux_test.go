package load

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

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
