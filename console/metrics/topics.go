package metrics

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

const topicsEvery = 10 * time.Second

// Topics are series of single topics: of those that the configuration names, and of no more than it allows. A topic that has
// series keeps them. A nil one has none.
type Topics struct {
	filters []string
	most    int
	look    func(context.Context, func(*tally.View)) error
	latest  atomic.Pointer[[]vitals.Series]

	mu     sync.Mutex      // one reading at a time
	chosen map[string]bool // of the last reading
}

// NewTopics prepares them; Run reads them.
func NewTopics(c Config, look func(context.Context, func(*tally.View)) error) *Topics {
	return &Topics{filters: c.Topics, most: c.MaxTopics, look: look}
}

// counted is a topic that a filter names.
type counted struct {
	name string
	tally.Counts
}

// Series are those of the last reading.
func (t *Topics) Series() []vitals.Series {
	if t == nil {
		return nil
	}
	if s := t.latest.Load(); s != nil {
		return *s
	}
	return nil
}

// Run reads until ctx ends. Where a reading fails, the one before it stands.
func (t *Topics) Run(ctx context.Context) {
	tick := time.NewTicker(topicsEvery)
	defer tick.Stop()
	for {
		t.Read(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Read reads once; Run does it all the time.
func (t *Topics) Read(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var rows []counted
	if err := t.look(ctx, func(v *tally.View) {
		found := map[tally.Topic]*tally.Counts{}
		for _, f := range t.filters {
			for n := range v.Matching(f) {
				if !v.Names.IsRest(n) {
					found[n], _ = v.Own(n)
				}
			}
		}
		for n, c := range found {
			rows = append(rows, counted{name: v.Names.Name(n), Counts: *c})
		}
	}); err != nil {
		return
	}
	slices.SortFunc(rows, func(a, b counted) int {
		if t.chosen[a.name] != t.chosen[b.name] {
			return map[bool]int{true: -1, false: 1}[t.chosen[a.name]]
		}
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), strings.Compare(a.name, b.name))
	})
	left := max(len(rows)-t.most, 0)
	rows = rows[:len(rows)-left]
	t.chosen = make(map[string]bool, len(rows))
	all := make([]vitals.Series, 0, 6*len(rows)+1)
	for i := range rows {
		r := &rows[i]
		t.chosen[r.name] = true
		all = append(all,
			vitals.Counter("topic_messages_total", "Messages published, by topic.", r.Messages, "topic", r.name),
			vitals.Counter("topic_message_bytes_total", "Payload bytes published, by topic.", r.Bytes, "topic", r.name),
			vitals.Counter("topic_copies_total", "Copies meant for receivers, by topic.", r.Copies, "topic", r.name),
			vitals.Counter("topic_copies_dropped_total", "Copies that did not reach their receiver, by topic.", r.Dropped, "topic", r.name),
			vitals.Counter("topic_messages_denied_total", "Messages that rules did not allow, by topic.", uint64(r.Denied), "topic", r.name),
			vitals.Counter("topic_messages_unheard_total", "Messages that nobody listened to, by topic.", r.Unheard, "topic", r.name))
	}
	all = append(all, vitals.Gauge("topics_left_out", "Topics that metrics.topics names and metrics.max_topics leaves without series.", float64(left)))
	t.latest.Store(&all)
}
