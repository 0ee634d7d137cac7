package overload

import (
	"bufio"
	"bytes"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
)

// Sampler reads what the process uses. It belongs to one goroutine.
type Sampler struct {
	samples []metrics.Sample
	soft    int64 // GOMEMLIMIT, 0 = none
	hard    int64 // of the control group or the machine, 0 = not known
}

// NewSampler finds out the limits of this process.
func NewSampler() *Sampler {
	s := &Sampler{samples: []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/total:bytes"},
	}}
	if soft := debug.SetMemoryLimit(-1); soft < math.MaxInt64 {
		s.soft = soft
	}
	s.hard = HardLimit()
	return s
}

// HardLimit is how much memory the control group or else the machine gives this process, in bytes; 0 = not known. A process that
// sets Go's own limit (GOMEMLIMIT) somewhat below it collects its garbage before that counts as memory in use.
func HardLimit() int64 { return hardLimit(os.ReadFile) }

// Memory is what of the limit is in use, in bytes; the limit is 0 where there is none to be known. What the collector would free
// does not count where the limit is Go's own, which collects before it is reached.
func (s *Sampler) Memory() (used, limit int64) {
	metrics.Read(s.samples)
	at := func(i int) int64 { return int64(s.samples[i].Value.Uint64()) }
	total := at(5) - at(4) // what the system has given and not got back
	if s.soft > 0 && (s.hard == 0 || s.soft <= s.hard) {
		return total - at(1) - at(2) - at(3) + at(0), s.soft
	}
	return total, s.hard
}

// hardLimit is the least of the limits that the system knows.
func hardLimit(read func(string) ([]byte, error)) int64 {
	least := int64(0)
	take := func(n int64, err error) {
		if err == nil && n > 0 && n < 1<<60 && (least == 0 || n < least) {
			least = n
		}
	}
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if b, err := read(file); err == nil {
			take(strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)) // "max" is no number: no limit
		}
	}
	if b, err := read("/proc/meminfo"); err == nil {
		for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
			if f := strings.Fields(lines.Text()); len(f) > 1 && f[0] == "MemTotal:" {
				n, err := strconv.ParseInt(f[1], 10, 64)
				take(n<<10, err)
			}
		}
	}
	return least
}
