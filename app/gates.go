package app

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/transport"
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

// protocols are what TLS agrees on by ALPN.
func (l *Listener) protocols() []string {
	if l.Protocol == ProtocolWebSocket {
		return []string{"http/1.1"}
	}
	return []string{"mqtt"}
}

func listenerKey(i int) string { return fmt.Sprintf("listeners[%d]", i) }

// close stops accepting. The broker may have closed the listener before.
func (g *gate) close() error {
	close(g.closed)
	if err := g.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// errMeant is how serving ends at a gate that was closed.
var errMeant = errors.New("closed")
