// Package broker is the machine: an MQTT broker, usable as a library. New makes
// one, Serve gives it a listener, Close stops it.
//
// Connections and their sessions are dealt out over shards, one event loop each,
// by client id; a shard owns its clients, so that nothing of a client is locked.
// What is above asks nothing of the inside: it has three doors, Gate (the broker
// asks), Events (the broker tells) and Control (the broker obeys), and a window,
// View (what it holds, to look at). The walk of one PUBLISH is publish.go, read top to bottom.
package broker

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/flapping"
	"github.com/sapwood-mqtt/sapwood/broker/handle"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Options make a broker what it is. Only Store is needed.
type Options struct {
	Store    store.Store                // kept open by the broker, closed by its owner after Close
	Limits   *Limits                    // nil = DefaultLimits
	Delivery *Delivery                  // nil = DefaultDelivery
	Logger   *slog.Logger               // nil = discard
	Shards   int                        // event loops; 0 = GOMAXPROCS
	SysEvery time.Duration              // interval of $SYS/broker; 0 = none
	Version  string                     // of the program, for $SYS/broker/version
	Gates    []Gate                     // asked in order about every message, after authorisation
	Events   Events                     // told what happens; nil = nobody listens
	Sums     Sums                       // how Dropped and Denied are summed up
	Authn    auth.Authenticator         // of listeners without a door of their own; nil = everybody is anonymous
	Authz    auth.Authorizer            // nil = everything is allowed, but $SYS and $CONTROL
	Rates    *limit.Rates               // nil = no rate is limited
	Bans     *ban.Table                 // nil = an empty one
	Flapping *flapping.Config           // nil = nobody looks
	Overload *overload.Config           // nil = nothing is shed
	Trace    *trace.Config              // nil = trace.Defaults
	Memory   func() (used, limit int64) // in bytes, for Overload; nil = of this process
	Books    *Bookkeeping               // nil = DefaultBookkeeping
	Now      func() time.Time           // the wall clock, read once by New; nil = time.Now
}

// Broker is a running broker. Its methods may be called from any goroutine.
type Broker struct {
	opts  Options
	laws  laws
	log   *slog.Logger
	store store.Store

	index    *topic.Index
	groups   groups
	retained *retained
	clients  handle.Table[client]
	shards   []*shard
	seed     maphash.Seed

	era
	nextSession atomic.Uint64
	connected   atomic.Int64
	sessions    atomic.Int64 // known, connected or not
	queuedBytes atomic.Int64
	maximum     atomic.Int64 // most clients connected at a time
	panics      atomic.Uint64
	unwell      atomic.Bool // it is known that the store takes nothing new
	strangers   *quiet
	unjudged    *quiet      // clients that could not be authenticated
	mounted     atomic.Bool // a client has had a mount point
	entrance    entrance
	burden      burden
	topics      topicBooks

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	closing   bool
	stopping  chan struct{} // closed when Close has closed the listeners
	closed    chan struct{} // no loop runs any more
	running   sync.WaitGroup
}

// era is when the broker began.
type era struct {
	started time.Time
	epoch   int64 // steady clock: Unix milliseconds at start
}

// ErrClosed is returned by Serve after Close.
var ErrClosed = errors.New("broker: closed")

// New makes a broker and loads what its store keeps. It runs until Close.
func New(o Options) (*Broker, error) {
	if o.Store == nil {
		return nil, errors.New("broker: Options.Store is missing")
	}
	b := &Broker{
		opts: o, log: o.Logger, store: o.Store,
		index: topic.NewIndex(), seed: maphash.MakeSeed(), listeners: make(map[net.Listener]struct{}),
		era: era{started: time.Now()}, stopping: make(chan struct{}), closed: make(chan struct{}), strangers: newQuiet(time.Second),
		unjudged: newQuiet(time.Second),
		entrance: entrance{faults: newQuiet(time.Second), turns: loop.NewTurns()},
	}
	if err := b.legislate(); err != nil {
		return nil, err
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.setClock()
	b.retained = newRetained(b.limits().MaxRetained, b.limits().MaxRetainedBytes)
	n := o.Shards
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	b.topics.open(b.opts.Books, n)
	for i := range n {
		sh, err := newShard(b, i)
		if err != nil {
			b.abandon()
			return nil, fmt.Errorf("start event loop: %w", err)
		}
		b.shards = append(b.shards, sh)
	}
	if err := b.load(); err != nil {
		b.abandon()
		return nil, fmt.Errorf("load the store: %w", err)
	}
	for _, sh := range b.shards {
		sh.start(n)
		b.running.Go(sh.loop.Run)
	}
	if o.Overload != nil {
		b.running.Go(b.watchLoad)
	}
	return b, nil
}

// abandon gives back the loops that were made and are not to run.
func (b *Broker) abandon() {
	for _, sh := range b.shards {
		sh.commits.batch = sh.commits.newBatch() // nothing is stored
		sh.loop.Stop()
		sh.loop.Run()
	}
}

// Serve accepts connections from ln until Close or until ln is closed by its owner, and returns
// ErrClosed or nil then.
func (b *Broker) Serve(ln net.Listener) error {
	return b.ServeDoor(ln, NewDoor(Listener{Name: ln.Addr().String(), Authn: b.opts.Authn}))
}

// ServeDoor is Serve with a door of its own.
func (b *Broker) ServeDoor(ln net.Listener, door *Door) error {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		return ErrClosed
	}
	b.listeners[ln] = struct{}{}
	b.mu.Unlock()
	err := loop.Accept(ln, b.stopping, b.reception(door, ln.Addr().String()))
	b.mu.Lock()
	delete(b.listeners, ln)
	closing := b.closing
	b.mu.Unlock()
	if closing {
		return ErrClosed
	}
	if err != nil {
		return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
	}
	return nil
}

// Close stops: no new connections, v5 clients get DISCONNECT 0x8B, what is queued for them is
// flushed, wills are published, what is to be stored is stored. It waits until ctx ends
// for that and then cuts off what is left.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		return ErrClosed
	}
	b.closing = true
	for ln := range b.listeners {
		_ = ln.Close() // its owner may have closed it: nothing is accepted either way
	}
	close(b.stopping)
	b.mu.Unlock()
	var err error
	for _, sh := range b.shards {
		sh.loop.Post(sh.shutdown)
	}
	for _, sh := range b.shards {
		select {
		case <-sh.quiesced:
			continue
		default:
		}
		select {
		case <-sh.quiesced:
		case <-ctx.Done():
			err = fmt.Errorf("close: %w: clients were cut off", context.Cause(ctx))
		}
	}
	for _, sh := range b.shards {
		sh.loop.Stop()
	}
	b.running.Wait()
	for _, sh := range b.shards {
		sh.tell.flush()
	}
	b.entrance.refusals.flush(b)
	close(b.closed)
	return err
}

// Ready tells why the broker cannot do all of its work at present: it closes, its store takes nothing new, or it is
// overloaded. nil when it can.
func (b *Broker) Ready() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return ErrClosed
	}
	if err := b.store.Health(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if st := b.Overload(); st.Level > overload.Normal {
		return fmt.Errorf("overloaded: %s: %s", st.Why, st.Level)
	}
	return nil
}

// trustedLead is how far ahead of the store's last batch a wall clock may be at the start.
const trustedLead = 10 * 365 * 24 * time.Hour

// setClock starts the steady clock at the wall clock's time. One that is before what the store remembers, or
// many years after it, is not believed: the clock goes on from the store's last batch, so that nothing expires, or
// lasts longer, for what somebody did to the machine's clock.
func (b *Broker) setClock() {
	now := b.opts.Now
	if now == nil {
		now = time.Now
	}
	wall, last := now().UnixMilli(), b.store.Past().Commit
	b.epoch = wall
	if last != 0 && (wall < last || wall-last > trustedLead.Milliseconds()) {
		b.epoch = last
		b.log.Warn("the wall clock is not believed: time goes on from the store's last change",
			"wall", time.UnixMilli(wall).UTC(), "last_change", time.UnixMilli(last).UTC())
	}
}

// clock is the steady clock: Unix milliseconds that never jump while the broker runs.
func (b *Broker) clock(now time.Time) int64 { return b.epoch + now.Sub(b.started).Milliseconds() }

// shardOf is the shard that owns a client id.
func (b *Broker) shardOf(clientID string) *shard {
	if len(b.shards) == 1 {
		return b.shards[0]
	}
	return b.shards[maphash.String(b.seed, clientID)%uint64(len(b.shards))]
}
