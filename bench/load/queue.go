package load

import (
	"context"
	"fmt"
)

// offline queues messages for sessions that are away, then lets them come back and
// take them: every session has its publisher and must get all of its messages once
// and in order. With Group, so many sessions share a publisher: its messages are kept once and
// wait for all of them.
func offline(ctx context.Context, r *rig, res *Result) error {
	group := max(r.opts.Group, 1)
	sessions := groups(r, r.opts.Clients, group)
	if err := r.dial(ctx, sessions); err != nil {
		return err
	}
	if err := r.depart(ctx, sessions); err != nil {
		return err
	}
	feed := make([]*client, (len(sessions)+group-1)/group)
	for i := range feed {
		p := r.publisher(i, sessions[i*group].filters, false)
		p.limit = max(r.opts.Messages/uint64(len(feed)), 1)
		feed[i] = p.client
	}
	if err := r.dial(ctx, feed); err != nil {
		return err
	}
	if err := r.fill(ctx, res, "in", "message queued"); err != nil {
		return err
	}
	back := groups(r, r.opts.Clients, group)
	for i, cl := range back {
		cl.wantResume = true
		cl.sub = &subscriber{first: i / group, width: 1, seen: make([]sequence, 1)}
		r.subs = append(r.subs, cl.sub)
	}
	err := r.collect(ctx, res, back, func(p *publisher) int { return min(group, len(back)-p.index*group) }, "out", "queued message delivered")
	r.settle(res)
	if err != nil {
		return err
	}
	return r.forget(ctx, back)
}

// groups makes n lasting sessions of which so many at a time subscribe to the same topic.
func groups(r *rig, n, group int) []*client {
	all := r.silent(n, "offline", false, true)
	for i, cl := range all {
		cl.filters = all[i-i%group].filters
	}
	return all
}

// retained sets retained topics, then has one subscriber take them all, at QoS 0 so
// that no acknowledgements mix with the delivery; at the end they are cleared.
func retained(ctx context.Context, r *rig, res *Result) error {
	var setters, wipers []*client
	n := r.opts.Clients
	each := max(r.opts.Topics/n, 1)
	for i := range n {
		topics := make([]string, each)
		for k := range topics {
			topics[k] = fmt.Sprintf("bench/retained/device%d/state", i*each+k)
		}
		p := r.publisher(i, topics, true)
		p.limit = uint64(each)
		setters = append(setters, p.client)
		wipers = append(wipers, r.wiper(i, topics))
	}
	if err := r.dial(ctx, setters); err != nil {
		return err
	}
	if err := r.fill(ctx, res, "set", "retained topic set"); err != nil {
		return err
	}
	r.pools = make([]pool, n)
	taker := &client{rig: r, id: "bench-taker", cleanStart: true, filters: []string{"bench/retained/#"}, plain: true, sub: &subscriber{width: n}}
	err := r.collect(ctx, res, []*client{taker}, func(*publisher) int { return 1 }, "deliver", "retained message delivered")
	r.settle(res)
	if err != nil {
		return err
	}
	if err := r.depart(ctx, []*client{taker}); err != nil {
		return err
	}
	r.do(func() {
		r.pubs = nil
		for _, cl := range wipers {
			r.pubs = append(r.pubs, cl.pub)
		}
	})
	if err := r.dial(ctx, wipers); err != nil {
		return err
	}
	r.do(r.start)
	return r.await(ctx, "clear retained topics", r.complete)
}

// wiper is a publisher of empty retained messages, which clear their topics
// (MQTT5 3.3.1.3). It is not among the rig's publishers yet.
func (r *rig) wiper(i int, topics []string) *client {
	p := &publisher{index: i, window: r.opts.Window, limit: uint64(len(topics))}
	for _, topic := range topics {
		p.add(emptyTemplate(r.opts, topic))
	}
	p.client = &client{rig: r, id: fmt.Sprintf("bench-wiper-%d", i), cleanStart: true, pub: p}
	return p.client
}

// fill lets the publishers send all that they have to, to nobody, and adds what that
// cost the broker in CPU and memory.
func (r *rig) fill(ctx context.Context, res *Result, key, item string) error {
	before, err := r.footprint(ctx)
	if err != nil {
		return err
	}
	s, err := measure(r.opts.PID, func() error {
		r.do(r.start)
		return r.await(ctx, item, r.complete)
	})
	if err != nil {
		return err
	}
	r.do(func() { r.sending = false })
	after, err := r.footprint(ctx)
	if err != nil {
		return err
	}
	var n uint64
	r.do(func() { n = r.tally.Sent })
	res.add(key+"_rate", float64(n)/s.wall.Seconds(), "/s", item+": rate")
	res.addCPU(key+"_cpu", item, s, n)
	res.addMemory("message", before, after, int(n))
	return nil
}

// collect connects the takers, waits until every message sent has arrived and adds
// what that cost the broker. audience is how many takers each of p's messages is owed to.
func (r *rig) collect(ctx context.Context, res *Result, takers []*client, audience func(p *publisher) int, key, item string) error {
	r.do(func() {
		for _, p := range r.pubs {
			p.owed = int(p.sent) * audience(p)
			r.flying += int64(p.owed)
		}
	})
	s, err := measure(r.opts.PID, func() error {
		if err := r.dial(ctx, takers); err != nil {
			return err
		}
		return r.await(ctx, item, r.drained)
	})
	if err != nil {
		return err
	}
	var n uint64
	r.do(func() { n = r.tally.Received })
	res.add(key+"_rate", float64(n)/s.wall.Seconds(), "/s", item+": rate")
	res.addCPU(key+"_cpu", item, s, n)
	return nil
}
