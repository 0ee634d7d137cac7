// Package load reads what the process and its machine do: processor, memory, collector, descriptors. What the system does not tell is absent
// (nil), never zero. On Linux it comes from /proc and the control group; elsewhere what Go and the system calls know. It judges nothing.
package load

import (
	"math"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/overload"
)

// Load is how busy the process and the machine are. Shares of time are of the time since the reading before.
type Load struct {
	CPU        *float64 `json:"cpu,omitempty" doc:"Cores that the process used, of the last second."`
	Cores      float64  `json:"cores" doc:"Cores that it may use: those of the machine, or the control group's share of them."`
	Machine    *Machine `json:"machine,omitempty"`
	Throttled  *float64 `json:"throttled,omitempty" doc:"Part of the time in which the control group kept the process from running, 0 to 1."`
	Memory     Memory   `json:"memory"`
	GC         GC       `json:"gc"`
	Goroutines int64    `json:"goroutines"`
	FDs        FDs      `json:"fds"`
}

// Machine is what all processes of the machine do together.
type Machine struct {
	CPU   float64 `json:"cpu" doc:"Cores in use."`
	Cores int     `json:"cores"`
	Steal float64 `json:"steal" doc:"Cores that other virtual machines took."`
}

// Memory is that of the process, in bytes.
type Memory struct {
	RSS   *int64 `json:"rss,omitempty" doc:"Resident."`
	Heap  int64  `json:"heap" doc:"Objects on the heap, with those that the collector is to free."`
	Used  int64  `json:"used" doc:"What counts against the limit."`
	Limit *int64 `json:"limit,omitempty" doc:"The least of GOMEMLIMIT, the control group's limit and the machine's memory."`
}

// GC is the collector, over the last one to two minutes.
type GC struct {
	PauseP99 *float64 `json:"pause_p99_seconds,omitempty" doc:"Absent when there was no pause."`
	CPU      *float64 `json:"cpu,omitempty" doc:"Part of the process's cores that the collector used, 0 to 1."`
	Cycles   uint64   `json:"cycles" doc:"Since the start."`
}

// FDs are the process's file descriptors.
type FDs struct {
	Open  *int64 `json:"open,omitempty"`
	Limit *int64 `json:"limit,omitempty"`
}

// window is for how long pauses are gathered at least.
const window = time.Minute

// Reader reads. It belongs to one goroutine.
type Reader struct {
	memory  *overload.Sampler
	samples []metrics.Sample

	at        time.Time
	used      time.Duration
	machine   *ticks
	throttled time.Duration

	began    time.Time // of the window
	pauses   [2]gcTimes
	fds      int64
	fdsUntil time.Time
}

// gcTimes are the collector's at one time.
type gcTimes struct {
	pauses    metrics.Float64Histogram
	gc, total float64 // cpu-seconds
}

// The samples by their places.
const (
	heapObjects = iota
	gcPauses
	gcCPU
	totalCPU
	gcCycles
	goroutines
)

// NewReader makes one. The first reading has no shares of time.
func NewReader() *Reader {
	return &Reader{memory: overload.NewSampler(), samples: []metrics.Sample{
		heapObjects: {Name: "/memory/classes/heap/objects:bytes"},
		gcPauses:    {Name: "/sched/pauses/total/gc:seconds"},
		gcCPU:       {Name: "/cpu/classes/gc/total:cpu-seconds"},
		totalCPU:    {Name: "/cpu/classes/total:cpu-seconds"},
		gcCycles:    {Name: "/gc/cycles/total:gc-cycles"},
		goroutines:  {Name: "/sched/goroutines:goroutines"},
	}}
}

// Read tells how things are at now.
func (r *Reader) Read(now time.Time) Load {
	metrics.Read(r.samples)
	l := Load{Cores: float64(runtime.NumCPU()), Goroutines: int64(r.samples[goroutines].Value.Uint64())}
	l.Memory.Heap = int64(r.samples[heapObjects].Value.Uint64())
	used, limit := r.memory.Memory()
	l.Memory.Used = used
	if limit > 0 {
		l.Memory.Limit = &limit
	}
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if pages, ok := resident(b); ok {
			rss := pages * int64(os.Getpagesize())
			l.Memory.RSS = &rss
		}
	}
	r.collector(&l, now)
	r.descriptors(&l, now)
	r.processor(&l, now)
	r.at = now
	return l
}

// collector tells of the pauses since the window before this one began.
func (r *Reader) collector(l *Load, now time.Time) {
	l.GC.Cycles = r.samples[gcCycles].Value.Uint64()
	present := gcTimes{gc: r.samples[gcCPU].Value.Float64(), total: r.samples[totalCPU].Value.Float64()}
	h := r.samples[gcPauses].Value.Float64Histogram()
	present.pauses = metrics.Float64Histogram{Counts: h.Counts, Buckets: h.Buckets}
	before := &r.pauses[0]
	if p, ok := quantile(present.pauses, before.pauses, 0.99); ok {
		l.GC.PauseP99 = &p
	}
	if d := present.total - before.total; d > 0 {
		share := (present.gc - before.gc) / d
		l.GC.CPU = &share
	}
	if r.began.IsZero() || now.Sub(r.began) >= window {
		r.began = now
		present.pauses.Counts = append([]uint64(nil), h.Counts...)
		r.pauses[0], r.pauses[1] = r.pauses[1], present
	}
}

// quantile is the q-quantile of what came to h since before; false if nothing did.
func quantile(h, before metrics.Float64Histogram, q float64) (float64, bool) {
	counts, total := make([]uint64, len(h.Counts)), uint64(0)
	for i, n := range h.Counts {
		if i < len(before.Counts) {
			n -= before.Counts[i]
		}
		counts[i] = n
		total += n
	}
	if total == 0 {
		return 0, false
	}
	rank := max(uint64(math.Ceil(q*float64(total))), 1)
	for i, n := range counts {
		if rank <= n {
			if high := h.Buckets[i+1]; !math.IsInf(high, 1) {
				return high, true
			}
			return h.Buckets[i], true
		}
		rank -= n
	}
	return 0, false
}

// dear is how many descriptors are too many to list each second, listEvery how often they are listed all the same.
const (
	dear      = 2000
	listEvery = 30 * time.Second
)

// descriptors counts those that are open. Linux since 6.2 knows their number; before, a directory has to be read.
func (r *Reader) descriptors(l *Load, now time.Time) {
	if limit := overload.Descriptors(); limit > 0 {
		l.FDs.Limit = &limit
	}
	const dir = "/proc/self/fd"
	info, err := os.Stat(dir)
	if err != nil {
		return
	}
	n := info.Size()
	if n == 0 {
		if r.fds < dear || now.After(r.fdsUntil) {
			names, err := readNames(dir)
			if err != nil {
				return
			}
			r.fds, r.fdsUntil = names, now.Add(listEvery)
		}
		n = r.fds
	}
	l.FDs.Open = &n
}

// readNames counts the entries of a directory, but for its own descriptor.
func readNames(dir string) (int64, error) {
	d, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return int64(len(names)) - 1, err
}

// processor tells of the time since the last reading.
func (r *Reader) processor(l *Load, now time.Time) {
	elapsed := now.Sub(r.at)
	first := r.at.IsZero() || elapsed <= 0
	if used, ok := processTime(); ok {
		if !first {
			cores := (used - r.used).Seconds() / elapsed.Seconds()
			l.CPU = &cores
		}
		r.used = used
	}
	if b, err := os.ReadFile("/proc/stat"); err == nil {
		if t, ok := machineTicks(b); ok {
			if !first && r.machine != nil {
				l.Machine = t.since(r.machine)
			}
			r.machine = &t
		}
	}
	if quota, ok := cgroupCores(os.ReadFile); ok {
		l.Cores = min(l.Cores, quota)
		if t, ok := cgroupThrottled(os.ReadFile); ok {
			if !first {
				part := min((t-r.throttled).Seconds()/elapsed.Seconds(), 1)
				l.Throttled = &part
			}
			r.throttled = t
		}
	}
	if n := float64(runtime.GOMAXPROCS(0)); n < l.Cores {
		l.Cores = n
	}
}

// Number is what a pointer of a Load points to, NaN for none.
func Number[T int64 | float64](p *T) float64 {
	if p == nil {
		return math.NaN()
	}
	return float64(*p)
}

// tick is the unit of /proc/stat, which the kernel fixes for programs.
const tick = time.Second / 100

func parseUint(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}
