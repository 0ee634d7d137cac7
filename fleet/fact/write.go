package fact

import (
	"context"
	"fmt"
	"time"
)

const (
	chunk    = 4096                  // facts of one Append at most
	step     = 1000                  // facts that one Trim drops at most
	patience = time.Second           // between two tries of a store that fails
	slowest  = time.Minute           // the longest of them
	idle     = time.Minute           // between two looks at what is too old, while nothing comes
	breath   = 50 * time.Millisecond // between two steps of a trim, while nothing comes
)

// writer is the goroutine that waits for the store.
type writer struct {
	r       *Recorder
	lost    uint64    // not told yet
	failing time.Time // since when the store fails; zero = it does not
	again   time.Time // no try before
	wait    time.Duration
}

// write keeps what comes until the box is closed and empty.
func (r *Recorder) write() {
	w := &writer{r: r}
	more := w.trim(step)
	for {
		wait := idle
		if more {
			wait = breath
		}
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		t, err := r.keep.next(ctx)
		cancel()
		if err == ErrClosed {
			return
		}
		if t.lost > 0 {
			w.lose(int(t.lost))
		}
		w.all(t.facts)
		for _, done := range t.behind {
			close(done)
		}
		more = w.trim(max(step, 2*len(t.facts)))
	}
}

func (w *writer) lose(n int) {
	w.lost += uint64(n)
	w.r.notRecorded.Add(uint64(n))
}

// all keeps facts, or counts those that the store does not take.
func (w *writer) all(facts []Fact) {
	for len(facts) > 0 {
		n := min(chunk, len(facts))
		now := time.Now()
		if now.Before(w.again) {
			w.lose(len(facts))
			return
		}
		if err := w.r.o.Store.Append(context.Background(), facts[:n]); err != nil {
			w.lose(n)
			w.failed(now, err)
		} else {
			w.works(now)
		}
		facts = facts[n:]
	}
}

// failed notes that the store fails, and says so once.
func (w *writer) failed(now time.Time, err error) {
	w.wait = min(max(2*w.wait, patience), slowest)
	w.again = now.Add(w.wait)
	if w.failing.IsZero() {
		w.failing = now
		w.r.log.Error("facts cannot be kept; the broker goes on, and they are counted as not recorded", "error", err)
	}
}

// works notes that the store takes facts, and tells of those that are missing.
func (w *writer) works(now time.Time) {
	if !w.failing.IsZero() {
		w.r.log.Info("facts are kept again", "not_recorded", w.lost, "for", now.Sub(w.failing).Round(time.Second))
	}
	w.failing, w.again, w.wait = time.Time{}, time.Time{}, 0
	if w.lost > 0 {
		w.r.Record(Fact{Kind: NotRecorded, Reason: "store", Count: w.lost, Text: fmt.Sprintf("%d facts could not be kept.", w.lost)})
		w.lost = 0
	}
}

// trim drops what is too old or too much, about so many at most, and tells whether there is more: in small steps, so that no query waits long.
func (w *writer) trim(most int) (more bool) {
	o := &w.r.o
	if o.MaxBytes <= 0 && o.MaxAge <= 0 || !w.failing.IsZero() && time.Now().Before(w.again) {
		return false
	}
	var below uint64
	if o.MaxAge > 0 {
		below = IDAt(time.Now().Add(-o.MaxAge))
	}
	for dropped := 0; dropped < most; {
		n, err := o.Store.Trim(context.Background(), below, o.MaxBytes, step)
		if err != nil {
			w.failed(time.Now(), err)
			return false
		}
		dropped += n
		if n < step {
			return false
		}
	}
	return true
}
