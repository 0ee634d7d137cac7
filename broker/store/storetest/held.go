package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Held is a store in front of another whose commits wait until the test says
// how they end: for tests that nothing leaves before it is kept, and of what happens
// when keeping fails. Seq is given at once, as the contract says; nothing of a batch is
// to be seen before it is let through. Done is called by the goroutine that calls
// Release, Pass or Fail, or by that of a Commit when nothing waits. The store
// behind may not fail by itself.
type Held struct {
	inner store.Store

	mu      sync.Mutex
	changed sync.Cond // waiting or busy
	waiting []*store.Batch
	let     int  // so many commits more pass
	pass    bool // all pass
	busy    bool // somebody calls Done
	health  error
	// given are the last positions as the callers know them, kept as inner does.
	given, kept map[store.SessionID]uint64
}

// NewHeld puts a Held in front of a store that is not loaded yet. It holds every
// commit; where a test needs to get somewhere first, it calls Pass and later Hold.
func NewHeld(inner store.Store) *Held {
	h := &Held{inner: inner, given: map[store.SessionID]uint64{}, kept: map[store.SessionID]uint64{}}
	h.changed.L = &h.mu
	return h
}

// Release lets the n oldest commits through, those to come included when fewer
// wait. The Done of each that waits was called when it returns.
func (h *Held) Release(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.let += n
	h.idle()
	h.pump()
}

// Pass lets all commits through, those to come as well, until Hold. The Done of
// each that waits was called when it returns.
func (h *Held) Pass() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pass = true
	h.idle()
	h.pump()
}

// Hold lets no commit through any more, whatever Pass and Release promised.
func (h *Held) Hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pass, h.let = false, 0
}

// Fail ends all commits that wait with an error, in order; nothing of them is
// kept. It returns how many these were.
func (h *Held) Fail(err error) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idle()
	failed := h.waiting
	h.waiting = nil
	for _, b := range failed {
		h.burn(b)
	}
	h.given = maps.Clone(h.kept)
	h.finish(failed, err)
	h.pump()
	return len(failed)
}

// SetHealth makes the store unwell, or well again (nil). While it is unwell a commit that would make it grow fails
// with err, and with an err that is not store.ErrFull every one does; at once, unless commits before it wait.
func (h *Held) SetHealth(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.health = err
}

// refuses tells whether the store fails a batch because it is unwell.
func (h *Held) refuses(b *store.Batch) bool {
	if h.health == nil {
		return false
	}
	fresh := slices.ContainsFunc(b.Records, func(r store.Record) bool {
		_, known := h.kept[r.Session]
		return r.Op == store.PutSession && !known
	})
	return b.Grows() || fresh || !errors.Is(h.health, store.ErrFull)
}

// Waiting is how many commits wait.
func (h *Held) Waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting)
}

// Await returns when at least n commits wait.
func (h *Held) Await(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.waiting) < n {
		h.changed.Wait()
	}
}

// Load implements store.Store.
func (h *Held) Load(session func(*store.Recovered) error, retained func(*mqtt.Message) error) error {
	return h.inner.Load(func(r *store.Recovered) error {
		h.mu.Lock()
		h.given[r.Session.ID], h.kept[r.Session.ID] = r.Next-1, r.Next-1
		h.mu.Unlock()
		return session(r)
	}, retained)
}

// Commit implements store.Store.
func (h *Held) Commit(b *store.Batch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b.Check() == nil {
		number(b.Records, h.given)
	}
	h.waiting = append(h.waiting, b)
	h.changed.Broadcast()
	if !h.busy { // who is busy pumps on
		h.pump()
	}
}

// number gives positions to the targets of a batch as an engine does whose
// last ones are in last.
func number(records []store.Record, last map[store.SessionID]uint64) {
	for _, r := range records {
		switch r.Op {
		case store.PutSession:
			last[r.Session] += 0
		case store.EndSession:
			delete(last, r.Session)
		case store.Enqueue:
			for i := range r.Targets {
				t := &r.Targets[i]
				t.Seq = 0
				if n, ok := last[t.Session]; ok {
					last[t.Session] = n + 1
					t.Seq = n + 1
				}
			}
		}
	}
}

// pump lets through what may pass. It is called, and returns, with h.mu held
// and nobody busy.
func (h *Held) pump() {
	for (h.pass || h.let > 0) && len(h.waiting) > 0 && !h.busy {
		b := h.waiting[0]
		h.waiting = h.waiting[1:]
		h.let = max(0, h.let-1)
		if h.refuses(b) {
			h.burn(b)
			if len(h.waiting) == 0 { // else it was told to those behind
				h.given = maps.Clone(h.kept)
			}
			h.finish([]*store.Batch{b}, fmt.Errorf("refused: %w", h.health))
			continue
		}
		records := copyTargets(b.Records)
		err := h.forward(records)
		if err == nil {
			number(records, h.kept)
			mustEqual(b.Records, records)
		}
		h.finish([]*store.Batch{b}, err)
	}
}

// idle waits until nobody calls Done.
func (h *Held) idle() {
	for h.busy {
		h.changed.Wait()
	}
}

// finish calls Done without the lock.
func (h *Held) finish(batches []*store.Batch, err error) {
	h.busy = true
	h.mu.Unlock()
	for _, b := range batches {
		if b.Done != nil {
			b.Done(err)
		}
	}
	h.mu.Lock()
	h.busy = false
	h.changed.Broadcast()
}

// forward commits to the inner store and waits for the outcome.
func (h *Held) forward(records []store.Record) error {
	out := make(chan error, 1)
	h.inner.Commit(&store.Batch{Records: records, Done: func(err error) { out <- err }})
	return <-out
}

// burn uses up the positions of a batch that fails, and leaves nothing there.
func (h *Held) burn(b *store.Batch) {
	if b.Check() != nil {
		return
	}
	for _, r := range copyTargets(b.Records) {
		r.Targets = slices.DeleteFunc(r.Targets, func(t store.Target) bool { return t.Seq == 0 })
		if r.Op != store.Enqueue || len(r.Targets) == 0 {
			continue
		}
		if h.forward([]store.Record{r}) != nil {
			return // closed
		}
		var settle []store.Record
		for _, t := range r.Targets {
			settle = append(settle, store.Record{Op: store.Settle, Session: t.Session, Seq: t.Seq})
		}
		_ = h.forward(settle) // fails only when nothing can be seen any more
		number([]store.Record{r}, h.kept)
	}
}

func copyTargets(records []store.Record) []store.Record {
	records = slices.Clone(records)
	for i := range records {
		records[i].Targets = slices.Clone(records[i].Targets)
	}
	return records
}

func mustEqual(told, got []store.Record) {
	for i := range told {
		for j, t := range told[i].Targets {
			if g := got[i].Targets[j].Seq; g != t.Seq {
				panic(fmt.Sprintf("storetest.Held: session %d was told position %d, the store gave %d", t.Session, t.Seq, g))
			}
		}
	}
}

// Read implements store.Store.
func (h *Held) Read(id store.SessionID, from, to uint64, dst []store.Queued, maxBytes int) ([]store.Queued, uint64, error) {
	return h.inner.Read(id, from, to, dst, maxBytes)
}

// Past implements store.Store.
func (h *Held) Past() store.Past { return h.inner.Past() }

// Health implements store.Store.
func (h *Held) Health() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.health != nil {
		return h.health
	}
	return h.inner.Health()
}

// Stats implements store.Store.
func (h *Held) Stats() store.Stats { return h.inner.Stats() }

// Close implements store.Store. Commits that wait fail.
func (h *Held) Close() error {
	h.Fail(store.ErrClosed)
	return h.inner.Close()
}
