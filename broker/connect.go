package broker

import (
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// admit gives the connection its client: a new session, or the one that the client id has.
func (sh *shard) admit(conn *loop.Conn, p *pending, who *auth.Principal) {
	req := p.request
	who, refusal := p.catchUp(who)
	if refusal != nil {
		sh.lobby.refuse(conn, p, refusal)
		return
	}
	mountPoint, refusal := mountFor(p.door.listener.Load().MountPoint, who)
	if refusal != nil {
		sh.lobby.refuse(conn, p, refusal)
		return
	}
	if who.Mount = mountPoint; mountPoint != "" && req.Will != nil {
		mountWill(mountPoint, req.Will)
	}
	own := p.door.listener.Load().Own
	old := sh.byID[req.ClientID]
	if own && old != nil && !old.own { // somebody else had the id
		sh.evict(old, EndOwn, ByTakeover, "the client id is the server's own")
		old = nil
	}
	if old != nil && old.who.Load().Name != who.Name {
		sh.lobby.refuse(conn, p, &session.Refusal{Reason: mqtt.NotAuthorized, Text: "not authorized", Why: "the client id belongs to somebody else"})
		return
	}
	taking := old != nil && old.s.Connected()
	switch {
	case sh.stopping:
		sh.lobby.refuse(conn, p, &session.Refusal{Reason: mqtt.ServerShuttingDown, Text: "the server is shutting down"})
		return
	case !sh.lobby.mayLeave(who, req):
		sh.lobby.refuse(conn, p, &session.Refusal{Reason: mqtt.NotAuthorized, Text: "not authorised to publish the will"})
		return
	case req.Expiry > 0 && (old == nil || req.CleanStart || old.s.Expiry() == 0): // a new session for the store
		if err := sh.health.why(); err != nil {
			sh.lobby.refuseUnstored(conn, p, err)
			return
		}
	}
	if r := sh.lobby.turnsAway(p, who, old, taking); r != nil && !own {
		sh.lobby.refuse(conn, p, r)
		return
	}
	if !own && !sh.b.enter(taking) {
		sh.lobby.refuse(conn, p, &session.Refusal{Reason: mqtt.QuotaExceeded, Text: "the server has as many connections as it is allowed"})
		return
	}
	if taking {
		sh.tell.takeover(old, who)
		sh.takeOver(old, p.peer.Remote())
	}
	if old != nil && req.CleanStart && !old.s.Ended() { // [MQTT-3.1.2-4]
		old.told.ends = EndCleanStart
		sh.perform(old, nil, old.s.End(sh.turn(), sh.take()))
	}
	c := sh.byID[req.ClientID]
	fresh := c == nil
	if fresh {
		c = sh.newClient(req.ClientID, who)
		if c.own = own; own {
			sh.b.sessions.Add(-1)
			sh.books.inside.came(c)
		}
		c.s = *session.New(sh.b.laws.now.Load().rules)
		if req.Expiry > 0 {
			c.stored = store.SessionID(sh.b.nextSession.Add(1))
		}
	}
	sh.traces.admitted(c, p, req.Version)
	p.conn, p.request = nil, nil
	p.settle()
	c.conn, c.clean = conn, req.CleanStart
	c.identify(who)
	sh.tell.begin(c, p, req, fresh)
	sh.router.reauthorize(c)
	conn.State = c
	c.hello = &hello{request: req, assigned: p.assigned}
	if p.exchange != nil {
		c.hello.authData = p.exchange.last
		sh.renewals.admit(c, p.door, req.AuthMethod)
	}
	c.told.traffic = sh.traffic.of(p.door)
	sh.paces.set(c, true)
	sh.count.Connects++
	sh.perform(c, nil, c.s.Attach(sh.turn(), req.Params, fresh, sh.take()))
	sh.wards.judge(c)
	sh.agenda.watch(c)
	sh.replay.later(c)
}

// enter counts one more connected client, if the limit allows it; one that takes another's place is always allowed.
func (b *Broker) enter(taking bool) bool {
	now := b.connected.Add(1)
	if taking {
		return true // the other one is about to be taken off
	}
	if limit := int64(b.limits().MaxConnections); limit > 0 && now > limit {
		b.connected.Add(-1)
		return false
	}
	for most := b.maximum.Load(); now > most && !b.maximum.CompareAndSwap(most, now); {
		most = b.maximum.Load()
	}
	return true
}

func (sh *shard) newClient(id string, who *auth.Principal) *client {
	c := &client{shard: sh, id: id}
	c.who.Store(who)
	c.handle = sh.b.clients.Add(c)
	sh.byID[id] = c
	sh.traces.began(c)
	sh.b.sessions.Add(1)
	return c
}

// takeOver ends the present connection of a client id that connects anew [MQTT-3.1.4-3]: it is told, its
// will and its session's fate are settled, and only then does the new one go on.
func (sh *shard) takeOver(old *client, by string) {
	sh.count.Takeovers++
	sh.perform(old, nil, old.s.TakenOver(by, sh.take()))
	old.conn.State = nil
	sh.detach(old)
}

// evict closes a client's connection and ends its session.
func (sh *shard) evict(c *client, ends Ending, by Cause, why string) {
	c.told.ends = ends
	if c.conn != nil {
		c.kick(by, mqtt.AdministrativeAction, why)
		c.conn.State = nil
		sh.detach(c)
	}
	if !c.s.Ended() {
		sh.perform(c, nil, c.s.End(sh.turn(), sh.take()))
	}
}

// detach takes the connection from a client and settles what follows: the will, the end of the session.
func (sh *shard) detach(c *client) {
	sh.books.settleDropsOf(c)
	sh.traces.left(c)
	sh.tell.left(c)
	c.conn, c.hello, c.expires = nil, nil, 0
	sh.renewals.leave(c)
	delete(sh.health.back, c)
	delete(sh.commits.paused, c)
	sh.paces.release(c)
	c.online.Store(false)
	c.unsent, c.unsentB = 0, 0
	if !c.own {
		sh.b.connected.Add(-1)
	}
	sh.count.Disconnects++
	durable := c.s.Expiry() != 0
	sh.perform(c, nil, c.s.Closed(sh.turn(), sh.take()))
	if durable && !c.s.Ended() {
		sh.agenda.watch(c)
		sh.router.redistribute(c)
	}
}

// end forgets a session that is over.
func (sh *shard) end(c *client, durable bool, unsent, lost uint64) {
	sh.tell.over(c, durable)
	for i := range c.s.Subscriptions() {
		sh.router.unsubscribe(c, c.s.Subscriptions()[i].Filter)
	}
	for _, r := range c.replays {
		r.cursor.Close()
	}
	c.replays = nil
	sh.agenda.forget(c)
	delete(sh.wards.clients, c)
	c.online.Store(false)
	sh.b.queuedBytes.Add(-c.queued)
	c.queued = 0
	sh.books.gone(c)
	if sh.byID[c.id] == c {
		delete(sh.byID, c.id)
	}
	if !c.own {
		sh.b.sessions.Add(-1)
	}
	sh.books.settleDropsOf(c)
	sh.books.inside.left(c)
	sh.traces.ended(c)
	sh.b.clients.Remove(c.handle)
	if durable {
		sh.router.endStored(c, unsent, lost)
	}
}

// shutdown ends every connection because the broker stops.
func (sh *shard) shutdown() {
	sh.tick(sh.loop.Now())
	sh.stopping = true
	for _, c := range sh.byID {
		if c.s.Connected() {
			sh.b.guard("shutdown", func() { sh.perform(c, nil, c.s.Shutdown(sh.take())) })
		}
	}
	for _, p := range sh.lobby.waiting {
		if p.conn != nil {
			sh.lobby.refuse(p.conn, p, &session.Refusal{Reason: mqtt.ServerShuttingDown, Silent: true})
		}
	}
	sh.lobby.waiting = nil
	sh.loop.Wake()
}

// checkQuiet tells Close when every connection is closed, every ended session's queue looked through and every batch
// has its outcome.
func (sh *shard) checkQuiet() {
	owes := sh.health.busy || len(sh.health.redo) > 0 && !sh.health.futile && sh.b.store.Health() == nil
	if owes || sh.loop.Conns() > 0 || sh.reading > 0 || len(sh.commits.committing) > 0 || !sh.commits.batch.empty() {
		return
	}
	select {
	case <-sh.quiesced:
	default:
		close(sh.quiesced)
	}
}
