package fact

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed says that no more facts come.
var ErrClosed = errors.New("the recorder is closed")

// box is a bounded queue between goroutines: putting never waits, what does not fit is counted.
type box struct {
	maxFacts, maxBytes int

	mu     sync.Mutex
	facts  []Fact
	work   []Fact // taken, until next is called again
	bytes  int
	lost   uint64
	closed bool
	behind []chan struct{} // closed when what was put before has been worked on
	full   chan struct{}   // cap 1: there is something to take
}

func newBox(maxFacts, maxBytes int) *box {
	return &box{maxFacts: maxFacts, maxBytes: maxBytes, full: make(chan struct{}, 1)}
}

// put adds those of a batch that a query asks for; nil asks for all.
func (b *box) put(batch []Fact, q *Query) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	any := false
	for i := range batch {
		if q != nil && !q.Match(&batch[i]) {
			continue
		}
		any = true
		b.add(&batch[i])
	}
	if any {
		b.wake()
	}
}

// add adds one if it fits. The caller holds the lock.
func (b *box) add(f *Fact) bool {
	n := f.Size()
	if len(b.facts) >= b.maxFacts || b.bytes+n > b.maxBytes {
		b.lost++
		return false
	}
	b.facts = append(b.facts, *f)
	b.bytes += n
	return true
}

func (b *box) wake() {
	select {
	case b.full <- struct{}{}:
	default:
	}
}

// mark returns what is closed when everything that is in the box now has been worked on.
func (b *box) mark() <-chan struct{} {
	done := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		close(done)
		return done
	}
	b.behind = append(b.behind, done)
	b.wake()
	return done
}

// taken is what was in a box.
type taken struct {
	facts  []Fact
	lost   uint64
	behind []chan struct{}
	open   bool
}

// pending are the facts that were taken and not worked on yet, and those that are still to be taken. They are not to be changed.
func (b *box) pending() [2][]Fact {
	b.mu.Lock()
	defer b.mu.Unlock()
	return [2][]Fact{b.work, b.facts}
}

// empty takes everything.
func (b *box) empty() taken {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := taken{b.facts, b.lost, b.behind, !b.closed}
	b.work, b.facts, b.bytes, b.lost, b.behind = b.facts, nil, 0, 0, nil
	return t
}

// next waits for something to take. Who calls it has worked on what it took before. When the box is closed it gives what is left, then ErrClosed.
func (b *box) next(ctx context.Context) (taken, error) {
	for {
		t := b.empty()
		if len(t.facts) > 0 || t.lost > 0 || len(t.behind) > 0 {
			return t, nil
		}
		if !t.open {
			return t, ErrClosed
		}
		select {
		case <-b.full:
		case <-ctx.Done():
			return t, ctx.Err()
		}
	}
}

func (b *box) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.wake()
}
