package broker

import (
	"errors"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// The options of an entry of the subscription index: QoS, No Local and Retain As Published
// where the packet has them, and the subscription identifier above.
const (
	optQoS               = 3
	optNoLocal           = 4
	optRetainAsPublished = 8
	optIDShift           = 4
)

func indexOptions(s *session.Subscription) uint32 {
	return uint32(s.Options&(optQoS|optNoLocal|optRetainAsPublished)) | s.ID<<optIDShift
}

// authorizeFilters puts refusals into codes: of what the store does not take, and of what is not allowed.
func (r *router) authorizeFilters(c *client, p *mqtt.Subscribe, codes []mqtt.ReasonCode) {
	if c.barred.Load() {
		r.sh.wards.filters(c, p, codes)
		return
	}
	if c.stored != 0 {
		if err := r.sh.health.why(); err != nil {
			for i, f := range p.Filters {
				// Clients subscribe again whenever they come back: a full store takes that, and they drain it.
				again := errors.Is(err, store.ErrFull) && c.s.Subscribes(string(f.Filter))
				if !codes[i].Failed() && !again {
					codes[i] = refusal(err)
					r.sh.count.NotStored[codes[i]]++
				}
			}
		}
	}
	if r.sh.b.opts.Authz == nil {
		return
	}
	for i, f := range p.Filters {
		if codes[i].Failed() {
			continue
		}
		if who := c.who.Load(); !r.maySubscribe(who, string(f.Filter), f.Options) {
			codes[i] = mqtt.NotAuthorized
			r.denied(who, nil, codes[i])
		}
	}
}

// splitShared parts a valid filter "$share/group/filter"; group is empty for any other.
func splitShared(filter string) (group, inner string) {
	rest, ok := strings.CutPrefix(filter, "$share/")
	if !ok {
		return "", filter
	}
	group, inner, _ = strings.Cut(rest, "/")
	return group, inner
}

// subscribe puts a subscription into the index.
func (r *router) subscribe(c *client, s *session.Subscription) {
	c.awake(s.Filter)
	if group, inner := splitShared(s.Filter); group != "" {
		r.sh.b.index.Set(inner, entry(r.sh.b.groups.join(s.Filter, c, indexOptions(s)), 0))
		return
	}
	r.sh.b.index.Set(s.Filter, entry(c.handle, indexOptions(s)))
}

// awake forgets that a subscription rests.
func (c *client) awake(filter string) {
	if delete(c.resting, filter); len(c.resting) == 0 {
		c.resting = nil
	}
}

// unsubscribe takes a subscription out of the index.
func (r *router) unsubscribe(c *client, filter string) {
	c.awake(filter)
	if group, inner := splitShared(filter); group != "" {
		if id, gone := r.sh.b.groups.leave(filter, c); gone {
			r.sh.b.index.Delete(inner, id)
			r.sh.b.groups.release(id)
		}
		return
	}
	r.sh.b.index.Delete(filter, c.handle)
}

func (r *router) keepSubscription(c *client, op store.Op, s *session.Subscription) {
	if c.stored != 0 {
		r.sh.commits.keep(c, store.Record{Op: op, Session: c.stored, Subscription: store.Subscription(*s)})
	}
}

func (r *router) subscribed(c *client, s *session.Subscription, again bool) {
	r.sh.count.Subscribes++
	if r.sh.b.tells() {
		r.sh.b.tell(Subscribed{Party: c.party(), Filter: s.Filter, Options: s.Options, ID: s.ID, Code: mqtt.ReasonCode(s.Options.QoS()), Again: again})
	}
}
