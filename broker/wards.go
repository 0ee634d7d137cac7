package broker

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/flapping"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
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

// keepsAway tells that a connection is not worth a word: its address is banned, or descriptors are scarce.
func (sh *shard) keepsAway(p *pending) bool {
	if b := sh.b.bans.Address(time.Now(), p.peer.Address.Addr()); b != nil && !b.Quarantine {
		sh.count.Banned++
		return true
	}
	if sh.b.Overload().Descriptors {
		sh.count.Shed[overload.Connects]++
		return true
	}
	return false
}

// keepsOut is why a CONNECT is refused whoever sends it; nil = it is not. Nothing that it claims is proven.
func (sh *shard) keepsOut(p *pending) *session.Refusal {
	if st := sh.b.Overload(); st.Level >= overload.Connects {
		sh.count.Shed[overload.Connects]++
		return &session.Refusal{Reason: mqtt.ServerBusy, Text: "the server is overloaded", Why: st.Why}
	}
	return sh.banned(sh.b.bans.Any(time.Now(), p.request.ClientID, p.request.Username, p.peer.Address.Addr()))
}

func (sh *shard) banned(b *ban.Ban) *session.Refusal {
	if b == nil || b.Quarantine {
		return nil
	}
	sh.count.Banned++
	return &session.Refusal{Reason: mqtt.Banned, Text: b.Text(), Why: "by " + b.By}
}

// turnsAway is why a client that has proven who it is does not get in all the same; nil = it does.
func (sh *shard) turnsAway(p *pending, who *auth.Principal, old *client, taking bool) *session.Refusal {
	if r := sh.banned(sh.b.bans.User(time.Now(), who.Name)); r != nil {
		return r
	}
	if f := sh.b.flapping; f != nil {
		c := flapping.Connect{Client: who.ClientID, User: who.Name, Remote: who.Peer.Remote(), Address: host(&who.Peer), Takes: taking}
		if taking {
			peer := &old.who.Load().Peer
			c.From, c.FromHost = peer.Remote(), host(peer)
		}
		if found := f.Connected(sh.now, &c); found != nil {
			if r := sh.flaps(who, old, found); r != nil {
				return r
			}
		}
	}
	w := sh.b.law.Load()
	if w.pool == nil {
		return nil
	}
	id := limit.Who{User: who.Name, Groups: who.Groups, Client: who.ClientID, Listener: who.Peer.Listener}
	if !w.pool.Connect(sh.now, who.Name, w.rates.ClassOf(&id)) {
		sh.count.Limited[limit.UserConnects]++
		return &session.Refusal{Reason: mqtt.ConnectionRateExceeded, Text: "the user connects too often"}
	}
	return nil
}

func host(p *auth.Peer) string { return p.Address.Addr().String() }

// flaps tells of somebody who flaps, and bans it if that is configured: also the one that is connected under the client id.
func (sh *shard) flaps(who *auth.Principal, old *client, f *flapping.Finding) *session.Refusal {
	sh.count.Flapping++
	sh.b.log.Warn("a client flaps", "name", f.Name, "user", f.User, "text", f.Text, "answer", string(f.Answer))
	if tell := sh.b.opts.Events.Limited; tell != nil {
		l := Limited{What: "flapping", ClientID: f.Name, User: who.Name, Listener: who.Peer.Listener, Remote: who.Peer.Remote(), Text: f.Text}
		if f.User {
			l.ClientID = ""
		}
		tell(l)
	}
	if f.Answer != flapping.Ban {
		return nil
	}
	b := ban.Ban{Subject: ban.Client, Value: f.Name, Reason: "flapping: " + f.Text, By: "flapping", Until: time.Now().Add(f.For)}
	if f.User {
		b.Subject = ban.User
	}
	if err := sh.b.bans.AddNow(b); err != nil {
		sh.b.log.Error("a client that flaps could not be banned", "name", f.Name, "error", err)
		return nil
	}
	if old != nil {
		sh.wards.judge(old)
	}
	return sh.banned(&b)
}

// judge does to a client what the table of bans says, and tells what it did.
func (w *wards) judge(c *client) (disconnected, changed bool) {
	who := c.who.Load()
	b := w.sh.b.bans.Any(time.Now(), c.id, who.Name, who.Peer.Address.Addr())
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
		w.sh.perform(c, nil, c.s.Kick(mqtt.AdministrativeAction, b.Text(), w.sh.take()))
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
	w.sh.tellLimited(c, "quarantine", b.Text())
}

// lift lets a client out of quarantine: what waits for it goes to it.
func (w *wards) lift(c *client) {
	delete(w.clients, c)
	c.barred.Store(false)
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
		w.sh.b.bans.Sweep(time.Now())
	}
}

// tell sends a client its reason, if it has subscribed to it.
func (w *wards) tell(c *client) {
	b := w.clients[c]
	if b == nil || c.conn == nil || !c.s.Greeted() {
		return
	}
	for _, s := range c.s.Subscriptions() {
		if topic.Match(s.Filter, QuarantineTopic) {
			m := &mqtt.Message{Topic: []byte(QuarantineTopic), Payload: []byte(b.Text())}
			w.sh.out.nextMessage()
			w.sh.out.deliver(c, &session.Effect{Kind: session.SendPublish, Msg: m})
			return
		}
	}
}

// filters refuses a client in quarantine all filters but that of its reason.
func (w *wards) filters(c *client, p *mqtt.Subscribe, codes []mqtt.ReasonCode) {
	for i, f := range p.Filters {
		switch {
		case string(f.Filter) == QuarantineTopic:
			w.sh.post(c, func() { w.tell(c) }) // when it is subscribed
		case !codes[i].Failed():
			codes[i] = mqtt.NotAuthorized
			w.sh.count.Denied++
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
	was, err := k.b.bans.Add(ctx, b)
	if err != nil {
		return Banned{}, err
	}
	done, err := k.Rejudge(ctx)
	done.Ban, done.Was = b, was
	return done, err
}

// Unban ends a ban; ban.ErrUnknown when there is none for the subject and value.
func (k *Control) Unban(ctx context.Context, subject ban.Subject, value string) (Banned, error) {
	b, err := k.b.bans.Remove(ctx, subject, value)
	if err != nil {
		return Banned{}, err
	}
	done, err := k.Rejudge(ctx)
	done.Ban = b
	return done, err
}

// Bans are those in force.
func (k *Control) Bans() []ban.Ban { return k.b.bans.List(time.Now()) }

// BanOf is the ban in force for a client id, the name of an identity or an address; nil = none.
func (k *Control) BanOf(clientID, user string, addr netip.Addr) *ban.Ban {
	return k.b.bans.Any(time.Now(), clientID, user, addr)
}

// Rejudge does to all clients what the table of bans says, for whoever changed that otherwise.
func (k *Control) Rejudge(ctx context.Context) (Banned, error) {
	var off, changed atomic.Int64
	_, err := k.onAll(ctx, func(sh *shard, c *client) bool {
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
	r.tellDenied(who, m, mqtt.NotAuthorized, auth.Decision{Why: "the client is in quarantine"})
	return mqtt.NotAuthorized
}
