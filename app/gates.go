package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// gate is one listener that is open.
type gate struct {
	cfg      Listener
	listener net.Listener
	door     *broker.Door
	closed   chan struct{} // closed before listener is, when that is meant
	done     chan struct{} // nothing accepts from it any more
}

func (g *gate) url() string {
	if strings.HasPrefix(g.cfg.Address, "unix:") {
		return g.cfg.Address
	}
	return "mqtt://" + g.listener.Addr().String()
}

// openGate listens; nothing is accepted yet. key names the listener in the error.
func openGate(key string, cfg Listener) (*gate, error) {
	l, err := transport.Listen(cfg.Address)
	if err != nil {
		return nil, cannotListen(key+".address", cfg.Address, err)
	}
	return &gate{cfg: cfg, listener: l, door: broker.NewDoor(doorOf(cfg)), closed: make(chan struct{}), done: make(chan struct{})}, nil
}

// doorOf is how the broker treats a listener's connections.
func doorOf(cfg Listener) broker.Listener { return broker.Listener{Name: cfg.name()} }

// sameSocket tells whether a change of a listener leaves what it listens on as it is.
func sameSocket(a, b Listener) bool { return a.Address == b.Address }

// openListeners opens all of them before anything is accepted from any.
func (a *App) openListeners() error {
	a.onStop("listeners", func(context.Context) error { return a.closeGates() })
	for i, cfg := range a.cfg.Listeners {
		g, err := openGate(listenerKey(i), cfg)
		if err != nil {
			return err
		}
		a.mu.Lock()
		a.gates = append(a.gates, g)
		a.mu.Unlock()
	}
	return nil
}

func listenerKey(i int) string { return fmt.Sprintf("listeners[%d]", i) }

func (a *App) closeGates() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, g := range a.gates {
		errs = append(errs, g.close())
	}
	a.gates = nil
	return errors.Join(errs...)
}

// close stops accepting. The broker may have closed the listener before.
func (g *gate) close() error {
	close(g.closed)
	if err := g.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// accept begins to accept from a gate.
func (a *App) accept(g *gate) {
	go func() {
		defer close(g.done)
		a.serve("mqtt "+g.listener.Addr().String(), func() error {
			err := a.broker.ServeDoor(g.listener, g.door)
			select {
			case <-g.closed:
				return errMeant
			default:
				return err
			}
		})
	}()
}

// errMeant is how serving ends at a gate that was closed.
var errMeant = errors.New("closed")

// applyListeners makes the open gates those of the new configuration. Gates on the same address stay open and only treat new
// connections otherwise; connections that are there stay.
func (a *App) applyListeners(ctx context.Context, _, cfg *Config) (undo func(), commit func(), err error) {
	c := a.planGates(cfg.Listeners)
	if err := c.open(); err != nil {
		c.back(a)
		return nil, nil, err
	}
	undo = func() { c.back(a) }
	commit = func() { c.commit(ctx, a) }
	return undo, commit, nil
}

// change is the way from the open gates to others.
type change struct {
	wanted  []Listener
	gates   []*gate // for wanted; nil = to be opened
	removed []*gate
	closed  []*gate // of removed: those that had to close for a new one to open
	added   []*gate
}

func (a *App) planGates(wanted []Listener) *change {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := &change{wanted: wanted, gates: make([]*gate, len(wanted)), removed: slices.Clone(a.gates)}
	for _, named := range []bool{true, false} { // of several with port 0, those with the same name belong together
		for i, l := range wanted {
			at := slices.IndexFunc(c.removed, func(g *gate) bool {
				return sameSocket(g.cfg, l) && (!named || g.cfg.Name == l.Name)
			})
			if c.gates[i] == nil && at >= 0 {
				c.gates[i] = c.removed[at]
				c.removed = slices.Delete(c.removed, at, at+1)
			}
		}
	}
	return c
}

// open opens what is new. An address that a gate to be removed occupies is taken over from it.
func (c *change) open() error {
	for i, cfg := range c.wanted {
		if c.gates[i] != nil {
			continue
		}
		g, err := openGate(listenerKey(i), cfg)
		for _, old := range c.removed {
			if !errors.Is(err, syscall.EADDRINUSE) {
				break
			}
			if slices.Contains(c.closed, old) || port(old.cfg.Address) != port(cfg.Address) {
				continue
			}
			c.closed = append(c.closed, old)
			if err := old.close(); err != nil {
				return err
			}
			<-old.done // it may take a moment until the address is free
			g, err = openGate(listenerKey(i), cfg)
		}
		if err != nil {
			return err
		}
		c.gates[i], c.added = g, append(c.added, g)
	}
	return nil
}

func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// shut closes what open opened.
func (c *change) shut() error {
	var errs []error
	for _, g := range c.added {
		errs = append(errs, g.close())
	}
	return errors.Join(errs...)
}

// back undoes open: what it closed is opened again.
func (c *change) back(a *App) {
	if err := c.shut(); err != nil {
		a.log.Warn("closing a listener failed", "error", err)
	}
	for _, old := range c.closed {
		g, err := openGate("listeners", old.cfg)
		if err != nil {
			a.log.Error("a listener could not be opened again", "listener", old.cfg.name(), "error", err)
			continue
		}
		a.mu.Lock()
		if i := slices.Index(a.gates, old); i >= 0 {
			a.gates[i] = g
		}
		a.mu.Unlock()
		a.accept(g)
	}
}

// commit lets the new gates accept, and closes those that are removed. It cannot fail any more.
func (c *change) commit(ctx context.Context, a *App) {
	a.mu.Lock()
	for i, g := range c.gates {
		g.cfg = c.wanted[i]
		g.door.Set(doorOf(g.cfg))
	}
	a.gates = c.gates
	a.mu.Unlock()
	for _, g := range c.added {
		a.accept(g)
	}
	for _, g := range c.removed {
		if !slices.Contains(c.closed, g) {
			if err := g.close(); err != nil {
				a.log.Warn("closing a listener failed", "listener", g.cfg.name(), "error", err)
			}
		}
		if g.cfg.Removal != RemovalDisconnect {
			continue
		}
		<-g.done
		name := g.door.Listener().Name
		n, err := a.broker.Control().DisconnectAll(ctx, func(p *auth.Principal) bool { return p.Peer.Listener == name },
			mqtt.AdministrativeAction, "the listener was removed")
		if err != nil {
			a.log.Warn("clients of a removed listener may stay", "listener", name, "error", err)
		}
		a.log.Info("the clients of a removed listener are disconnected", "listener", name, "clients", n)
	}
}
