package broker

import (
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Listener is how the connections of one listener are treated. The zero value lets everybody in, anonymously.
type Listener struct {
	Name       string             // in rules, explanations and counts
	Authn      auth.Authenticator // nil = everybody is anonymous
	Exchange   auth.Exchanger     // enhanced authentication; nil = none
	MinVersion mqtt.Version       // 0 = 3.1
	MaxVersion mqtt.Version       // 0 = 5.0
	MountPoint string             // what every topic name and filter of its clients begins with, unseen by them; {client}, {user} and {cn} stand for theirs
}

// Door is one listener as the broker sees it. Its methods may be called from any goroutine.
type Door struct {
	listener atomic.Pointer[Listener]
}

// NewDoor makes a door.
func NewDoor(l Listener) *Door {
	d := &Door{}
	d.Set(l)
	return d
}

// Set changes how connections are treated from now on; those that are there stay as they are.
func (d *Door) Set(l Listener) { d.listener.Store(&l) }

// Listener is what Set was told last.
func (d *Door) Listener() Listener { return *d.listener.Load() }

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

// peerOf is where a connection comes from.
func peerOf(conn *loop.Conn, door *Door) auth.Peer {
	p := auth.Peer{Listener: door.listener.Load().Name}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		at := tcp.AddrPort()
		p.Address = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	return p
}
