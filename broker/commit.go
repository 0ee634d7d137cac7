package broker

import (
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// batch is what one turn of a shard wants kept, and what happens once it is: first the deliveries,
// then the answers that wait for it.
type batch struct {
	store.Batch
	number  uint64
	targets []store.Target
	routed  []routed
	to      []receiver // of routed
	waiters []*client
	shard   *shard

	settled bool // has an outcome; this and err behind shard.mu
	err     error
}

// routed is a message whose delivery waits for the store.
type routed struct {
	msg    *mqtt.Message
	record int // of its Enqueue, -1 = none
	from   int // its receivers: batch.to[from:end]
	end    int
}

func (sh *shard) newBatch() *batch {
	number := uint64(1)
	if sh.batch != nil {
		number = sh.batch.number + 1
	}
	if n := len(sh.spare); n > 0 {
		b := sh.spare[n-1]
		sh.spare = sh.spare[:n-1]
		b.number = number
		return b
	}
	b := &batch{number: number, shard: sh}
	b.Done = b.finished
	return b
}

func (b *batch) empty() bool { return len(b.Records) == 0 && len(b.routed) == 0 && len(b.waiters) == 0 }

// keep adds a change to the batch.
func (sh *shard) keep(r store.Record) { sh.batch.Records = append(sh.batch.Records, r) }

// commit hands the batch to the store and deals with every outcome there is by now. What those bring about
// may fill another batch; a few rounds a turn, the rest goes with the next.
func (sh *shard) commit() {
	for range 4 {
		if !sh.batch.empty() {
			b := sh.batch
			sh.batch = sh.newBatch()
			sh.committing = append(sh.committing, b)
			if len(b.Records) == 0 {
				b.finished(nil)
			} else {
				sh.b.store.Commit(&b.Batch)
			}
		}
		if !sh.settleOutcomes() {
			return
		}
	}
	if !sh.batch.empty() {
		sh.loop.Wake()
	}
}

// finished takes the store's word, on any goroutine.
func (b *batch) finished(err error) {
	sh := b.shard
	sh.mu.Lock()
	b.settled, b.err = true, err
	sh.mu.Unlock()
	sh.loop.Wake()
}

// settleOutcomes carries out what waited for batches that have an outcome, in the order of the batches.
func (sh *shard) settleOutcomes() bool {
	sh.mu.Lock()
	n := 0
	for n < len(sh.committing) && sh.committing[n].settled {
		n++
	}
	sh.mu.Unlock()
	for _, b := range sh.committing[:n] {
		sh.done = b.number
		sh.carryOut(b)
	}
	sh.committing = append(sh.committing[:0], sh.committing[n:]...)
	return n > 0
}

func (sh *shard) carryOut(b *batch) {
	if b.err != nil {
		sh.count.StoreErrors++
		sh.b.log.Error("the store could not keep a batch", "records", len(b.Records), "error", b.err)
	}
	for i := range b.routed {
		r := &b.routed[i]
		if b.err != nil && r.record >= 0 {
			sh.count.Dropped[session.StoreFailed] += uint64(r.end - r.from)
			continue
		}
		sh.nextMessage()
		for j := r.from; j < r.end; j++ {
			to := &b.to[j]
			seq := uint64(0)
			if to.target > 0 {
				if seq = b.Records[r.record].Targets[to.target-1].Seq; seq == 0 {
					continue // its session ended meanwhile
				}
			}
			sh.deliver(to, r.msg, seq)
		}
	}
	for _, c := range b.waiters {
		if b.err == nil {
			sh.perform(c, nil, c.s.Stored(b.number, sh.take()))
		} else {
			sh.perform(c, nil, c.s.Failed(b.number, sh.take()))
		}
	}
	clear(b.Records)
	clear(b.routed)
	clear(b.to)
	clear(b.waiters)
	b.settled, b.err = false, nil
	b.Records, b.routed, b.to, b.waiters, b.targets = b.Records[:0], b.routed[:0], b.to[:0], b.waiters[:0], nil
	if len(sh.spare) < 4 {
		sh.spare = append(sh.spare, b)
	}
}
