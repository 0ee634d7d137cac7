package phc

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// ErrBusy says that as many hashes wait as may.
var ErrBusy = errors.New("too many passwords are being checked")

// Gate lets a bounded number hash at once and a bounded number wait for it. Its methods may be called from any goroutine.
type Gate struct {
	mu     sync.Mutex
	free   int // who may start at once
	queue  int // who may wait in each of the lines
	lines  [2][]*turn
	hashes uint64
	busy   uint64
}

// The lines: who stands in the second comes when nobody is left in the first.
const (
	first = iota
	second
)

// turn is one that waits; it is given its turn by closing the channel.
type turn struct{ come chan struct{} }

// NewGate makes a gate for so many at once, such as one per core, with at most so many waiting in each of two lines.
func NewGate(atOnce, queue int) *Gate {
	return &Gate{free: max(atOnce, 1), queue: max(queue, 1)}
}

// Do calls f when it is its turn. Those that can wait come after all others. The error is ErrBusy, or that of ctx when it ends before f has
// begun; then f is not called.
func (g *Gate) Do(ctx context.Context, canWait bool, f func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	line := first
	if canWait {
		line = second
	}
	t, err := g.enter(line)
	if err != nil {
		return err
	}
	select {
	case <-t.come:
	case <-ctx.Done():
		if g.giveUp(t, line) {
			return ctx.Err()
		}
		// The turn came at the same moment.
	}
	defer g.leave()
	f()
	return nil
}

func (g *Gate) enter(line int) (*turn, error) {
	t := &turn{make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.free > 0:
		g.free--
		g.hashes++
		close(t.come)
	case len(g.lines[line]) >= g.queue:
		g.busy++
		return nil, ErrBusy
	default:
		g.lines[line] = append(g.lines[line], t)
	}
	return t, nil
}

// giveUp leaves a line; false when the turn has come already.
func (g *Gate) giveUp(t *turn, line int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.lines[line], t)
	if i < 0 {
		return false
	}
	g.lines[line] = slices.Delete(g.lines[line], i, i+1)
	return true
}

// leave hands on to who comes next.
func (g *Gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, line := range g.lines {
		if len(line) > 0 {
			g.hashes++
			close(line[0].come)
			g.lines[i] = slices.Delete(line, 0, 1)
			return
		}
	}
	g.free++
}

// GateStats are a gate's figures.
type GateStats struct {
	Hashes  uint64 `json:"hashes"`  // begun
	Busy    uint64 `json:"busy"`    // sent away because too many waited
	Waiting int    `json:"waiting"` // now
}

// Stats are the figures at present.
func (g *Gate) Stats() GateStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return GateStats{Hashes: g.hashes, Busy: g.busy, Waiting: len(g.lines[first]) + len(g.lines[second])}
}
