package broker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// stay is what a client keeps of its being here.
type stay struct {
	known   bool // the store has kept it once
	leaving bool // ended; to leave the store once nothing of it moves any more
	own     bool // see Listener.Own
	clean   bool // the connection began with Clean Start
}

// Row is one client in a list: what is cheap to tell of it. It is a copy.
type Row struct {
	ID            string
	Who           *auth.Principal // never changed
	Version       mqtt.Version
	Connected     bool
	CleanStart    bool
	Durable       bool // the session outlives its connection
	Quarantined   bool
	Since         time.Time     // connected, or away, since then; zero = not known
	Seen          time.Time     // last heard; zero = not since the broker started
	KeepAlive     time.Duration // in force
	Expiry        time.Duration // of the session; negative = never
	Subscriptions int
	Resting       int // those of them that it may not have at present
	Inflight      int // QoS 1 and 2 messages sent and not settled
	Queued        int // those that wait
	QueueBytes    int64
	Pending       int // bytes written that its connection has not taken
	Traffic
}

// Traffic is what a client sent and got, since it is known to the broker.
type Traffic struct {
	In, Out Flow
	Dropped uint64 // copies meant for it
	Denied  uint64 // of its own messages
}

// Flow is one direction of a client's traffic.
type Flow struct {
	Messages, Bytes uint64  // payloads
	Rate            float32 // messages per second, of the last whole five seconds
}

func trafficOf(c *client) (t Traffic) {
	a := c.account()
	if a == nil {
		return t
	}
	slot := tally.Slot(c.shard.now)
	t.In.Messages, t.Out.Messages = a.Received(), a.Sent()
	t.In.Bytes, t.Out.Bytes = a.InBytes, a.OutBytes
	in, out := a.Rates(slot)
	t.In.Rate, t.Out.Rate = in.Now, out.Now
	if r := a.Rare; r != nil {
		for _, n := range r.Dropped {
			t.Dropped += n
		}
		for e, n := range r.Ended {
			if tally.End(e).Denied() {
				t.Denied += n
			}
		}
	}
	return t
}

// rowSlice is how many clients a loop tells of before it goes on with its work: about 0.3 ms.
const rowSlice = 500

// Rows makes something of all clients, connected or not, in no order, but for those of the process itself. of runs on the loops, on several at a time, and has
// to be quick. What it makes takes the place of what is in old, which is not to be used any more, even after an error. The loops are asked in slices; a client
// that comes or goes meanwhile may be missing.
func Rows[T any](ctx context.Context, w *View, old []T, of func(*Row) T) ([]T, error) {
	byShard := make([][]*client, len(w.b.shards))
	for i := range byShard {
		byShard[i] = make([]*client, 0, int(w.b.sessions.Load())/len(byShard)*9/8)
	}
	all := 0
	for c := range w.b.clients.All() {
		byShard[c.shard.index] = append(byShard[c.shard.index], c)
		all++
	}
	list := slices.Grow(old[:0], all)[:all]
	var end atomic.Int64
	wrong := make([]error, len(byShard))
	var done sync.WaitGroup
	for i, sh := range w.b.shards {
		done.Go(func() {
			rest := byShard[i]
			wrong[i] = w.turns(ctx, sh, func() (more bool) {
				some := rest[:min(len(rest), rowSlice)]
				rest = rest[len(some):]
				some = slices.DeleteFunc(some, func(c *client) bool { return c.s.Ended() || c.own })
				at := int(end.Add(int64(len(some)))) - len(some)
				var r Row
				for n, c := range some {
					r = rowOfClient(c)
					list[at+n] = of(&r)
				}
				return len(rest) > 0
			})
		})
	}
	done.Wait()
	if err := errors.Join(wrong...); err != nil {
		return nil, err // of may still run
	}
	clear(list[end.Load():])
	return list[:end.Load()], nil
}

// Some are the rows of clients by their ids, in the order of these. Where there is no such client the row has no id.
func (w *View) Some(ctx context.Context, ids []string) ([]Row, error) {
	rows := make([]Row, len(ids))
	byShard := make([][]int, len(w.b.shards))
	for i, id := range ids {
		n := w.b.shardOf(id).index
		byShard[n] = append(byShard[n], i)
	}
	for n, sh := range w.b.shards {
		for some := range slices.Chunk(byShard[n], rowSlice) {
			if err := w.in(ctx, sh, func() {
				for _, i := range some {
					if c := sh.byID[ids[i]]; c != nil && !c.s.Ended() {
						rows[i] = rowOfClient(c)
					}
				}
			}); err != nil {
				return nil, err
			}
		}
	}
	return rows, nil
}

// moment is a time of the steady clock.
func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func rowOfClient(c *client) Row {
	n, bytes := c.s.Queued()
	inflight := session.Inflight(&c.s)
	r := Row{
		Traffic: trafficOf(c), ID: c.id, Who: c.who.Load(), Version: c.s.Version(), Connected: c.s.Connected(), CleanStart: c.clean, Durable: c.stored != 0,
		Quarantined: c.barred.Load(), Since: moment(c.told.since), Seen: moment(session.Seen(&c.s)), KeepAlive: time.Duration(c.s.KeepAlive()) * time.Second,
		Expiry: -1, Subscriptions: len(c.s.Subscriptions()), Resting: len(c.resting), Inflight: inflight, Queued: max(n-inflight, 0), QueueBytes: bytes,
	}
	if x := c.s.Expiry(); x != session.Never {
		r.Expiry = time.Duration(x) * time.Second
	}
	if c.conn != nil {
		r.Pending = c.conn.Pending()
	}
	return r
}

// Inspection is all about one client. It is a copy.
type Inspection struct {
	Row
	Subs    []session.Subscription
	Resting map[string]bool // by filter: those that it may not have at present
	Limits  []Use
	Will    *session.Will // not to be changed; nil = none
	// DropsOldest tells what a full queue loses: what has waited longest, else what comes.
	DropsOldest bool
	// Negotiated is what the CONNECT settled on.
	Negotiated Negotiated
	Tally      ClientTally
}

// Negotiated is what client and broker have agreed on.
type Negotiated struct {
	ReceiveMaximum       int
	MaximumPacketSize    int
	TopicAliasMaximum    int
	ServerReceiveMaximum int
	ServerTopicAliases   int
}

// Use is how much of a limit a client has used.
type Use struct {
	Name  string
	Used  int64
	Limit int64
}

// Inspect tells all about one client.
func (w *View) Inspect(ctx context.Context, id string) (x Inspection, err error) {
	err = w.on(ctx, id, func(sh *shard, c *client) {
		x = Inspection{
			Row: rowOfClient(c), Subs: slices.Clone(c.s.Subscriptions()), Resting: maps.Clone(c.resting), Will: c.s.Will(),
		}
		x.Tally, x.DropsOldest = tallyOf(sh, c), session.InForce(&c.s).Overflow == session.DropOldest
		limits, rules := sh.b.limits(), session.InForce(&c.s)
		heard, sent, most := session.Aliases(&c.s)
		x.Negotiated = Negotiated{
			ReceiveMaximum: int(session.ReceiveMaximum(&c.s)), MaximumPacketSize: int(c.s.MaximumPacketSize()), TopicAliasMaximum: most,
			ServerReceiveMaximum: int(rules.ReceiveMaximum), ServerTopicAliases: int(rules.TopicAliases),
		}
		n, bytes := c.s.Queue().Waiting()
		x.Limits = []Use{
			{"max_queued_messages", int64(n), int64(rules.QueuedMessages)},
			{"max_queued_bytes", bytes, rules.QueuedBytes},
			{"max_subscriptions", int64(x.Subscriptions), int64(rules.Subscriptions)},
			{"max_inflight", int64(x.Inflight), int64(x.Negotiated.ReceiveMaximum)},
			{"receive_maximum", int64(session.Outstanding(&c.s)), int64(rules.ReceiveMaximum)},
			{"max_outgoing_bytes", int64(x.Pending), int64(limits.MaxOutgoingBytes)},
			{"max_topic_aliases", int64(heard), int64(rules.TopicAliases)},
			{"max_send_aliases", int64(sent), int64(most)},
		}
		x.Limits = slices.DeleteFunc(x.Limits, func(u Use) bool { return u.Limit == 0 })
	})
	return x, err
}

// Flights are the QoS 1 and 2 messages under way between a client and the broker. Topics are read from the store where they are not at hand.
func (w *View) Flights(ctx context.Context, id string) ([]session.Flight, time.Time, error) {
	var list []session.Flight
	var stored store.SessionID
	var now int64
	err := w.on(ctx, id, func(sh *shard, c *client) { list, stored, now = session.Flights(&c.s), c.stored, sh.now })
	if err != nil || stored == 0 {
		return list, moment(now), err
	}
	for i := range list {
		f := &list[i]
		if !f.Out || f.State == "awaits PUBCOMP" || f.Topic != "" || i >= flightTopics {
			continue
		}
		items, _, err := w.b.read(stored, f.Seq, f.Seq)
		if err != nil {
			return nil, moment(now), err
		}
		if len(items) > 0 && items[0].Message != nil {
			f.Note(items[0].Message)
		}
	}
	return list, moment(now), nil
}

// flightTopics is of how many messages under way the store is asked.
const flightTopics = 1000

// Waiting is one message in a client's queue.
type Waiting struct {
	Position uint64 // 0 = QoS 0, which cannot be named
	Message  *mqtt.Message
	Delivery mqtt.Delivery
}

// Queue looks at what waits for a client behind a position of its queue, at most most messages: in the store, off the loops, or in memory for a session
// that ends with its connection. more tells that there is more behind the last.
func (w *View) Queue(ctx context.Context, id string, after uint64, most int) (list []Waiting, more bool, err error) {
	e := edited{reach: w.reach}
	var from, to uint64
	var held []session.Held
	err = w.on(ctx, id, func(_ *shard, c *client) {
		if e.client, e.stored = c, c.stored; e.stored == 0 {
			held = session.Waiting(&c.s, after, most+1)
			return
		}
		from, to = session.Stretch(&c.s)
	})
	if err != nil {
		return nil, false, err
	}
	for _, h := range held {
		if len(list) == most {
			return list, true, nil
		}
		list = append(list, Waiting{h.Seq, h.Msg, h.Delivery})
	}
	if e.stored == 0 {
		return list, false, nil
	}
	for from = max(from, after+1); from <= to; {
		items, next, err := w.b.read(e.stored, from, to)
		if err != nil {
			return list, false, err
		}
		if err := e.on(ctx, func(_ *shard, c *client) error { // the store may be about to know what became of some
			items = slices.DeleteFunc(items, func(it store.Queued) bool { return it.Released || !session.Waits(&c.s, it.Seq) })
			return nil
		}); err != nil {
			return list, false, err
		}
		for _, it := range items {
			if len(list) == most {
				return list, true, nil
			}
			list = append(list, Waiting{it.Seq, it.Message, it.Delivery})
		}
		if from = next; ctx.Err() != nil {
			return list, false, ctx.Err()
		}
	}
	return list, false, nil
}

// Subscriber is one subscription of one client.
type Subscriber struct {
	Client string
	User   string
	session.Subscription
	Resting bool
	Own     bool // the client is the process's own
}

// subsSlice is how many subscriptions a loop copies at most, but for those of one client, before it goes on with its work.
const subsSlice = 10_000

// Subscriptions gives all subscriptions of all clients to each, in the caller's goroutine, as many as are copied at a time.
func (w *View) Subscriptions(ctx context.Context, each func([]Subscriber)) error {
	byShard := make([][]*client, len(w.b.shards))
	for c := range w.b.clients.All() {
		byShard[c.shard.index] = append(byShard[c.shard.index], c)
	}
	for i, sh := range w.b.shards {
		for clients := byShard[i]; len(clients) > 0; {
			var some []Subscriber
			if err := w.in(ctx, sh, func() {
				for n := 0; n < rowSlice && len(some) < subsSlice && len(clients) > 0; n++ {
					some = appendSubscribers(some, clients[0])
					clients = clients[1:]
				}
			}); err != nil {
				return err
			}
			each(some)
		}
	}
	return nil
}

func appendSubscribers(list []Subscriber, c *client) []Subscriber {
	if c.s.Ended() {
		return list
	}
	user := c.who.Load().Name
	for _, s := range c.s.Subscriptions() {
		list = append(list, Subscriber{c.id, user, s, c.resting[s.Filter], c.own})
	}
	return list
}
