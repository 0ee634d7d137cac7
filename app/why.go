package app

import (
	"context"
	"errors"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/why"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// apiReasons answer the API's questions why.
type apiReasons struct {
	*why.Engine
	view *broker.View
}

// reasonsOf are those of a process.
func reasonsOf(a *App) apiReasons {
	view := a.broker.View()
	return apiReasons{why.New(witnesses{a.facts, view}, nil), view}
}

// Route implements api.Reasons.
func (r apiReasons) Route(ctx context.Context, m broker.Routing) ([]broker.Recipient, error) {
	return r.view.Route(ctx, m)
}

// witnesses are what the why-engine asks.
type witnesses struct {
	facts *fact.Recorder
	view  *broker.View
}

// patient is how long the pages of facts are read that end early, as those that are looked for among many do.
const patient = time.Second

// Facts implements why.Sources.
func (w witnesses) Facts(ctx context.Context, q fact.Query) ([]fact.Fact, error) {
	var all []fact.Fact
	for began := time.Now(); ; {
		p, err := w.facts.Query(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, p.Facts...)
		if p.Next == 0 || len(p.Facts) >= q.Limit || time.Since(began) > patient {
			break
		}
		if q.Limit -= len(p.Facts); q.Oldest {
			q.After = p.Next
		} else {
			q.Before = p.Next
		}
	}
	return all, nil
}

// State implements why.Sources.
func (w witnesses) State(ctx context.Context, id string) (why.State, bool, error) {
	x, err := w.view.Inspect(ctx, id)
	if ok, err := known(err); !ok {
		return why.State{}, false, err
	}
	s := why.State{
		Connected: x.Connected, Since: x.Since, KeepAlive: x.KeepAlive, Expiry: x.Expiry, Heard: x.Seen, Queued: x.Queued,
		QueueBytes: x.QueueBytes, Inflight: x.Inflight, Window: x.Negotiated.ReceiveMaximum, Pending: x.Pending, Quarantined: x.Quarantined,
		DropsOldest: x.DropsOldest,
	}
	if x.Who != nil {
		s.User, s.Listener = x.Who.Name, x.Who.Peer.Listener
		if x.Who.Peer.Address.IsValid() {
			s.Address = x.Who.Peer.Address.Addr().String()
		}
	}
	for _, u := range x.Limits {
		if u.Name == "max_queued_messages" {
			s.QueueLimit = int(u.Limit)
		}
	}
	for _, sub := range x.Subs {
		s.Filters = append(s.Filters, why.Filter{
			Filter: sub.Filter, QoS: uint8(sub.Options.QoS()), NoLocal: sub.Options.NoLocal(), Rests: x.Resting[sub.Filter],
		})
	}
	if x.Inflight > 0 {
		flights, now, err := w.view.Flights(ctx, id)
		if err != nil && !errors.Is(err, broker.ErrNoClient) {
			return s, true, err
		}
		for i := range flights {
			if f := &flights[i]; f.Out && f.At != 0 {
				s.Oldest = max(s.Oldest, now.Sub(time.UnixMilli(f.At)))
			}
		}
	}
	return s, true, w.lookBack(ctx, id, &s)
}

// lookBack fills in what the packets that are kept of a client tell.
func (w witnesses) lookBack(ctx context.Context, id string, s *why.State) error {
	back, err := w.view.LookBack(ctx, id)
	if errors.Is(err, broker.ErrNoClient) || errors.Is(err, broker.ErrNotTraced) {
		return nil
	}
	for i := range back.Entries {
		e := &back.Entries[i]
		if mqtt.Type(e.First>>4) != mqtt.PUBLISH {
			continue
		}
		switch until := time.UnixMilli(e.Until); e.Dir {
		case trace.In:
			s.Published = until
			if !until.Before(s.Since) {
				s.Publishes += uint64(max(e.Count, 1))
			}
		case trace.Out:
			s.Received = until
		}
	}
	return err
}

// Topic implements why.Sources.
func (w witnesses) Topic(ctx context.Context, name string) (why.Topic, bool, error) {
	d, err := w.view.Topic(ctx, name, 0)
	if errors.Is(err, broker.ErrNoTopic) {
		return why.Topic{}, false, nil
	}
	if err != nil {
		return why.Topic{}, false, err
	}
	t := why.Topic{Publisher: d.Publisher, Messages: d.Sum.Messages}
	if d.Last != 0 {
		t.Last = time.UnixMilli(d.Last)
	}
	t.Unsure = d.Payload == nil || d.Payload.At < d.Last
	switch {
	case d.Payload != nil:
		t.QoS = d.Payload.QoS
	case d.Retained != nil:
		t.QoS = uint8(d.Retained.QoS)
	}
	return t, true, nil
}

// MayReceive implements why.Sources.
func (w witnesses) MayReceive(ctx context.Context, id, name string) (ok bool, rule, why string, err error) {
	d, err := w.view.MayReceive(ctx, id, name)
	if there, err := known(err); !there {
		return err == nil, "", "", err // nobody is there who could be denied anything
	}
	return d.Allowed, d.Rule, d.Why, nil
}
