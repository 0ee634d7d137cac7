package broker

import (
	"sync"
	"time"
)

// quiet lets one report through per interval and counts the others.
type quiet struct {
	every time.Duration
	mu    sync.Mutex
	next  time.Time
	held  int
}

func newQuiet(every time.Duration) *quiet { return &quiet{every: every} }

// allow tells whether to report now, and for how many.
func (q *quiet) allow(now time.Time) (times int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held++
	if now.Before(q.next) {
		return 0, false
	}
	times, q.held = q.held, 0
	q.next = now.Add(q.every)
	return times, true
}
