package load

import (
	"math/rand/v2"
	"time"
)

// Arrivals says how an open-loop load spreads its messages over time.
type Arrivals string

// The two kinds of arrivals.
const (
	Uniform Arrivals = "uniform" // equal gaps, publishers in turn
	Poisson Arrivals = "poisson" // exponential gaps, publishers at random
)

// arrivals is an endless timetable: when the next message is due and whose it is.
// The sum of many independent Poisson publishers is one Poisson process whose
// every event belongs to a publisher drawn evenly, so one timetable serves all.
type arrivals struct {
	kind       Arrivals
	publishers int
	gap        float64 // mean gap in ns
	due        float64 // ns since the clock's start
	next       int
	random     *rand.Rand
}

func newArrivals(kind Arrivals, perSecond float64, publishers int, start time.Duration) *arrivals {
	a := &arrivals{
		kind:       kind,
		publishers: publishers,
		gap:        float64(time.Second) / perSecond,
		due:        float64(start),
		random:     rand.New(rand.NewPCG(7, 11)),
	}
	a.advance()
	return a
}

// peek is the time at which the next message is due.
func (a *arrivals) peek() time.Duration { return time.Duration(a.due) }

// take returns the next message's publisher and due time, and moves on.
func (a *arrivals) take() (publisher int, due time.Duration) {
	publisher, due = a.next, a.peek()
	a.advance()
	return publisher, due
}

func (a *arrivals) advance() {
	if a.kind == Poisson {
		a.due += a.gap * a.random.ExpFloat64()
		a.next = a.random.IntN(a.publishers)
		return
	}
	a.due += a.gap
	if a.next++; a.next >= a.publishers {
		a.next = 0
	}
}

// backlog is a queue of due times.
type backlog struct {
	times []time.Duration
	head  int
}

func (b *backlog) len() int { return len(b.times) - b.head }

func (b *backlog) put(due time.Duration) {
	if len(b.times) == cap(b.times) && b.head > len(b.times)/2 { // a queue that never empties must not grow
		b.times = b.times[:copy(b.times, b.times[b.head:])]
		b.head = 0
	}
	b.times = append(b.times, due)
}

// take returns the first; the backlog must not be empty.
func (b *backlog) take() time.Duration {
	due := b.times[b.head]
	if b.head++; b.head == len(b.times) {
		b.times, b.head = b.times[:0], 0
	}
	return due
}
