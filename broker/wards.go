package broker

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// QuarantineTopic is the one topic that clients in quarantine may subscribe to: each gets its reason there.
const QuarantineTopic = "$SYS/quarantine"

// wards are the clients in quarantine: connected, but nothing comes from them or goes to them. What waits for them stays, their
// subscriptions come back.
type wards struct {
	sh      *shard
	clients map[*client]*ban.Ban
}

// judge does to a client what the table of bans says, and tells what it did.
func (w *wards) judge(c *client) (disconnected, changed bool) {
	who := c.who.Load()
	b := w.sh.b.entrance.bans.Any(time.Now(), c.id, who.Name, who.Peer.Address.Addr())
	was := w.clients[c]
	switch {
	case b != nil && b.Quarantine && (was == nil || *was != *b):
		w.take(c, b)
		return false, true
	case b != nil && b.Quarantine && c.s.Connected(): // a new connection
		c.s.Blocked()
	case b == nil && was != nil:
		w.lift(c)
		return false, true
	case b != nil && !b.Quarantine && c.s.Connected():
		c.kick(ByBan, mqtt.AdministrativeAction, b.Text())
		return true, false
	}
	return false, false
}

// take puts a client into quarantine.
func (w *wards) take(c *client, b *ban.Ban) {
	w.clients[c] = b
	c.barred.Store(true)
	c.online.Store(false)
	c.s.Blocked()
	w.tell(c)
	w.sh.b.log.Info("a client is in quarantine", "client", c.id, "user", c.who.Load().Name, "remote", c.remote(), "text", b.Text())
	w.sh.b.tell(Quarantined{Party: c.party(), Ban: *b})
}

// lift lets a client out of quarantine: what waits for it goes to it.
func (w *wards) lift(c *client) {
	delete(w.clients, c)
	c.barred.Store(false)
	w.sh.b.tell(QuarantineEnded{c.party()})
	if !c.s.Connected() {
		return
	}
	c.online.Store(c.s.Greeted())
	if !w.sh.paces.stopped(c) {
		w.sh.perform(c, nil, c.s.Drained(c.turn(), w.sh.take()))
	}
}

// check looks after the quarantines whose time is over.
func (w *wards) check() {
	for c := range w.clients {
		func() {
			defer w.sh.rescue(c)
			w.judge(c)
		}()
	}
	if w.sh.index == 0 {
		for _, over := range w.sh.b.entrance.bans.Sweep(time.Now()) {
			w.sh.b.banChanged(Banned{Ban: over}, true, true)
		}
	}
}

// reasonTopic is QuarantineTopic as a client means it.
func reasonTopic(c *client) string { return c.point + QuarantineTopic }

// tell sends a client its reason, if it has subscribed to it.
func (w *wards) tell(c *client) {
	b := w.clients[c]
	if b == nil || c.conn == nil || !c.s.Greeted() {
		return
	}
	for _, s := range c.s.Subscriptions() {
		if own := reasonTopic(c); topic.Match(s.Filter, own) {
			m := &mqtt.Message{Topic: []byte(own), Payload: []byte(b.Text())}
			w.sh.out.nextMessage()
			w.sh.books.Own++
			w.sh.books.routed(nil, m, w.sh.books.row(nil, m), w.sh.books.Copies, 1)
			w.sh.books.meant(c)
			w.sh.out.deliver(c, &session.Effect{Kind: session.SendPublish, Msg: m})
			return
		}
	}
}

// filters refuses a client in quarantine all filters but that of its reason.
func (w *wards) filters(c *client, p *mqtt.Subscribe, codes []mqtt.ReasonCode) {
	for i, f := range p.Filters {
		switch {
		case string(f.Filter) == reasonTopic(c):
			w.sh.post(c, func() { w.tell(c) }) // when it is subscribed
		case !codes[i].Failed():
			codes[i] = mqtt.NotAuthorized
			w.sh.count.Denied++
			w.sh.asked = auth.Question{Action: auth.Subscribe, QoS: f.Options.QoS(), Topic: f.Filter}
			w.sh.tell.denied(c.who.Load(), nil, DeniedInQuarantine, codes[i])
			w.sh.traces.isolated(c, f.Filter)
		}
	}
}

// explain adds the reason to a SUBACK.
func (w *wards) explain(c *client, do []session.Effect) {
	for i := range do {
		if b := w.clients[c]; b != nil && do[i].Type == mqtt.SUBACK {
			do[i].Text = b.Text()
		}
	}
}

// Banned is what a ban, or its end, did.
type Banned struct {
	Ban          ban.Ban
	Was          *ban.Ban // that it took the place of; nil = none
	Disconnected int      // clients
	Changed      int      // clients put into quarantine, or let out of it
}

// Ban keeps somebody out, or apart, from now on: it is in the table, and kept where that keeps its bans, and acts on those who are
// connected. Unban takes it back.
func (k *Control) Ban(ctx context.Context, b ban.Ban) (Banned, error) {
	was, err := k.b.entrance.bans.Add(ctx, b)
	if err != nil {
		return Banned{}, err
	}
	done, err := k.Rejudge(ctx)
	done.Ban, done.Was = b, was
	k.b.banChanged(done, false, false)
	return done, err
}

// Unban ends a ban; ban.ErrUnknown when there is none for the subject and value.
func (k *Control) Unban(ctx context.Context, subject ban.Subject, value string) (Banned, error) {
	b, err := k.b.entrance.bans.Remove(ctx, subject, value)
	if err != nil {
		return Banned{}, err
	}
	done, err := k.Rejudge(ctx)
	done.Ban = b
	k.b.banChanged(done, true, false)
	return done, err
}

// Bans are those in force.
func (k *Control) Bans() []ban.Ban { return k.b.entrance.bans.List(time.Now()) }

// BanOf is the ban in force for a client id, the name of an identity or an address; nil = none.
func (k *Control) BanOf(clientID, user string, addr netip.Addr) *ban.Ban {
	return k.b.entrance.bans.Any(time.Now(), clientID, user, addr)
}

// Rejudge does to all clients what the table of bans says, for whoever changed that otherwise.
func (k *Control) Rejudge(ctx context.Context) (Banned, error) {
	var off, changed atomic.Int64
	_, err := k.onAll(ctx, nil, func(sh *shard, c *client) bool {
		disconnected, other := sh.wards.judge(c)
		if disconnected {
			off.Add(1)
		}
		if other {
			changed.Add(1)
		}
		return disconnected || other
	})
	return Banned{Disconnected: int(off.Load()), Changed: int(changed.Load())}, err
}

// quarantined counts and tells that a client in quarantine published something, and is the answer to it.
func (r *router) quarantined(who *auth.Principal, m *mqtt.Message) mqtt.ReasonCode {
	r.sh.count.Denied++
	r.sh.traces.denied(who, m, mqtt.NotAuthorized, "the client is in quarantine")
	r.sh.tell.denied(who, m, DeniedInQuarantine, mqtt.NotAuthorized)
	return mqtt.NotAuthorized
}
