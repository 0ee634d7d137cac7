package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/broker/transport/proxy"
	"github.com/sapwood-mqtt/sapwood/broker/transport/websocket"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// gate is one listener that is open.
type gate struct {
	cfg      Listener
	listener net.Listener
	door     *broker.Door
	certs    *certificates // nil = no TLS
	closed   chan struct{} // closed before listener is, when that is meant
	done     chan struct{} // nothing accepts from it any more
}

func (g *gate) url() string {
	if strings.HasPrefix(g.cfg.Address, "unix:") {
		return g.cfg.Address
	}
	scheme, path := "mqtt", ""
	if g.cfg.Protocol == ProtocolWebSocket {
		scheme, path = "ws", g.cfg.Path
	}
	if g.cfg.TLS.Enabled() {
		scheme += "s"
	}
	return scheme + "://" + g.listener.Addr().String() + path
}

// openGate listens; nothing is accepted yet. key names the listener in the error.
func openGate(key string, cfg Listener, settings broker.Listener) (*gate, error) {
	l, err := transport.Listen(cfg.Address)
	if err != nil {
		return nil, cannotListen(key+".address", cfg.Address, err)
	}
	return &gate{cfg: cfg, listener: l, door: broker.NewDoor(settings), closed: make(chan struct{}), done: make(chan struct{})}, nil
}

// doorOf is how the broker treats a listener's connections.
func (a *App) doorOf(cfg Listener, who *entry, certs *certificates) (broker.Listener, error) {
	l := broker.Listener{Name: cfg.name(), MountPoint: cfg.Mount, Limits: &cfg.Limits, Exchange: a.exchange}
	l.MinVersion, l.MaxVersion = versions(cfg.Versions)
	var err error
	if l.Authn, err = who.of(cfg.Backends, cfg.Anonymous); err != nil {
		return l, err
	}
	if l.Trusted, err = proxy.ParseTrusted(cfg.Proxy.Trusted); err != nil {
		return l, err
	}
	if cfg.Protocol == ProtocolWebSocket {
		l.WebSocket = &websocket.Policy{Path: cfg.Path, Origins: cfg.Origins, Local: openHere(l.Authn, cfg.Anonymous, cfg.Address)}
	}
	if certs != nil {
		l.TLS = certs.Config
	}
	return l, nil
}

// versions are the lowest and the highest of the texts, 0 where there are none.
func versions(texts []string) (lowest, highest mqtt.Version) {
	for _, t := range texts {
		v := map[string]mqtt.Version{"3.1": mqtt.V31, "3.1.1": mqtt.V311, "5.0": mqtt.V5, "5": mqtt.V5}[t]
		if lowest == 0 || v < lowest {
			lowest = v
		}
		highest = max(highest, v)
	}
	return lowest, highest
}

// sameSocket tells whether a change of a listener leaves what it listens on as it is.
func sameSocket(a, b Listener) bool { return a.Address == b.Address }

// openListeners opens all of them before anything is accepted from any.
func (a *App) openListeners() error {
	a.onStop("listeners", func(context.Context) error { return a.closeGates() })
	for i, cfg := range a.cfg.Listeners {
		certs, err := a.openTLS(listenerKey(i)+".tls", cfg.TLS, cfg.protocols())
		if err != nil {
			return err
		}
		settings, err := a.doorOf(cfg, a.lock, certs)
		if err != nil {
			return err
		}
		g, err := openGate(listenerKey(i), cfg, settings)
		if err != nil {
			return err
		}
		g.certs = certs
		a.mu.Lock()
		a.gates = append(a.gates, g)
		a.mu.Unlock()
	}
	return nil
}

// protocols are what TLS agrees on by ALPN.
func (l *Listener) protocols() []string {
	if l.Protocol == ProtocolWebSocket {
		return []string{"http/1.1"}
	}
	return []string{"mqtt"}
}

func listenerKey(i int) string { return fmt.Sprintf("listeners[%d]", i) }

func (a *App) closeGates() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, g := range a.gates {
		errs = append(errs, g.close())
		g.certs.stop()
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
// What asks clients who they are is changed with them.
func (a *App) applyListeners(ctx context.Context, old, cfg *Config) (undo func(), commit func(), err error) {
	c := a.planGates(cfg.Listeners)
	if c.lock = a.lock; !reflect.DeepEqual(old.Authentication, cfg.Authentication) || !slices.Equal(old.asked(), cfg.asked()) {
		if c.lock, err = a.openLock(cfg); err != nil {
			return nil, nil, err
		}
	}
	if err = c.prepare(a); err == nil {
		c.web, err = a.webDoor(cfg, c.lock)
	}
	if err == nil {
		err = c.open()
	}
	if err != nil {
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
	doors   []broker.Listener // for wanted
	certs   []*certificates   // for wanted
	fresh   []*certificates   // of those: what was opened for the change
	stale   []*certificates   // what nobody uses after it
	lock    *entry
	web     broker.Listener
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

// prepare opens what the doors need: certificates that are not those of the gate already.
func (c *change) prepare(a *App) error {
	c.certs, c.doors = make([]*certificates, len(c.wanted)), make([]broker.Listener, len(c.wanted))
	for i, cfg := range c.wanted {
		g := c.gates[i]
		if g != nil && reflect.DeepEqual(g.cfg.TLS, cfg.TLS) && slices.Equal(g.cfg.protocols(), cfg.protocols()) {
			c.certs[i] = g.certs
		} else {
			certs, err := a.openTLS(listenerKey(i)+".tls", cfg.TLS, cfg.protocols())
			if err != nil {
				return err
			}
			c.certs[i], c.fresh = certs, append(c.fresh, certs)
			if g != nil {
				c.stale = append(c.stale, g.certs)
			}
		}
		var err error
		if c.doors[i], err = a.doorOf(cfg, c.lock, c.certs[i]); err != nil {
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
func (c *change) back(a *App) {
	if err := c.shut(); err != nil {
		a.log.Warn("closing a listener failed", "error", err)
	}
	for _, certs := range c.fresh {
		certs.stop()
	}
	if c.lock != a.lock {
		c.lock.shut()
	}
	for _, old := range c.closed {
		g, err := openGate("listeners", old.cfg, old.door.Listener())
		if err != nil {
			a.log.Error("a listener could not be opened again", "listener", old.cfg.name(), "error", err)
			continue
		}
		g.certs = old.certs
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
		g.cfg, g.certs = c.wanted[i], c.certs[i]
		g.door.Set(c.doors[i])
	}
	before := a.lock
	a.gates, a.lock = c.gates, c.lock
	a.mu.Unlock()
	a.web.Set(c.web)
	if before != c.lock {
		c.lock.watch(a.broker.Control())
		before.shut()
	}
	for _, certs := range c.stale {
		certs.stop()
	}
	for _, g := range c.added {
		a.accept(g)
	}
	for _, g := range c.removed {
		if !slices.Contains(c.closed, g) {
			if err := g.close(); err != nil {
				a.log.Warn("closing a listener failed", "listener", g.cfg.name(), "error", err)
			}
		}
		g.certs.stop()
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
