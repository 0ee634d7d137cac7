package metrics

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

const (
	topicsEvery = 10 * time.Second
	topicsRead  = 10_000 // most that are looked at for a filter
)

// Topics are series of single topics: of those that the configuration names, and of no more than it allows. A topic that has
// series keeps them. A nil one has none.
type Topics struct {
	filters []string
	most    int
	list    func(context.Context, broker.TopicQuery) (broker.TopicList, error)
	latest  atomic.Pointer[[]vitals.Series]

	mu     sync.Mutex      // one reading at a time
	chosen map[string]bool // of the last reading
}

// NewTopics prepares them; Run reads them.
func NewTopics(c Config, list func(context.Context, broker.TopicQuery) (broker.TopicList, error)) *Topics {
	return &Topics{filters: c.Topics, most: c.MaxTopics, list: list}
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
	found := map[string]broker.TopicRow{}
	for _, f := range t.filters {
		branch, word := within(f)
		list, err := t.list(ctx, broker.TopicQuery{Branch: branch, Word: word, Flat: true, Order: tally.MostMessages, Limit: topicsRead})
		if err != nil {
			return
		}
		for _, row := range list.Rows {
			if !row.Rest && topic.Match(f, row.Topic) {
				found[row.Topic] = row
			}
		}
	}
	rows := make([]broker.TopicRow, 0, len(found))
	for _, row := range found {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b broker.TopicRow) int {
		switch {
		case t.chosen[a.Topic] != t.chosen[b.Topic]:
			return map[bool]int{true: -1, false: 1}[t.chosen[a.Topic]]
		case a.Messages != b.Messages:
			return map[bool]int{true: -1, false: 1}[a.Messages > b.Messages]
		}
		return strings.Compare(a.Topic, b.Topic)
	})
	left := max(len(rows)-t.most, 0)
	rows = rows[:len(rows)-left]
	t.chosen = make(map[string]bool, len(rows))
	all := make([]vitals.Series, 0, 6*len(rows)+1)
	for i := range rows {
		r := &rows[i]
		t.chosen[r.Topic] = true
		all = append(all,
			vitals.Counter("topic_messages_total", "Messages published, by topic.", r.Messages, "topic", r.Topic),
			vitals.Counter("topic_message_bytes_total", "Payload bytes published, by topic.", r.Bytes, "topic", r.Topic),
			vitals.Counter("topic_copies_total", "Copies meant for receivers, by topic.", r.Copies, "topic", r.Topic),
			vitals.Counter("topic_copies_dropped_total", "Copies that did not reach their receiver, by topic.", r.Dropped, "topic", r.Topic),
			vitals.Counter("topic_messages_denied_total", "Messages that rules did not allow, by topic.", uint64(r.Denied), "topic", r.Topic),
			vitals.Counter("topic_messages_unheard_total", "Messages that nobody listened to, by topic.", r.Unheard, "topic", r.Topic))
	}
	all = append(all, vitals.Gauge("topics_left_out", "Topics that metrics.topics names and metrics.max_topics leaves without series.", float64(left)))
	t.latest.Store(&all)
}

// within is where topics that a filter matches are looked for: below a branch, with a word in their names.
func within(filter string) (branch, word string) {
	levels := strings.Split(filter, "/")
	if i := slices.IndexFunc(levels, func(l string) bool { return l == "+" || l == "#" }); i >= 0 {
		levels = levels[:i]
	}
	if len(levels) == 0 {
		return "", ""
	}
	return strings.Join(levels[:len(levels)-1], "/"), strings.Join(levels, "/")
}
