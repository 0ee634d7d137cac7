package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// lobby holds the connections that have no client yet: between accept and CONNACK.
type lobby struct {
	sh      *shard
	waiting []*pending // for their CONNECT, oldest first
}

// expire closes connections whose CONNECT is overdue.
func (l *lobby) expire() {
	n := 0
	for ; n < len(l.waiting); n++ {
		p := l.waiting[n]
		if p.conn == nil {
			continue
		}
		if p.deadline > l.sh.now {
			break
		}
		l.sh.count.ConnectTimeouts++
		l.refuse(p.conn, p, &session.Refusal{Reason: mqtt.MaximumConnectTime, Text: "no CONNECT in time", Silent: true})
	}
	l.waiting = slices.Delete(l.waiting, 0, n)
}

// handshake takes a packet of a connection that has no client yet.
func (l *lobby) handshake(conn *loop.Conn, p *pending) {
	if p.hs.Started() {
		data, refusal := p.hs.Auth(&l.sh.packet)
		if refusal != nil {
			l.refuse(conn, p, refusal)
			return
		}
		l.step(conn, p, data)
		return
	}
	p.version = l.sh.packet.Connect.Version
	if p.peer.TLS {
		l.sh.count.secured(p.tls != nil && p.tls.Resumed)
	}
	req, refusal := p.hs.Connect(&l.sh.packet, p.door.admission(l.sh.b.laws.now.Load().admission))
	if refusal != nil {
		l.refuse(conn, p, refusal)
		return
	}
	p.request, p.software = req, softwareOf(&l.sh.packet.Connect)
	owner := l.sh
	p.assigned = req.ClientID == ""
	if p.assigned {
		req.ClientID = l.assignID()
	} else {
		owner = l.sh.b.shardOf(req.ClientID)
	}
	if owner != l.sh {
		p.conn, p.request = nil, nil
		moved := &pending{conn: conn, door: p.door, peer: p.peer, hs: p.hs, deadline: p.deadline, version: p.version, request: req, assigned: p.assigned, from: p.from, halfOpen: p.halfOpen, tls: p.tls, software: p.software, trace: p.trace}
		conn.Move(owner.loop, func(conn *loop.Conn) {
			defer owner.spare(conn)
			owner.tick(owner.loop.Now())
			conn.State = moved
			owner.lobby.waiting = append(owner.lobby.waiting, moved)
			owner.lobby.authenticate(conn, moved)
		})
		return
	}
	l.authenticate(conn, p)
}

// assignID makes up a client id that belongs to this shard and that nobody has [MQTT-3.2.2-16].
func (l *lobby) assignID() string {
	for {
		var raw [12]byte
		rand.Read(raw[:])
		id := "auto-" + hex.EncodeToString(raw[:])
		if l.sh.b.shardOf(id) == l.sh && l.sh.byID[id] == nil {
			return id
		}
	}
}

// authenticate finds out who the client is, off the loop if somebody has to be asked.
func (l *lobby) authenticate(conn *loop.Conn, p *pending) {
	if r := l.keepsOut(p); r != nil {
		l.refuse(conn, p, r)
		return
	}
	req, door := p.request, p.door.listener.Load()
	authn := door.Authn
	p.asked = l.sh.now
	attempt := &auth.Attempt{
		Peer: p.peer, ClientID: req.ClientID, Username: req.Username, Password: req.Password,
		HasUser: req.HasUser, HasPass: req.HasPass, Method: req.AuthMethod,
	}
	if req.AuthMethod != "" {
		p.exchange = &exchange{with: door.Exchange, attempt: attempt}
		l.step(conn, p, req.AuthData)
		return
	}
	if authn == nil {
		l.sh.admit(conn, p, p.principal(anonymous))
		return
	}
	if l.sh.stopping {
		l.refuse(conn, p, &session.Refusal{Reason: mqtt.ServerShuttingDown, Text: "the server is shutting down"})
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.sh.b.limits().ConnectTimeout)
	p.cancel = cancel
	go func() {
		defer cancel()
		id, err := l.sh.b.ask(ctx, authn, attempt)
		l.sh.loop.Post(func() {
			l.sh.tick(l.sh.loop.Now())
			if conn.State != any(p) || p.conn == nil {
				return
			}
			defer l.sh.spare(conn)
			if err != nil {
				l.refuse(conn, p, l.sh.b.unauthenticated(attempt, err))
				return
			}
			l.sh.admit(conn, p, p.principal(id))
			conn.ResumeRead()
		})
	}()
}

// ask asks the authenticator; if that panics the answer is no.
func (b *Broker) ask(ctx context.Context, authn auth.Authenticator, a *auth.Attempt) (id *auth.Identity, err error) {
	defer func() {
		if r := recover(); r != nil {
			b.panicked(r, "client", a.ClientID, "remote", a.Remote())
			id, err = nil, errPanic
		}
	}()
	if id, err = authn.Authenticate(ctx, a); err == nil && id == nil {
		err = auth.ErrUnknown
	}
	return id, err
}

// unauthenticated is the answer to a client whose authentication failed: whether its credentials are wrong or could not be
// judged is told, what of them was wrong is not.
func (b *Broker) unauthenticated(a *auth.Attempt, err error) *session.Refusal {
	var no *auth.Refusal
	switch {
	case errors.As(err, &no):
		return &session.Refusal{Reason: no.Reason, Text: no.Text, Why: no.Error(), By: no.By}
	case errors.Is(err, auth.ErrUnknown):
		return &session.Refusal{Reason: mqtt.BadUserNameOrPassword, Text: "authentication failed", Why: "nobody knows such credentials"}
	}
	if n, ok := b.unjudged.allow(time.Now()); ok {
		b.log.Warn("clients could not be authenticated", "client", a.ClientID, "remote", a.Remote(), "error", err, "times", n)
	}
	return &session.Refusal{Reason: mqtt.ServerUnavailable, Text: "authentication is not possible at present", Why: err.Error()}
}

// anonymous is who everybody is where nobody is asked.
var anonymous = &auth.Identity{}

func identityNamed(name string) *auth.Identity {
	if name == "" {
		return anonymous
	}
	return &auth.Identity{Name: name}
}

// principal is the client of this connection, now that it is known who it is.
func (p *pending) principal(id *auth.Identity) *auth.Principal {
	return &auth.Principal{Identity: id, ClientID: p.request.ClientID, Peer: p.peer}
}

// refuse answers a CONNECT that is not accepted, and closes.
func (l *lobby) refuse(conn *loop.Conn, p *pending, r *session.Refusal) {
	p.leave()
	l.sh.count.refused(r.Reason)
	l.sh.traces.refused(p, r)
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
		l.sh.out.write(conn, ack.AppendTo(nil, p.version, limit))
	}
	id := ""
	if p.request != nil {
		id = p.request.ClientID
	}
	l.sh.tell.turnedDown(p, r)
	l.sh.b.log.Debug("connection refused", "client", id, "remote", p.peer.Remote(), "reason", r.Reason.String(), "text", r.Text, "why", r.Why)
	conn.State = nil
	conn.Close()
}

// refuseUnstored refuses a client whose session could not be kept.
func (l *lobby) refuseUnstored(conn *loop.Conn, p *pending, err error) {
	reason := refusal(err)
	if reason != mqtt.QuotaExceeded {
		reason = mqtt.ServerUnavailable
	}
	l.sh.count.NotStored[reason]++
	l.refuse(conn, p, &session.Refusal{Reason: reason, Text: plight(err), Why: err.Error()})
}
