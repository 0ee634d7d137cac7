package load

import "time"

// Usage is what a process has used so far and holds now.
type Usage struct {
	CPU    time.Duration `json:"cpu_ns"`    // user + system, nanosecond clock
	User   time.Duration `json:"user_ns"`   // in ticks of 10 ms
	System time.Duration `json:"system_ns"` // in ticks of 10 ms
	RSS    int64         `json:"rss_bytes"` // resident, now
	USS    int64         `json:"uss_bytes"` // resident and shared with no other process, now
}

// meter measures the stretches of a run: wall clock, the broker's CPU and the
// generator's own.
type meter struct {
	pid   int // 0 = the broker is not watched
	start time.Time
	their time.Duration
	ours  time.Duration
}

// stretch is one measured piece of a run.
type stretch struct {
	wall  time.Duration
	their time.Duration
	ours  time.Duration
}

// begin starts a stretch.
func (m *meter) begin() error {
	var err error
	if m.pid != 0 {
		if m.their, err = cpuTime(m.pid); err != nil {
			return err
		}
	}
	// Where this process has no such clock its share stays 0: it is for information.
	m.ours, _ = cpuTime(0)
	m.start = time.Now()
	return nil
}

// end ends the stretch.
func (m *meter) end() (stretch, error) {
	s := stretch{wall: time.Since(m.start)}
	ours, _ := cpuTime(0)
	s.ours = ours - m.ours
	if m.pid != 0 {
		their, err := cpuTime(m.pid)
		if err != nil {
			return s, err
		}
		s.their = their - m.their
	}
	return s, nil
}

// measure measures what f does.
func measure(pid int, f func() error) (stretch, error) {
	m := meter{pid: pid}
	if err := m.begin(); err != nil {
		return stretch{}, err
	}
	if err := f(); err != nil {
		return stretch{}, err
	}
	return m.end()
}
