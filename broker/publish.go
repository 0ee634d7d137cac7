package broker

import (
	"bytes"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// receiver is one client that gets the message being routed, and how.
type receiver struct {
	client *client
	d      mqtt.Delivery
	target int // 1 + its place among the targets of the store record, 0 = not stored
}

// stamp notes that a client stands in shard.found already, for the message number gen.
type stamp struct {
	gen uint32
	at  uint32
}

// viewOf makes the message of a PUBLISH, without copying it.
func (sh *shard) viewOf(c *client, p *mqtt.Publish) *mqtt.Message {
	sh.view = mqtt.Message{
		Topic: p.Topic, Payload: p.Payload, Forward: p.Props.Forward,
		Publisher: c.id, QoS: p.QoS, Retain: p.Retain,
	}
	if p.Props.HasExpiry {
		sh.view.Expires = sh.now + int64(p.Props.Expiry)*1000
	}
	sh.count.PublishReceived++
	sh.count.PublishBytesReceived += uint64(len(p.Payload))
	return &sh.view
}

// publish is the walk of one message through the broker: authorise, ask the gates, retain, match, store,
// deliver. from is nil for the server's own messages. reason is for the acknowledgement, batch the
// store batch that has to be kept before it, 0 = none. m may be a view.
func (sh *shard) publish(from *client, m *mqtt.Message) (reason mqtt.ReasonCode, batch uint64) {
	if from != nil {
		if reason := sh.allowed(from, m); reason != mqtt.Success {
			return reason, 0
		}
	}
	unretained := false
	before := len(sh.batch.Records)
	if m.Retain {
		unretained = !sh.retain(m)
	}
	sh.found = sh.found[:0]
	sh.ids = sh.ids[:0]
	sh.match(from, m)
	reason, record := sh.enqueue(m)
	if record >= 0 || len(sh.batch.Records) > before || from != nil && from.published > sh.done {
		batch = sh.batch.number
		sh.deliverLater(m, record)
		if from != nil {
			from.published = batch
		}
	} else {
		sh.nextMessage()
		for i := range sh.found {
			sh.deliver(&sh.found[i], m, 0)
		}
	}
	if unretained && reason != mqtt.QuotaExceeded {
		reason = mqtt.QuotaExceeded
	}
	return reason, batch
}

// allowed tells whether a client may publish m: the topics of the server itself, the authorizer, the gates.
func (sh *shard) allowed(from *client, m *mqtt.Message) mqtt.ReasonCode {
	if !sh.mayPublish(from.identity, from.id, m.Topic) {
		sh.denied(from, m)
		return mqtt.NotAuthorized
	}
	for _, g := range sh.b.opts.Gates {
		if reason := g.Admit(from.id, m); reason != mqtt.Success {
			sh.denied(from, m)
			return reason
		}
	}
	return mqtt.Success
}

// mayPublish: $SYS and $CONTROL are the server's alone, whoever asks.
func (sh *shard) mayPublish(id *auth.Identity, clientID string, name []byte) bool {
	if name[0] == '$' {
		first, _, _ := bytes.Cut(name, []byte("/"))
		if string(first) == "$SYS" || string(first) == "$CONTROL" {
			return false
		}
	}
	return sh.b.opts.Authz == nil || sh.b.opts.Authz.Authorize(id, clientID, auth.Publish, name)
}

func (sh *shard) denied(from *client, m *mqtt.Message) {
	sh.count.Denied++
	if sh.b.opts.Events.Denied != nil {
		sh.b.opts.Events.Denied(from.id, m)
	}
}

// match finds the receivers of m.
func (sh *shard) match(from *client, m *mqtt.Message) {
	sh.gen++
	merge := sh.b.delivery.Overlapping == OverlapMerge
	for _, e := range sh.matches.Match(m.Topic) {
		var c *client
		options := e.Options
		group := ""
		if e.ID&groupBit != 0 {
			g := sh.b.groups.get(e.ID)
			if g == nil {
				continue
			}
			if c, options = sh.choose(g, m); c == nil {
				continue
			}
			group = g.name
		} else if c = sh.b.clients.get(e.ID); c == nil {
			continue
		}
		if options&optNoLocal != 0 && c == from { // [MQTT-3.8.3-3]
			continue
		}
		if sh.b.opts.Authz != nil && !sh.b.opts.Authz.Authorize(c.identity, c.id, auth.Receive, m.Topic) {
			sh.drop(c, m, session.Denied)
			continue
		}
		sh.find(c, m, options, group, merge && group == "")
	}
}

// find adds a receiver, or with merge adds to what it gets already.
func (sh *shard) find(c *client, m *mqtt.Message, options uint32, group string, merge bool) {
	d := mqtt.Delivery{
		QoS:    min(m.QoS, mqtt.QoS(options&optQoS)), // [MQTT-3.8.4-8]
		Retain: m.Retain && options&optRetainAsPublished != 0,
		Group:  group,
	}
	if id := options >> optIDShift; id != 0 {
		sh.ids = append(sh.ids, id)
		d.SubscriptionIDs = sh.ids[len(sh.ids)-1 : len(sh.ids) : len(sh.ids)]
	}
	if merge {
		for int(c.handle) >= len(sh.seen) {
			sh.seen = append(sh.seen, make([]stamp, 1024)...)
		}
		s := &sh.seen[c.handle]
		if s.gen == sh.gen {
			have := &sh.found[s.at].d
			have.QoS = max(have.QoS, d.QoS)
			have.Retain = have.Retain || d.Retain
			have.SubscriptionIDs = append(have.SubscriptionIDs, d.SubscriptionIDs...) // [MQTT-3.3.4-4]
			return
		}
		*s = stamp{sh.gen, uint32(len(sh.found))}
	}
	sh.found = append(sh.found, receiver{client: c, d: d})
}

// enqueue adds the store record for the durable receivers of a QoS 1 or 2 message, and tells what the
// publisher is to know. Receivers whose queue is full leave the list.
func (sh *shard) enqueue(m *mqtt.Message) (reason mqtt.ReasonCode, record int) {
	if m.QoS == 0 {
		return mqtt.Success, -1
	}
	if len(sh.found) == 0 {
		return mqtt.NoMatchingSubscribers, -1
	}
	var targets []store.Target
	kept := sh.found[:0]
	for _, r := range sh.found {
		if r.d.QoS > 0 {
			if why := sh.refuses(r.client, m); why != 0 {
				sh.drop(r.client, m, why)
				continue
			}
			if r.client.stored != 0 {
				d := r.d
				d.SubscriptionIDs = append([]uint32(nil), d.SubscriptionIDs...)
				targets = append(targets, store.Target{Session: r.client.stored, Delivery: d})
				r.target = len(targets)
			}
		}
		kept = append(kept, r)
	}
	sh.found = kept
	if len(kept) == 0 {
		return mqtt.QuotaExceeded, -1
	}
	if len(targets) == 0 {
		return mqtt.Success, -1
	}
	sh.keep(store.Record{Op: store.Enqueue, Message: m.Keep(), Targets: targets})
	return mqtt.Success, len(sh.batch.Records) - 1
}

// refuses tells why a receiver cannot take a QoS 1 or 2 message, 0 = it can.
func (sh *shard) refuses(c *client, m *mqtt.Message) session.Why {
	switch {
	case sh.b.queuedBytes.Load()+int64(m.Bytes()) > sh.b.limits.MaxTotalQueued:
		return session.ServerFull
	case c.full.Load():
		return session.QueueFull
	}
	return 0
}

// deliverLater has the message delivered once this turn's batch is kept.
func (sh *shard) deliverLater(m *mqtt.Message, record int) {
	b := sh.batch
	from := len(b.to)
	b.to = append(b.to, sh.found...)
	for i := from; i < len(b.to); i++ {
		d := &b.to[i].d
		if record >= 0 && b.to[i].target > 0 {
			*d = b.Records[record].Targets[b.to[i].target-1].Delivery
		} else if len(d.SubscriptionIDs) > 0 {
			d.SubscriptionIDs = append([]uint32(nil), d.SubscriptionIDs...)
		}
	}
	b.routed = append(b.routed, routed{msg: m.Keep(), record: record, from: from, end: len(b.to)})
}

// requeue gives a message of a shared subscription to another member than the one that has it now.
func (sh *shard) requeue(group string, m *mqtt.Message, not *client) {
	g := sh.b.groups.find(group)
	if g == nil {
		sh.drop(not, m, session.SessionEnded)
		return
	}
	c, options := sh.chooseBut(g, m, not)
	if c == nil {
		sh.drop(not, m, session.SessionEnded)
		return
	}
	sh.found, sh.ids = sh.found[:0], sh.ids[:0]
	sh.find(c, m, options, g.name, false)
	if _, record := sh.enqueue(m); len(sh.found) > 0 {
		sh.deliverLater(m, record)
	}
}

// publishWill publishes a will whose time has come.
func (sh *shard) publishWill(c *client, w *mqtt.Message) {
	m := mqtt.Message{Topic: w.Topic, Payload: w.Payload, Forward: w.Forward, Publisher: w.Publisher, QoS: w.QoS, Retain: w.Retain}
	if w.Expires != 0 {
		m.Expires = sh.now + w.Expires // it counts from publication (MQTT5 3.1.3.2.4)
	}
	sh.count.Wills++
	if reason, _ := sh.publish(c, &m); reason.Failed() {
		sh.b.log.Warn("a will was not published", "client", c.id, "topic", string(m.Topic), "reason", reason.String())
	}
}
