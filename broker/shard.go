package broker

import (
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// shard owns the clients whose ids fall to it, on one event loop: everything in it is touched on that
// loop only, save what its parts say.
type shard struct {
	b     *Broker
	loop  *loop.Loop
	index int
	byID  map[string]*client
	now   int64 // of this turn, steady clock, ms

	lobby    lobby    // connections that have no client yet
	renewals renewals // clients that may authenticate anew
	router   router   // where messages go
	out      writer   // what is written to connections
	commits  commits  // what the store is to keep
	mail     mailbox  // between shards
	replay   replays  // retained messages on their way to new subscriptions
	agenda   agenda   // what is due when
	stalls   stalls   // clients that do not read
	health   health   // what the store does not take
	paces    paces    // clients that are not to go faster
	wards    wards    // clients in quarantine
	pulse    pulse    // what the watermarks are about
	tell     teller   // what happens, for those who listen
	traces   traces   // what is kept of packets, and who listens in
	traffic  traffics // in bytes
	spans    *spans   // messages that are traced; nil = none

	packet  mqtt.Packet        // the one being worked on
	asked   auth.Question      // what the authorizer is asked
	effects [][]session.Effect // spare lists
	count   Counters
	books   books // what becomes of messages

	reading  int // queues being read for readQueue
	stopping bool
	quiesced chan struct{} // closed when everything is flushed and stored after shutdown
}

func newShard(b *Broker, index int) (*shard, error) {
	sh := &shard{b: b, index: index, byID: make(map[string]*client), quiesced: make(chan struct{})}
	l, err := loop.New(sh, loop.Options{LowWater: b.laws.lowWater})
	if err != nil {
		return nil, err
	}
	sh.loop = l
	sh.now = b.clock(time.Now())
	sh.lobby.sh, sh.out.sh, sh.mail.sh, sh.replay.sh, sh.agenda.sh = sh, sh, sh, sh, sh
	sh.mail.passing.Kind = session.SendPublish
	sh.renewals = renewals{sh: sh, of: make(map[*client]*renewal)}
	sh.router = router{sh: sh, matches: topic.NewCache(b.index, 131072)}
	sh.books = newBooks(sh)
	sh.commits.sh, sh.commits.paused = sh, make(map[*client]struct{})
	sh.health = health{sh: sh, back: make(map[*client]struct{})}
	sh.paces.sh = sh
	sh.wards = wards{sh: sh, clients: make(map[*client]*ban.Ban)}
	sh.stalls = stalls{sh: sh, clients: make(map[*client]stall)}
	sh.tell = teller{newLosses(sh)}
	sh.traffic = make(traffics)
	sh.commits.batch = sh.commits.newBatch()
	sh.traces = newTraces(sh)
	sh.spans = newSpans(sh)
	return sh, nil
}

// start readies the shard among n and has its timers run.
func (sh *shard) start(n int) {
	sh.mail.outbox = make([]*mail, n)
	sh.loop.Post(func() { sh.loop.WakeAt(sh.loop.Now().Add(time.Second)) })
	sh.agenda.every(time.Second, sh.stalls.check)
	sh.agenda.every(time.Second, sh.wards.check)
	sh.agenda.every(time.Second, sh.books.settleAll)
	sh.agenda.every(time.Second, sh.tell.check)
	sh.agenda.every(time.Second, sh.traces.check)
	if sh.b.opts.Overload != nil {
		sh.agenda.every(loadEvery, func() { sh.pulse.beat(sh) })
	}
	if sh.index == 0 && sh.b.opts.SysEvery > 0 {
		sys := newSys(sh.b)
		sys.publish(sh)
		sh.agenda.every(sh.b.opts.SysEvery, func() { sys.publish(sh) })
	}
	if sh.index == 0 {
		sh.agenda.every(time.Second, sh.router.expireRetained)
		sh.agenda.every(time.Second, func() { sh.b.entrance.refusals.flush(sh.b) })
	}
}

// turn is the session's view of now.
func (sh *shard) turn() session.Turn {
	return session.Turn{Now: sh.now, Batch: sh.commits.batch.number}
}

// turn is the shard's, with who is asked what the client may have.
func (c *client) turn() session.Turn {
	t := c.shard.turn()
	if c.point != "" || c.shard.b.opts.Authz != nil {
		t.Receiver = c
	}
	return t
}

// Turn implements loop.Handler: mail from other shards, timers, retained messages, and what
// the store has to keep.
func (sh *shard) Turn(now time.Time) {
	sh.tick(now)
	sh.mail.collect()
	sh.paces.run()
	sh.agenda.run()
	sh.health.check()
	sh.replay.pump()
	sh.commits.commit()
	sh.mail.send()
	sh.out.nextMessage()
	if sh.stopping {
		sh.checkQuiet()
	}
}

// tick sets the shard's clock; everything in a turn happens at one time.
func (sh *shard) tick(now time.Time) {
	sh.books.settle()
	sh.now = sh.b.clock(now)
	sh.books.slot = tally.Slot(sh.now)
}

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
	if cap(do) > 1024 {
		return
	}
	if len(do) > 8 { // a short list may hold on to its few messages until it is used again
		clear(do)
	}
	sh.effects = append(sh.effects, do)
}

// restore makes a client of what the store knows, before the loop runs.
func (sh *shard) restore(r *store.Recovered, now int64) {
	m := &r.Session
	if m.Disconnected == 0 { // it was connected when the broker ended: nobody knows what was sent since
		m.Disconnected, m.Unsent = now, 0
	}
	q := session.Restored{
		Version: m.Version, Expiry: m.Expiry, Disconnected: m.Disconnected, Received: r.Received,
		First: r.First, Next: r.Next, Unsent: m.Unsent, Messages: r.Messages, Bytes: int64(r.Bytes),
	}
	if m.Will != nil {
		q.Will = &session.Will{Msg: m.Will.Message, Delay: m.Will.Delay}
	}
	for _, s := range r.Subscriptions {
		q.Subs = append(q.Subs, session.Subscription(s))
	}
	if other := sh.byID[m.ClientID]; other != nil { // a crash came between the end of one and the next
		if other.stored > m.ID {
			sh.commits.keep(nil, store.Record{Op: store.EndSession, Session: m.ID})
			sh.b.tell(SessionEnded{
				Party: Party{ClientID: m.ClientID, User: m.Owner}, Why: EndReplaced, Queued: r.Messages, Subscriptions: len(r.Subscriptions), Durable: true,
			})
			return
		}
		other.told.ends = EndReplaced
		sh.end(other, true, 0, uint64(other.s.Queue().Left()))
	}
	c := sh.newClient(m.ClientID, &auth.Principal{Identity: identityNamed(m.Owner), ClientID: m.ClientID, Restored: true})
	c.s = *session.Restore(sh.b.laws.now.Load().rules, q)
	c.stored, c.known = m.ID, true
	if len(sh.b.laws.now.Load().rates.Classes) > 0 {
		sh.paces.set(c, true) // by user and client id: groups and listener are known again when it connects
	}
	c.told.since = m.Disconnected
	for i := range c.s.Subscriptions() {
		sh.router.subscribe(c, &c.s.Subscriptions()[i])
	}
	sh.measure(c)
	sh.books.ask()
	sh.books.started(c)
	sh.agenda.watch(c)
}
