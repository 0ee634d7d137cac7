package load

import "context"

// storm connects all clients as fast as the broker answers and adds what it cost.
func (r *rig) storm(ctx context.Context, res *Result, clients []*client, key, item string) error {
	s, err := measure(r.opts.PID, func() error { return r.dial(ctx, clients) })
	if err != nil {
		return err
	}
	res.add(key+"_rate", float64(len(clients))/s.wall.Seconds(), "/s", item+": rate")
	res.addCPU(key+"_cpu", item, s, uint64(len(clients)))
	return nil
}

// connect measures CONNECT to CONNACK, and the end of the connections beside it.
func connect(ctx context.Context, r *rig, res *Result) error {
	clients := r.silent(r.opts.Clients, "connect", true, false)
	if err := r.storm(ctx, res, clients, "connect", "connect"); err != nil {
		return err
	}
	s, err := measure(r.opts.PID, func() error { return r.depart(ctx, clients) })
	if err != nil {
		return err
	}
	res.addCPU("disconnect_cpu", "disconnect", s, uint64(len(clients)))
	return nil
}

// session measures persistent sessions: created with one subscription, left, taken
// up again. At the end they are removed.
func session(ctx context.Context, r *rig, res *Result) error {
	clients := r.silent(r.opts.Clients, "session", false, true)
	if err := r.storm(ctx, res, clients, "create", "session created"); err != nil {
		return err
	}
	if err := r.depart(ctx, clients); err != nil {
		return err
	}
	back := r.silent(r.opts.Clients, "session", false, true)
	for _, cl := range back {
		cl.wantResume = true
	}
	if err := r.storm(ctx, res, back, "resume", "session resumed"); err != nil {
		return err
	}
	return r.forget(ctx, back)
}

// forget removes the sessions of the clients: a clean start ends a session.
func (r *rig) forget(ctx context.Context, clients []*client) error {
	if err := r.depart(ctx, clients); err != nil {
		return err
	}
	last := make([]*client, len(clients))
	for i, cl := range clients {
		last[i] = &client{rig: r, id: cl.id, cleanStart: true}
	}
	if err := r.dial(ctx, last); err != nil {
		return err
	}
	return r.depart(ctx, last)
}
