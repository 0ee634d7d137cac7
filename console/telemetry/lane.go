package telemetry

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	batchMost = 512             // items in a request
	linger    = 1 * time.Second // how long the first of a batch waits for others
)

// lane carries items of one kind to the collector. Who adds never waits: what finds no room is dropped and counted.
type lane[T any] struct {
	room   int
	encode func([]T) ([]byte, error)
	post   *poster

	dropped atomic.Uint64

	mu      sync.Mutex
	items   []T
	sending int // taken out, without an outcome yet

	full chan struct{} // there is a batch
	end  chan struct{} // closed when nothing is added any more
	done chan struct{} // closed when the lane has ended
	last context.Context
}

func newLane[T any](room int, post *poster, encode func([]T) ([]byte, error)) *lane[T] {
	return &lane[T]{room: room, encode: encode, post: post, full: make(chan struct{}, 1), end: make(chan struct{}), done: make(chan struct{})}
}

// add appends an item, or drops it.
func (l *lane[T]) add(item T) {
	l.mu.Lock()
	fits := len(l.items)+l.sending < l.room
	if fits {
		l.items = append(l.items, item)
	}
	n := len(l.items)
	l.mu.Unlock()
	if !fits {
		l.dropped.Add(1)
	} else if n >= batchMost {
		select {
		case l.full <- struct{}{}:
		default: // it is known
		}
	}
}

// take gives the next batch.
func (l *lane[T]) take() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.items), batchMost)
	batch := append([]T(nil), l.items[:n]...)
	kept := copy(l.items, l.items[n:])
	clear(l.items[kept:])
	l.items, l.sending = l.items[:kept], n
	if kept == 0 && cap(l.items) > batchMost {
		l.items = nil // what a burst took
	}
	return batch
}

// run sends until stop.
func (l *lane[T]) run(ctx context.Context) {
	defer close(l.done)
	tick := time.NewTicker(linger)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.full:
		case <-l.end:
			l.flush(l.last)
			return
		}
		l.flush(ctx)
	}
}

// flush sends all there is.
func (l *lane[T]) flush(ctx context.Context) {
	for {
		batch := l.take()
		if len(batch) == 0 {
			return
		}
		body, err := l.encode(batch)
		rejected := uint64(0)
		if err == nil {
			rejected, err = l.post.send(ctx, body)
		}
		if err != nil {
			rejected = uint64(len(batch))
		}
		l.dropped.Add(min(rejected, uint64(len(batch))))
		l.post.sent.Add(uint64(len(batch)) - min(rejected, uint64(len(batch))))
	}
}

// stop sends what is left, until ctx ends.
func (l *lane[T]) stop(ctx context.Context, abort context.CancelFunc) {
	l.last = ctx
	close(l.end)
	unlink := context.AfterFunc(ctx, abort)
	<-l.done
	unlink()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropped.Add(uint64(len(l.items)))
	l.items = nil
}
