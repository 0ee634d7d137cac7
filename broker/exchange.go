package broker

import (
	"context"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// exchange is one enhanced authentication (MQTT5 4.12), of a CONNECT or of a client that authenticates anew. It is used by
// one goroutine at a time: the state machines in session let nothing in while a step is under way.
type exchange struct {
	with    auth.Exchanger
	attempt *auth.Attempt
	going   auth.Exchange // nil before the first step
	last    []byte        // what goes with the outcome
}

// next takes one step, off the loop; if the backend panics the answer is no.
func (e *exchange) next(ctx context.Context, b *Broker, data []byte) (answer []byte, id *auth.Identity, err error) {
	defer func() {
		if r := recover(); r != nil {
			b.panicked(r, "client", e.attempt.ClientID, "remote", e.attempt.Remote(), "method", e.attempt.Method)
			answer, id, err = nil, nil, errPanic
		}
	}()
	if e.with == nil { // the listener was changed meanwhile
		return nil, nil, &auth.Refusal{Reason: mqtt.BadAuthenticationMethod, Text: "unknown authentication method", By: "listener"}
	}
	if e.going == nil {
		if e.going, err = e.with.Begin(e.attempt); err != nil {
			return nil, nil, err
		}
	}
	return e.going.Next(ctx, data)
}

// authPacket is an AUTH, empty if it is larger than the client takes.
func authPacket(reason mqtt.ReasonCode, method string, data []byte, limit uint32) []byte {
	a := mqtt.Auth{Reason: reason}
	a.Props.Has = a.Props.Has.With(mqtt.PropAuthMethod) // [MQTT-4.12.0-5]
	a.Props.AuthMethod = []byte(method)
	if len(data) > 0 {
		a.Props.Has = a.Props.Has.With(mqtt.PropAuthData)
		a.Props.AuthData = data
	}
	return a.AppendTo(nil, limit)
}

// step goes on with the authentication of a CONNECT, off the loop. The deadline of the CONNECT is that of the whole exchange.
func (l *lobby) step(conn *loop.Conn, p *pending, data []byte) {
	if l.sh.stopping {
		l.refuse(conn, p, &session.Refusal{Reason: mqtt.ServerShuttingDown, Text: "the server is shutting down"})
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.sh.b.limits().ConnectTimeout)
	p.cancel = cancel
	go func() {
		defer cancel()
		answer, id, err := p.exchange.next(ctx, l.sh.b, data)
		l.sh.loop.Post(func() {
			l.sh.tick(l.sh.loop.Now())
			if conn.State != any(p) || p.conn == nil {
				return
			}
			defer l.sh.spare(conn)
			l.stepped(conn, p, answer, id, err)
		})
	}()
}

// stepped does what a step has come to: refused, admitted, or another one to come.
func (l *lobby) stepped(conn *loop.Conn, p *pending, answer []byte, id *auth.Identity, err error) {
	switch {
	case err != nil: // [MQTT-4.12.0-4]
		l.refuse(conn, p, l.sh.b.unauthenticated(p.exchange.attempt, err))
	case id != nil:
		p.exchange.last = answer
		l.sh.admit(conn, p, p.principal(id))
	default: // [MQTT-4.12.0-2]
		out := authPacket(mqtt.ContinueAuthentication, p.request.AuthMethod, answer, p.request.MaximumPacketSize)
		if len(out) == 0 {
			l.refuse(conn, p, &session.Refusal{Reason: mqtt.PacketTooLarge, Text: "AUTH exceeds the client's Maximum Packet Size"})
			return
		}
		p.hs.Continue()
		l.sh.out.write(conn, out)
	}
}

// renewals are the clients of a shard that were admitted by an enhanced authentication: they may authenticate anew
// while they are connected (MQTT5 4.12.1).
type renewals struct {
	sh *shard
	of map[*client]*renewal
}

// renewal is one such client's.
type renewal struct {
	door     *Door
	method   string
	exchange *exchange          // nil while none goes on
	cancel   context.CancelFunc // of the step under way
	meanwhile
}

// admit notes a client that has just been admitted at door by method.
func (r *renewals) admit(c *client, door *Door, method string) {
	r.of[c] = &renewal{door: door, method: method}
}

// leave forgets a client whose connection ends.
func (r *renewals) leave(c *client) {
	if n := r.of[c]; n != nil && n.cancel != nil {
		n.cancel()
	}
	delete(r.of, c)
}

// step takes the AUTH p of a connected client: begins tells that an exchange begins with it.
func (r *renewals) step(c *client, begins bool, p *mqtt.Packet) {
	sh, n, who := r.sh, r.of[c], c.who.Load()
	data := append([]byte(nil), p.Auth.Props.AuthData...)
	if begins {
		n.meanwhile = meanwhile{}
		n.exchange = &exchange{with: n.door.listener.Load().Exchange, attempt: &auth.Attempt{
			Peer: who.Peer, ClientID: c.id, Method: n.method,
		}}
		sh.agenda.watch(c)
	}
	e := n.exchange
	ctx, cancel := context.WithTimeout(context.Background(), sh.b.limits().ConnectTimeout)
	n.cancel = cancel
	go func() {
		defer cancel()
		answer, id, err := e.next(ctx, sh.b, data)
		sh.post(c, func() {
			if r.of[c] == n && !c.s.Closing() {
				r.stepped(c, e, answer, id, err)
			}
		})
	}()
}

// stepped does what a step has come to. Who is not confirmed loses the connection [MQTT-4.12.1-2].
func (r *renewals) stepped(c *client, e *exchange, answer []byte, id *auth.Identity, err error) {
	sh, who := r.sh, c.who.Load()
	refuse := func(text, why string) {
		sh.b.log.Info("a client's re-authentication failed", "client", c.id, "remote", c.remote(), "why", why)
		c.kick(ByAuthenticator, mqtt.NotAuthorized, text)
	}
	switch {
	case err != nil:
		no := sh.b.unauthenticated(e.attempt, err)
		refuse("re-authentication failed: "+no.Text, no.Why)
	case id == nil:
		sh.perform(c, nil, c.s.AuthStep(mqtt.ContinueAuthentication, answer, sh.take()))
	case id.Name != who.Name: // what is the session's stays with its owner
		refuse("re-authenticated as somebody else", "it was "+who.Name+" and would be "+id.Name)
	default:
		n := r.of[c]
		now, no := n.catchUp(&auth.Principal{Identity: id, ClientID: c.id, Peer: who.Peer, Mount: who.Mount})
		if no != nil {
			refuse("re-authentication failed: "+no.Text, no.Why)
			return
		}
		n.exchange = nil
		c.reidentify(now.Identity)
		sh.perform(c, nil, c.s.AuthStep(mqtt.Success, answer, sh.take()))
	}
}
