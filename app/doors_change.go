package app

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// apply makes the open gates those of the new configuration. Gates on the same address stay open and only treat new
// connections otherwise; connections that are there stay.
// What asks clients who they are is changed with them.
func (d *doors) apply(ctx context.Context, old, cfg *Config) (undo func(), commit func(), err error) {
	c := d.plan(cfg.Listeners)
	if c.entry = d.entry; !reflect.DeepEqual(old.Authentication, cfg.Authentication) || !slices.Equal(old.asked(), cfg.asked()) {
		if c.entry, err = openEntry(cfg, d.people); err != nil {
			return nil, nil, err
		}
	}
	if err = c.prepare(d); err == nil {
		c.web, err = d.webDoor(cfg, c.entry)
	}
	if err == nil {
		err = c.open()
	}
	if err != nil {
		c.back(d)
		return nil, nil, err
	}
	undo = func() { c.back(d) }
	commit = func() { c.commit(ctx, d) }
	return undo, commit, nil
}

// change is the way from the open gates to others.
type change struct {
	wanted  []Listener
	doors   []broker.Listener // for wanted
	certs   []*certificates   // for wanted
	fresh   []*certificates   // of those: what was opened for the change
	stale   []*certificates   // what nobody uses after it
	entry   *entry
	web     broker.Listener
	gates   []*gate // for wanted; nil = to be opened
	removed []*gate
	closed  []*gate // of removed: those that had to close for a new one to open
	added   []*gate
}

func (d *doors) plan(wanted []Listener) *change {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &change{wanted: wanted, gates: make([]*gate, len(wanted)), removed: slices.Clone(d.gates)}
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

// prepare opens what the doors need: certificates that are not those of the gate already.
func (c *change) prepare(d *doors) error {
	c.certs, c.doors = make([]*certificates, len(c.wanted)), make([]broker.Listener, len(c.wanted))
	for i, cfg := range c.wanted {
		g := c.gates[i]
		if g != nil && reflect.DeepEqual(g.cfg.TLS, cfg.TLS) && slices.Equal(g.cfg.protocols(), cfg.protocols()) {
			c.certs[i] = g.certs
		} else {
			certs, err := d.certs.open(listenerKey(i)+".tls", cfg.TLS, cfg.protocols())
			if err != nil {
				return err
			}
			c.certs[i], c.fresh = certs, append(c.fresh, certs)
			if g != nil {
				c.stale = append(c.stale, g.certs)
			}
		}
		var err error
		if c.doors[i], err = d.doorOf(cfg, c.entry, c.certs[i]); err != nil {
			return err
		}
	}
	return nil
}

// open opens what is new. An address that a gate to be removed occupies is taken over from it.
func (c *change) open() error {
	for i, cfg := range c.wanted {
		if c.gates[i] != nil {
			continue
		}
		g, err := openGate(listenerKey(i), cfg, c.doors[i])
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
			<-old.done
			g, err = openGate(listenerKey(i), cfg, c.doors[i])
			for tries := 0; errors.Is(err, syscall.EADDRINUSE) && tries < 100; tries++ { // the system takes a moment to free it
				<-time.After(10 * time.Millisecond)
				g, err = openGate(listenerKey(i), cfg, c.doors[i])
			}
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
func (c *change) back(d *doors) {
	if err := c.shut(); err != nil {
		d.log.Warn("closing a listener failed", "error", err)
	}
	for _, certs := range c.fresh {
		certs.stop()
	}
	if c.entry != d.entry {
		c.entry.shut()
	}
	for _, old := range c.closed {
		g, err := openGate("listeners", old.cfg, old.door.Listener())
		if err != nil {
			d.log.Error("a listener could not be opened again", "listener", old.cfg.name(), "error", err)
			continue
		}
		g.certs = old.certs
		d.mu.Lock()
		if i := slices.Index(d.gates, old); i >= 0 {
			d.gates[i] = g
		}
		d.mu.Unlock()
		d.acceptFrom(g)
	}
}

// commit lets the new gates accept, and closes those that are removed. It cannot fail any more.
func (c *change) commit(ctx context.Context, d *doors) {
	d.mu.Lock()
	for i, g := range c.gates {
		g.cfg, g.certs = c.wanted[i], c.certs[i]
		g.door.Set(c.doors[i])
	}
	before := d.entry
	d.gates, d.entry = c.gates, c.entry
	d.mu.Unlock()
	d.web.Set(c.web)
	if before != c.entry {
		c.entry.watch(d.broker.Control())
		before.shut()
	}
	for _, certs := range c.stale {
		certs.stop()
	}
	for _, g := range c.added {
		d.acceptFrom(g)
	}
	for _, g := range c.removed {
		if !slices.Contains(c.closed, g) {
			if err := g.close(); err != nil {
				d.log.Warn("closing a listener failed", "listener", g.cfg.name(), "error", err)
			}
		}
		g.certs.stop()
		if g.cfg.Removal != RemovalDisconnect {
			continue
		}
		<-g.done
		name := g.door.Listener().Name
		n, err := d.broker.Control().DisconnectAll(ctx, func(p *auth.Principal) bool { return p.Peer.Listener == name },
			mqtt.AdministrativeAction, "the listener was removed")
		if err != nil {
			d.log.Warn("clients of a removed listener may stay", "listener", name, "error", err)
		}
		d.log.Info("the clients of a removed listener are disconnected", "listener", name, "clients", n)
	}
}
