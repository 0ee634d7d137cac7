// Package overload tells how close the process is to what it can bear, and what to shed so that those who are connected
// notice little. It decides and samples; shedding is its caller's affair.
package overload

import (
	"errors"
	"fmt"
	"time"
)

// Config are the watermarks. Percentages are of what there is; 0 switches one off.
type Config struct {
	MemoryLimit    int64         `yaml:"memory_limit" unit:"bytes" doc:"What the percentages of memory are of; 0 = the least of GOMEMLIMIT, the control group's limit and the machine's memory."`
	MemoryConnects int           `yaml:"memory_connects" unit:"percent" min:"0" max:"100" doc:"Memory in use from which no new connection is accepted." exceeded:"CONNACK 0x89 Server busy (3.1.1: 0x03 Server unavailable), counted"`
	MemoryQoS0     int           `yaml:"memory_qos0" unit:"percent" min:"0" max:"100" doc:"Memory in use from which QoS 0 messages from and to the heaviest clients are dropped: from those that publish more than the average, to those that do not read." exceeded:"dropped and counted (overloaded)"`
	MemoryPublish  int           `yaml:"memory_publish" unit:"percent" min:"0" max:"100" doc:"Memory in use from which QoS 1 and 2 messages are refused. Acknowledgements and keep-alives never are." exceeded:"PUBACK or PUBREC 0x97 Quota exceeded; clients before MQTT 5 are not read until it is over"`
	Descriptors    int           `yaml:"descriptors" unit:"percent" min:"0" max:"100" doc:"Part of the file descriptors in use from which no new connection is accepted: the rest is for files, the API and the store." exceeded:"the connection is closed"`
	LagConnects    time.Duration `yaml:"lag_connects" unit:"duration" doc:"How late an event loop may be, so that no new connection is accepted; 0 = any time." exceeded:"as memory_connects"`
	LagQoS0        time.Duration `yaml:"lag_qos0" unit:"duration" doc:"How late an event loop may be, so that QoS 0 messages from and to the heaviest clients are dropped; 0 = any time." exceeded:"as memory_qos0"`
	Below          int           `yaml:"below" unit:"percent" min:"0" max:"50" doc:"How far, in percent of the watermark, it has to fall for it to be over."`
	Calm           time.Duration `yaml:"calm" unit:"duration" doc:"For how long, until what was shed is taken again, one step at a time."`
}

// Defaults returns the defaults.
func Defaults() Config {
	return Config{
		MemoryConnects: 85, MemoryQoS0: 90, MemoryPublish: 95, Descriptors: 90,
		LagConnects: time.Second, LagQoS0: 3 * time.Second, Below: 5, Calm: 3 * time.Second,
	}
}

// Verify tells what in c cannot be.
func (c *Config) Verify() error {
	var errs []error
	for name, n := range map[string]int{"memory_connects": c.MemoryConnects, "memory_qos0": c.MemoryQoS0, "memory_publish": c.MemoryPublish, "descriptors": c.Descriptors} {
		if n < 0 || n > 100 {
			errs = append(errs, fmt.Errorf("overload.%s is %d: it has to be 0 to 100 percent", name, n))
		}
	}
	if c.Below < 0 || c.Below > 50 {
		errs = append(errs, fmt.Errorf("overload.below is %d: it has to be 0 to 50 percent", c.Below))
	}
	if c.MemoryLimit < 0 || min(c.LagConnects, c.LagQoS0, c.Calm) < 0 {
		errs = append(errs, errors.New("overload.memory_limit, lag_connects, lag_qos0 and calm cannot be below 0"))
	}
	ordered := func(what string, marks ...int64) {
		last := int64(0)
		for _, m := range marks {
			if m != 0 && m < last {
				errs = append(errs, fmt.Errorf("overload: the watermarks of %s have to rise in the order of what is shed: connections, QoS 0, publishes", what))
				return
			}
			last = max(last, m)
		}
	}
	ordered("memory", int64(c.MemoryConnects), int64(c.MemoryQoS0), int64(c.MemoryPublish))
	ordered("lag", int64(c.LagConnects), int64(c.LagQoS0))
	return errors.Join(errs...)
}

// Level is what is shed: all up to it.
type Level int32

// The levels, in the order in which things are shed.
const (
	Normal   Level = iota
	Connects       // new connections
	QoS0           // also QoS 0 from and to the heaviest clients
	Publish        // also QoS 1 and 2 publishes
)

// String says what is shed.
func (l Level) String() string {
	return [...]string{"nothing is shed", "new connections are refused", "new connections are refused, QoS 0 of the heaviest clients is dropped", "new connections and QoS 1 and 2 publishes are refused, QoS 0 of the heaviest clients is dropped"}[l]
}

// Sample is how things are. 0 = not known.
type Sample struct {
	Memory, MemoryLimit           int64 // bytes
	Descriptors, DescriptorsLimit int64
	Lag                           time.Duration // of the latest event loop
}

// State is how overloaded the process is.
type State struct {
	Level       Level
	Descriptors bool   // it is descriptors that are scarce: a connection is not even to be answered
	Why         string // for people; "" = it is not overloaded
}

// Watch turns samples into a state: up at once, down when it was calm for a while, a level at a time. It belongs to one goroutine.
type Watch struct {
	c     Config
	state State
	since time.Time // when it became calm enough for a lower level; zero = it is not
}

// NewWatch begins in the normal state.
func NewWatch(c Config) *Watch { return &Watch{c: c} }

// Set changes the watermarks.
func (w *Watch) Set(c Config) { w.c = c }

// Judge takes a sample and returns the state, and whether it is another level than before.
func (w *Watch) Judge(now time.Time, s *Sample) (State, bool) {
	level, scarce, why := w.c.level(s, 100)
	switch {
	case level > w.state.Level:
		w.since = time.Time{}
		w.state = State{level, scarce, why}
		return w.state, true
	case w.state.Level == Normal:
		return w.state, false
	}
	calm, _, _ := w.c.level(s, 100-w.c.Below)
	switch {
	case calm >= w.state.Level:
		w.since = time.Time{}
		if why != "" {
			w.state.Why, w.state.Descriptors = why, scarce
		}
	case w.since.IsZero():
		w.since = now
	}
	if w.since.IsZero() || now.Sub(w.since) < w.c.Calm {
		return w.state, false
	}
	w.since = time.Time{}
	w.state.Level--
	w.state.Descriptors = w.state.Descriptors && scarce
	if w.state.Level == Normal {
		w.state = State{}
	}
	return w.state, true
}

// level is what a sample asks for, with watermarks of part percent of theirs.
func (c *Config) level(s *Sample, part int) (level Level, scarce bool, why string) {
	reached := func(l Level, text string) {
		if l > level {
			level, why = l, text
		}
	}
	over := func(n, limit int64, percent int) bool {
		return percent > 0 && limit > 0 && float64(n)*100*100 >= float64(limit)*float64(percent*part)
	}
	late := func(mark time.Duration) bool { return mark > 0 && s.Lag*100 >= mark*time.Duration(part) }
	memory := fmt.Sprintf("%d MiB of %d MiB memory are in use", s.Memory>>20, s.MemoryLimit>>20)
	switch {
	case over(s.Memory, s.MemoryLimit, c.MemoryPublish):
		reached(Publish, memory)
	case over(s.Memory, s.MemoryLimit, c.MemoryQoS0):
		reached(QoS0, memory)
	case over(s.Memory, s.MemoryLimit, c.MemoryConnects):
		reached(Connects, memory)
	}
	lag := fmt.Sprintf("an event loop is %v late", s.Lag.Round(time.Millisecond))
	switch {
	case late(c.LagQoS0):
		reached(QoS0, lag)
	case late(c.LagConnects):
		reached(Connects, lag)
	}
	if over(s.Descriptors, s.DescriptorsLimit, c.Descriptors) {
		scarce = true
		reached(Connects, fmt.Sprintf("%d of %d file descriptors are in use", s.Descriptors, s.DescriptorsLimit))
	}
	return level, scarce, why
}
