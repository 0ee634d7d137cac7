package broker

import (
	"slices"
	"sync"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// batch is what one turn of a shard wants kept, and what happens once it is: first the deliveries,
// then the answers that wait for it.
type batch struct {
	store.Batch
	number  uint64
	owners  []*client      // whose records these are, nil = nobody's
	targets []store.Target // of the records
	changes []ticket       // of retained messages
	again   []again        // what else is to be done if it fails
	routed  []routed
	to      []receiver // of routed
	waiters []*client
	answers []func(error) // likewise, for those who are no clients
	shard   *shard
	bytes   int64 // of the messages in routed

	settled bool // has an outcome; this and err behind commits.mu
	err     error
}

// routed is a message whose delivery waits for the store.
type routed struct {
	msg    *mqtt.Message
	record int // of its Enqueue, -1 = none
	from   int // its receivers: batch.to[from:end]
	end    int
	again  bool // it stands in batch.again: if the batch fails it is not lost
}

// commits collects what a turn wants kept, hands it to the store and carries out what waits for it.
type commits struct {
	sh         *shard
	batch      *batch   // of this turn
	committing []*batch // handed to the store, oldest first
	spare      []*batch
	done       uint64 // number of the last batch that has an outcome
	records    int    // of batches without an outcome; so are messages and bytes
	messages   int
	bytes      int64
	paused     map[*client]struct{} // not read from: they are ahead of the store

	mu sync.Mutex // guards settled and err of the batches
}

func (k *commits) newBatch() *batch {
	number := uint64(1)
	if k.batch != nil {
		number = k.batch.number + 1
	}
	if n := len(k.spare); n > 0 {
		b := k.spare[n-1]
		k.spare = k.spare[:n-1]
		b.number = number
		return b
	}
	b := &batch{number: number, shard: k.sh}
	b.Done = b.finished
	return b
}

func (b *batch) empty() bool {
	return len(b.Records) == 0 && len(b.routed) == 0 && len(b.waiters) == 0 && len(b.answers) == 0
}

// keep adds a change to the batch, of a client's session or nobody's (nil).
func (k *commits) keep(c *client, r store.Record) {
	k.batch.Records = append(k.batch.Records, r)
	k.batch.owners = append(k.batch.owners, c)
}

// How far clients may be ahead of the store before a shard stops reading from those that ask for more.
const (
	maxAhead      = 16 << 10 // records, or messages
	maxAheadBytes = 16 << 20 // of messages
)

// ahead tells whether part times as much as is allowed waits for the store.
func (k *commits) ahead(part int) bool {
	b := k.batch
	return (k.records+len(b.Records))*part > maxAhead || (k.messages+len(b.routed))*part > maxAhead ||
		(k.bytes+b.bytes)*int64(part) > maxAheadBytes || len(k.sh.health.redo)*part > maxRedo
}

// concerns tells whether something of c is in this turn's batch.
func (k *commits) concerns(c *client) bool {
	return c.published == k.batch.number || c.waiting == k.batch.number
}

// pause stops reading from a client that keeps the store busy, until that has caught up.
func (k *commits) pause(c *client) {
	c.conn.PauseRead()
	k.paused[c] = struct{}{}
}

func (k *commits) resume() {
	if len(k.paused) == 0 || k.ahead(2) {
		return
	}
	for c := range k.paused {
		delete(k.paused, c)
		c.read(k.sh)
	}
}

// commit hands the batch to the store and deals with every outcome there is by now. What those bring about
// may fill another batch; a few rounds a turn, the rest goes with the next.
func (k *commits) commit() {
	for range 4 {
		if !k.batch.empty() {
			b := k.batch
			k.batch = k.newBatch()
			k.committing = append(k.committing, b)
			k.records, k.messages, k.bytes = k.records+len(b.Records), k.messages+len(b.routed), k.bytes+b.bytes
			if len(b.Records) == 0 {
				b.finished(nil)
			} else {
				k.handIn(b)
			}
		}
		if !k.settleOutcomes() {
			return
		}
	}
	if !k.batch.empty() {
		k.sh.loop.Wake()
	}
}

// handIn gives the batch to the store. Batches that change retained messages go one by one, so that the tree shows
// what the store will have.
func (k *commits) handIn(b *batch) {
	if len(b.changes) == 0 {
		k.sh.b.store.Commit(&b.Batch)
		return
	}
	all := k.sh.b.retained
	all.order.Lock()
	defer all.order.Unlock()
	all.handIn(b)
	k.sh.b.store.Commit(&b.Batch)
}

// finished takes the store's word, on any goroutine.
func (b *batch) finished(err error) {
	k := &b.shard.commits
	k.mu.Lock()
	b.settled, b.err = true, err
	k.mu.Unlock()
	k.sh.loop.Wake()
}

// settleOutcomes carries out what waited for batches that have an outcome, in the order of the batches.
func (k *commits) settleOutcomes() bool {
	k.mu.Lock()
	n := 0
	for n < len(k.committing) && k.committing[n].settled {
		n++
	}
	k.mu.Unlock()
	for _, b := range k.committing[:n] {
		k.done = b.number
		k.records, k.messages, k.bytes = k.records-len(b.Records), k.messages-len(b.routed), k.bytes-b.bytes
		k.carryOut(b)
	}
	k.committing = slices.Delete(k.committing, 0, n)
	k.resume()
	return n > 0
}

func (k *commits) carryOut(b *batch) {
	if len(b.changes) > 0 {
		k.sh.b.retained.settle(b.changes, b.err == nil)
	}
	if b.err != nil {
		k.sh.count.StoreErrors++
		k.sh.b.log.Error("the store could not keep a batch", "records", len(b.Records), "error", b.err)
		k.sh.health.failed(b)
	}
	k.sh.spans.stored(b)
	for i := range b.routed {
		r := &b.routed[i]
		if b.err != nil && (r.record >= 0 || r.again) {
			k.holes(b, r)
			k.sh.books.withdrawn(r)
			for j := r.from; j < r.end && !r.again; j++ {
				k.lose(b.to[j].client, r.msg, session.StoreFailed)
			}
			continue
		}
		k.sh.out.nextMessage()
		for j := r.from; j < r.end; j++ {
			to := &b.to[j]
			k.sh.books.Waiting--
			seq := uint64(0)
			if to.target > 0 {
				if seq = b.Records[r.record].Targets[to.target-1].Seq; seq == 0 {
					k.lose(to.client, r.msg, session.SessionEnded)
					continue
				}
			}
			k.deliver(to, r.msg, seq)
		}
	}
	for i := range b.again {
		if b.err == nil {
			k.sh.router.moved(&b.again[i])
		}
	}
	for _, c := range b.waiters {
		k.tell(c, b)
	}
	if len(b.answers) > 0 {
		k.sh.mail.send() // before anybody knows: see abreast
		for _, answer := range b.answers {
			answer(b.err)
		}
	}
	k.sh.spans.answered(b)
	k.recycle(b)
}

// batchRecords is how long a batch's lists may grow and still be used again.
const batchRecords = 4096

func (k *commits) recycle(b *batch) {
	if len(k.spare) == 4 || max(cap(b.Records), cap(b.to), cap(b.waiters), cap(b.targets)) > batchRecords {
		return
	}
	clear(b.Records)
	clear(b.owners)
	clear(b.changes)
	clear(b.again)
	clear(b.routed)
	clear(b.to)
	clear(b.targets)
	clear(b.waiters)
	clear(b.answers)
	b.settled, b.err, b.bytes = false, nil, 0
	b.owners, b.changes, b.again = b.owners[:0], b.changes[:0], b.again[:0]
	b.Records, b.routed, b.to, b.waiters, b.targets = b.Records[:0], b.routed[:0], b.to[:0], b.waiters[:0], b.targets[:0]
	b.answers = b.answers[:0]
	k.spare = append(k.spare, b)
}

// lose counts a message that a receiver does not get because of what the store did.
func (k *commits) lose(c *client, m *mqtt.Message, why session.Why) {
	defer k.sh.rescue(c)
	k.sh.books.meant(c)
	k.sh.drop(c, m, why)
	if c.shard == k.sh {
		k.sh.replay.later(c) // it may have waited for this batch to go on
	}
}

func (k *commits) deliver(to *receiver, m *mqtt.Message, seq uint64) {
	defer k.sh.rescue(to.client)
	k.sh.mail.deliver(to, m, seq)
}

// holes tells the receivers of a message that was not kept that nothing is at the positions it was given: what
// is behind them waits for it.
func (k *commits) holes(b *batch, r *routed) {
	for j := r.from; j < r.end; j++ {
		to := &b.to[j]
		if to.target == 0 {
			continue
		}
		if seq := b.Records[r.record].Targets[to.target-1].Seq; seq != 0 {
			k.sh.mail.hole(to, seq)
		}
	}
}

// tell tells a client that waits for a batch its outcome.
func (k *commits) tell(c *client, b *batch) {
	defer k.sh.rescue(c)
	if b.err == nil {
		k.sh.perform(c, nil, c.s.Stored(b.number, k.sh.take()))
	} else {
		k.sh.perform(c, nil, c.s.Failed(b.number, refusal(b.err), k.sh.take()))
	}
}
