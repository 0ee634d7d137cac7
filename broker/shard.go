package broker

import (
	"container/heap"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// shard owns the clients whose ids fall to it, on one event loop. Its fields are touched on
// that loop only, save those behind mu.
type shard struct {
	b     *Broker
	loop  *loop.Loop
	index int
	byID  map[string]*client
	now   int64 // of this turn, steady clock, ms

	packet          mqtt.Packet
	view            mqtt.Message       // of the PUBLISH being routed
	matches         *topic.Cache       // topic -> entries of the subscription index
	found           []receiver         // receivers of the message being routed
	ids             []uint32           // their subscription identifiers
	seen            []stamp            // by handle: where in found, for merging
	gen             uint32             // of the message being routed
	effects         [][]session.Effect // spare lists
	encoded         encoded
	message         uint64 // number of the message being delivered
	outgoingPublish mqtt.Publish

	batch      *batch   // collects this turn's changes
	committing []*batch // handed to the store, oldest first
	spare      []*batch
	done       uint64 // number of the last batch that has an outcome

	outbox  []*mail // by shard, for this turn
	timers  timers
	connect []*loop.Conn // connections without a client, oldest first
	replays []*client    // with retained messages to send
	count   Counters
	sockets int // open connections

	mu    sync.Mutex
	inbox []*mail
	free  []*mail // given back by the shards they were sent to

	stopping bool
	quiesced chan struct{} // closed when everything is flushed and stored after shutdown
}

func newShard(b *Broker, index int) (*shard, error) {
	sh := &shard{b: b, index: index, byID: make(map[string]*client), quiesced: make(chan struct{})}
	l, err := loop.New(sh, loop.Options{})
	if err != nil {
		return nil, err
	}
	sh.loop = l
	sh.matches = topic.NewCache(b.index, 4096)
	sh.now = b.clock(time.Now())
	sh.batch = sh.newBatch()
	return sh, nil
}

// start readies the shard among n and has its timers run.
func (sh *shard) start(n int) {
	sh.outbox = make([]*mail, n)
	sh.loop.Post(func() { sh.loop.WakeAt(sh.loop.Now().Add(time.Second)) })
	if sh.index == 0 && sh.b.opts.SysEvery > 0 {
		sys := newSys(sh.b)
		sh.every(sh.b.opts.SysEvery, func() { sys.publish(sh) })
	}
	if sh.index == 0 {
		sh.every(time.Second, sh.expireRetained)
	}
}

// turn is the session's view of now.
func (sh *shard) turn() session.Turn { return session.Turn{Now: sh.now, Batch: sh.batch.number} }

// Turn implements loop.Handler: mail from other shards, timers, retained messages, and what
// the store has to keep.
func (sh *shard) Turn(now time.Time) {
	sh.tick(now)
	sh.collect()
	sh.runTimers()
	sh.pumpReplays()
	sh.commit()
	sh.post()
	sh.nextMessage()
	if sh.stopping {
		sh.checkQuiet()
	}
}

// tick sets the shard's clock; everything in a turn happens at one time.
func (sh *shard) tick(now time.Time) { sh.now = sh.b.clock(now) }

// take and give lend out lists of effects: performing one may need another.
func (sh *shard) take() []session.Effect {
	if n := len(sh.effects); n > 0 {
		do := sh.effects[n-1]
		sh.effects = sh.effects[:n-1]
		return do[:0]
	}
	return make([]session.Effect, 0, 8)
}

func (sh *shard) give(do []session.Effect) {
	if cap(do) <= 1024 {
		clear(do)
		sh.effects = append(sh.effects, do)
	}
}

// timer is when a client, or a task of the shard itself, is due.
type timer struct {
	at     int64
	client *client
	task   func()
}

// timers is a heap by time. A client's entry counts only if it is the one that client.timer names.
type timers []timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at < t[j].at }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)        { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	old[len(old)-1] = timer{}
	*t = old[:len(old)-1]
	return last
}

// schedule makes sure that c is looked at when its session needs it. A deadline that has moved on
// since (every packet moves the keep-alive) is found out when the timer fires.
func (sh *shard) schedule(c *client) {
	d := c.s.Deadline()
	if d == 0 || c.timer != 0 && c.timer <= d {
		return
	}
	c.timer = d
	heap.Push(&sh.timers, timer{at: d, client: c})
}

// every runs task at an interval, as long as the shard lives.
func (sh *shard) every(d time.Duration, task func()) {
	at := sh.now + d.Milliseconds()
	heap.Push(&sh.timers, timer{at: at, task: func() { task(); sh.every(d, task) }})
}

// maxDue bounds the timers of one turn, so that 100,000 sessions that expire in the same second
// do not stop the loop.
const maxDue = 1000

func (sh *shard) runTimers() {
	for n := 0; len(sh.timers) > 0 && sh.timers[0].at <= sh.now; n++ {
		if n == maxDue {
			sh.loop.Wake()
			return
		}
		due := heap.Pop(&sh.timers).(timer)
		if due.task != nil {
			due.task()
			continue
		}
		c := due.client
		if c.timer != due.at {
			continue
		}
		c.timer = 0
		if c.s.Ended() {
			continue
		}
		sh.perform(c, nil, c.s.Tick(sh.turn(), sh.take()))
		if !c.s.Ended() {
			sh.schedule(c)
		}
	}
	sh.expireConnects()
	next := sh.now + 1000
	if len(sh.timers) > 0 {
		next = min(next, sh.timers[0].at)
	}
	sh.loop.WakeAt(sh.loop.Now().Add(time.Duration(max(next-sh.now, 1)) * time.Millisecond))
}

// restore makes a client of what the store knows, before the loop runs.
func (sh *shard) restore(r *store.Recovered, now int64) {
	m := &r.Session
	if m.Disconnected == 0 {
		m.Disconnected = now // it was connected when the broker ended
	}
	q := session.Restored{
		Version: m.Version, Expiry: m.Expiry, Disconnected: m.Disconnected, Received: r.Received,
		First: r.First, Next: r.Next, Messages: r.Messages, Bytes: int64(r.Bytes),
	}
	if m.Will != nil {
		q.Will = &session.Will{Msg: m.Will.Message, Delay: m.Will.Delay}
	}
	for _, s := range r.Subscriptions {
		q.Subs = append(q.Subs, session.Subscription(s))
	}
	c := sh.newClient(m.ClientID, identityNamed(m.Owner))
	c.s = *session.Restore(sh.b.rules, q)
	c.stored = m.ID
	for i := range c.s.Subscriptions() {
		sh.enter(c, &c.s.Subscriptions()[i])
	}
	sh.measure(c)
	sh.schedule(c)
}
