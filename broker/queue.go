package broker

import (
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// readResult is one block of a queue.
type readResult struct {
	items []store.Queued
	done  bool
	err   error
}

// readQueue reads a client's queue from the store in blocks, off the loop, and gives each to do on the loop until
// that returns false or the range, which is not empty, is done.
func (sh *shard) readQueue(c *client, from, to uint64, do func(readResult) bool) {
	id := c.stored
	sh.reading++
	go func() {
		for {
			items, next, err := sh.b.read(id, from, to)
			r := readResult{items: items, done: next > to || err != nil, err: err}
			more := make(chan bool, 1)
			sh.post(c, func() {
				ok := false
				defer func() {
					if !ok || r.done {
						sh.reading--
					}
					more <- ok && !r.done
				}()
				ok = do(r)
			})
			select {
			case ok := <-more:
				if !ok {
					return
				}
			case <-sh.b.closed:
				return
			}
			from = next
		}
	}()
}

// So much of ended sessions is read from the store only to know which topics lost it.
const (
	lookedThrough = 1000 // messages of one session
	lookers       = 32   // sessions of one shard at a time, and other queues that are read
)

func (sh *shard) looksThrough(lost uint64) bool {
	return 0 < lost && lost <= lookedThrough && sh.reading < lookers
}

// endStored removes an ended session from the store, after what waited in it for a shared subscription
// has gone to another member. unsent is the first position never sent, lost how many messages wait there.
func (r *router) endStored(c *client, unsent, lost uint64) {
	if !c.shares(keepsOrIsOnline) && !r.sh.looksThrough(lost) {
		for range lost {
			r.sh.drop(c, nil, session.SessionEnded)
		}
		r.sh.books.left(c, lost)
		c.leaving = true
		r.leave(c)
		return
	}
	ending := r.sh.books.ending(c)
	r.sh.readQueue(c, 1, ^uint64(0)-1, func(block readResult) bool {
		for _, it := range block.items {
			if !c.s.Queue().Holds(it.Seq, it.Released) {
				continue
			}
			ending--
			r.sh.books.Ending--
			// QoS 2 that was sent goes to nobody else [MQTT-4.8.2-5].
			switch g := it.Delivery.Group; {
			case g != "" && (it.Delivery.QoS == 1 || it.Seq >= unsent):
				r.moveOn(c, g, it.Message, session.SessionEnded)
			case it.Seq >= unsent:
				r.sh.drop(c, it.Message, session.SessionEnded)
			default:
				r.sh.books.unacknowledged(c, 1)
			}
		}
		if block.err != nil {
			r.sh.b.log.Error("an ended session's queue cannot be read", "client", c.id, "error", block.err)
		}
		if block.done {
			r.sh.books.Ending -= ending // what is missing is missing in the books too
			c.leaving = true
			r.leave(c)
		}
		return true
	})
}

// moveOn gives a message of a shared subscription to another member: of an ending session, or what its client may not have
// any more. It is dropped with the reason why when there is none.
func (r *router) moveOn(c *client, group string, m *mqtt.Message, why session.Why) {
	c.moving++
	r.requeue(again{msg: m.Keep(), from: c, group: group, why: why})
}

// leave removes an ended session from the store once nothing of it moves any more.
func (r *router) leave(c *client) {
	if c.leaving && c.moving == 0 {
		r.sh.commits.keep(c, store.Record{Op: store.EndSession, Session: c.stored})
		b := r.sh.commits.batch
		b.answers, c.forgotten = append(b.answers, c.forgotten...), nil
	}
}

// moved says that nothing more is to be done about a message on its way from one queue to another.
func (r *router) moved(a *again) {
	if c := a.from; a.group != "" && a.seq == 0 {
		c.moving--
		r.leave(c)
	}
}
