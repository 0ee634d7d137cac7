package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/admission"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/transport/proxy"
	"github.com/sapwood-mqtt/sapwood/broker/transport/websocket"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Listener is how the connections of one listener are treated. The zero value speaks plain MQTT and lets everybody in, anonymously.
type Listener struct {
	Name       string             // in rules, explanations and counts
	Authn      auth.Authenticator // nil = everybody is anonymous
	Exchange   auth.Exchanger     // enhanced authentication; nil = none
	MinVersion mqtt.Version       // 0 = 3.1
	MaxVersion mqtt.Version       // 0 = 5.0
	MountPoint string             // what every topic name and filter of its clients begins with, unseen by them; {client}, {user} and {cn} stand for theirs

	// TLS is asked for each handshake; nil = no TLS. It should return the same Config until something changes, for the sake of
	// session tickets, or one with GetConfigForClient, and set DynamicRecordSizingDisabled.
	TLS       func() *tls.Config
	WebSocket *websocket.Policy // nil = MQTT right on TCP or TLS
	// Trusted are proxies. A connection from one must begin with a PROXY header, or, with WebSocket, may, and its
	// X-Forwarded-For is believed.
	Trusted proxy.Trusted
	Limits  *ListenerLimits // nil = DefaultListenerLimits
	Own     bool            // its clients are the process's own: they do not count among the clients, nor towards their limits
}

// Door is one listener as the broker sees it. Its methods may be called from any goroutine. It belongs to one broker once
// ServeDoor or ServeWebSocket was called.
type Door struct {
	mu         sync.Mutex // guards Set
	listener   atomic.Pointer[Listener]
	layers     atomic.Pointer[loop.Layers] // nil = none
	handshakes *loop.Handshakes
	visitors   admission.Visitors
	http       *loop.Reception // of connections that HTTP has upgraded; nil until the first. Guarded by Broker.mu
}

// NewDoor makes a door.
func NewDoor(l Listener) *Door {
	d := &Door{handshakes: loop.NewHandshakes(1, 1)}
	d.Set(l)
	return d
}

// Set changes how connections are treated from now on; those that are there stay as they are.
func (d *Door) Set(l Listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.Limits == nil {
		defaults := DefaultListenerLimits()
		l.Limits = &defaults
	}
	d.handshakes.Set(l.Limits.MaxHandshakes, l.Limits.MaxHandshakesPerAddress)
	d.visitors.Set(l.Limits)
	d.listener.Store(&l)
	d.layers.Store(d.build(&l))
}

// Listener is what Set was told last.
func (d *Door) Listener() Listener { return *d.listener.Load() }

// ListenerLimits bound what connections may ask of one listener before they are clients.
type ListenerLimits = admission.Limits

// DefaultListenerLimits returns the defaults.
func DefaultListenerLimits() ListenerLimits { return admission.DefaultLimits() }

// DoorFigures are a door's present figures.
type DoorFigures struct {
	admission.Figures
	WaitingForHandshake int // TLS clients that have said hello
	Handshaking         int
}

// Figures are a door's present figures.
func (d *Door) Figures() DoorFigures {
	f := DoorFigures{Figures: d.visitors.Figures()}
	f.WaitingForHandshake, f.Handshaking = d.handshakes.Waiting()
	return f
}

// admission is what a CONNECT at this door may ask for.
func (d *Door) admission(common *session.Admission) *session.Admission {
	l := d.listener.Load()
	a := *common
	if l.MinVersion != 0 {
		a.MinimumVersion = l.MinVersion
	}
	if l.MaxVersion != 0 {
		a.MaximumVersion = l.MaxVersion
	}
	if l.Exchange != nil {
		a.AuthMethods = l.Exchange.Methods()
	}
	return &a
}

// build makes what stands between the wire and MQTT at this door, nil for nothing.
func (d *Door) build(l *Listener) *loop.Layers {
	if l.TLS == nil && l.WebSocket == nil && len(l.Trusted) == 0 {
		return nil
	}
	y := &loop.Layers{TLS: l.TLS, Handshakes: d.handshakes, From: peerAddress, Secured: secured}
	if len(l.Trusted) > 0 {
		y.Head = d.readProxy
	}
	if l.WebSocket != nil {
		y.Framing = func(c *loop.Conn) loop.Framing {
			return &websocket.Conn{Policy: d.policy, Accept: func(r *http.Request) error { return d.forwarded(c, r) }}
		}
	}
	return y
}

// upgraded makes the layers of a connection that HTTP has upgraded.
func upgraded() *loop.Layers {
	return &loop.Layers{Framing: func(*loop.Conn) loop.Framing { return &websocket.Conn{Upgraded: true} }}
}

func (d *Door) policy() *websocket.Policy {
	if p := d.listener.Load().WebSocket; p != nil {
		return p
	}
	return &websocket.Policy{}
}

// errRate turns away a client behind a proxy, whose address was not known before.
var errRate = errors.New("this address connects too often")

// readProxy reads the PROXY header that a trusted proxy's connections begin with.
func (d *Door) readProxy(c *loop.Conn, b []byte) (used int, done bool, err error) {
	p, l := c.State.(*pending), d.listener.Load()
	if !l.Trusted.Contains(p.peer.Address.Addr()) {
		return 0, true, nil
	}
	h, n, err := proxy.Parse(b)
	switch {
	case errors.Is(err, proxy.ErrMissing) && l.WebSocket != nil:
		return 0, true, nil
	case err != nil || n == 0:
		return 0, false, err
	}
	if !h.Local {
		p.peer.Address, p.peer.TLS, p.peer.ProxiedName = h.Source, h.TLS, h.CommonName
		err = d.arrived(p)
	}
	return n, true, err
}

// arrived asks whether a client that came by a proxy may stay.
func (d *Door) arrived(p *pending) error {
	if !d.visitors.Knock(loop.Group(p.peer.Address.Addr()), time.Now()) {
		return errRate
	}
	return nil
}

// forwarded takes from an upgrade what a trusted proxy says about the client.
func (d *Door) forwarded(c *loop.Conn, r *http.Request) error {
	if p, ok := c.State.(*pending); ok {
		return d.hear(p, r)
	}
	return nil
}

// hear believes what a trusted proxy says of a client in r.
func (d *Door) hear(p *pending, r *http.Request) error {
	from, err := d.forwardedFor(p.peer.Address, r)
	if err != nil || from == p.peer.Address {
		return err
	}
	p.peer.Address = from
	p.peer.TLS = p.peer.TLS || r.Header.Get("X-Forwarded-Proto") == "https"
	return d.arrived(p)
}

// forwardedFor is where a request comes from, seen from this door.
func (d *Door) forwardedFor(conn netip.AddrPort, r *http.Request) (netip.AddrPort, error) {
	from, err := d.listener.Load().Trusted.ForwardedFor(conn.Addr(), r.Header.Values("X-Forwarded-For"))
	if err != nil || from == conn.Addr() {
		return conn, err
	}
	return netip.AddrPortFrom(from, 0), nil
}

// peerAddress is whose share of the handshakes a connection uses.
func peerAddress(c *loop.Conn) netip.Addr {
	if p, ok := c.State.(*pending); ok {
		return p.peer.Address.Addr()
	}
	return netip.Addr{}
}

// secured notes what the TLS handshake has shown.
func secured(c *loop.Conn, state *tls.ConnectionState) error {
	p, ok := c.State.(*pending)
	if !ok {
		return nil
	}
	takeTLS(&p.peer, state)
	p.tls = sealOf(state)
	return nil
}

// takeTLS notes in a peer what TLS knows of it: a certificate counts only if it was verified.
func takeTLS(p *auth.Peer, state *tls.ConnectionState) {
	p.TLS = true
	if len(state.VerifiedChains) > 0 {
		p.Cert = state.PeerCertificates[0]
	}
}

// peerOf is where a connection comes from.
func peerOf(conn *loop.Conn, door *Door) auth.Peer {
	return auth.Peer{Listener: door.listener.Load().Name, Address: conn.Peer()}
}

// attach lets in a connection that HTTP has upgraded.
func (d *Door) attach(b *Broker, nc net.Conn, prefix []byte, r *http.Request) error {
	p := &pending{door: d, peer: auth.Peer{Listener: d.listener.Load().Name}}
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		p.peer.Address = netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap(), uint16(tcp.Port))
	}
	if r.TLS != nil {
		takeTLS(&p.peer, r.TLS)
		p.tls = sealOf(r.TLS)
	}
	if d.http == nil {
		d.http = b.reception(d, "HTTP")
		d.http.Layers = upgraded
	}
	in, from := *d.http, p.peer.Address
	in.Greet = func(c *loop.Conn) { c.State = p }
	if !in.Admit(from) {
		return errors.New("the listener takes no more connections at present")
	}
	if err := d.hear(p, r); err != nil {
		d.visitors.Settle(loop.Group(from.Addr()))
		in.Left(from)
		return err
	}
	in.Attach(nc, prefix)
	return nil
}

// layerFault counts what ended a connection before it spoke MQTT.
func (p *pending) layerFault(sh *shard, err error) {
	var fault *loop.LayerError
	if !errors.As(err, &fault) {
		return
	}
	sh.tell.faulted(p, fault)
	switch fault.Layer {
	case "TLS":
		sh.count.HandshakesFailed++
	case "framing":
		sh.count.FramingErrors++
	case "head":
		sh.count.ProxyErrors++
	}
	if n, ok := sh.b.entrance.faults.allow(sh.loop.Now()); ok {
		sh.b.log.Info("a connection ended before it spoke MQTT", "listener", p.door.listener.Load().Name,
			"remote", p.peer.Remote(), "error", fmt.Sprint(fault), "times", n)
	}
}
