package load

import (
	"sync/atomic"
	"time"
)

// refresh is how often a display is brought up to date.
const refresh = 500 * time.Millisecond

// display calls the run's Progress until the function it returns is called.
func (r *rig) display() (stop func()) {
	if r.opts.Progress == nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(refresh)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				r.opts.Progress(Progress{
					Elapsed:  r.clock(),
					Clients:  int(r.live.clients.Load()),
					Sent:     r.live.sent.Load(),
					Received: r.live.received.Load(),
					InFlight: r.live.inFlight.Load(),
					Wrong:    r.live.wrong.Load(),
				})
			}
		}
	}()
	return func() { close(quit); <-done }
}

// live is what the display reads while the loop runs.
type live struct {
	clients, inFlight     atomic.Int64
	sent, received, wrong atomic.Uint64
}

func (v *live) publish(r *rig) {
	v.clients.Store(int64(len(r.clients)))
	v.inFlight.Store(r.flying)
	v.sent.Store(r.tally.Sent)
	v.received.Store(r.tally.Received)
	v.wrong.Store(r.tally.wrong())
}
