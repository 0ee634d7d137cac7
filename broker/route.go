package broker

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Outcome is what would become of a message at one of its receivers.
type Outcome string

// The outcomes.
const (
	WouldSend  Outcome = "sent"
	WouldQueue Outcome = "queued"
	WouldShare Outcome = "shared" // one of the group gets it
	WouldDrop  Outcome = "dropped"
	WouldDeny  Outcome = "denied"
	WouldSkip  Outcome = "skipped" // its publisher, which subscribed with No Local, or another of the group gets it
)

// Recipient is a subscription that a message would match.
type Recipient struct {
	Client    string   `json:"client"`
	User      string   `json:"user,omitempty"`
	Filter    string   `json:"filter" doc:"As it was subscribed."`
	Group     string   `json:"group,omitempty" doc:"Of a shared subscription."`
	Members   int      `json:"members,omitempty" doc:"Of the group."`
	QoS       mqtt.QoS `json:"qos" doc:"At which it would be delivered."`
	Connected bool     `json:"connected"`
	Outcome   Outcome  `json:"outcome" enum:"sent,queued,shared,dropped,denied,skipped"`
	Waiting   int      `json:"waiting" doc:"QoS 1 and 2 messages that are before it."`
	Rule      string   `json:"rule,omitempty" doc:"The rule that lets it receive the message, or not."`
	Why       string   `json:"why,omitempty" doc:"Why not, in one sentence."`

	who     *auth.Principal
	own     bool // it is the publisher itself
	noLocal bool
	barred  bool
	full    bool // its queue is, for a message of this QoS
	why     session.Why
}

// Routing is a message of which it is asked who would receive it. Publisher may be empty.
type Routing struct {
	Topic     string
	QoS       mqtt.QoS
	Publisher string
}

// Route tells who would receive a message now, and who would not although it has subscribed, in the order of client ids. Nothing
// is sent. Subscriptions that rest match nothing.
func (w *View) Route(ctx context.Context, m Routing) ([]Recipient, error) {
	if err := topic.ValidName(m.Topic); err != nil {
		return nil, err
	}
	var all []Recipient
	byShard, _ := w.listeners(m.Topic, math.MaxInt)
	for i, clients := range byShard {
		for part := range slices.Chunk(clients, slice) {
			err := w.in(ctx, w.b.shards[i], func() {
				for _, c := range part {
					if !c.s.Ended() {
						all = c.foresee(&m, all)
					}
				}
			})
			if err != nil {
				return nil, err
			}
		}
	}
	for i := range all {
		all[i].judge(w.b.opts.Authz, m.Topic)
	}
	share(all)
	slices.SortFunc(all, func(a, b Recipient) int {
		return strings.Compare(a.Client+"\x00"+a.Filter, b.Client+"\x00"+b.Filter)
	})
	return all, nil
}

// foresee adds the subscriptions that a message matches.
func (c *client) foresee(m *Routing, all []Recipient) []Recipient {
	for _, s := range c.s.Subscriptions() {
		group, inner := splitShared(s.Filter)
		if c.resting[s.Filter] || !topic.Match(inner, m.Topic) {
			continue
		}
		n, _ := c.s.Queued()
		r := Recipient{
			Client: c.id, User: c.who.Load().Name, Filter: s.Filter, Group: group, QoS: min(m.QoS, s.Options.QoS()), Connected: c.s.Connected(),
			Waiting: n, who: c.who.Load(), own: c.id == m.Publisher && m.Publisher != "", noLocal: s.Options.NoLocal(), barred: c.barred.Load(),
			full: m.QoS > 0 && c.full.Load(),
		}
		if group != "" {
			if g := c.shard.b.groups.find(s.Filter); g != nil {
				r.Members = len(*g.members.Load())
			}
		}
		switch {
		case r.QoS == 0 && !r.Connected:
			r.why = session.Offline
		case r.QoS > 0 && c.full.Load():
			r.why = session.QueueFull
		case r.QoS == 0 && c.conn != nil && c.conn.Pending() > c.shard.b.limits().MaxOutgoingBytes:
			r.why = session.SlowConsumer
		case r.QoS > 0 && !c.s.Ready():
			r.Outcome = WouldQueue
		}
		all = append(all, r)
	}
	return all
}

// judge tells what would become of the message, as far as it is not known yet.
func (r *Recipient) judge(authz auth.Authorizer, name string) {
	d := mayReceive(authz, r.who, name)
	r.Rule = d.Rule
	switch {
	case !d.Allowed:
		r.Outcome, r.Why = WouldDeny, d.Why
	case r.barred:
		r.Outcome, r.Why = WouldDeny, "it is in quarantine"
	case r.own && r.noLocal:
		r.Outcome, r.Why = WouldSkip, "it publishes the message itself and has subscribed with No Local"
	case r.why != 0:
		r.Outcome, r.Why = WouldDrop, r.why.Sentence()
	case r.Outcome == "":
		r.Outcome = WouldSend
	}
}

// rank is how router.chooseBut prefers the members of a group: who is connected and has room, who is connected, who is away.
func (r *Recipient) rank() int {
	switch {
	case !r.Connected:
		return 2
	case r.full:
		return 1
	}
	return 0
}

// share tells which members of shared subscriptions would get the message: one of those that are preferred, and none of the others.
func share(all []Recipient) {
	type choice struct{ rank, members int }
	best := make(map[string]choice)
	for i := range all {
		r := &all[i]
		if r.Group == "" || r.Outcome == WouldDeny {
			continue
		}
		switch b, there := best[r.Filter]; {
		case !there || r.rank() < b.rank:
			best[r.Filter] = choice{r.rank(), 1}
		case r.rank() == b.rank:
			best[r.Filter] = choice{b.rank, b.members + 1}
		}
	}
	for i := range all {
		r := &all[i]
		b := best[r.Filter]
		switch {
		case r.Group == "" || r.Outcome == WouldDeny:
		case r.rank() > b.rank && r.Connected:
			r.Outcome, r.Why = WouldSkip, "its queue is full, and another member of the group has room"
		case r.rank() > b.rank:
			r.Outcome, r.Why = WouldSkip, "it is not connected, and another member of the group is"
		case b.members > 1 && r.Outcome != WouldDrop:
			r.Outcome = WouldShare
		}
	}
}

// MayReceive tells whether a client may receive messages of a topic, as the broker itself decides: see router.receives.
func (w *View) MayReceive(ctx context.Context, id, name string) (d auth.Decision, err error) {
	var who *auth.Principal
	if err := w.on(ctx, id, func(_ *shard, c *client) { who = c.who.Load() }); err != nil {
		return d, err
	}
	return mayReceive(w.b.opts.Authz, who, name), nil
}

// mayReceive is router.receives with the reason.
func mayReceive(authz auth.Authorizer, who *auth.Principal, name string) auth.Decision {
	switch {
	case who.Mount != "" && !strings.HasPrefix(name, who.Mount):
		return auth.Decision{Why: "its session is mounted at " + who.Mount}
	case authz == nil || who.Restored:
		return auth.Decision{Allowed: true}
	}
	return authz.Explain(who, &auth.Question{Action: auth.Receive, Topic: []byte(name)})
}
