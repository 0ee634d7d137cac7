package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// topology says who publishes where and who hears it.
type topology struct {
	publishers  int
	subscribers int
	fan         int                    // deliveries that a message owes
	topics      func(p int) []string   // that publisher p uses in turn
	filters     func(s int) []string   // that subscriber s asks for
	hears       func(s int) (p, n int) // the publishers that subscriber s hears
	group       bool                   // each message goes to one subscriber, not to all that hear it
}

func one(s string) func(int) []string { return func(int) []string { return []string{s} } }

func fanIn(o Options) topology {
	return topology{
		publishers: o.Clients, subscribers: 1, fan: 1,
		topics:  func(p int) []string { return []string{fmt.Sprintf("bench/in/%d", p)} },
		filters: one("bench/in/+"),
		hears:   func(int) (int, int) { return 0, o.Clients },
	}
}

func fanOut(o Options) topology {
	return topology{
		publishers: 1, subscribers: o.Clients, fan: o.Clients,
		topics: one("bench/out"), filters: one("bench/out"),
		hears: func(int) (int, int) { return 0, 1 },
	}
}

func pairs(o Options) topology {
	topic := func(i int) []string { return []string{fmt.Sprintf("bench/pair/%d", i)} }
	return topology{
		publishers: o.Clients, subscribers: o.Clients, fan: 1,
		topics: topic, filters: topic,
		hears: func(s int) (int, int) { return s, 1 },
	}
}

func shared(o Options) topology {
	t := fanIn(o)
	t.subscribers, t.group = o.Group, true
	t.filters = one("$share/bench/bench/in/+")
	return t
}

// wildcard spreads the subscriptions over the subscribers; each message matches one.
func wildcard(o Options) topology {
	each := max(o.Topics/o.Clients, 1)
	list := func(i int, device string) []string {
		s := make([]string, each)
		for k := range s {
			s[k] = fmt.Sprintf("bench/site%d/%s/state", i*each+k, device)
		}
		return s
	}
	return topology{
		publishers: o.Clients, subscribers: o.Clients, fan: 1,
		topics:  func(p int) []string { return list(p, fmt.Sprintf("device%d", p)) },
		filters: func(s int) []string { return list(s, "+") },
		hears:   func(s int) (int, int) { return s, 1 },
	}
}

// build makes the clients of a topology, subscribers first.
func (r *rig) build(t topology) []*client {
	var all []*client
	for s := range t.subscribers {
		first, n := t.hears(s)
		sub := &subscriber{first: first, width: n}
		if t.group {
			sub.last = make([]uint64, n)
		} else {
			sub.seen = make([]sequence, n)
		}
		r.subs = append(r.subs, sub)
		all = append(all, &client{rig: r, id: fmt.Sprintf("bench-sub-%d", s), cleanStart: true, filters: t.filters(s), sub: sub})
	}
	if t.group {
		r.pools = make([]pool, t.publishers)
	}
	for i := range t.publishers {
		p := r.publisher(i, t.topics(i), false)
		p.fan = t.fan
		if r.opts.Messages > 0 {
			p.limit = max(r.opts.Messages/uint64(t.publishers), 1)
		}
		all = append(all, p.client)
	}
	return all
}

// publisher makes a publisher with its client and adds it to the rig.
func (r *rig) publisher(i int, topics []string, retain bool) *publisher {
	p := &publisher{index: i, window: r.opts.Window}
	if r.opts.Rate > 0 {
		p.window = 65_535
	}
	for _, topic := range topics {
		p.add(publishTemplate(r.opts, topic, retain))
	}
	p.client = &client{rig: r, id: fmt.Sprintf("bench-pub-%d", i), cleanStart: true, pub: p}
	r.pubs = append(r.pubs, p)
	return p
}

func (p *publisher) add(t template) {
	p.frames = append(p.frames, t)
	p.frameSize = max(p.frameSize, len(t.frame))
}

// stream is the scenario that measures a flow of messages over a topology.
func stream(shape func(Options) topology) func(context.Context, *rig, *Result) error {
	return func(ctx context.Context, r *rig, res *Result) error {
		t := shape(r.opts)
		clients := r.build(t)
		if err := r.dial(ctx, clients); err != nil {
			return err
		}
		err := r.flow(ctx, res)
		r.settle(res)
		if errors.Is(err, errStalled) && res.Broken() {
			return nil // the verdict says it better
		}
		return err
	}
}

// settle counts what receivers are still owed as lost and hands over the tally. What
// comes later is too late.
func (r *rig) settle(res *Result) {
	r.do(func() {
		for i := range r.pools {
			r.pools[i].finish(r.pubs[i].sent, &r.tally)
		}
		for _, s := range r.subs {
			for i := range s.seen {
				s.seen[i].finish(r.pubs[s.first+i].sent, &r.tally)
			}
		}
		res.Tally = r.tally
	})
}

// mark is a moment of a flow: the counters and the clocks, read together on the loop.
type mark struct {
	sent, received, acked uint64
	err                   error
}

// flow warms up, measures and drains.
func (r *rig) flow(ctx context.Context, res *Result) error {
	m := meter{pid: r.opts.PID}
	var from, to mark
	var s stretch
	r.do(r.start)
	if r.opts.Messages == 0 {
		if err := r.sleep(ctx, r.opts.WarmUp); err != nil {
			return err
		}
	}
	r.do(func() {
		r.latency.Reset()
		r.late.Reset()
		if r.answers != nil {
			r.answers.Reset()
		}
		res.From = time.Now()
		from = mark{r.tally.Sent, r.tally.Received, r.acked, m.begin()}
	})
	var err error
	if r.opts.Messages == 0 {
		err = r.sleep(ctx, r.opts.Duration)
	} else {
		err = r.await(ctx, "send and receive", r.complete)
	}
	r.do(func() {
		to = mark{sent: r.tally.Sent, received: r.tally.Received, acked: r.acked}
		s, to.err = m.end()
		res.To = time.Now()
		r.sending = false // what is under way still arrives
	})
	if err = errors.Join(err, from.err, to.err); err != nil {
		return err
	}
	if r.answers != nil {
		res.addDurable(s, to.acked-from.acked, to.received-from.received)
	} else {
		res.addFlow(s, to.sent-from.sent, to.received-from.received)
	}
	r.do(func() {
		if r.answers != nil {
			res.addLatency(r.answers, "ack", "publish to acknowledgement")
		}
		res.addLatency(&r.latency, "latency", "latency")
		if r.timeline != nil {
			res.addLatency(&r.late, "late", "generator late by")
		}
	})
	return r.await(ctx, "drain", r.drained)
}

func (r *Result) addFlow(s stretch, sent, received uint64) {
	r.add("sent_per_s", float64(sent)/s.wall.Seconds(), "/s", "messages sent")
	r.add("rate", float64(received)/s.wall.Seconds(), "/s", "messages delivered")
	r.addCPU("cpu", "message delivered", s, received)
}

// start lets all publishers send, on the loop.
func (r *rig) start() {
	r.sending = true
	if r.opts.Rate > 0 {
		r.timeline = newArrivals(r.opts.Arrivals, r.opts.Rate, len(r.pubs), r.clock())
		r.loop.Wake()
		return
	}
	for _, p := range r.pubs {
		r.touch(p)
	}
}

// complete: all that the limits allow was sent and has arrived.
func (r *rig) complete() bool {
	for _, p := range r.pubs {
		if p.sent < p.limit {
			return false
		}
	}
	return r.drained()
}

// drained: nothing is under way any more.
func (r *rig) drained() bool {
	for _, p := range r.pubs {
		if p.owed > 0 || p.unacked > 0 {
			return false
		}
	}
	return true
}

// sleep lets the run go on for d, or until it fails.
func (r *rig) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return r.failed()
	}
}
