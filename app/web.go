package app

import (
	"context"
	"net"
	"net/http"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/transport/proxy"
	"github.com/sapwood-mqtt/sapwood/broker/transport/websocket"
)

// webName is what rules and counts call MQTT on the HTTP side.
const webName = "http"

// openWho opens what decides who may connect, and the door on the HTTP side.
func (a *App) openWho() (err error) {
	if a.lock, err = a.openLock(&a.cfg); err != nil {
		return err
	}
	a.lock.watch(a.broker.Control())
	a.onStop("authentication", func(context.Context) error { a.lock.shut(); return nil })
	door, err := a.webDoor(&a.cfg, a.lock)
	if err == nil {
		a.web.Set(door)
	}
	return err
}

// webDoor is how the broker treats connections that come by the HTTP side.
func (a *App) webDoor(cfg *Config, who *entry) (broker.Listener, error) {
	m := &cfg.HTTP.MQTT
	l := broker.Listener{Name: webName, Exchange: a.exchange}
	var err error
	if l.Authn, err = who.of(m.Backends, m.Anonymous); err != nil {
		return l, err
	}
	if l.Trusted, err = proxy.ParseTrusted(m.Proxy.Trusted); err != nil {
		return l, err
	}
	if m.Enabled && (l.Authn != nil || m.Anonymous || !public(cfg.HTTP.Address)) {
		l.WebSocket = &websocket.Policy{Path: "/mqtt", Origins: m.Origins}
	}
	return l, nil
}

// webPolicy is which upgrades are taken; nil = none.
func (a *App) webPolicy() *websocket.Policy { return a.web.Listener().WebSocket }

// takeWeb gives a connection to the broker.
func (a *App) takeWeb(nc net.Conn, prefix []byte, r *http.Request) error {
	return a.broker.ServeWebSocket(nc, prefix, r, a.web)
}

// watching is all that reads files.
func (a *App) watching() []Watched {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := append([]Watched{}, a.lock.files...)
	if a.aclFile != nil {
		all = append(all, watchedRules{a.aclFile, a})
	}
	if a.webTLS != nil {
		all = append(all, a.webTLS)
	}
	for _, g := range a.gates {
		if g.certs != nil {
			all = append(all, g.certs)
		}
	}
	return all
}

// flush forgets what is remembered of credentials, and tells how much.
func (a *App) flush() int {
	if a.lock.chain == nil {
		return 0
	}
	return a.lock.chain.Flush("")
}
