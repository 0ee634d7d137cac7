package app

import (
	"context"
	"errors"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// inspector is what the broker holds for its clients, as the API shows it.
type inspector struct {
	view    *broker.View
	control *broker.Control
}

// known parts "there is no such client" from other errors.
func known(err error) (bool, error) {
	if errors.Is(err, broker.ErrNoClient) {
		return false, nil
	}
	return err == nil, err
}

// clientOf is one client as the API has it.
func clientOf(r *broker.Row) api.Client {
	return api.Client{
		ID: r.ID, Who: r.Who, Version: r.Version, Connected: r.Connected, CleanStart: r.CleanStart, Durable: r.Durable, Quarantined: r.Quarantined,
		Since: r.Since, Seen: r.Seen, KeepAlive: r.KeepAlive, Expiry: r.Expiry, Subscriptions: r.Subscriptions, Resting: r.Resting,
		Inflight: r.Inflight, Queued: r.Queued, QueueBytes: r.QueueBytes, Pending: r.Pending,
		Traffic: api.Traffic{In: api.Flow(r.In), Out: api.Flow(r.Out), Dropped: r.Dropped, Denied: r.Denied},
	}
}

// byReason names what was counted by reason.
func byReason(counts [tally.Reasons]uint64) map[string]uint64 {
	named := map[string]uint64{}
	for why, n := range counts {
		if n > 0 && why < session.Whys {
			named[session.Why(why).String()] = n
		}
	}
	return named
}

// Rows implements api.Inspector.
func (i inspector) Rows(ctx context.Context, old []api.Client) ([]api.Client, error) {
	return broker.Rows(ctx, i.view, old, clientOf)
}

// Some implements api.Inspector.
func (i inspector) Some(ctx context.Context, ids []string) ([]api.Client, error) {
	rows, err := i.view.Some(ctx, ids)
	list := make([]api.Client, len(rows))
	for n := range rows {
		list[n] = clientOf(&rows[n])
	}
	return list, err
}

// Inspect implements api.Inspector.
func (i inspector) Inspect(ctx context.Context, id string) (api.Inspected, bool, error) {
	x, err := i.view.Inspect(ctx, id)
	ok, err := known(err)
	all := api.Inspected{Client: clientOf(&x.Row), Subs: x.Subs, Resting: x.Resting, Will: x.Will, Negotiated: api.Negotiated(x.Negotiated)}
	all.QoSIn, all.QoSOut, all.DroppedBy = x.Tally.Client.In, x.Tally.Client.Out, map[string]uint64{}
	if r := x.Tally.Rare; r != nil {
		all.DroppedBy = byReason(r.Dropped)
	}
	for _, u := range x.Limits {
		all.Limits = append(all.Limits, api.LimitUse(u))
	}
	return all, ok, err
}

// Flights implements api.Inspector.
func (i inspector) Flights(ctx context.Context, id string) ([]session.Flight, time.Time, bool, error) {
	list, now, err := i.view.Flights(ctx, id)
	ok, err := known(err)
	return list, now, ok, err
}

// Queue implements api.Inspector.
func (i inspector) Queue(ctx context.Context, id string, after uint64, most int) ([]api.Queued, bool, bool, error) {
	waiting, more, err := i.view.Queue(ctx, id, after, most)
	ok, err := known(err)
	list := make([]api.Queued, len(waiting))
	for n := range waiting {
		list[n] = api.Queued(waiting[n])
	}
	return list, more, ok, err
}

// Subscriptions implements api.Inspector.
func (i inspector) Subscriptions(ctx context.Context, each func([]api.Subscriber)) error {
	return i.view.Subscriptions(ctx, func(some []broker.Subscriber) {
		list := make([]api.Subscriber, len(some))
		for n := range some {
			list[n] = api.Subscriber(some[n])
		}
		each(list)
	})
}

// EndSession implements api.Inspector.
func (i inspector) EndSession(ctx context.Context, id, why string) (bool, error) {
	return known(i.control.EndSession(ctx, id, why))
}
