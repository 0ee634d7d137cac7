package load

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// resident takes the resident pages from /proc/self/statm.
func resident(b []byte) (int64, bool) {
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0, false
	}
	n, err := strconv.ParseInt(f[1], 10, 64)
	return n, err == nil
}

// ticks are the machine's processor times since it started.
type ticks struct {
	busy, idle, steal uint64
	cores             int
}

// machineTicks reads /proc/stat. Time of guests is in user's already; waiting for disks is idle.
func machineTicks(b []byte) (t ticks, ok bool) {
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) == 0 || !strings.HasPrefix(f[0], "cpu") {
			break
		}
		if f[0] != "cpu" {
			t.cores++
			continue
		}
		for i, s := range f[1:min(len(f), 9)] {
			n, good := parseUint(s)
			if !good {
				return t, false
			}
			switch i {
			case 3, 4:
				t.idle += n
			case 7:
				t.steal += n
			default:
				t.busy += n
			}
		}
		ok = len(f) > 4
	}
	return t, ok && t.cores > 0
}

// since is what happened between two readings; nil if nothing can be told.
func (t *ticks) since(before *ticks) *Machine {
	busy, idle, steal := t.busy-before.busy, t.idle-before.idle, t.steal-before.steal
	total := busy + idle + steal
	if t.busy < before.busy || t.idle < before.idle || total == 0 || total > 1<<40 {
		return nil
	}
	part := float64(t.cores) / float64(total)
	return &Machine{CPU: float64(busy) * part, Steal: float64(steal) * part, Cores: t.cores}
}

// reads is os.ReadFile, or a test's.
type reads func(string) ([]byte, error)

// cgroupCores is how many cores the control group allows; false where it does not limit.
func cgroupCores(read reads) (float64, bool) {
	quota, period := "", ""
	if b, err := read("/sys/fs/cgroup/cpu.max"); err == nil {
		quota, period, _ = strings.Cut(strings.TrimSpace(string(b)), " ")
	} else if b, err := read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"); err == nil {
		quota = strings.TrimSpace(string(b))
		if b, err = read("/sys/fs/cgroup/cpu/cpu.cfs_period_us"); err == nil {
			period = strings.TrimSpace(string(b))
		}
	}
	q, good := parseUint(quota) // "max" and -1 are no numbers: no limit
	p, also := parseUint(period)
	return float64(q) / float64(p), good && also && q > 0 && p > 0
}

// cgroupThrottled is for how long the control group has kept its processes from running.
func cgroupThrottled(read reads) (time.Duration, bool) {
	for _, x := range []struct {
		file, key string
		unit      time.Duration
	}{
		{"/sys/fs/cgroup/cpu.stat", "throttled_usec", time.Microsecond},
		{"/sys/fs/cgroup/cpu/cpu.stat", "throttled_time", time.Nanosecond},
	} {
		b, err := read(x.file)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(b) {
			if f := strings.Fields(string(line)); len(f) == 2 && f[0] == x.key {
				n, ok := parseUint(f[1])
				return time.Duration(n) * x.unit, ok
			}
		}
	}
	return 0, false
}
