package broker

import (
	"errors"
	"fmt"
	"io"

	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Opened implements loop.Handler: a new connection owes a CONNECT.
func (sh *shard) Opened(conn *loop.Conn) {
	p, come := conn.State.(*pending) // by HTTP
	if !come {
		door := conn.State.(*Door)
		p = &pending{door: door, peer: peerOf(conn, door)}
		conn.State = p
	}
	p.conn, p.from, p.halfOpen = conn, conn.Peer().Addr(), true
	p.deadline = sh.b.clock(sh.loop.Now()) + sh.b.limits().ConnectTimeout.Milliseconds()
	sh.lobby.waiting = append(sh.lobby.waiting, p)
	if sh.stopping || sh.b.keepsAway(p.door, p.peer.Address, false) {
		conn.Close()
	}
}

// Data implements loop.Handler: it decodes packet by packet and performs what each brings about. A panic
// in it closes the one connection it came from.
func (sh *shard) Data(conn *loop.Conn, b []byte) (used, need int) {
	sh.tick(sh.loop.Now())
	packets := uint64(0)
	defer func() {
		if r := recover(); r != nil {
			sh.traces.settle(0)
			sh.panicked(conn, b[used:], r)
			used, need = len(b), 0
		}
		sh.count.BytesReceived += uint64(used) // the rest is offered again
		sh.count.PacketsReceived += packets
		sh.traffic.received(conn, used, packets)
	}()
	limits := sh.b.limits()
	for used < len(b) {
		c, admitted := conn.State.(*client)
		if conn.State == nil || admitted && c.s.Closing() {
			return len(b), 0
		}
		limit, version := limits.MaxConnectSize, mqtt.Version(0)
		if admitted {
			limit, version = limits.MaxPacketSize, c.s.Version()
		} else if p := conn.State.(*pending); p.hs.Busy() {
			conn.PauseRead() // what it sends before it is admitted stays where it is
			return used, 0
		} else {
			version = p.version
		}
		h, n, err := mqtt.ParseHeader(b[used:])
		if err != nil {
			if !admitted {
				sh.stranger(conn, b[used:])
			}
			sh.reject(conn, b[used:], err)
			return len(b), 0
		}
		if n == 0 {
			return used, 0
		}
		if n+h.Length > limit {
			if !admitted {
				sh.stranger(conn, b[used:])
			}
			sh.reject(conn, b[used:], &mqtt.Error{Reason: mqtt.PacketTooLarge, Detail: fmt.Sprintf("%s of %d bytes, the limit is %d", h.Type, n+h.Length, limit)})
			return len(b), 0
		}
		if !admitted && h.Type != mqtt.CONNECT && h.Type != mqtt.AUTH && !conn.State.(*pending).hs.Started() {
			sh.stranger(conn, b[used:])
			sh.reject(conn, b[used:], &mqtt.Error{Reason: mqtt.ProtocolError, Detail: h.Type.String() + " before CONNECT"})
			return len(b), 0
		}
		if len(b)-used < n+h.Length {
			return used, n + h.Length
		}
		body := sh.traces.body(b[used:], n, h.Length)
		if err := sh.packet.Decode(version, h, body, mqtt.Limits{UserProperties: limits.MaxUserProperties, PropertyBytes: limits.MaxPropertyBytes}); err != nil {
			if p, ok := conn.State.(*pending); ok && h.Type == mqtt.CONNECT && !p.hs.Started() {
				p.version = sh.packet.Connect.Version
			}
			sh.reject(conn, b[used:used+n+h.Length], err)
			return len(b), 0
		}
		if admitted {
			if c.point != "" {
				mount(c.point, &sh.packet)
			}
			if h.Type == mqtt.PUBLISH && sh.packet.Publish.QoS > 0 && sh.health.holdsBack(c, &sh.packet) {
				return used, 0
			}
		}
		sh.paces.refused = 0
		if admitted && sh.paces.watch(c) && !sh.paces.pass(c, &sh.packet, n+h.Length) {
			return used, 0
		}
		packets++
		if admitted {
			c.take(b[used], n+h.Length)
			used += n + h.Length
			if sh.commits.ahead(1) && sh.commits.concerns(c) {
				sh.commits.pause(c)
				return used, 0
			}
			continue
		}
		sh.traces.come(conn.State.(*pending), &sh.packet, n+h.Length)
		used += n + h.Length
		sh.lobby.handshake(conn, conn.State.(*pending))
		if p, still := conn.State.(*pending); still && (p.conn == nil || p.hs.Busy()) {
			return used, 0 // the rest waits for the verdict, or is another shard's
		}
	}
	return used, 0
}

// reject ends a connection that broke the protocol with what begins there.
func (sh *shard) reject(conn *loop.Conn, begin []byte, err error) {
	var e *mqtt.Error
	if !errors.As(err, &e) {
		e = &mqtt.Error{Reason: mqtt.UnspecifiedError, Detail: err.Error()}
	}
	sh.count.violated(e.Reason)
	sh.traces.bad(conn, begin, e)
	switch st := conn.State.(type) {
	case *client:
		st.kick(ByProtocol, e.Reason, e.Detail)
	case *pending:
		r := &session.Refusal{Reason: e.Reason, Text: e.Detail}
		// [MQTT-3.1.4-1], MQTT5 4.13: only what is well-formed enough to be CONNECT gets an answer.
		r.Silent = st.version == 0 || st.version < mqtt.V5 && e.Reason != mqtt.UnsupportedProtocolVersion
		sh.lobby.refuse(conn, st, r)
	}
}

// Closed implements loop.Handler.
func (sh *shard) Closed(conn *loop.Conn, err error) {
	sh.tick(sh.loop.Now())
	state := conn.State
	conn.State = nil
	switch st := state.(type) {
	case *pending:
		st.layerFault(sh, err)
		sh.lobby.hungUp(st, err)
		st.leave()
	case *client:
		st.told.broke(err)
		defer sh.rescue(st)
		sh.detach(st)
	}
}

func closeCause(err error) string {
	switch {
	case err == nil:
		return "closed by the broker"
	case errors.Is(err, io.EOF):
		return "the client closed the connection without DISCONNECT"
	}
	return "the connection broke: " + err.Error()
}

// Drained implements loop.Handler: the client has read on.
func (sh *shard) Drained(conn *loop.Conn) {
	sh.tick(sh.loop.Now())
	if c, ok := conn.State.(*client); ok {
		defer sh.rescue(c)
		sh.stalls.over(c)
		if sh.paces.stopped(c) {
			return
		}
		sh.perform(c, nil, c.s.Drained(c.turn(), sh.take()))
		sh.replay.later(c)
	}
}
