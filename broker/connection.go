package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Opened implements loop.Handler: a new connection owes a CONNECT.
func (sh *shard) Opened(conn *loop.Conn) {
	sh.sockets++
	p := &pending{deadline: sh.b.clock(sh.loop.Now()) + sh.b.limits.ConnectTimeout.Milliseconds()}
	conn.State = p
	sh.connect = append(sh.connect, conn)
	if sh.stopping {
		conn.Close()
	}
}

// expireConnects closes connections whose CONNECT is overdue.
func (sh *shard) expireConnects() {
	n := 0
	for ; n < len(sh.connect); n++ {
		conn := sh.connect[n]
		p, ok := conn.State.(*pending)
		if !ok || p.gone {
			continue
		}
		if p.deadline > sh.now {
			break
		}
		sh.count.ConnectTimeouts++
		sh.refuse(conn, p, &session.Refusal{Reason: mqtt.MaximumConnectTime, Text: "no CONNECT in time", Silent: true})
	}
	sh.connect = append(sh.connect[:0], sh.connect[n:]...)
}

// Data implements loop.Handler: it decodes packet by packet and performs what each brings about. A panic
// in it closes the one connection it came from.
func (sh *shard) Data(conn *loop.Conn, b []byte) (used, need int) {
	sh.tick(sh.loop.Now())
	sh.count.BytesReceived += uint64(len(b))
	defer func() {
		if r := recover(); r != nil {
			sh.panicked(conn, b[used:], r)
			used, need = len(b), 0
		}
	}()
	for used < len(b) {
		c, admitted := conn.State.(*client)
		if conn.State == nil || admitted && c.s.Closing() {
			return len(b), 0
		}
		limit, version := sh.b.limits.MaxConnectSize, mqtt.Version(0)
		if admitted {
			limit, version = sh.b.limits.MaxPacketSize, c.s.Version()
		} else if p := conn.State.(*pending); p.hs.Busy() {
			return used, 0
		} else {
			version = p.version
		}
		h, n, err := mqtt.ParseHeader(b[used:])
		if err != nil {
			sh.reject(conn, err)
			return len(b), 0
		}
		if n == 0 {
			return used, 0
		}
		if n+h.Length > limit {
			sh.reject(conn, &mqtt.Error{Reason: mqtt.PacketTooLarge, Detail: fmt.Sprintf("%s of %d bytes, the limit is %d", h.Type, n+h.Length, limit)})
			return len(b), 0
		}
		if !admitted && h.Type != mqtt.CONNECT && h.Type != mqtt.AUTH {
			sh.reject(conn, &mqtt.Error{Reason: mqtt.ProtocolError, Detail: h.Type.String() + " before CONNECT"})
			return len(b), 0
		}
		if len(b)-used < n+h.Length {
			return used, n + h.Length
		}
		body := b[used+n : used+n+h.Length]
		if err := sh.packet.Decode(version, h, body, mqtt.Limits{UserProperties: sh.b.limits.MaxUserProperties, PropertyBytes: sh.b.limits.MaxPropertyBytes}); err != nil {
			sh.reject(conn, err)
			return len(b), 0
		}
		sh.count.PacketsReceived++
		if admitted {
			sh.perform(c, &sh.packet, c.s.Packet(sh.turn(), &sh.packet, sh.take()))
			used += n + h.Length
			continue
		}
		used += n + h.Length
		sh.handshake(conn, conn.State.(*pending))
		if _, still := conn.State.(*pending); still {
			return used, 0 // the rest waits for the verdict
		}
	}
	return used, 0
}

// reject ends a connection that broke the protocol.
func (sh *shard) reject(conn *loop.Conn, err error) {
	var e *mqtt.Error
	if !errors.As(err, &e) {
		e = &mqtt.Error{Reason: mqtt.UnspecifiedError, Detail: err.Error()}
	}
	sh.violated(e.Reason)
	switch st := conn.State.(type) {
	case *client:
		sh.perform(st, nil, st.s.Kick(e.Reason, e.Detail, sh.take()))
	case *pending:
		r := &session.Refusal{Reason: e.Reason, Text: e.Detail}
		if sh.packet.Type == mqtt.CONNECT && sh.packet.Connect.Version != 0 {
			st.version = sh.packet.Connect.Version
		}
		// [MQTT-3.1.4-1], MQTT5 4.13: only what is well-formed enough to be CONNECT gets an answer.
		r.Silent = st.version == 0 || st.version < mqtt.V5 && e.Reason != mqtt.UnsupportedProtocolVersion
		sh.refuse(conn, st, r)
	}
}

// panicked closes the connection whose input made us panic, and nobody else's.
func (sh *shard) panicked(conn *loop.Conn, input []byte, r any) {
	sh.b.panics.Add(1)
	id := ""
	if c, ok := conn.State.(*client); ok {
		id = c.id
	}
	sh.b.log.Error("panic while serving a client; its connection is closed", "client", id, "remote", remoteOf(conn),
		"panic", fmt.Sprint(r), "input", hex.EncodeToString(input[:min(len(input), 256)]), "stack", string(debug.Stack()))
	conn.Abort(fmt.Errorf("panic: %v", r))
}

// handshake takes a packet of a connection that has no client yet.
func (sh *shard) handshake(conn *loop.Conn, p *pending) {
	if p.hs.Started() {
		_, refusal := p.hs.Auth(&sh.packet)
		if refusal != nil {
			sh.refuse(conn, p, refusal)
		}
		return
	}
	p.version = sh.packet.Connect.Version
	req, refusal := p.hs.Connect(&sh.packet, sh.b.admission)
	if refusal != nil {
		sh.refuse(conn, p, refusal)
		return
	}
	p.request = req
	owner := sh
	assigned := req.ClientID == ""
	if assigned {
		req.ClientID = sh.assignID()
	} else {
		owner = sh.b.shardOf(req.ClientID)
	}
	if owner != sh {
		p.gone = true // from this shard's list of connections that owe a CONNECT
		sh.sockets--
		moved := &pending{hs: p.hs, deadline: p.deadline, version: p.version, request: req}
		conn.Move(owner.loop, func(conn *loop.Conn) {
			owner.tick(owner.loop.Now())
			owner.sockets++
			conn.State = moved
			owner.connect = append(owner.connect, conn)
			owner.authenticate(conn, moved, assigned)
		})
		return
	}
	sh.authenticate(conn, p, assigned)
}

// assignID makes up a client id that belongs to this shard and that nobody has [MQTT-3.2.2-16].
func (sh *shard) assignID() string {
	for {
		var raw [12]byte
		rand.Read(raw[:])
		id := "auto-" + hex.EncodeToString(raw[:])
		if sh.b.shardOf(id) == sh && sh.byID[id] == nil {
			return id
		}
	}
}

// authenticate finds out who the client is, off the loop if somebody has to be asked.
func (sh *shard) authenticate(conn *loop.Conn, p *pending, assigned bool) {
	if sh.b.opts.Authn == nil {
		sh.admit(conn, p, anonymous, assigned)
		return
	}
	conn.PauseRead()
	req := p.request
	attempt := &auth.Attempt{ClientID: req.ClientID, Username: req.Username, Password: req.Password,
		HasUser: req.HasUser, HasPass: req.HasPass, Remote: remoteOf(conn)}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), sh.b.limits.ConnectTimeout)
		defer cancel()
		id, reason := sh.b.opts.Authn.Authenticate(ctx, attempt)
		sh.loop.Post(func() {
			sh.tick(sh.loop.Now())
			if conn.State != any(p) || p.gone {
				return
			}
			if reason != mqtt.Success || id == nil {
				sh.refuse(conn, p, &session.Refusal{Reason: reason, Text: "authentication failed"})
				return
			}
			sh.admit(conn, p, id, assigned)
			conn.ResumeRead()
		})
	}()
}

// anonymous is who everybody is where nobody is asked.
var anonymous = &auth.Identity{}

func identityNamed(name string) *auth.Identity {
	if name == "" {
		return anonymous
	}
	return &auth.Identity{Name: name}
}

// refuse answers a CONNECT that is not accepted, and closes.
func (sh *shard) refuse(conn *loop.Conn, p *pending, r *session.Refusal) {
	p.gone = true
	sh.refused(r.Reason)
	if !r.Silent {
		ack := mqtt.Connack{Reason: r.Reason}
		if p.version >= mqtt.V5 {
			ack.Props.Has = ack.Props.Has.With(mqtt.PropReasonString)
			ack.Props.ReasonString = []byte(r.Text)
		}
		limit := uint32(0)
		if p.request != nil {
			limit = p.request.MaximumPacketSize
		}
		sh.write(conn, ack.AppendTo(nil, p.version, limit))
	}
	id := ""
	if p.request != nil {
		id = p.request.ClientID
	}
	if sh.b.opts.Events.Refused != nil {
		sh.b.opts.Events.Refused(Refusal{ClientID: id, Remote: remoteOf(conn), Reason: r.Reason, Text: r.Text})
	}
	sh.b.log.Debug("connection refused", "client", id, "remote", remoteOf(conn), "reason", r.Reason.String(), "why", r.Text)
	conn.State = nil
	conn.Close()
}

// Closed implements loop.Handler.
func (sh *shard) Closed(conn *loop.Conn, err error) {
	sh.tick(sh.loop.Now())
	sh.sockets--
	switch st := conn.State.(type) {
	case *pending:
		st.gone = true
	case *client:
		if st.cause == "" {
			st.cause = closeCause(err)
		}
		sh.detach(st)
	}
	conn.State = nil
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
		c.unsent = 0
		sh.perform(c, nil, c.s.Drained(sh.turn(), sh.take()))
		sh.replayLater(c)
	}
}
