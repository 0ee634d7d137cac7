package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

var (
	errStarting = errors.New("starting")
	errStopping = errors.New("stopping")
)

// phase is how far the process has come. It may be asked and moved from any goroutine.
type phase struct {
	mu  sync.Mutex
	why error // why it is not ready by itself; nil when it is
}

// now is why the process is not ready, nil when it is.
func (p *phase) now() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.why
}

// move goes from one state to the next, unless something else came in between.
func (p *phase) move(before, now error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why == before {
		p.why = now
	}
}

// stop goes to the last one, from any.
func (p *phase) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.why = errStopping
}

// steps are what a start has opened, with what closes it. It belongs to the goroutine that starts, then to the one that stops.
type steps []step

type step struct {
	name  string
	close func(context.Context) error
}

func (s *steps) add(name string, f func(context.Context) error) {
	*s = append(*s, step{name, f})
}

// undo closes everything, the last first.
func (s *steps) undo(ctx context.Context) error {
	var errs []error
	for len(*s) > 0 {
		last := (*s)[len(*s)-1]
		*s = (*s)[:len(*s)-1]
		if err := last.close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", last.name, err))
		}
	}
	return errors.Join(errs...)
}
