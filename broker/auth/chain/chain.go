// Package chain asks several authenticators in a stated order, and guards the way to each: a time limit, a bound on how many
// ask at once, a circuit that opens when it fails, and a cache of its answers where that is wanted. Who is not known to
// one is shown to the next; any other answer is final, so that a backend that cannot be reached lets nobody in by another.
//
// It knows nothing of any backend, and is not asked about topics.
package chain

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Link is one backend in its place. Its zero value lacks name and backend.
type Link struct {
	Name       string // in errors, counts and, of who does not name itself, Identity.By; each is there once
	Authn      auth.Authenticator
	Timeout    time.Duration // of one question; 0 = 5 s
	Concurrent int           // questions at once; 0 = 64. Sixteen times as many may wait, the rest is told that the server is busy
	Cached     bool          // its answers may be kept: they depend on nothing but the attempt
}

// Options are what the chain needs besides its links. Nil functions have defaults.
type Options struct {
	Cache   Cache
	Circuit Circuit
	Refresh Refresh
	Log     *slog.Logger
	Now     func() time.Time
}

// Chain is all backends, each guarded. Its methods may be called from any goroutine.
type Chain struct {
	opts  Options
	links []*guard
	wake  chan string // a name of whom something changed; see Watch
}

// Open makes a chain. It asks nobody yet and starts nothing.
func Open(links []Link, o Options) (*Chain, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	c := &Chain{opts: o, wake: make(chan string, 1024)}
	for _, l := range links {
		if l.Name == "" || l.Authn == nil {
			return nil, errors.New("a link of the chain lacks its name or its backend")
		}
		if c.link(l.Name) != nil {
			return nil, fmt.Errorf("%s stands twice in the chain", l.Name)
		}
		c.links = append(c.links, newGuard(l, &c.opts, key))
	}
	return c, nil
}

func (c *Chain) link(name string) *guard {
	for _, g := range c.links {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// Authenticate asks all links in order.
func (c *Chain) Authenticate(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
	return order(c.links).Authenticate(ctx, a)
}

// Of is the part of the chain that one listener asks, in an order of its own; caches, circuits and counts are the chain's.
func (c *Chain) Of(names ...string) (auth.Authenticator, error) {
	var o order
	for _, name := range names {
		g := c.link(name)
		if g == nil {
			return nil, fmt.Errorf("no backend of the chain is called %q", name)
		}
		o = append(o, g)
	}
	return o, nil
}

// order is backends in the order they are asked.
type order []*guard

// Authenticate is the chain's whole law: unknown goes on, everything else is final.
func (o order) Authenticate(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
	for _, g := range o {
		id, err := g.ask(ctx, a)
		if !errors.Is(err, auth.ErrUnknown) {
			return id, err
		}
	}
	return nil, &auth.Refusal{
		Reason: mqtt.BadUserNameOrPassword, Text: "authentication failed", By: "chain", Why: "no backend knows such credentials",
	}
}

// Changed says that something about a name has changed, or about everybody if it is empty: no answer that was kept about it is used
// any more, and Watch asks again about those who are connected. It never blocks.
func (c *Chain) Changed(name string) {
	c.Flush(name)
	select {
	case c.wake <- name:
	default: // so many changes at once: everybody is asked about
		for {
			select {
			case <-c.wake:
				continue
			default:
			}
			break
		}
		select {
		case c.wake <- "":
		default:
		}
	}
}

// Flush forgets all answers about a user name or an identity's name, or all there are if it is empty, and tells how many. An answer that is on its way
// is not kept either.
func (c *Chain) Flush(name string) (n int) {
	for _, g := range c.links {
		n += g.answers.flush(name)
	}
	return n
}

// Count is what happened at one link since it began.
type Count struct {
	Name      string `json:"name"`
	Asked     uint64 `json:"asked"` // also those answered by cache and circuit
	Accepted  uint64 `json:"accepted"`
	Refused   uint64 `json:"refused"`
	Unknown   uint64 `json:"unknown"`
	Failed    uint64 `json:"failed"` // it could not be told, so that the client was refused
	CacheHits uint64 `json:"cache_hits"`
	Opened    uint64 `json:"circuit_opened"`
	Open      bool   `json:"circuit_open"` // it is not asked at present
	LastError string `json:"last_error,omitempty"`
}

// Counts are those of all links, in order.
func (c *Chain) Counts() []Count {
	all := make([]Count, len(c.links))
	for i, g := range c.links {
		all[i] = g.counts()
	}
	return all
}
