package chain

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Refresher is a backend that can tell what is known now of a client that it vouched for, without a password. The
// errors are those of Authenticate: ErrUnknown and a Refusal end the client's connection. errors.ErrUnsupported says that it cannot.
type Refresher interface {
	Refresh(ctx context.Context, p *auth.Principal) (*auth.Identity, error)
}

// Clients are those of the broker; its Control is one.
type Clients interface {
	Principals(ctx context.Context, match func(*auth.Principal) bool) ([]*auth.Principal, error)
	Reidentify(ctx context.Context, change func(*auth.Principal) *auth.Identity) (int, error)
	DisconnectAll(ctx context.Context, match func(*auth.Principal) bool, reason mqtt.ReasonCode, why string) (int, error)
}

// batch is how many clients are asked about before what was learnt is applied.
const batch = 4096

// Watch keeps the identities of clients true until ctx ends: it asks again about everybody each time Refresh.Every has passed, and
// at once about those who Changed names.
func (c *Chain) Watch(ctx context.Context, clients Clients) {
	var tick <-chan time.Time
	if every := c.opts.Refresh.Every; every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		tick = t.C
	}
	for {
		names := map[string]bool{}
		select {
		case <-ctx.Done():
			return
		case <-tick:
			names[""] = true
		case name := <-c.wake:
			names[name] = true
		}
		for len(c.wake) > 0 { // what came since goes into the same round; only this goroutine takes
			select {
			case name := <-c.wake:
				names[name] = true
			default:
			}
		}
		if err := c.round(ctx, clients, names); err != nil && ctx.Err() == nil {
			c.opts.Log.Warn("what is known of the connected clients could not be renewed", "error", err)
		}
	}
}

// round asks about the clients of these names, of all if the empty one is among them.
func (c *Chain) round(ctx context.Context, clients Clients, names map[string]bool) error {
	for _, g := range c.links {
		if _, ok := g.Authn.(Refresher); !ok {
			continue
		}
		list, err := clients.Principals(ctx, func(p *auth.Principal) bool {
			return p.By == g.Name && !p.Restored && (names[""] || names[p.Name])
		})
		if err != nil {
			return err
		}
		for len(list) > 0 {
			part := list[:min(len(list), batch)]
			list = list[len(part):]
			if err := c.apply(ctx, clients, g, c.renew(ctx, g, part)); err != nil {
				return err
			}
		}
		if err := c.expire(ctx, clients, g); err != nil {
			return err
		}
	}
	return nil
}

// news is what was learnt: what an identity is now, nil = it is no more.
type news struct {
	mu sync.Mutex
	of map[*auth.Identity]*auth.Identity
}

// renew asks about some clients, several at a time, but so that three quarters of the places are left to those who connect.
func (c *Chain) renew(ctx context.Context, g *guard, list []*auth.Principal) map[*auth.Identity]*auth.Identity {
	n := news{of: map[*auth.Identity]*auth.Identity{}}
	todo := make(chan *auth.Principal)
	var workers sync.WaitGroup
	for range max(1, g.Concurrent/4) {
		workers.Go(func() {
			for p := range todo {
				c.renewOne(ctx, g, p, &n)
			}
		})
	}
	for _, p := range list {
		if ctx.Err() != nil {
			break
		}
		todo <- p
	}
	close(todo)
	workers.Wait()
	return n.of
}

func (c *Chain) renewOne(ctx context.Context, g *guard, p *auth.Principal, n *news) {
	id, err := g.question(ctx, func(ctx context.Context) (*auth.Identity, error) { return g.Authn.(Refresher).Refresh(ctx, p) })
	var no *auth.Refusal
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		g.staleSince.Store(0)
		return
	case err == nil && id.Name == p.Name:
		if reflect.DeepEqual(id, p.Identity) {
			id = p.Identity
		}
	case err == nil, errors.Is(err, auth.ErrUnknown), errors.As(err, &no) && no.Reason != mqtt.ServerUnavailable && no.Reason != mqtt.ServerBusy:
		id = nil
	default:
		g.staleSince.CompareAndSwap(0, c.opts.Now().UnixNano())
		return
	}
	g.staleSince.Store(0)
	if id != p.Identity {
		n.mu.Lock()
		n.of[p.Identity] = id
		n.mu.Unlock()
	}
}

// apply tells the broker. Answers that were kept about these clients say what is no longer so.
func (c *Chain) apply(ctx context.Context, clients Clients, g *guard, of map[*auth.Identity]*auth.Identity) error {
	if len(of) == 0 {
		return nil
	}
	gone := 0
	for old, id := range of {
		g.answers.flush(old.Name)
		if id == nil {
			gone++
		}
	}
	if gone > 0 {
		c.opts.Log.Info("clients are no longer welcome", "backend", g.Name, "identities", gone)
		_, err := clients.DisconnectAll(ctx, func(p *auth.Principal) bool {
			id, ok := of[p.Identity]
			return ok && id == nil
		}, mqtt.NotAuthorized, "no longer authorised")
		if err != nil {
			return err
		}
	}
	_, err := clients.Reidentify(ctx, func(p *auth.Principal) *auth.Identity {
		switch id, ok := of[p.Identity]; {
		case !ok:
			return p.Identity
		case id == nil: // its session stays the name's, with no rights that anybody vouches for
			return &auth.Identity{Name: p.Name, By: p.By, Expires: p.Expires}
		default:
			return id
		}
	})
	return err
}

// expire ends the connections of clients of whom nothing could be learnt for too long.
func (c *Chain) expire(ctx context.Context, clients Clients, g *guard) error {
	since, stale := g.staleSince.Load(), c.opts.Refresh.Stale
	if since == 0 || stale <= 0 || c.opts.Now().Sub(time.Unix(0, since)) < stale {
		return nil
	}
	g.answers.flush("") // or they would be back at once
	n, err := clients.DisconnectAll(ctx, func(p *auth.Principal) bool { return p.By == g.Name && !p.Restored }, mqtt.NotAuthorized, "what you may do is not known any more")
	if n > 0 {
		c.opts.Log.Warn("a backend could not be asked for too long; its clients are disconnected", "backend", g.Name, "clients", n, "error", g.last())
	}
	return err
}
