package app

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/fleet/why"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// lookedThrough is how many messages of a queue are looked through for those of a topic.
const lookedThrough = 10_000

// Place implements why.Sources.
func (w witnesses) Place(ctx context.Context, id, name string) (p why.Place, err error) {
	flights, _, err := w.view.Flights(ctx, id)
	if there, err := known(err); !there {
		return p, err
	}
	var unnamed []session.Flight // whose messages are not kept: their session ends with its connection
	for i := range flights {
		switch f := &flights[i]; {
		case f.Out && f.Topic == name:
			under(f, &p)
		case f.Out && f.Topic == "" && f.State != "awaits PUBCOMP":
			unnamed = append(unnamed, *f)
		}
	}
	if err := w.queued(ctx, id, name, &p); err != nil {
		return p, err
	}
	back, err := w.view.LookBack(ctx, id)
	if errors.Is(err, broker.ErrNoClient) || errors.Is(err, broker.ErrNotTraced) {
		return p, nil
	}
	for i := range back.Entries {
		seen(&back.Entries[i], name, unnamed, &p)
	}
	return p, err
}

// under counts a message that is under way.
func under(f *session.Flight, p *why.Place) {
	p.Inflight++
	if f.At != 0 {
		p.SentAt = time.UnixMilli(f.At)
	}
}

// queued looks through what waits for a client.
func (w witnesses) queued(ctx context.Context, id, name string, p *why.Place) error {
	n := 0
	for after, more := uint64(0), true; more; {
		if p.Partly = n >= lookedThrough; p.Partly {
			break
		}
		var list []broker.Waiting
		var err error
		list, more, err = w.view.Queue(ctx, id, after, 1000)
		if there, err := known(err); !there {
			return err
		}
		for i := range list {
			if x := &list[i]; string(x.Message.Topic) == name {
				p.Waiting++
				p.Before, p.Expires = n, time.Time{}
				if x.Message.Expires != 0 {
					p.Expires = time.UnixMilli(x.Message.Expires)
				}
			}
			after = list[i].Position
			n++
		}
		more = more && len(list) > 0 && after > 0
	}
	return nil
}

// seen is what an entry of the packets that are kept tells of messages of a topic that were sent, or dropped.
func seen(e *trace.Entry, name string, unnamed []session.Flight, p *why.Place) {
	until := time.UnixMilli(e.Until)
	switch text, dropped := strings.CutPrefix(e.Topic, "dropped, "); {
	case e.Several || e.Cut: // nobody knows which topics
	case e.Dir == trace.Out && mqtt.Type(e.First>>4) == mqtt.PUBLISH && e.Topic == name:
		p.Sent, p.SentLast = until, !until.Before(p.Dropped)
		for i := range unnamed {
			if f := &unnamed[i]; f.At >= e.At && f.At <= e.Until && (e.Count > 1 || f.ID == e.ID) {
				under(f, p)
			}
		}
	case e.Dir == trace.None && dropped:
		reason, about, _ := strings.Cut(text, ": ")
		if about != name {
			return
		}
		p.Dropped, p.Why, p.SentLast = until, reason, p.Sent.After(until)
		for x := session.Why(1); int(x) < session.Whys; x++ {
			if x.String() == reason {
				p.Text = x.Sentence()
			}
		}
	}
}
