package broker

import (
	"context"
	"errors"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
)

// Why a message of a queue stays where it is.
var (
	ErrNoMessage = errors.New("nothing waits at this position of the queue")
	ErrInFlight  = errors.New("the message was sent, or settled meanwhile")
	ErrNoGroup   = errors.New("the message did not come by a shared subscription")
	ErrNobody    = errors.New("no other member of the shared subscription can take the message")
)

// Purged is what a queue is, or would be, rid of.
type Purged struct {
	Messages int   // QoS 0 included
	Bytes    int64 // as they count in the queue
	Stay     int   // QoS 1 and 2 messages that were sent, and that the client has not said it has
}

// RemoveQueued takes a message out of a client's queue and drops it, with the reason session.Removed. It may wait, or have been sent with QoS 1
// on a connection that is gone; else it is ErrInFlight. A position where there is no message is ErrNoMessage.
func (k *Control) RemoveQueued(ctx context.Context, id string, position uint64) error {
	e, h, err := k.edit(ctx, id, position)
	if err != nil {
		return err
	}
	return e.on(ctx, func(sh *shard, c *client) error {
		if !c.s.Queue().Removable(&h) {
			return ErrInFlight
		}
		sh.perform(c, nil, c.s.Continue(c.turn(), c.s.Queue().Remove(&h, sh.take())))
		return nil
	})
}

// RequeueQueued gives a message that a client has by a shared subscription to another member, chosen as for a new message. It may be one that
// RemoveQueued takes; if nobody takes it, it stays and that is ErrNobody.
func (k *Control) RequeueQueued(ctx context.Context, id string, position uint64) error {
	e, h, err := k.edit(ctx, id, position)
	if err != nil {
		return err
	}
	if h.Delivery.Group == "" {
		return ErrNoGroup
	}
	return e.on(ctx, func(sh *shard, c *client) error {
		if !c.s.Queue().Removable(&h) {
			return ErrInFlight
		}
		if !e.handOver(&h) {
			return ErrNobody
		}
		c.s.Queue().Withdraw(h.Seq, h.Msg)
		sh.perform(c, nil, c.s.Continue(c.turn(), sh.take()))
		return nil
	})
}

// PurgeQueue takes all that RemoveQueued would out of a client's queue, as far as it waits when it begins, and the QoS 0 messages between.
// With preview it only counts. On an error it tells what it did until then.
func (k *Control) PurgeQueue(ctx context.Context, id string, preview bool) (x Purged, err error) {
	e, err := k.edited(ctx, id)
	if err != nil {
		return x, err
	}
	var to uint64
	err = e.on(ctx, func(sh *shard, c *client) error {
		var n int
		var do []session.Effect
		if n, x.Bytes = session.Unnumbered(&c.s); n > 0 && !preview {
			do = c.s.Queue().RemoveUnnumbered(sh.take())
			sh.perform(c, nil, do)
		}
		x.Messages, to = n, session.Last(&c.s)
		if e.stored == 0 { // what was sent is not read below
			x.Stay = session.Unsettled(&c.s)
		}
		return nil
	})
	for after := uint64(0); err == nil && after < to; {
		var list []session.Held
		if list, after, err = e.read(ctx, after, to); err != nil {
			break
		}
		err = e.on(ctx, func(sh *shard, c *client) error {
			var do []session.Effect
			for i := range list {
				h := &list[i]
				if !c.s.Queue().Removable(h) {
					x.Stay++
					continue
				}
				x.Messages++
				x.Bytes += int64(h.Msg.Bytes())
				if !preview {
					do = c.s.Queue().Remove(h, do)
				}
			}
			if !preview {
				sh.perform(c, nil, c.s.Continue(c.turn(), do))
			}
			return nil
		})
	}
	return x, err
}

// handOver gives a message that waits to another member; false when nobody takes it: then it stays.
func (e *edited) handOver(h *session.Held) bool {
	c, r := e.client, &e.client.shard.router
	a := again{msg: h.Msg.Keep(), from: c, group: h.Delivery.Group, why: session.StoreUnwell}
	if c.stored != 0 {
		a.seq = h.Seq
		return r.requeue(a)
	}
	c.moving++
	if r.requeued(&a) {
		return true
	}
	c.moving--
	return false
}

// edited is a session whose queue is worked on.
type edited struct {
	reach
	client *client
	stored store.SessionID // 0 = it ends with its connection
}

func (r reach) edited(ctx context.Context, id string) (e edited, err error) {
	err = r.on(ctx, id, func(_ *shard, c *client) { e = edited{r, c, c.stored} })
	return e, err
}

// edit finds a message in a client's queue.
func (r reach) edit(ctx context.Context, id string, position uint64) (e edited, h session.Held, err error) {
	if e, err = r.edited(ctx, id); err != nil {
		return e, h, err
	}
	if position == 0 {
		return e, h, ErrNoMessage
	}
	list, _, err := e.read(ctx, position-1, position)
	if err == nil && (len(list) == 0 || list[0].Seq != position) {
		err = ErrNoMessage
	}
	if err != nil {
		return e, h, err
	}
	return e, list[0], nil
}

// on runs do on the session's loop, as long as it is the same session, and waits until what it changes is kept.
func (e *edited) on(ctx context.Context, do func(*shard, *client) error) (err error) {
	sh, c := e.client.shard, e.client
	failed := e.kept(ctx, sh, func() {
		defer sh.rescue(c)
		if c.s.Ended() || c.stored != e.stored {
			err = ErrNoClient
			return
		}
		err = do(sh, c)
	})
	if failed != nil {
		return failed
	}
	return err
}

// read reads messages behind a position up to another, and how far it has looked: in the store, off the loop, or in memory, where what was
// sent cannot be seen.
func (e *edited) read(ctx context.Context, after, to uint64) (list []session.Held, next uint64, err error) {
	if e.stored == 0 {
		err = e.on(ctx, func(_ *shard, c *client) error {
			list = session.Waiting(&c.s, after, slice)
			return nil
		})
		if next = to; len(list) == slice {
			next = list[slice-1].Seq
		}
		return list, next, err
	}
	items, next, err := e.b.read(e.stored, after+1, to)
	for _, it := range items {
		if !it.Released {
			list = append(list, session.Held{Seq: it.Seq, Msg: it.Message, Delivery: it.Delivery})
		}
	}
	return list, next - 1, err
}
