package broker

import (
	"context"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/tally"
)

const (
	// TopicViewAge is how old a view may be that is shared.
	TopicViewAge = time.Second
	// viewKept is how long a view is held that nobody asks for.
	viewKept = 30 * time.Second
	// topicRows is how many topics are read before a loop goes on with its work: less than a millisecond.
	topicRows = 2048
	// topicBatch is how many topics a loop reads, in its turns, before the next loop does.
	topicBatch = 16 * topicRows
)

// Topics has use look at what was counted by topic, at most TopicViewAge old. All who ask share one view; it is not there any more when use is back, and use
// must not ask for another. The first one reads all topics, those after it what has changed: the loops are asked in slices. See tally.View for its memory.
func (w *View) Topics(ctx context.Context, use func(*tally.View)) error {
	t := &w.b.topics
	for {
		t.mu.RLock()
		if v := t.view; v != nil && time.Since(t.at) < TopicViewAge {
			defer t.mu.RUnlock()
			use(v)
			return nil
		}
		t.mu.RUnlock()
		if err := w.refreshTopics(ctx); err != nil {
			return err
		}
	}
}

// refreshTopics brings the view up to date.
func (w *View) refreshTopics(ctx context.Context) error {
	t := &w.b.topics
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.view != nil && time.Since(t.at) < TopicViewAge {
		return nil
	}
	if t.view == nil {
		t.view = tally.NewView(t.names)
	}
	if err := w.readTopics(ctx, t.view); err != nil {
		t.view = nil // it does not know what it has missed
		return err
	}
	if t.at = time.Now(); t.old == nil {
		t.old = time.AfterFunc(viewKept, t.forget)
	}
	t.old.Reset(viewKept)
	return nil
}

func (w *View) readTopics(ctx context.Context, v *tally.View) error {
	var kept []tally.Topic
	if v.Len() <= int(tally.Root) { // it is new
		var err error
		if kept, err = w.namedRetained(ctx); err != nil {
			return err
		}
	}
	slot := tally.Slot(w.b.clock(time.Now()))
	v.Begin(slot)
	var heavy [tally.Weights][][]tally.Heavy
	for _, sh := range w.b.shards {
		if err := w.in(ctx, sh, func() {
			sh.books.topics.Touched(v)
			for by := range heavy {
				heavy[by] = append(heavy[by], sh.books.topics.Heavy(tally.Weight(by)))
			}
		}); err != nil {
			return err
		}
	}
	for some, sums := range v.Changed(topicBatch) {
		for _, sh := range w.b.shards {
			read := 0
			if err := w.turns(ctx, sh, func() (more bool) {
				end := min(read+topicRows, len(some))
				sh.books.topics.Read(slot, some[read:end], sums[read:end])
				read = end
				return end < len(some)
			}); err != nil {
				return err
			}
		}
	}
	for _, t := range kept {
		v.Keep(t)
	}
	v.End(heavy)
	return nil
}

// forget gives the view's memory back when nobody has asked for it for a while.
func (t *topicBooks) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.at) >= viewKept {
		t.view = nil
	}
}
