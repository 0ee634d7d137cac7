// Package flapping finds clients that come and go too often, and client ids that two devices take from each other. It only
// counts: what is done about them is its caller's affair.
package flapping

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Answer is what is done about who flaps.
type Answer string

// The answers.
const (
	Off   Answer = "off"
	Event Answer = "event"
	Ban   Answer = "ban"
)

// Config says what flapping is.
type Config struct {
	Answer    Answer        `yaml:"answer" enum:"off,event,ban" doc:"What is done about a client id or user that connects too often, or a client id that two devices take from each other: nothing, an event and a line in the log, or also a ban (of the client id, or the user) for {flapping.ban_time}. Only clients that were authenticated count."`
	Window    time.Duration `yaml:"window" unit:"duration" doc:"In which time connections and takeovers are counted."`
	Connects  int           `yaml:"connects" unit:"connections" doc:"Connections of one client id within the window; 0 = any number." exceeded:"flapping.answer"`
	User      int           `yaml:"user_connects" unit:"connections" doc:"Connections of one user within the window; 0 = any number." exceeded:"flapping.answer"`
	Takeovers int           `yaml:"takeovers" unit:"connections" doc:"Connections of one client id from another address while it is connected, within the window: two devices have the same id; 0 = any number." exceeded:"flapping.answer"`
	BanTime   time.Duration `yaml:"ban_time" unit:"duration" doc:"How long the ban holds." exceeded:"CONNACK 0x8A Banned (3.1.1: 0x05 Not authorized)"`
}

// Defaults tells of clients that flap, and does no more.
func Defaults() Config {
	return Config{Answer: Event, Window: time.Minute, Connects: 20, Takeovers: 6, BanTime: 5 * time.Minute}
}

// Verify tells what in c cannot be.
func (c *Config) Verify() error {
	var errs []error
	if !slices.Contains([]Answer{Off, Event, Ban}, c.Answer) {
		errs = append(errs, fmt.Errorf("flapping.answer is %q: it has to be off, event or ban", c.Answer))
	}
	if c.Window < time.Second || c.Window > 24*time.Hour {
		errs = append(errs, fmt.Errorf("flapping.window is %v: it has to be 1s to 24h", c.Window))
	}
	if min(c.Connects, c.User, c.Takeovers) < 0 {
		errs = append(errs, errors.New("flapping.connects, user_connects and takeovers cannot be below 0"))
	}
	if c.BanTime < time.Second {
		errs = append(errs, fmt.Errorf("flapping.ban_time is %v: it has to be at least 1s", c.BanTime))
	}
	return errors.Join(errs...)
}

// Connect is one connection that was authenticated.
type Connect struct {
	Client   string
	User     string // "" = anonymous
	Remote   string // host and port
	Address  string // host
	Takes    bool   // the client id was connected
	From     string // whom it takes it from, host and port
	FromHost string
}

// Finding is one who flaps.
type Finding struct {
	User   bool // it is the user, not the client id
	Name   string
	Text   string
	Answer Answer
	For    time.Duration // of the ban
}

// most is how many names are remembered.
const most = 100_000

// Detector counts, in bounded memory. Its methods may be called from any goroutine.
type Detector struct {
	mu    sync.Mutex
	c     Config
	names map[name]*record
}

type name struct {
	user bool
	name string
}

// record is what is known of a name: two buckets, each as the time at which it is empty again.
type record struct {
	connects, takeovers int64 // ms
	told                bool  // in this episode
}

// New makes a detector.
func New(c Config) *Detector { return &Detector{c: c, names: make(map[name]*record)} }

// Set changes what flapping is from now on.
func (d *Detector) Set(c Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.c = c
}

// Connected notes a connection at now (ms) and returns who flaps by it, nil = nobody. It tells once, until
// there is quiet again.
func (d *Detector) Connected(now int64, c *Connect) *Finding {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c.Answer == Off {
		return nil
	}
	if d.c.Connects > 0 || d.c.Takeovers > 0 {
		r := d.record(now, name{false, c.Client})
		often := d.over(now, &r.connects, d.c.Connects)
		fight := c.Takes && c.Address != c.FromHost && d.over(now, &r.takeovers, d.c.Takeovers)
		switch {
		case r.told || !often && !fight:
		case fight:
			r.told = true
			return d.found(false, c.Client, fmt.Sprintf("two devices take the client id from each other: %s and %s, more than %d times in %v", c.From, c.Remote, d.c.Takeovers, d.c.Window))
		default:
			r.told = true
			return d.found(false, c.Client, fmt.Sprintf("it connected more than %d times in %v, now from %s", d.c.Connects, d.c.Window, c.Remote))
		}
	}
	if c.User == "" || d.c.User == 0 {
		return nil
	}
	r := d.record(now, name{true, c.User})
	if !d.over(now, &r.connects, d.c.User) || r.told {
		return nil
	}
	r.told = true
	return d.found(true, c.User, fmt.Sprintf("its clients connected more than %d times in %v, now %s from %s", d.c.User, d.c.Window, c.Client, c.Remote))
}

func (d *Detector) found(user bool, who, text string) *Finding {
	return &Finding{User: user, Name: who, Text: text, Answer: d.c.Answer, For: d.c.BanTime}
}

// over notes one more in a bucket that holds n and empties in a window, and tells that it runs over.
func (d *Detector) over(now int64, empty *int64, n int) bool {
	if n == 0 {
		return false
	}
	window := d.c.Window.Milliseconds()
	level := max(*empty, now) + window/int64(n)
	if level-now > window {
		return true
	}
	*empty = level
	return false
}

// record is that of a name. When there are too many names those that are quiet are forgotten, and if that is not enough, any.
func (d *Detector) record(now int64, n name) *record {
	if r := d.names[n]; r != nil {
		if r.quiet(now) {
			r.told = false
		}
		return r
	}
	if len(d.names) >= most {
		for k, r := range d.names {
			if r.quiet(now) {
				delete(d.names, k)
			}
		}
		for k := range d.names {
			if len(d.names) < most*3/4 {
				break
			}
			delete(d.names, k)
		}
	}
	r := &record{}
	d.names[n] = r
	return r
}

func (r *record) quiet(now int64) bool { return max(r.connects, r.takeovers) <= now }
