package broker

import (
	"errors"
	"io"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// health is how a shard lives with a store that takes nothing new, or that has failed to keep a batch. What has a
// sender who can be told is refused; what has not is held here, in bounds, and handed in again.
type health struct {
	sh     *shard
	unwell bool                 // the store was unwell when it was last asked
	next   int64                // when to ask again at the earliest, ms
	look   int64                // when to see who of back has left
	back   map[*client]struct{} // not read from: the store does not take what they send
	held   []again
	bytes  int64  // of held
	redo   []owed // oldest first
	busy   bool   // some of redo is with the store
	futile bool   // redo failed while the broker stops
}

// again is a message that nobody would send again if it were not kept: a will, or a message of a shared subscription
// on its way from one member to another.
type again struct {
	msg   *mqtt.Message // of a will, Expires is an interval
	from  *client       // whose will it is, or who had it
	group string        // it moves within; empty for a will
	seq   uint64        // the position that it leaves in from's queue, 0 = none
	why   session.Why   // it is dropped if nobody takes it; nothing where it stays then
	tell  bool          // of a will: also to be delivered, not only retained
	left  bool          // the books have it that it left from's queue
}

// owed is a change that frees something and whose batch failed.
type owed struct {
	client *client
	store.Record
}

const (
	healthEvery  = 250 * time.Millisecond
	seeOffEvery  = time.Second
	maxHeld      = 10_000 // messages, for each shard
	maxHeldBytes = 16 << 20
	maxRedo      = 64 << 10 // changes from when on clients that bring about more are not read
)

// why tells why the store takes nothing new, nil if it does.
func (h *health) why() error {
	err := h.sh.b.store.Health()
	if err != nil && !h.unwell {
		h.unwell = true
		if h.sh.b.unwell.CompareAndSwap(false, true) {
			h.sh.b.log.Warn("the store takes nothing new: what would have to be kept is refused", "error", err)
			h.sh.b.tell(StoreChanged{err})
		}
	}
	return err
}

// refusal is the reason code of an answer that cannot be yes because of err.
func refusal(err error) mqtt.ReasonCode {
	if errors.Is(err, store.ErrFull) {
		return mqtt.QuotaExceeded
	}
	return mqtt.ImplementationSpecificError
}

// pending tells that check has something to look after.
func (h *health) pending() bool {
	return h.unwell || len(h.held) > 0 || len(h.redo) > 0 && !h.busy
}

// check asks how the store is, now and then, and goes on with what waits for it.
func (h *health) check() {
	if !h.pending() || h.sh.now < h.next {
		return
	}
	h.next = h.sh.now + healthEvery.Milliseconds()
	err := h.why()
	if err == nil || errors.Is(err, store.ErrFull) {
		h.handIn()
	}
	if err != nil {
		h.seeOff()
		return
	}
	if h.sh.b.unwell.CompareAndSwap(true, false) {
		h.sh.b.log.Info("the store is well again")
		h.sh.b.tell(StoreChanged{})
	}
	was := h.unwell
	h.unwell = false
	for c := range h.back {
		delete(h.back, c)
		c.read(h.sh)
	}
	held := h.held
	h.held, h.bytes = nil, 0
	for i := range held {
		h.sh.b.guard("hold", func() { h.sh.router.repeat(held[i]) })
	}
	if !was {
		return
	}
	for _, c := range h.sh.byID {
		h.sh.replay.later(c)
		if !c.s.Connected() {
			h.sh.router.redistribute(c)
		}
	}
}

// seeOff ends the connections of those who have given up while they were not read: what they sent was never
// acknowledged. So no more of them wait than there are.
func (h *health) seeOff() {
	if h.sh.now < h.look {
		return
	}
	h.look = h.sh.now + seeOffEvery.Milliseconds()
	for c := range h.back {
		if c.conn.Left() {
			c.conn.Abort(io.EOF)
		}
	}
}

// holdsBack tells that a client is not to be read any further because the store does not take the PUBLISH p of QoS 1 or 2, and
// stops reading: before MQTT 5 there is no other way to say no.
func (h *health) holdsBack(c *client, p *mqtt.Packet) bool {
	if c.s.Version() >= mqtt.V5 || h.why() == nil {
		return false
	}
	m := mqtt.Message{Topic: p.Publish.Topic, Payload: p.Publish.Payload, QoS: p.Publish.QoS, Retain: p.Publish.Retain}
	if !h.sh.router.grows(c, &m) {
		return false
	}
	h.sh.count.HeldBack++
	h.back[c] = struct{}{}
	c.conn.PauseRead()
	return true
}

// read goes on reading from a client that was not read; its keep-alive stood still meanwhile.
func (c *client) read(sh *shard) {
	c.s.Heard(sh.turn())
	c.conn.ResumeRead()
}

// waits tells that nothing is read from c at present.
func (h *health) waits(c *client) bool {
	_, back := h.back[c]
	_, paused := h.sh.commits.paused[c]
	return back || paused || c.pace != nil && c.pace.reading != 0
}

// hold keeps a message until the store is well. It is false where there is no room: then the message stays in its queue or is lost, as
// the caller says, because the store is unwell.
func (h *health) hold(a *again) bool {
	size := int64(a.msg.Bytes())
	if len(h.held) >= maxHeld || h.bytes+size > maxHeldBytes {
		a.why = session.StoreUnwell
		return false
	}
	h.sh.books.heldBack(a)
	if a.group == "" {
		a.from.will = a.msg // a restart is to know of it
	}
	h.held = append(h.held, *a)
	h.bytes += size
	return true
}

// failed takes from a batch that was not kept what has to be done all the same.
func (h *health) failed(b *batch) {
	for i := range b.Records {
		r, c := &b.Records[i], b.owners[i]
		switch r.Op {
		case store.PutSession:
			if !c.known { // nothing to give back
				continue
			}
		case store.Settle:
			if b.moves(c, r.Seq) { // it is settled when its message is somewhere, or given up
				continue
			}
		case store.Release, store.Complete, store.EndSession, store.Unsubscribe:
		default:
			continue
		}
		h.redo = append(h.redo, owed{c, store.Record{
			Op: r.Op, PacketID: r.PacketID, Session: r.Session, Seq: r.Seq, Meta: r.Meta, Subscription: r.Subscription,
		}})
	}
	for i := range b.again {
		switch a := &b.again[i]; {
		case h.hold(a):
		case a.group == "":
			h.sh.forgo(a.from, a.from.id, a.msg, a.why)
		default:
			giveUp(&h.sh.router, a)
		}
	}
	if h.pending() {
		h.sh.loop.Wake()
	}
}

// moves tells that a position is settled because its message goes to another queue in the same batch.
func (b *batch) moves(c *client, seq uint64) bool {
	for i := range b.again {
		if b.again[i].from == c && b.again[i].seq == seq {
			return true
		}
	}
	return false
}

// handIn gives the store the changes that it owes, in a batch that makes nothing grow.
func (h *health) handIn() {
	if h.busy || len(h.redo) == 0 {
		return
	}
	redo := h.redo
	h.redo = nil
	b := &store.Batch{Records: make([]store.Record, 0, len(redo))}
	kept := redo[:0]
	for _, o := range redo {
		if o.due(h.sh.now) {
			kept = append(kept, o)
			b.Records = append(b.Records, o.Record)
		}
	}
	if len(kept) == 0 {
		return
	}
	h.busy = true
	b.Done = func(err error) {
		h.sh.loop.Post(func() {
			h.busy = false
			if err != nil {
				h.redo = append(kept, h.redo...)
				h.futile = h.sh.stopping
			}
			h.sh.commits.resume()
		})
	}
	h.sh.b.store.Commit(b)
}

// due tells whether a change is still to be made, for time has passed; a session's own data are brought up to date.
func (o *owed) due(now int64) bool {
	c := o.client
	switch o.Op {
	case store.PutSession:
		o.Meta = c.meta(now)
		return !c.s.Ended()
	case store.Unsubscribe:
		return !c.s.Ended() && !c.s.Subscribes(o.Subscription.Filter)
	case store.Complete:
		return !c.s.Ended() && !c.s.Receives(o.PacketID)
	}
	return true
}
