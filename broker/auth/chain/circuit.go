package chain

import (
	"sync"
	"time"
)

// circuit is open while its backend is not asked: after Failures failures in a row for Wait, then for one attempt at a time,
// each of which doubles the wait if it fails too.
type circuit struct {
	Circuit
	mu       sync.Mutex
	failed   int
	wait     time.Duration // of the present or next opening; 0 = Wait
	until    time.Time     // it is open till then; zero = closed
	trying   bool          // one attempt tries whether it may close
	openings uint64
}

// outcome is how a question ended.
type outcome int

const (
	undecided  outcome = iota // nothing was learnt of the backend
	answered                  // it said something, be it no
	unanswered                // it failed
)

// enter tells whether the backend may be asked. If so, leave must follow.
func (c *circuit) enter(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until.IsZero() {
		return true
	}
	if c.trying || now.Before(c.until) {
		return false
	}
	c.trying = true
	return true
}

// leave takes note of how a question ended. Those that were under way when the circuit opened count too, but open it no further.
func (c *circuit) leave(now time.Time, result outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	probe := c.trying && !now.Before(c.until)
	switch {
	case result == undecided:
		c.trying = c.trying && !probe
	case result == answered:
		c.failed, c.wait, c.until, c.trying = 0, 0, time.Time{}, false
	case c.until.IsZero() || probe:
		c.failed++
		if c.Failures == 0 || c.failed < c.Failures {
			return
		}
		c.wait = min(max(c.Wait, 2*c.wait), c.Longest)
		c.until, c.trying = now.Add(c.wait), false
		c.openings++
	}
}

func (c *circuit) state() (opened uint64, open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.openings, !c.until.IsZero()
}
