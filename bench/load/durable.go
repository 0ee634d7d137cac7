package load

import (
	"context"
	"errors"
	"fmt"
)

// Durable lists the scenarios of bench/durable. They leave state in the broker from one run to
// the next, or need a broker that is restarted between them, so `sapwood bench` does not offer them.
func Durable() []Scenario {
	return []Scenario{
		{"durable", "publishers wait for acknowledgements, every message for one of many lasting sessions", Options{Clients: 100, Group: 100, Window: 1, QoS: 1}, durable},
		{"fill-sessions", "sessions that last, two subscriptions each", Options{Clients: 1000}, fillSessions},
		{"fill-queues", "messages queued for the sessions of fill-sessions", Options{Clients: 1000, Messages: 10_000, Window: 1000, QoS: 1}, fillQueues},
		{"fill-retained", "retained topics", Options{Topics: 10_000, Window: 1000, QoS: 1}, fillRetained},
		{"fill-check", "everything that was filled in is there", Options{Clients: 1000, Messages: 10_000, Topics: 10_000, QoS: 1}, fillCheck},
	}
}

// behind is how many deliveries each publisher may be ahead of its receivers: acknowledgement is
// what a publisher waits for, and a broker that delivers more slowly must still not pile up.
const behind = 64

// toSessions gives every receiving session a range of the publishers.
func toSessions(o Options) topology {
	each := max((o.Clients+o.Group-1)/o.Group, 1)
	return topology{
		publishers: o.Clients, subscribers: (o.Clients + each - 1) / each, fan: 1,
		topics:  func(p int) []string { return []string{fmt.Sprintf("bench/durable/%d/%d", p/each, p)} },
		filters: func(s int) []string { return []string{fmt.Sprintf("bench/durable/%d/+", s)} },
		hears:   func(s int) (int, int) { return s * each, min(each, o.Clients-s*each) },
	}
}

// durable measures publishes that are acknowledged when they are kept. The receivers are sessions
// that last; with Away they are not there meanwhile, and take everything at the end. The sessions stay.
func durable(ctx context.Context, r *rig, res *Result) error {
	t := toSessions(r.opts)
	all := r.build(t)
	receivers, publishers := all[:t.subscribers], all[t.subscribers:]
	for _, cl := range receivers {
		cl.cleanStart = false
		cl.id = fmt.Sprintf("%s-%x", cl.id, r.run)
	}
	absent := r.silent(1, "held", false, true)
	r.answers = new(Histogram)
	for _, p := range r.pubs {
		p.slack = behind
		if r.opts.Away {
			p.fan = 0
		}
		if r.opts.Held > 0 {
			p.absent(publishTemplate(r.opts, absent[0].filters[0], false), r.opts.Held)
		}
	}
	if err := r.leaveBehind(ctx, absent); err != nil {
		return err
	}
	if err := r.dial(ctx, receivers); err != nil {
		return err
	}
	if r.opts.Away {
		if err := r.depart(ctx, receivers); err != nil {
			return err
		}
	}
	if err := r.dial(ctx, publishers); err != nil {
		return err
	}
	err := r.flow(ctx, res)
	if err == nil && r.opts.Away {
		err = comeBack(ctx, r, res, receivers)
	}
	r.settle(res)
	if errors.Is(err, errStalled) && res.Broken() {
		return nil // the verdict says it better
	}
	return err
}

// leaveBehind makes sessions of clients that are gone again.
func (r *rig) leaveBehind(ctx context.Context, clients []*client) error {
	if err := r.dial(ctx, clients); err != nil {
		return err
	}
	return r.depart(ctx, clients)
}

// comeBack reconnects the receivers, which take what waits for them.
func comeBack(ctx context.Context, r *rig, res *Result, gone []*client) error {
	back := make([]*client, len(gone))
	for i, cl := range gone {
		back[i] = &client{rig: r, id: cl.id, filters: cl.filters, sub: cl.sub, wantResume: true}
	}
	return r.collect(ctx, res, back, func(*publisher) int { return 1 }, "out", "queued message delivered")
}

func (r *Result) addDurable(s stretch, acked, received uint64) {
	r.add("acked_per_s", float64(acked)/s.wall.Seconds(), "/s", "messages acknowledged")
	r.add("rate", float64(received)/s.wall.Seconds(), "/s", "messages delivered")
	r.addCPU("cpu", "message acknowledged", s, acked)
}

// The names of what fill scenarios leave behind are the same in every run.
func filledSession(r *rig, i int) *client {
	return &client{rig: r, id: fmt.Sprintf("fill-%d", i), filters: []string{filledTopic(i), fmt.Sprintf("fill/%d/command/#", i)}}
}

func filledTopic(i int) string { return fmt.Sprintf("fill/%d/state", i) }

// crowd is how many connections a fill has open at a time.
const crowd = 5000

// fillSessions creates the sessions.
func fillSessions(ctx context.Context, r *rig, res *Result) error {
	s, err := measure(r.opts.PID, func() error {
		for from := 0; from < r.opts.Clients; from += crowd {
			batch := make([]*client, min(crowd, r.opts.Clients-from))
			for i := range batch {
				batch[i] = filledSession(r, from+i)
			}
			if err := r.leaveBehind(ctx, batch); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	res.add("create_rate", float64(r.opts.Clients)/s.wall.Seconds(), "/s", "session created: rate")
	res.addCPU("create_cpu", "session created", s, uint64(r.opts.Clients))
	return nil
}

// feeders is how many publishers fill queues and retained topics.
const feeders = 16

// feed sends n messages to the topics in turn, spread over the feeders.
func feed(ctx context.Context, r *rig, res *Result, topics int, topic func(int) string, retain bool, n uint64, key, item string) error {
	var all []*client
	for f := range feeders {
		var mine []string
		for i := f; i < topics; i += feeders {
			mine = append(mine, topic(i))
		}
		if len(mine) == 0 {
			break
		}
		p := r.publisher(f, mine, retain)
		p.limit = n / uint64(topics) * uint64(len(mine))
		all = append(all, p.client)
	}
	if err := r.dial(ctx, all); err != nil {
		return err
	}
	if err := r.fill(ctx, res, key, item); err != nil {
		return err
	}
	return r.depart(ctx, all)
}

// fillQueues queues the messages, for the sessions in turn.
func fillQueues(ctx context.Context, r *rig, res *Result) error {
	return feed(ctx, r, res, r.opts.Clients, filledTopic, false, r.opts.Messages, "in", "message queued")
}

func fillRetained(ctx context.Context, r *rig, res *Result) error {
	topic := func(i int) string { return fmt.Sprintf("fill/retained/%d", i) }
	return feed(ctx, r, res, r.opts.Topics, topic, true, uint64(r.opts.Topics), "set", "retained topic set")
}

// fillCheck has every session take its queue, and one subscriber all retained messages, and holds
// the numbers against what was filled in.
func fillCheck(ctx context.Context, r *rig, res *Result) error {
	taker := &client{rig: r, id: "fill-taker", cleanStart: true, filters: []string{"fill/retained/#"}, plain: true, counts: true}
	if err := r.dial(ctx, []*client{taker}); err != nil {
		return err
	}
	want := uint64(r.opts.Topics)
	come := func() bool { return r.tally.Received >= want }
	if err := r.await(ctx, "retained messages", come); err != nil {
		return missing(r, want, err)
	}
	each := r.opts.Messages / uint64(r.opts.Clients)
	for from := 0; from < r.opts.Clients; from += crowd {
		batch := make([]*client, min(crowd, r.opts.Clients-from))
		for i := range batch {
			batch[i] = filledSession(r, from+i)
			batch[i].wantResume, batch[i].counts = true, true
		}
		want += each * uint64(len(batch))
		if err := r.dial(ctx, batch); err != nil {
			return err
		}
		if err := r.await(ctx, "queued messages", come); err != nil {
			return missing(r, want, err)
		}
		if err := r.depart(ctx, batch); err != nil {
			return err
		}
	}
	r.do(func() { res.Tally = Tally{Sent: want, Received: r.tally.Received} })
	if res.Tally.Received > want { // QoS 1, on connections that did not break
		res.Tally.Duplicated = res.Tally.Received - want
	}
	return nil
}

// missing tells how much has come of what had to.
func missing(r *rig, want uint64, err error) error {
	var got uint64
	r.do(func() { got = r.tally.Received })
	return fmt.Errorf("%w: %d of %d messages are there: %w", ErrBroken, got, want, err)
}
