package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/transport/proxy"
	"github.com/sapwood-mqtt/sapwood/broker/transport/websocket"
)

// webName is what rules and counts call MQTT on the HTTP side.
const webName = "http"

// doors are where MQTT clients come in: the listeners, and a path on the HTTP side; and who is asked there who they are.
type doors struct {
	log      *slog.Logger
	certs    *keyring
	people   *people
	serve    func(name string, run func() error) // runs one accepting loop
	broker   Broker                              // nil until it is open; nothing comes in before
	exchange auth.Exchanger                      // nil = no enhanced authentication
	web      *broker.Door                        // on the HTTP side

	mu    sync.Mutex
	entry *entry  // who may connect
	gates []*gate // the listeners that accept, in the order of the configuration
}

// openDoors opens what decides who may connect, and all listeners before anything is accepted from any.
func (a *App) openDoors(ctx context.Context) error {
	d := a.doors
	d.broker = a.broker
	exchange, err := a.openExchange(ctx)
	if err != nil {
		return err
	}
	d.exchange = exchange
	who, err := openEntry(&a.cfg, a.people)
	if err != nil {
		return err
	}
	who.watch(d.broker.Control())
	d.mu.Lock()
	d.entry = who
	d.mu.Unlock()
	a.open.add("authentication", func(context.Context) error { d.entry.shut(); return nil })
	web, err := d.webDoor(&a.cfg, who)
	if err != nil {
		return err
	}
	d.web.Set(web)
	a.open.add("listeners", func(context.Context) error { return d.close() })
	for i, cfg := range a.cfg.Listeners {
		if err := d.open(listenerKey(i), cfg); err != nil {
			return err
		}
	}
	return nil
}

// open opens one listener; nothing is accepted yet.
func (d *doors) open(key string, cfg Listener) error {
	certs, err := d.certs.open(key+".tls", cfg.TLS, cfg.protocols())
	if err != nil {
		return err
	}
	var g *gate
	settings, err := d.doorOf(cfg, d.entry, certs)
	if err == nil {
		g, err = openGate(key, cfg, settings)
	}
	if err != nil {
		certs.stop()
		return err
	}
	g.certs = certs
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gates = append(d.gates, g)
	return nil
}

// doorOf is how the broker treats a listener's connections.
func (d *doors) doorOf(cfg Listener, who *entry, certs *certificates) (broker.Listener, error) {
	l := broker.Listener{Name: cfg.name(), MountPoint: cfg.Mount, Limits: &cfg.Limits, Exchange: d.exchange}
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

// webDoor is how the broker treats connections that come by the HTTP side.
func (d *doors) webDoor(cfg *Config, who *entry) (broker.Listener, error) {
	m := &cfg.HTTP.MQTT
	l := broker.Listener{Name: webName, Exchange: d.exchange}
	var err error
	if l.Authn, err = who.of(m.Backends, m.Anonymous); err != nil {
		return l, err
	}
	if l.Trusted, err = proxy.ParseTrusted(m.Proxy.Trusted); err != nil {
		return l, err
	}
	if m.Enabled && (l.Authn != nil || m.Anonymous || !public(cfg.HTTP.Address)) {
		l.WebSocket = &websocket.Policy{Path: "/mqtt", Origins: m.Origins, Local: openHere(l.Authn, m.Anonymous, cfg.HTTP.Address)}
	}
	return l, nil
}

// webPolicy is which upgrades the HTTP side takes; nil = none.
func (d *doors) webPolicy() *websocket.Policy { return d.web.Listener().WebSocket }

// takeWeb gives a connection of the HTTP side to the broker.
func (d *doors) takeWeb(nc net.Conn, prefix []byte, r *http.Request) error {
	return d.broker.ServeWebSocket(nc, prefix, r, d.web)
}

// accept begins to accept from all listeners.
func (d *doors) accept() {
	for _, g := range d.all() {
		d.acceptFrom(g)
	}
}

func (d *doors) acceptFrom(g *gate) {
	go func() {
		defer close(g.done)
		d.serve("mqtt "+g.listener.Addr().String(), func() error {
			err := d.broker.ServeDoor(g.listener, g.door)
			select {
			case <-g.closed:
				return errMeant
			default:
				return err
			}
		})
	}()
}

func (d *doors) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, g := range d.gates {
		errs = append(errs, g.close())
		g.certs.stop()
	}
	d.gates = nil
	return errors.Join(errs...)
}

// all are the listeners that are open.
func (d *doors) all() []*gate {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.gates)
}

// who is what decides who may connect; nil until it is open.
func (d *doors) who() *entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.entry
}

// urls are where clients find the listeners.
func (d *doors) urls() (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.gates {
		all = append(all, g.url())
	}
	return all
}

// watching is what reads files here.
func (d *doors) watching() []Watched {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := slices.Clone(d.entry.files)
	for _, g := range d.gates {
		if g.certs != nil {
			all = append(all, g.certs)
		}
	}
	return all
}

// flush forgets what is remembered of credentials, and tells how much.
func (d *doors) flush() int {
	if who := d.who(); who.chain != nil {
		return who.chain.Flush("")
	}
	return 0
}

// openHere tells whether an address of this machine alone lets in who shows nothing: then a browser on it must not be taken in.
func openHere(authn auth.Authenticator, anonymous bool, address string) bool {
	return (authn == nil || anonymous) && loopback(address)
}
