package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// errStalled: the broker owes messages or answers and nothing has come for the
// patience of the run.
var errStalled = errors.New("nothing came from the broker any more")

// rig is the machine of one run: the loop's handler and all that its clients share.
// From clients on it belongs to the loop's goroutine, arriving excepted; others reach
// it by do. What a scenario builds before it connects anybody needs no do.
type rig struct {
	opts  Options
	run   uint32 // tells this run's messages from others'
	begun time.Time
	loop  *loop.Loop
	ended chan struct{} // closed when the loop's Run has returned

	clients  map[*client]struct{} // connected
	arriving chan *client         // attached to the loop, in order, not opened yet

	pubs     []*publisher
	subs     []*subscriber
	pools    []pool       // per publisher, where a group shares the messages
	touched  []*publisher // may have something to send at the turn's end
	timeline *arrivals    // nil in a closed loop
	sending  bool

	tally   Tally
	acked   uint64
	flying  int64 // deliveries outstanding
	latency Histogram
	late    Histogram  // how long after its due time a message was written
	answers *Histogram // from a message's due time to its acknowledgement; nil = not measured
	readied int        // clients that became ready, ever
	closed  int        // connections that ended, ever
	failure error      // the first one; ends the run
	acks    []byte     // answers gathered during one Data
	waiting func() bool
	met     chan struct{} // closed when waiting holds

	live live
}

func newRig(opts Options) (*rig, error) {
	r := &rig{
		opts: opts, run: rand.Uint32(), begun: time.Now(), ended: make(chan struct{}),
		clients: map[*client]struct{}{}, arriving: make(chan *client, connecting),
	}
	l, err := loop.New(r, loop.Options{ReadBuffer: 256 << 10})
	if err != nil {
		return nil, fmt.Errorf("start the generator's event loop: %w", err)
	}
	r.loop = l
	go func() { l.Run(); close(r.ended) }()
	return r, nil
}

// close ends all connections and the loop.
func (r *rig) close() {
	r.do(r.leave)
	r.loop.Stop()
	<-r.ended
}

// clock is the time on the run's clock.
func (r *rig) clock() time.Duration { return time.Since(r.begun) }

// do runs f on the loop and waits for it.
func (r *rig) do(f func()) {
	done := make(chan struct{})
	r.loop.Post(func() { f(); close(done) })
	<-done
}

// await returns when cond holds; cond is asked on the loop after every turn. It
// gives up when the run failed, ctx ended, or nothing arrived for the run's patience.
func (r *rig) await(ctx context.Context, what string, cond func() bool) error {
	met := make(chan struct{})
	r.do(func() { r.waiting, r.met = cond, met })
	defer r.do(func() { r.waiting = nil })
	tick := time.NewTicker(r.opts.Patience / 8)
	defer tick.Stop()
	var marker uint64
	for still := 0; still < 8; still++ {
		select {
		case <-met:
			return r.failed()
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-tick.C:
		}
		var now uint64
		r.do(func() { now = r.activity() })
		if now != marker {
			marker, still = now, 0
		}
	}
	return fmt.Errorf("%s: %w", what, errStalled)
}

// activity changes with everything that arrives.
func (r *rig) activity() uint64 {
	return r.tally.Received + r.tally.Foreign + r.acked + uint64(r.readied+r.closed)
}

func (r *rig) failed() (err error) {
	r.do(func() { err = r.failure })
	return err
}

func (r *rig) fail(cl *client, err error) {
	if r.failure == nil {
		r.failure = fmt.Errorf("client %q: %w", cl.id, err)
	}
}

// touch remembers p for the end of the turn, when it may send.
func (r *rig) touch(p *publisher) {
	if !p.touched {
		p.touched = true
		r.touched = append(r.touched, p)
	}
}

// Opened sends the CONNECT.
func (r *rig) Opened(c *loop.Conn) {
	cl := <-r.arriving // attach put it there before the connection came
	c.State, cl.conn = cl, c
	r.clients[cl] = struct{}{}
	c.Write(connectPacket(r.opts, cl))
}

func (r *rig) subscribe(cl *client) {
	qos := r.opts.QoS
	if cl.plain {
		qos = 0
	}
	for _, packet := range subscribePackets(r.opts.Version, qos, cl.filters) {
		cl.suback++
		cl.conn.Write(packet)
	}
}

// Data walks the packets that arrived and answers them in one piece.
func (r *rig) Data(c *loop.Conn, b []byte) (used, need int) {
	cl := c.State.(*client)
	now := r.clock()
	for {
		body, end := nextFrame(b[used:])
		if end < 0 {
			r.fail(cl, errors.New("malformed remaining length"))
			c.Abort(r.failure)
			return len(b), 0
		}
		if end == 0 || used+end > len(b) {
			need = end
			break
		}
		if err := cl.packet(b[used], b[used+body:used+end], now); err != nil {
			r.fail(cl, err)
			c.Abort(err)
			return len(b), 0
		}
		used += end
	}
	if len(r.acks) > 0 {
		c.Write(r.acks)
		r.acks = r.acks[:0]
	}
	return used, need
}

// Drained has nothing to do: what a client may have under way is bounded.
func (r *rig) Drained(*loop.Conn) {}

// Closed notes the end of a connection; the broker must not be the one to end it.
func (r *rig) Closed(c *loop.Conn, err error) {
	cl := c.State.(*client)
	r.closed++
	cl.conn = nil
	delete(r.clients, cl)
	if !cl.leaving {
		r.fail(cl, fmt.Errorf("connection lost: %w", err))
	}
}

// Turn runs after every batch of events: what is due or was freed is sent.
func (r *rig) Turn(time.Time) {
	if r.sending {
		if r.timeline != nil {
			r.dispatch()
		}
		for _, p := range r.touched {
			p.touched = false
			r.send(p)
		}
		r.touched = r.touched[:0]
	}
	if r.waiting != nil && (r.failure != nil || r.waiting()) {
		r.waiting = nil
		close(r.met)
	}
	r.live.publish(r)
}

// spin is how close a due time has to be for the loop to poll instead of sleeping:
// a timer is late by tens of microseconds, and messages that wait for each other
// would reach the broker in batches that a real load does not have.
const spin = 2 * time.Millisecond

// dispatch hands every message that is due to its publisher and sees to it that the
// loop turns again in time for the next.
func (r *rig) dispatch() {
	now := r.clock()
	for r.timeline.peek() <= now {
		i, due := r.timeline.take()
		p := r.pubs[i]
		p.due.put(due)
		r.touch(p)
	}
	if wait := r.timeline.peek() - now; wait < spin {
		r.loop.Wake()
	} else {
		r.loop.WakeAt(time.Now().Add(wait - spin))
	}
}

// send writes as many messages as p may send.
func (r *rig) send(p *publisher) {
	n := p.credit(r.opts.QoS)
	if r.timeline != nil {
		n = min(n, p.due.len())
	} else if n < p.window/2 && p.sent+uint64(n) != p.limit {
		return // half a window at a time: a write per message would measure system calls
	}
	if n <= 0 || p.client.conn == nil {
		return
	}
	now, before := r.clock(), p.sent
	for left := n; left > 0; {
		k := min(left, burst)
		b := p.client.conn.Reserve(k * p.frameSize)
		for range k {
			b = r.appendMessage(b, p, now)
		}
		p.client.conn.Commit(b)
		left -= k
	}
	owed := int(p.sent-before) * p.fan
	p.owed += owed
	r.flying += int64(owed)
	r.tally.Sent += uint64(n)
	if r.opts.QoS > 0 {
		p.unacked += n
	} else if p.fan == 0 {
		p.fence(n)
	}
}

// burst is how many messages are written into one reserved piece.
const burst = 256

// appendMessage appends p's next message.
func (r *rig) appendMessage(b []byte, p *publisher, now time.Duration) []byte {
	due := now
	if r.timeline != nil {
		due = p.due.take()
		r.late.Record(now - due)
	}
	if r.answers != nil {
		p.asked.put(due)
	}
	t, held := p.next()
	at := len(b)
	b = append(b, t.frame...)
	if t.id > 0 {
		if p.id++; p.id == 0 {
			p.id = 1
		}
		binary.BigEndian.PutUint16(b[at+t.id:], p.id)
	}
	if t.stamp > 0 {
		putStamp(b[at+t.stamp:], stamp{uint32(p.index), r.run, p.sent, due})
	}
	if !held {
		p.sent++
	}
	return b
}

// next is the template of p's next message, and whether it is one that nobody takes:
// those have no number.
func (p *publisher) next() (t *template, held bool) {
	if p.every > 0 {
		if p.count++; p.count == p.every {
			p.count = 0
			return &p.held, true
		}
	}
	t = &p.frames[p.turn]
	if p.turn++; p.turn == len(p.frames) {
		p.turn = 0
	}
	return t, false
}

// fence bounds QoS 0 messages that nobody hears: the broker works through a
// connection in order, so a PINGRESP says that all before the PINGREQ were taken.
func (p *publisher) fence(n int) {
	p.unacked += n
	if p.client.fenced == 0 {
		p.client.fenced++
		p.client.conn.Write([]byte{byte(mqtt.PINGREQ) << 4, 0})
	}
}
