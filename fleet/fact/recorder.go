package fact

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what a Recorder stands on. Zero values are those that are told.
type Options struct {
	Store    Store
	MaxBytes int64         // of the store; 0 = any
	MaxAge   time.Duration // of a fact; 0 = any
	Every    time.Duration // between two batches; 0 = 200 ms
	Waiting  int           // facts that may wait to be told, and twice as many to be kept; 0 = 65,536
	Bytes    int           // and their bytes; 0 = 32 MiB
	Logger   *slog.Logger  // nil = discard
}

// Recorder takes facts from anywhere, numbers them, tells them to those who watch, and keeps them. Its methods may be called
// from any goroutine.
//
// Record puts a fact into a queue. One goroutine empties it from time to time and hands the batch to all who watch and to a second
// goroutine, which alone waits for the store.
type Recorder struct {
	o     Options
	log   *slog.Logger
	queue *box
	keep  *box // towards the store
	kick  chan struct{}
	end   chan struct{}
	left  sync.WaitGroup

	last        uint64 // id; guarded by queue.mu
	notRecorded atomic.Uint64
	recorded    atomic.Uint64

	turns sync.Mutex // one batch after the other
	mu    sync.Mutex // guards what follows
	live  map[*Subscription]struct{}
	done  bool
}

// Open begins to record. Ids go on from those that the store has. What is in the store's Close belongs to the Recorder from here on.
func Open(ctx context.Context, o Options) (*Recorder, error) {
	if o.Every <= 0 {
		o.Every = 200 * time.Millisecond
	}
	if o.Waiting <= 0 {
		o.Waiting = 1 << 16
	}
	if o.Bytes <= 0 {
		o.Bytes = 32 << 20
	}
	r := &Recorder{
		o: o, log: o.Logger, queue: newBox(o.Waiting, o.Bytes), keep: newBox(2*o.Waiting, 2*o.Bytes),
		kick: make(chan struct{}, 1), end: make(chan struct{}), live: map[*Subscription]struct{}{},
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if r.last, err = o.Store.Last(ctx); err != nil {
		return nil, fmt.Errorf("open the facts: %w", err)
	}
	r.left.Go(r.pump)
	r.left.Go(r.write)
	return r, nil
}

// near is how close to its recording a fact is as good as recorded then.
const near = time.Millisecond

// Record takes a fact. It never waits: what does not fit is counted, and told as a fact of kind NotRecorded. The id is the
// recorder's; At too where it is zero, just now or in the future. The caller leaves Detail alone from here on.
func (r *Recorder) Record(f Fact) {
	f.trim()
	r.queue.mu.Lock()
	fits := r.add(&f)
	first := len(r.queue.facts) == 1
	r.queue.mu.Unlock()
	if !fits {
		r.notRecorded.Add(1)
		return
	}
	r.recorded.Add(1)
	if first {
		select {
		case r.kick <- struct{}{}:
		default:
		}
	}
}

// add numbers a fact and puts it into the queue. The caller holds its lock.
func (r *Recorder) add(f *Fact) bool {
	if r.queue.closed {
		return false
	}
	now := time.Now()
	f.ID = max(IDAt(now), r.last+1)
	if f.At.IsZero() || now.Sub(f.At) < near {
		f.At = now
		if f.ID < IDAt(now.Add(near)) {
			f.At = time.UnixMicro(int64(f.ID)) // which takes no room of its own
		}
	}
	f.At = f.At.UTC().Truncate(time.Microsecond)
	if !r.queue.add(f) {
		return false
	}
	r.last = f.ID
	return true
}

// pump empties the queue a while after something came into it.
func (r *Recorder) pump() {
	wait := time.NewTimer(r.o.Every)
	defer wait.Stop()
	for {
		select {
		case <-r.kick:
		case <-r.end:
			r.turn()
			return
		}
		wait.Reset(r.o.Every)
		select {
		case <-wait.C:
		case <-r.end:
		}
		r.turn()
	}
}

// turn hands on what is in the queue.
func (r *Recorder) turn() {
	r.turns.Lock()
	defer r.turns.Unlock()
	r.queue.mu.Lock()
	batch, lost := r.queue.facts, r.queue.lost
	r.queue.facts, r.queue.bytes, r.queue.lost = nil, 0, 0 // those who watch share the batch
	room := min(len(batch), 4096)                          // as much comes again, or a little more
	if lost > 0 {                                          // there is room now
		told := Fact{Kind: NotRecorded, Reason: "too_fast", Count: lost, Text: fmt.Sprintf("%d facts came faster than they could be taken.", lost)}
		if r.add(&told) {
			batch = append(batch, told)
		}
	}
	r.queue.facts, r.queue.bytes = make([]Fact, 0, room), 0
	r.queue.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	r.keep.put(batch, nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.live {
		s.box.put(batch, &s.query)
	}
}

// Flush returns when everything that was recorded before is kept, or cannot be.
func (r *Recorder) Flush(ctx context.Context) error {
	r.turn()
	select {
	case <-r.keep.mark():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stats are figures of a recorder.
type Stats struct {
	Recorded    uint64 // since the start
	NotRecorded uint64 // that came too fast, or that the store could not keep
	Watching    int
	Size        Size // of the store; zero if it cannot tell
}

// Counts are those of Stats that need not be asked for: events recorded, and not recorded, since the start.
func (r *Recorder) Counts() (recorded, not uint64) { return r.recorded.Load(), r.notRecorded.Load() }

// Stats tells how it is.
func (r *Recorder) Stats(ctx context.Context) Stats {
	r.mu.Lock()
	watching := len(r.live)
	r.mu.Unlock()
	s := Stats{Recorded: r.recorded.Load(), NotRecorded: r.notRecorded.Load(), Watching: watching}
	s.Size, _ = r.o.Store.Size(ctx) // a store that is broken is told by the log and by NotRecorded
	return s
}

// Close keeps what is still waiting, ends those who watch, and closes the store. What is recorded afterwards is gone.
func (r *Recorder) Close(ctx context.Context) error {
	r.mu.Lock()
	if r.done {
		r.mu.Unlock()
		return nil
	}
	r.done = true
	r.mu.Unlock()
	r.turn()
	r.queue.close()
	close(r.end)
	r.keepNoMore()
	gone := make(chan struct{})
	go func() { r.left.Wait(); close(gone) }()
	select {
	case <-gone:
		return r.o.Store.Close()
	case <-ctx.Done(): // the store hangs; closing it would too
		return fmt.Errorf("close the facts: %w", ctx.Err())
	}
}

// keepNoMore hands on the last batch and closes all that it goes to.
func (r *Recorder) keepNoMore() {
	r.turn()
	r.keep.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.live {
		s.box.close()
	}
	clear(r.live)
}
