package broker

import (
	"context"
	"slices"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// TopicSubscriber is a subscription that gets what is published to a topic.
type TopicSubscriber struct {
	Client  string
	Filter  string // of a shared subscription with "$share/group/"
	Group   string // its group; "" = not shared
	QoS     mqtt.QoS
	NoLocal bool
}

// subscribers are the subscriptions that match a name, as far as they belong to most clients; more tells that there are others.
func (w *View) subscribers(ctx context.Context, name string, most int) (list []TopicSubscriber, more bool, err error) {
	byShard, more := w.listeners(name, most)
	for i, clients := range byShard {
		for part := range slices.Chunk(clients, slice) {
			err := w.in(ctx, w.b.shards[i], func() {
				for _, c := range part {
					list = c.matching(name, list)
				}
			})
			if err != nil {
				return nil, false, err
			}
		}
	}
	return list, more, nil
}

// listeners are the clients of which a subscription matches a name, by their shards: at most so many, and whether there are more.
func (w *View) listeners(name string, most int) (byShard [][]*client, more bool) {
	byShard = make([][]*client, len(w.b.shards))
	seen := make(map[*client]bool)
	add := func(c *client) {
		switch {
		case c == nil || seen[c]:
		case len(seen) == most:
			more = true
		default:
			seen[c] = true
			byShard[c.shard.index] = append(byShard[c.shard.index], c)
		}
	}
	for _, e := range w.b.index.Match([]byte(name), nil) {
		if e.ID&groupBit == 0 {
			add(w.b.clients.Get(e.ID))
		} else if g := w.b.groups.get(e.ID); g != nil {
			for _, m := range *g.members.Load() {
				add(m.client)
			}
		}
	}
	return byShard, more
}

// matching appends a client's subscriptions that match a name and do not rest.
func (c *client) matching(name string, list []TopicSubscriber) []TopicSubscriber {
	for _, s := range c.s.Subscriptions() {
		if group, inner := splitShared(s.Filter); !c.resting[s.Filter] && topic.Match(inner, name) {
			list = append(list, TopicSubscriber{Client: c.id, Filter: s.Filter, Group: group, QoS: s.Options.QoS(), NoLocal: s.Options.NoLocal()})
		}
	}
	return list
}

// anew: a message that was published before is meant for so many more receivers.
func (k *books) anew(m *mqtt.Message, n int) {
	if n > 0 {
		k.Copies += uint64(n)
		k.topics.Anew(k.topicOf(m), n)
	}
}

// missAnew is miss for a message that was published before.
func (k *books) missAnew(c *client, m *mqtt.Message, why session.Why) {
	k.topics.Anew(k.topicOf(m), 1)
	k.miss(c, m, why)
}
