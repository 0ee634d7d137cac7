package load

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// userTick is the unit of the times in /proc/PID/stat: USER_HZ, 100 on every Linux.
const userTick = time.Second / 100

// cpuTime is the CPU time, user and system, that all threads of the process have
// used, those that ended included: its CPU clock, in nanoseconds (pid 0 = this
// process; clock_getcpuclockid(3) computes the same clock id).
func cpuTime(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED: the scheduler's own account, not ticks
	id := int32(^pid<<3 | scheduled)
	if pid == 0 {
		id = unix.CLOCK_PROCESS_CPUTIME_ID
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, fmt.Errorf("read CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// ReadUsage samples the process. Memory is walked page by page by the kernel, which
// takes milliseconds for a big process: not for the middle of a measurement.
func ReadUsage(pid int) (Usage, error) {
	cpu, err := cpuTime(pid)
	if err != nil {
		return Usage{}, err
	}
	u := Usage{CPU: cpu}
	if u.User, u.System, err = tickTimes(pid); err != nil {
		return Usage{}, err
	}
	u.RSS, u.USS, err = memory(pid)
	return u, err
}

func tickTimes(pid int) (user, system time.Duration, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("sample process: %w", err)
	}
	// The second field is the name in parentheses and may hold spaces; utime and
	// stime are the fields 14 and 15, so 12 and 13 after it, counted from 1.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0, 0, fmt.Errorf("sample process %d: stat has %d fields", pid, len(f))
	}
	u, errU := strconv.ParseInt(f[11], 10, 64)
	s, errS := strconv.ParseInt(f[12], 10, 64)
	if errU != nil || errS != nil {
		return 0, 0, fmt.Errorf("sample process %d: times %q %q", pid, f[11], f[12])
	}
	return time.Duration(u) * userTick, time.Duration(s) * userTick, nil
}

// memory reads the resident set and its part that no other process shares.
func memory(pid int) (rss, uss int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("sample process: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if len(f) != 2 || f[1] != "kB" {
			continue
		}
		kb, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("sample process %d: %s: %w", pid, name, err)
		}
		switch name {
		case "Rss":
			rss = kb << 10
		case "Private_Clean", "Private_Dirty":
			uss += kb << 10
		}
	}
	return rss, uss, nil
}
