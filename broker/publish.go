package broker

import (
	"slices"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// router decides where messages go.
type router struct {
	sh      *shard
	view    mqtt.Message // of the PUBLISH being routed
	matches *topic.Cache // topic -> entries of the subscription index
	found   []receiver   // receivers of the message being routed
	ids     []uint32     // their subscription identifiers; receivers hold on to them
	seen    []uint32     // by handle: where in found it was last put, for merging
	strict  bool         // see Control.DisconnectDenied
}

// receiver is one client that gets the message being routed, and how.
type receiver struct {
	client *client
	d      mqtt.Delivery
	target int // 1 + its place among the targets of the store record, 0 = not stored
}

// viewOf makes the message of a PUBLISH, without copying it.
func (r *router) viewOf(c *client, p *mqtt.Publish) *mqtt.Message {
	r.view = mqtt.Message{
		Topic: p.Topic, Payload: p.Payload, Forward: p.Props.Forward,
		Publisher: c.id, QoS: p.QoS, Retain: p.Retain,
	}
	if p.Props.HasExpiry {
		r.view.Expires = r.sh.now + int64(p.Props.Expiry)*1000
	}
	return &r.view
}

// verdict is what became of a message. reason is for the acknowledgement, batch the store batch that has to be kept
// before it, 0 = none. why is set where nothing happened and the publisher is to know it: the store takes nothing new, or the
// message was denied to one that cannot be told otherwise than by the end of its connection.
type verdict struct {
	reason mqtt.ReasonCode
	batch  uint64
	why    string
}

const deniedPublish = "not authorised to publish this"

// publish is the walk of one message through the broker: authorise, ask the gates, retain, match, store,
// deliver. from is nil for the server's own messages. m may be a view.
func (r *router) publish(from *client, m *mqtt.Message) (v verdict) {
	if from == nil {
		r.sh.books.Own++
	} else {
		if from.barred.Load() { // its will
			v.reason = r.quarantined(from.who.Load(), m)
			r.sh.books.ended(from, m, tally.DeniedByWard)
			return v
		}
		if v.reason = r.admits(from.who.Load(), m); v.reason != mqtt.Success {
			r.sh.books.ended(from, m, denial(v.reason))
			if r.strict && v.reason == mqtt.NotAuthorized && from.s.Version() < mqtt.V5 {
				v.why = deniedPublish
			}
			return v
		}
	}
	retain := m.Retain
	if m.QoS > 0 || retain {
		if err := r.sh.health.why(); err != nil {
			if refusable(from, m) && r.grows(from, m) {
				v.reason, v.why = refusal(err), plight(err)
				r.sh.count.NotStored[v.reason]++
				if from != nil {
					r.sh.traces.denied(from.who.Load(), m, v.reason, err.Error())
				}
				r.sh.tell.denied(from.principal(), m, DeniedByStore, v.reason)
				r.sh.books.ended(from, m, tally.StoreUnwell)
				return v
			}
			retain = retain && !r.forgoesRetain(from, m)
		}
	}
	unretained := false
	before := len(r.sh.commits.batch.Records)
	if retain {
		r.sh.books.label(m) // before it is kept
		unretained = !r.retain(m)
	}
	r.found, r.ids = r.found[:0], nil
	copies := r.sh.books.Copies
	r.match(from, m)
	row := r.sh.books.row(r.matches.Note(), m)
	if r.sh.traces.owed.yes && m == &r.view {
		r.sh.traces.routed(m.Label)
	}
	reason, record := r.enqueue(m)
	r.sh.books.routed(from, m, row, copies, len(r.found))
	if record >= 0 || len(r.sh.commits.batch.Records) > before || from != nil && from.published > r.sh.commits.done {
		v.batch = r.sh.commits.batch.number
		r.deliverLater(m, record)
		if from != nil {
			from.published = v.batch
		}
	} else {
		r.sh.out.nextMessage()
		for i := range r.found {
			r.sh.mail.deliver(&r.found[i], m, 0)
		}
	}
	if unretained && reason != mqtt.QuotaExceeded {
		reason = mqtt.QuotaExceeded
	}
	v.reason = reason
	return v
}

// refusable tells whether somebody hears when m is refused. Before MQTT 5 nobody does: such a message goes on, and
// when the store does not keep it the connection ends.
func refusable(from *client, m *mqtt.Message) bool {
	return m.QoS > 0 && (from == nil || from.s.Version() >= mqtt.V5)
}

// forgoesRetain tells, and counts, that a message is delivered but not retained because the store takes nothing new.
func (r *router) forgoesRetain(from *client, m *mqtt.Message) bool {
	if m.QoS > 0 || len(m.Payload) == 0 || !isStored(m.Topic) {
		return false
	}
	r.sh.forgo(from, m.Publisher, m, session.StoreUnwell)
	return true
}

// grows tells whether a QoS 1 or 2 message makes the store grow: by itself, or because a durable session gets it.
func (r *router) grows(from *client, m *mqtt.Message) bool {
	if m.Retain && len(m.Payload) > 0 || m.QoS == 2 && from != nil && from.stored != 0 {
		return true
	}
	takes := func(c *client, options uint32) bool {
		return c.stored != 0 && min(m.QoS, mqtt.QoS(options&optQoS)) > 0 && (options&optNoLocal == 0 || c != from)
	}
	for _, e := range r.matches.Match(m.Topic) {
		if e.ID&groupBit == 0 {
			if c := r.sh.b.clients.Get(e.ID); c != nil && takes(c, e.Options) {
				return true
			}
		} else if g := r.sh.b.groups.get(e.ID); g != nil { // it may go to any member
			if slices.ContainsFunc(*g.members.Load(), func(m member) bool { return takes(m.client, m.options) }) {
				return true
			}
		}
	}
	return false
}

// match finds the receivers of m.
func (r *router) match(from *client, m *mqtt.Message) {
	merge, asks := r.sh.b.delivery().Overlapping == OverlapMerge, r.sh.b.asks()
	if asks {
		r.ask(m) // once for all receivers
	}
	for _, e := range r.matches.Match(m.Topic) {
		var c *client
		options := e.Options
		group := ""
		if e.ID&groupBit != 0 {
			g := r.sh.b.groups.get(e.ID)
			if g == nil {
				continue
			}
			r.ask(m)
			if c, options = r.choose(g, m); c == nil {
				continue
			}
			group = g.name
		} else if c = r.sh.b.clients.Get(e.ID); c == nil {
			continue
		}
		if options&optNoLocal != 0 && c == from { // [MQTT-3.8.3-3]
			continue
		}
		if c.barred.Load() || asks && group == "" && !r.receives(c) {
			r.sh.books.miss(c, m, session.Denied)
			continue
		}
		r.find(c, m, options, group, merge && group == "")
	}
}

// find adds a receiver, or with merge adds to what it gets already.
func (r *router) find(c *client, m *mqtt.Message, options uint32, group string, merge bool) {
	d := mqtt.Delivery{
		QoS:    min(m.QoS, mqtt.QoS(options&optQoS)), // [MQTT-3.8.4-8]
		Retain: m.Retain && options&optRetainAsPublished != 0,
		Group:  group,
	}
	if id := options >> optIDShift; id != 0 {
		r.ids = append(r.ids, id)
		d.SubscriptionIDs = r.ids[len(r.ids)-1 : len(r.ids) : len(r.ids)]
	}
	if merge {
		for int(c.handle) >= len(r.seen) {
			r.seen = append(r.seen, make([]uint32, 1024)...)
		}
		at := &r.seen[c.handle]
		if n := int(*at); n < len(r.found) && r.found[n].client == c && r.found[n].d.Group == "" {
			have := &r.found[n].d
			have.QoS = max(have.QoS, d.QoS)
			have.Retain = have.Retain || d.Retain
			have.SubscriptionIDs = append(have.SubscriptionIDs, d.SubscriptionIDs...) // [MQTT-3.3.4-4]
			return
		}
		*at = uint32(len(r.found))
	}
	r.found = append(r.found, receiver{client: c, d: d})
}

// enqueue adds the store record for the durable receivers of a QoS 1 or 2 message, and tells what the
// publisher is to know. Receivers whose queue is full leave the list.
func (r *router) enqueue(m *mqtt.Message) (reason mqtt.ReasonCode, record int) {
	if m.QoS == 0 {
		return mqtt.Success, -1
	}
	if len(r.found) == 0 {
		return mqtt.NoMatchingSubscribers, -1
	}
	b := r.sh.commits.batch
	first := len(b.targets)
	kept := r.found[:0]
	for _, to := range r.found {
		if to.d.QoS > 0 {
			if why := r.refuses(to.client, m); why != 0 {
				r.sh.books.miss(to.client, m, why)
				continue
			}
			if to.client.stored != 0 {
				b.targets = append(b.targets, store.Target{Session: to.client.stored, Delivery: to.d})
				to.target = len(b.targets) - first
			}
		}
		kept = append(kept, to)
	}
	r.found = kept
	if len(kept) == 0 {
		return mqtt.QuotaExceeded, -1
	}
	if len(b.targets) == first {
		return mqtt.Success, -1
	}
	targets := b.targets[first:len(b.targets):len(b.targets)]
	r.sh.commits.keep(nil, store.Record{Op: store.Enqueue, Message: m.Keep(), Targets: targets})
	return mqtt.Success, len(b.Records) - 1
}

// refuses tells why a receiver cannot take a QoS 1 or 2 message, 0 = it can.
func (r *router) refuses(c *client, m *mqtt.Message) session.Why {
	switch {
	case r.sh.b.queuedBytes.Load()+int64(m.Bytes()) > r.sh.b.limits().MaxTotalQueued:
		return session.ServerFull
	case c.full.Load():
		return session.QueueFull
	}
	return 0
}

// deliverLater has the message delivered once this turn's batch is kept.
func (r *router) deliverLater(m *mqtt.Message, record int) {
	if len(r.found) == 0 {
		return
	}
	b := r.sh.commits.batch
	from := len(b.to)
	b.to = append(b.to, r.found...)
	b.routed = append(b.routed, routed{msg: m.Keep(), record: record, from: from, end: len(b.to)})
	b.bytes += int64(m.Bytes())
	r.sh.books.Waiting += int64(len(r.found))
}

// requeue gives a message of a shared subscription to another member than the one that has it now, and tells whether it did.
func (r *router) requeue(a again) bool {
	if r.requeued(&a) {
		return true
	}
	giveUp(r, &a)
	return false
}

// giveUp is the end of a message's way to another member that there is none of, or no room to wait for. One that is still in its queue stays
// there; else it is dropped, and the store is not to have it any more either.
func giveUp(r *router, a *again) {
	if a.seq == 0 || a.left {
		r.lost(a, a.why)
	}
	if a.seq != 0 && a.left {
		r.sh.commits.keep(a.from, store.Record{Op: store.Settle, Session: a.from.stored, Seq: a.seq})
	}
	r.moved(a)
}

// requeued is false when there is nobody else, or no room to hold it.
func (r *router) requeued(a *again) bool {
	g := r.sh.b.groups.find(a.group)
	if g == nil {
		return false
	}
	r.ask(a.msg)
	c, options := r.chooseBut(g, a.msg, a.from)
	if c == nil {
		return false
	}
	r.found, r.ids = r.found[:0], nil
	r.find(c, a.msg, options, g.name, false)
	if c.stored != 0 && r.found[0].d.QoS > 0 && r.sh.health.why() != nil {
		return r.sh.health.hold(a)
	}
	_, record := r.enqueue(a.msg)
	r.sh.books.requeued(a, len(r.found))
	if len(r.found) > 0 {
		r.deliverLater(a.msg, record)
	}
	if a.seq != 0 {
		r.sh.commits.keep(a.from, store.Record{Op: store.Settle, Session: a.from.stored, Seq: a.seq})
	}
	if record < 0 {
		r.moved(a)
		return true
	}
	b := r.sh.commits.batch
	b.again = append(b.again, *a)
	b.routed[len(b.routed)-1].again = true
	return true
}

// repeat does again what could not be kept.
func (r *router) repeat(a again) {
	switch {
	case a.group == "":
		if a.from.will == a.msg {
			a.from.will = nil
		}
		r.sendWill(&a)
		if a.from.stored != 0 && !a.from.s.Ended() {
			r.sh.keepChange(a.from, &session.Effect{Change: session.PutSession})
		}
	case a.seq != 0 && a.from.s.Ended(): // its queue is gone
		a.seq, a.why = 0, session.SessionEnded
		a.from.moving++
		r.requeue(a)
	default:
		r.requeue(a)
	}
}

// publishWill publishes a will whose time has come.
func (r *router) publishWill(c *client, w *mqtt.Message) {
	defer func() { // what else taking leave asks for goes on
		if p := recover(); p != nil {
			r.sh.b.panicked(p, "client", c.id, "will", string(w.Topic))
		}
	}()
	r.sh.count.Wills++
	r.sendWill(&again{msg: w, from: c, tell: true})
}

// sendWill publishes a will, or holds what of it the store does not take.
func (r *router) sendWill(a *again) {
	c, w := a.from, a.msg
	m := mqtt.Message{Topic: w.Topic, Payload: w.Payload, Forward: w.Forward, Publisher: w.Publisher, QoS: w.QoS, Retain: w.Retain}
	if w.Expires != 0 {
		m.Expires = r.sh.now + w.Expires // it counts from publication (MQTT5 3.1.3.2.4)
	}
	if (m.QoS > 0 || m.Retain) && r.sh.health.why() != nil && r.grows(c, &m) {
		if m.QoS == 0 && a.tell {
			a.tell = false
			r.sh.books.Wills++
			r.publish(c, &m)
		}
		if !r.sh.health.hold(a) {
			r.sh.forgo(c, c.id, w, a.why)
		}
		return
	}
	b := r.sh.commits.batch
	routed := len(b.routed)
	if !a.tell {
		if r.admits(c.who.Load(), &m) == mqtt.Success {
			r.retain(&m)
			b.again = append(b.again, *a)
		}
		return
	}
	r.sh.books.Wills++
	v := r.publish(c, &m)
	r.sh.tell.willed(c, &m, v.reason)
	if v.reason.Failed() {
		r.sh.b.log.Warn("a will was not published", "client", c.id, "topic", string(m.Topic), "reason", v.reason.String())
	}
	if v.batch != 0 {
		b.again = append(b.again, *a)
		for i := routed; i < len(b.routed); i++ {
			b.routed[i].again = true
		}
	}
}
