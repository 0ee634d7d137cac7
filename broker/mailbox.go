package broker

import (
	"sync"

	"github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// mail is what one shard has for another at the end of a turn. Messages are copied into it, once for
// all receivers on that shard.
type mail struct {
	from  *shard
	bytes []byte
	msgs  []mqtt.Message // views of bytes, or kept messages
	items []letter
	notes []note
	last  uint64 // shard.message of the message added last
}

type letter struct {
	client *client
	msg    int // in mail.msgs, or noMessage
	seq    uint64
	d      mqtt.Delivery
}

// noMessage stands for a message that the store did not keep: its receiver learns that nothing is at seq.
const noMessage = -1

// mailbox carries deliveries between shards, a turn's worth at a time.
type mailbox struct {
	sh     *shard
	outbox []*mail // by shard, of this turn

	reading []*mail        // spare, for inbox
	passing session.Effect // a SendPublish of QoS 0, for hand: to make one takes longer than what it says

	mu    sync.Mutex
	inbox []*mail
	free  []*mail // given back by the shards they were sent to
}

// deliver hands a message to one receiver, on its own shard.
func (x *mailbox) deliver(r *receiver, m *mqtt.Message, seq uint64) {
	if r.client.shard == x.sh {
		x.sh.hand(r.client, m, &r.d, seq)
		return
	}
	x.sh.books.Mailed++
	x.outgoing(r.client.shard).add(x.sh.out.message, m, r, seq)
}

// hole tells a receiver that nothing is at a position of its queue.
func (x *mailbox) hole(r *receiver, seq uint64) {
	if r.client.shard == x.sh {
		x.sh.handHole(r.client, seq)
		return
	}
	ml := x.outgoing(r.client.shard)
	ml.items = append(ml.items, letter{client: r.client, msg: noMessage, seq: seq})
}

func (sh *shard) handHole(c *client, seq uint64) {
	if !c.s.Ended() {
		sh.perform(c, nil, c.s.Lost(c.turn(), seq, sh.take()))
	}
}

// hand gives a message to a client of this shard.
func (sh *shard) hand(c *client, m *mqtt.Message, d *mqtt.Delivery, seq uint64) {
	sh.books.of(c).Meant++
	if c.s.Ended() {
		if seq != 0 && d.Group != "" { // endStored did not know it yet
			sh.router.moveOn(c, d.Group, m, session.SessionEnded)
			return
		}
		sh.drop(c, m, session.SessionEnded)
		return
	}
	if d.QoS == 0 && (c.pace != nil || sh.b.burden.level.Load() >= int32(overload.QoS0)) && sh.paces.drops(c, m) {
		return
	}
	if d.QoS == 0 {
		if c.s.Passes(m) {
			e := &sh.mail.passing
			e.Msg, e.Retain, e.SubIDs = m, d.Retain, d.SubscriptionIDs
			sh.out.deliver(c, e)
			sh.capOutput(c)
			return
		}
		if why := c.s.Misses(); why != 0 {
			sh.drop(c, m, why)
			return
		}
	}
	sh.perform(c, nil, c.s.Deliver(c.turn(), m, d, seq, sh.take()))
}

func (x *mailbox) outgoing(to *shard) *mail {
	if m := x.outbox[to.index]; m != nil {
		return m
	}
	x.mu.Lock()
	var m *mail
	if n := len(x.free); n > 0 {
		m = x.free[n-1]
		x.free = x.free[:n-1]
	}
	x.mu.Unlock()
	if m == nil {
		m = &mail{from: x.sh}
	}
	x.outbox[to.index] = m
	return m
}

// add puts a message for one receiver in. Receivers of the same message, told by its number, follow
// each other.
func (ml *mail) add(number uint64, m *mqtt.Message, r *receiver, seq uint64) {
	if len(ml.msgs) == 0 || ml.last != number {
		ml.msgs = append(ml.msgs, ml.copyOf(m))
		ml.last = number
	}
	ml.items = append(ml.items, letter{client: r.client, msg: len(ml.msgs) - 1, seq: seq, d: r.d})
}

// copyOf returns m with its bytes in the mail, unless m is kept anyhow.
func (ml *mail) copyOf(m *mqtt.Message) mqtt.Message {
	if m.Kept() {
		return *m
	}
	v := mqtt.Message{Publisher: m.Publisher, Expires: m.Expires, QoS: m.QoS, Retain: m.Retain, Label: m.Label, Span: m.Span}
	put := func(b []byte) []byte {
		from := len(ml.bytes)
		ml.bytes = append(ml.bytes, b...)
		return ml.bytes[from:len(ml.bytes):len(ml.bytes)]
	}
	v.Topic, v.Forward, v.Payload = put(m.Topic), put(m.Forward), put(m.Payload)
	return v
}

// send sends this turn's mail.
func (x *mailbox) send() {
	for i, m := range x.outbox {
		if m == nil {
			continue
		}
		x.outbox[i] = nil
		to := &x.sh.b.shards[i].mail
		to.mu.Lock()
		to.inbox = append(to.inbox, m)
		to.mu.Unlock()
		to.sh.loop.Wake()
	}
}

// How large a mail may grow and still be used again.
const (
	mailBytes   = 1 << 20
	mailLetters = 16 << 10
)

// collect delivers the mail of other shards and gives the empty envelopes back.
func (x *mailbox) collect() {
	x.mu.Lock()
	inbox := x.inbox
	x.inbox, x.reading = x.reading, nil
	x.mu.Unlock()
	for _, ml := range inbox {
		for i := 0; i < len(ml.items); {
			i = x.open(ml, i)
		}
		x.sh.books.read(ml.notes)
		from := &ml.from.mail
		clear(ml.items)
		clear(ml.msgs)
		clear(ml.notes)
		ml.notes = ml.notes[:0]
		ml.items, ml.msgs, ml.bytes, ml.last = ml.items[:0], ml.msgs[:0], ml.bytes[:0], 0
		from.mu.Lock()
		if len(from.free) < 8 && cap(ml.bytes) <= mailBytes && max(cap(ml.items), cap(ml.msgs)) <= mailLetters {
			from.free = append(from.free, ml)
		}
		from.mu.Unlock()
	}
	clear(inbox)
	x.reading = inbox[:0]
}

// open hands out the letters from number i on. It returns behind the last one, or behind one whose
// receiver made it panic.
func (x *mailbox) open(ml *mail, i int) (next int) {
	next = i
	defer func() {
		if r := recover(); r != nil {
			x.sh.failed(ml.items[next].client, r)
			next++
		}
	}()
	at := -1
	for ; next < len(ml.items); next++ {
		l := &ml.items[next]
		if l.msg == noMessage {
			x.sh.handHole(l.client, l.seq)
			continue
		}
		if l.msg != at {
			at = l.msg
			x.sh.out.nextMessage()
		}
		x.sh.books.Got++
		x.sh.hand(l.client, &ml.msgs[l.msg], &l.d, l.seq)
	}
	return next
}
