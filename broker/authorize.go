package broker

import (
	"bytes"
	"context"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// admits asks everybody who has a say whether a client may publish m: the authorizer and the gates.
func (r *router) admits(who *auth.Principal, m *mqtt.Message) mqtt.ReasonCode {
	if !r.mayPublish(who, m) {
		r.denied(who, m, mqtt.NotAuthorized)
		return mqtt.NotAuthorized
	}
	for _, g := range r.sh.b.opts.Gates {
		if reason := g.Admit(who.ClientID, m); reason != mqtt.Success {
			r.sh.count.Denied++
			r.sh.traces.denied(who, m, reason, "a gate did not let it pass")
			r.sh.tell.denied(who, m, DeniedByGate, reason)
			return reason
		}
	}
	return mqtt.Success
}

// mayPublish asks the authorizer about a message, whichever way it came.
func (r *router) mayPublish(who *auth.Principal, m *mqtt.Message) bool {
	return !reserved(m.Topic) && (r.sh.b.opts.Authz == nil || r.allowed(who, m))
}

// allowed is the authorizer's answer.
func (r *router) allowed(who *auth.Principal, m *mqtt.Message) bool {
	r.sh.asked = auth.Question{Action: auth.Publish, QoS: m.QoS, Retain: m.Retain, Topic: m.Topic}
	if who.Restored { // too little is known: what its CONNECT was allowed holds, unless a rule clearly denies it
		d := r.sh.b.opts.Authz.Explain(who, &r.sh.asked)
		return d.Allowed || d.Rule == ""
	}
	return r.sh.b.opts.Authz.Authorize(who, &r.sh.asked)
}

// reserved tells whether a topic is the server's alone, whoever asks: $SYS and $CONTROL, however they are written or go on,
// so that no spelling reaches what an engine below may make of it.
func reserved(name []byte) bool { return name[0] == '$' && spelled(name) }

func spelled(name []byte) bool {
	for _, own := range [...]string{"$SYS", "$CONTROL"} {
		if len(name) >= len(own) && bytes.EqualFold(name[:len(own)], []byte(own)) {
			return true
		}
	}
	return false
}

// asks tells that there are clients that may not receive everything.
func (b *Broker) asks() bool { return b.opts.Authz != nil || b.mounted.Load() }

// ask makes it the question whether a client may receive m.
func (r *router) ask(m *mqtt.Message) {
	r.sh.asked = auth.Question{Action: auth.Receive, Topic: m.Topic}
}

// mayReceive is asked wherever a message that was not just matched is on its way to a client: retained, queued.
func (r *router) mayReceive(c *client, m *mqtt.Message) bool {
	r.ask(m)
	return r.receives(c)
}

// receives tells whether a client may receive the message that sh.asked is about. Of a client that was not here since the
// broker started too little is known: its messages are queued, and asked about when they are sent.
func (r *router) receives(c *client) bool {
	who := c.who.Load()
	switch {
	case who.Mount != "" && !bytes.HasPrefix(r.sh.asked.Topic, []byte(who.Mount)): // its session was mounted elsewhere
		return false
	case r.sh.b.opts.Authz == nil, who.Restored:
		return true
	}
	return r.sh.b.opts.Authz.Authorize(who, &r.sh.asked)
}

// MayReceive implements session.Receiver: of what has waited.
func (c *client) MayReceive(m *mqtt.Message) bool { return c.shard.router.mayReceive(c, m) }

// maySubscribe asks about a filter, of a shared subscription about what it shares.
func (r *router) maySubscribe(who *auth.Principal, filter string, o mqtt.SubOptions) bool {
	_, inner := splitShared(filter)
	r.sh.asked = auth.Question{Action: auth.Subscribe, QoS: o.QoS(), Topic: []byte(inner)}
	return r.sh.b.opts.Authz.Authorize(who, &r.sh.asked)
}

// denied counts and tells that a client may not do what sh.asked asks; m is nil for a subscription.
func (r *router) denied(who *auth.Principal, m *mqtt.Message, reason mqtt.ReasonCode) {
	r.sh.count.Denied++
	r.sh.traces.denied(who, m, reason, "")
	from := DeniedByRule
	if m != nil && reserved(m.Topic) {
		from = DeniedReserved
	}
	r.sh.tell.denied(who, m, from, reason)
}

// reauthorize asks again about the subscriptions that a client has. Those that it may not have stay its own, but rest: nothing
// matches them until it may again. It tells whether anything changed.
func (r *router) reauthorize(c *client) (changed bool) {
	who := c.who.Load()
	if r.sh.b.opts.Authz == nil || who.Restored { // as it comes back it is asked
		return false
	}
	subs := c.s.Subscriptions()
	for i := range subs {
		s := &subs[i]
		rests := c.resting[s.Filter]
		switch may := r.maySubscribe(who, s.Filter, s.Options); {
		case may && rests:
			r.subscribe(c, s)
			r.sh.tell.rests(c, s, false)
		case !may && !rests:
			r.unsubscribe(c, s.Filter)
			r.sh.replay.stop(c, s.Filter)
			if c.resting == nil {
				c.resting = make(map[string]bool)
			}
			c.resting[s.Filter] = true
			r.sh.tell.rests(c, s, true)
		default:
			continue
		}
		changed = true
	}
	return changed
}

// Reauthorize asks the authorizer again about the subscriptions of all clients, connected or not, after its answers have
// changed. A subscription that is no longer allowed rests, and works again once it is. Messages need no such call: each is asked
// about on its way. It tells for how many clients something changed.
func (k *Control) Reauthorize(ctx context.Context) (int, error) {
	return k.onAll(ctx, nil, func(sh *shard, c *client) bool { return sh.router.reauthorize(c) })
}

// DisconnectDenied says what becomes of a client before MQTT 5, which cannot be told, that publishes what it may not: it
// loses its connection, or (the default) its message is acknowledged and dropped. Either way it is counted.
func (k *Control) DisconnectDenied(ctx context.Context, on bool) error {
	for _, sh := range k.b.shards {
		if err := k.in(ctx, sh, func() { sh.router.strict = on }); err != nil {
			return err
		}
	}
	return nil
}

// PublishAs publishes a message in the name of somebody who need not be connected, such as a user of the HTTP API, after every
// check that a client's has to pass. Otherwise it is Publish.
func (k *Control) PublishAs(ctx context.Context, who *auth.Principal, m mqtt.Message) (mqtt.ReasonCode, error) {
	m.Publisher = who.ClientID
	return k.publish(ctx, who, m)
}

// mayLeave tells whether a client that connects may leave the will that it brings.
func (l *lobby) mayLeave(who *auth.Principal, req *session.Request) bool {
	if req.Will == nil || l.sh.router.mayPublish(who, req.Will.Msg) {
		return true
	}
	l.sh.router.denied(who, req.Will.Msg, mqtt.NotAuthorized)
	return false
}
