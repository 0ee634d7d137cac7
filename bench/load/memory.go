package load

import (
	"context"
	"fmt"
	"time"
)

// settling is how long a broker gets to come to rest before its memory is read.
const settling = time.Second

// footprint reads the broker's memory at rest; zero when it is not watched.
func (r *rig) footprint(ctx context.Context) (Usage, error) {
	if r.opts.PID == 0 {
		return Usage{}, nil
	}
	if err := r.sleep(ctx, settling); err != nil {
		return Usage{}, err
	}
	return ReadUsage(r.opts.PID)
}

// addMemory adds the growth of the broker's memory per item.
func (r *Result) addMemory(item string, before, after Usage, items int) {
	if after.RSS == 0 || items == 0 {
		return
	}
	r.add("rss_bytes", float64(after.RSS-before.RSS)/float64(items), "B", "resident memory per "+item)
	r.add("uss_bytes", float64(after.USS-before.USS)/float64(items), "B", "of it unshared")
	r.add("rss", float64(after.RSS)/(1<<20), "MiB", "resident memory in all")
}

// silent makes n clients that subscribe to a topic of their own, or to nothing. A
// session that is to last has a name that no other run uses: one left behind by a
// run that failed must not be taken up.
func (r *rig) silent(n int, name string, cleanStart, subscribed bool) []*client {
	all := make([]*client, n)
	if !cleanStart {
		name = fmt.Sprintf("%s-%x", name, r.run)
	}
	for i := range all {
		all[i] = &client{rig: r, id: fmt.Sprintf("%s-%d", name, i), cleanStart: cleanStart}
		if subscribed {
			all[i].filters = []string{fmt.Sprintf("bench/%s/%d", name, i)}
		}
	}
	return all
}

// idle measures the memory of connections that are subscribed and silent. A first
// batch, a tenth, is connected before the base is read: what a broker allocates once
// is no cost of a connection.
func idle(ctx context.Context, r *rig, res *Result) error {
	clients := r.silent(r.opts.Clients, "idle", true, true)
	first := len(clients) / 10
	if err := r.dial(ctx, clients[:first]); err != nil {
		return err
	}
	before, err := r.footprint(ctx)
	if err != nil {
		return err
	}
	s, err := measure(r.opts.PID, func() error { return r.dial(ctx, clients[first:]) })
	if err != nil {
		return err
	}
	after, err := r.footprint(ctx)
	if err != nil {
		return err
	}
	n := len(clients) - first
	res.addMemory("connection", before, after, n)
	res.addCPU("connect_cpu", "connect and subscribe", s, uint64(n))
	return nil
}
