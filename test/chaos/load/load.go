// Package load is a crowd of MQTT clients that keep their sessions over everything that happens to their broker, and
// write down what they saw. It knows the broker by its connections only; what breaks it, and when, is its caller's.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/test/chaos/history"
)

// Options say who is to be put under load, and how hard.
type Options struct {
	Dial func() (net.Conn, error) // a new connection to the broker; an error while it is away
	Log  *history.Log
	Seed uint64        // of all that is left to chance
	Pace time.Duration // from one message of a publisher to its next; 0 = 3 ms
	Bulk int           // bytes by which every payload is larger, to fill a disk
}

// Load is a running crowd. It is made by Start; its methods are for one goroutine.
type Load struct {
	o       Options
	clients []*client
	settled *watcher // asks when all is settled
	cancel  context.CancelFunc
	running sync.WaitGroup
	calm    atomic.Bool   // no new messages, everybody stays connected
	round   atomic.Uint64 // of Settle, counted from one
}

// Start begins the load. It runs until Stop.
func Start(o Options) *Load {
	if o.Pace == 0 {
		o.Pace = 3 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{o: o, cancel: cancel}
	for i, r := range roles() {
		c := newClient(l, r, rand.New(rand.NewPCG(o.Seed, uint64(i))))
		l.clients = append(l.clients, c)
		l.running.Go(func() { c.run(ctx) })
	}
	l.settled = &watcher{l: l, id: "settled-watcher"}
	w := &watcher{l: l, id: "watcher", rng: rand.New(rand.NewPCG(o.Seed, 1<<32))}
	l.running.Go(func() { w.run(ctx) })
	return l
}

// quiet is how long nothing may come before all is thought to have come.
const quiet = 250 * time.Millisecond

// rounds is how often everybody has to be done and has had its PINGREQ answered since all were: what a publisher's event loop has for a
// subscriber's comes with one of the next turns, however slow the broker is.
const rounds = 3

// Settle lets everybody come back and finish: no new messages, all exchanges brought to their end, all that waits
// received; then what is retained is read. It gives up when ctx ends. The load goes on with Resume.
func (l *Load) Settle(ctx context.Context) error {
	l.calm.Store(true)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range rounds {
		l.round.Add(1)
		for who := l.busy(); who != ""; who = l.busy() {
			select {
			case <-ctx.Done():
				return fmt.Errorf("settle: %s: %w", who, context.Cause(ctx))
			case <-tick.C:
			}
		}
	}
	for {
		err := l.settled.look(ctx, true)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("settle: read what is retained: %w", err), context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// busy tells who is not done, and why; "" when all are.
func (l *Load) busy() string {
	for _, c := range l.clients {
		if why := c.busy(); why != "" {
			return c.id + " " + why
		}
	}
	return ""
}

// Resume goes on after Settle.
func (l *Load) Resume() { l.calm.Store(false) }

// Stop ends all clients. Their sessions stay.
func (l *Load) Stop() {
	l.cancel()
	l.running.Wait()
}
