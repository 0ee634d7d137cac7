package broker

import (
	"context"
	"slices"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// retainedSlice is how many retained messages are looked at, or changed, at a time.
const retainedSlice = 256

// Retained gives the retained messages whose topics match a filter to each, until that returns false. No loop is asked. Messages are not to be changed.
func (w *View) Retained(ctx context.Context, filter string, each func(*mqtt.Message) bool) error {
	if err := topic.ValidFilter(filter); err != nil {
		return err
	}
	cursor := w.b.retained.tree.Scan(filter)
	defer cursor.Close()
	found := make([]*mqtt.Message, 0, retainedSlice)
	for done := false; !done; {
		if err := ctx.Err(); err != nil {
			return err
		}
		found = found[:0]
		done = cursor.Next(4*retainedSlice, func(_ string, m *mqtt.Message) bool {
			found = append(found, m)
			return len(found) < retainedSlice
		})
		for _, m := range found {
			if !each(m) {
				return nil
			}
		}
	}
	return nil
}

// RetainedMessage is the retained message of a topic, not to be changed; nil = none.
func (w *View) RetainedMessage(name string) *mqtt.Message {
	m, _ := w.b.retained.tree.Get([]byte(name))
	return m
}

// DeleteRetained removes retained messages that Retained gave, each if it is still its topic's, and tells how many. Nobody is sent anything; those of the
// broker's own topics stay. What it tells is kept when it returns.
func (k *Control) DeleteRetained(ctx context.Context, list []*mqtt.Message, progress func(done int)) (removed int, err error) {
	err = k.eachRetained(ctx, list, progress, func(r *router, m *mqtt.Message) {
		all := r.sh.b.retained
		if now, ok := all.tree.Get(m.Topic); !ok || now != m || !isStored(m.Topic) {
			return
		}
		gone := &mqtt.Message{Topic: m.Topic, Retain: true}
		r.keepRetained(gone, true, all.propose(gone.Own(), true))
		removed++
	})
	return removed, err
}

// Restored is what became of messages that RestoreRetained was to put back.
type Restored struct {
	Restored int
	Newer    int // their topic has another one meanwhile, which stays
	Expired  int
	Refused  int // the limits do not allow them
}

// RestoreRetained puts retained messages back as they were, with their time and their expiry, where their topic has none. Nobody is sent anything. The
// messages are the broker's from now on.
func (k *Control) RestoreRetained(ctx context.Context, list []*mqtt.Message, progress func(done int)) (x Restored, err error) {
	err = k.eachRetained(ctx, list, progress, func(r *router, m *mqtt.Message) {
		all := r.sh.b.retained
		_, there := all.tree.Get(m.Topic)
		switch {
		case !isStored(m.Topic) || there:
			x.Newer++
		case m.Expires != 0 && m.Expires <= r.sh.now:
			x.Expired++
		case !all.fits(m):
			x.Refused++
		default:
			r.keepRetained(m, false, all.propose(m.Keep(), false))
			x.Restored++
		}
	})
	return x, err
}

// eachRetained runs do for each message on a loop, a slice at a time.
func (k *Control) eachRetained(ctx context.Context, list []*mqtt.Message, progress func(done int), do func(*router, *mqtt.Message)) error {
	sh, done := k.b.shards[0], 0
	for some := range slices.Chunk(list, retainedSlice) {
		if err := k.kept(ctx, sh, func() {
			sh.b.guard("retained", func() {
				for _, m := range some {
					do(&sh.router, m)
				}
			})
		}); err != nil {
			return err
		}
		if done += len(some); progress != nil {
			progress(done)
		}
	}
	return nil
}
