package broker

import (
	"fmt"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// perform carries out a client's effects in their order. p is the packet that brought them about, nil if
// none did. It takes the list back.
func (sh *shard) perform(c *client, p *mqtt.Packet, do []session.Effect) {
	for i := 0; i < len(do); i++ { // the list grows while Route, Authorize and others are answered
		e := &do[i]
		switch e.Kind {
		case session.SendPublish:
			sh.out.deliver(c, e)
		case session.Send:
			sh.out.send(c, e)
		case session.Route:
			do = c.route(&p.Publish, do)
		case session.Keep:
			sh.keepChange(c, e)
		case session.Drop:
			sh.drop(c, e.Msg, e.Why)
		case session.Authorize:
			sh.router.authorizeFilters(c, &p.Subscribe, e.Codes)
			sh.tell.refusedFilters(c, &p.Subscribe, e.Codes)
			from := len(do)
			do = c.s.Subscribed(sh.turn(), &p.Subscribe, e.Codes, do)
			if c.barred.Load() {
				sh.wards.explain(c, do[from:])
			}
		case session.AddSubscription:
			sh.router.subscribe(c, e.Sub)
			sh.router.keepSubscription(c, store.Subscribe, e.Sub)
			sh.router.subscribed(c, e.Sub, e.Flag)
		case session.RemoveSubscription:
			if !e.Flag {
				sh.router.unsubscribe(c, e.Sub.Filter)
				sh.replay.stop(c, e.Sub.Filter)
				sh.tell.unsubscribed(c, e.Sub.Filter)
			}
			sh.router.keepSubscription(c, store.Unsubscribe, e.Sub)
		case session.Close:
			sh.tell.blame(c, p, e)
			sh.close(c, e)
		default:
			sh.performRare(c, p, e)
		}
	}
	sh.give(do)
	if len(do) == 1 && do[0].Kind == session.Route && p.Publish.QoS == 0 {
		return // it changed nothing of the client's own: what it got of it itself was measured there
	}
	sh.measure(c) // also without an effect: an acknowledgement, or a message that waits, changes the queue
	sh.replay.later(c)
	if c.waiting != sh.commits.batch.number && c.s.Waits() {
		c.waiting = sh.commits.batch.number
		sh.commits.batch.waiters = append(sh.commits.batch.waiters, c)
	}
}

func (sh *shard) performRare(c *client, p *mqtt.Packet, e *session.Effect) {
	switch e.Kind {
	case session.SendConnack:
		if c.conn != nil {
			sh.out.greet(c, e)
			c.known = c.stored != 0
			c.online.Store(!c.barred.Load())
			sh.wards.tell(c)
		}
	case session.Replay:
		sh.replay.start(c, e.Sub)
	case session.Fetch:
		sh.fetch(c, e)
	case session.Requeue:
		sh.router.moveOn(c, e.Text, e.Msg, e.Why)
	case session.Authenticate:
		sh.renewals.step(c, e.Flag, p)
	case session.SendAuth:
		if !sh.out.challenge(c, e) {
			c.kick(ByAuthenticator, mqtt.PacketTooLarge, "AUTH exceeds the client's Maximum Packet Size")
		}
	case session.PublishWill:
		sh.router.publishWill(c, e.Msg)
	case session.End:
		sh.end(c, e.Flag, e.Seq, e.To)
	case session.More:
		conn := c.conn
		sh.post(c, func() {
			if conn != nil && c.conn == conn {
				sh.perform(c, nil, c.s.Continue(c.turn(), sh.take()))
			}
		})
	default:
		panic(fmt.Sprintf("session effect %d has no performer", e.Kind))
	}
}

// measure shows other shards how loaded a client is.
func (sh *shard) measure(c *client) {
	sh.capOutput(c)
	if c.s.Queue().Unused() { // as of one that only publishes
		return
	}
	sh.books.changed(c)
	n, bytes := c.s.Queued()
	if int32(n) != c.load.Load() {
		c.load.Store(int32(n))
	}
	if bytes != c.queued {
		sh.b.queuedBytes.Add(bytes - c.queued)
		c.queued = bytes
	}
	if full := c.s.Full(); full != c.full.Load() {
		c.full.Store(full)
	}
}

// capOutput has a client's session hold back once its connection does not take what is written.
func (sh *shard) capOutput(c *client) {
	if c.conn == nil {
		return
	}
	pending := c.conn.Pending()
	if l := sh.b.limits(); pending > l.MaxOutgoingBytes || c.unsent > l.MaxOutgoing && c.outgoing() > l.MaxOutgoing {
		c.s.Blocked()
		c.conn.WaitDrain()
		sh.stalls.note(c)
	}
}

// close ends a client's connection, telling a v5 client why.
func (sh *shard) close(c *client, e *session.Effect) {
	if c.conn == nil {
		return
	}
	switch {
	case c.hello != nil: // [MQTT-3.14.0-1]: no DISCONNECT before CONNACK
		c.hello = nil
		ack := mqtt.Connack{Reason: mqtt.ServerUnavailable}
		sh.out.write(c.conn, ack.AppendTo(nil, c.s.Version(), c.s.MaximumPacketSize()))
	case e.Reason.Failed() && c.s.Version() >= mqtt.V5:
		d := mqtt.Disconnect{Reason: e.Reason}
		d.Props.Has = d.Props.Has.With(mqtt.PropReasonString)
		d.Props.ReasonString = []byte(e.Text)
		sh.out.write(c.conn, d.AppendTo(nil, mqtt.V5, c.s.MaximumPacketSize()))
	}
	c.conn.Close()
}

// keepChange adds a change of the session to this turn's batch.
func (sh *shard) keepChange(c *client, e *session.Effect) {
	r := store.Record{Session: c.stored}
	switch e.Change {
	case session.PutSession:
		r.Op, r.Meta = store.PutSession, c.meta(sh.now)
	case session.Settle:
		r.Op, r.Seq = store.Settle, e.Seq
	case session.Release:
		r.Op, r.Seq = store.Release, e.Seq
	case session.Receive:
		r.Op, r.PacketID = store.Receive, e.ID
	case session.Complete:
		r.Op, r.PacketID = store.Complete, e.ID
	}
	sh.commits.keep(c, r)
}

// fetchMessages and fetchBytes bound what is read of a queue at a time.
const (
	fetchMessages = 128
	fetchBytes    = 256 << 10
)

// fetch reads on in a client's queue, off the loop: it may have to wait for a disk.
func (sh *shard) fetch(c *client, e *session.Effect) {
	from, to, epoch, id := e.Seq, e.To, e.ID, c.stored
	go func() {
		items, next, err := sh.b.read(id, from, to)
		sh.post(c, func() {
			if c.s.Ended() {
				return
			}
			if err != nil {
				sh.b.log.Error("a session's queue cannot be read", "client", c.id, "error", err)
				sh.perform(c, nil, c.s.FetchFailed(epoch, sh.take()))
				return
			}
			fetched := make([]session.Fetched, len(items))
			for i, it := range items {
				fetched[i] = session.Fetched{Seq: it.Seq, Released: it.Released, Msg: it.Message, Delivery: it.Delivery}
			}
			sh.perform(c, nil, c.s.Fetched(c.turn(), epoch, fetched, next, sh.take()))
		})
	}()
}

// read reads a block of a queue. A panic in it is an error like another: nobody waits in vain.
func (b *Broker) read(id store.SessionID, from, to uint64) (items []store.Queued, next uint64, err error) {
	defer func() {
		if r := recover(); r != nil {
			b.panicked(r, "task", "read a queue")
			err = errPanic
		}
	}()
	return b.store.Read(id, from, to, make([]store.Queued, 0, fetchMessages), fetchBytes)
}

// forgo counts a message that is no copy for anybody: a retained one that is not kept or has expired, or a will that cannot wait. It is of a
// client id, or nobody's; c may be nil.
func (sh *shard) forgo(c *client, clientID string, m *mqtt.Message, why session.Why) {
	if c == nil {
		c = sh.byID[clientID]
	}
	if c != nil {
		sh.traces.dropped(c, m, why)
	}
	sh.books.NotKept[why]++
	sh.dropFor(c, clientID, m, why)
}

// dropFor counts and tells a loss, for drop, forgo and what is not routed at all.
func (sh *shard) dropFor(c *client, clientID string, m *mqtt.Message, why session.Why) *loss {
	sh.count.Dropped[why]++
	return sh.tell.dropped(c, clientID, m, why)
}
