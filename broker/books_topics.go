package broker

import (
	"context"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// TopicRow is a topic, or a branch with all that is below it, as lists show it.
type TopicRow struct {
	Name     string    `json:"name" doc:"The last level."`
	Topic    string    `json:"topic"`
	Branch   bool      `json:"branch" doc:"There is something below it."`
	Children int       `json:"children" doc:"Levels right below it."`
	Topics   uint32    `json:"topics" doc:"Topics that were published to, itself included."`
	Messages uint64    `json:"messages"`
	Bytes    uint64    `json:"bytes" doc:"Of payloads."`
	Copies   uint64    `json:"copies" doc:"Meant for receivers."`
	Sent     uint64    `json:"sent" doc:"Copies written to a connection, once each."`
	Waiting  int64     `json:"waiting" doc:"Copies that are neither sent nor dropped: queued or on their way."`
	Rate     float32   `json:"rate" doc:"Messages per second, in the last whole five seconds."`
	Rate1    float32   `json:"rate1" doc:"Over a minute."`
	Rate5    float32   `json:"rate5"`
	Rate15   float32   `json:"rate15"`
	Dropped  uint64    `json:"dropped" doc:"Copies."`
	Denied   uint32    `json:"denied" doc:"Messages."`
	Refused  uint32    `json:"refused" doc:"Messages."`
	Unheard  uint64    `json:"unheard" doc:"Messages that nobody listened to."`
	Retained int       `json:"retained" doc:"1 if there is a retained message of this topic."`
	MaxSize  uint32    `json:"max_size"`
	Rest     bool      `json:"rest,omitempty" doc:"It stands for the topics of its branch that are too many to count each."`
	Last     *LastSeen `json:"last,omitempty"`
}

// LastSeen is the last message of a topic, or in a branch when it was.
type LastSeen struct {
	At        time.Time `json:"at"`
	Publisher string    `json:"publisher,omitempty"`
	Size      int       `json:"size"`
	QoS       uint8     `json:"qos"`
	Retain    bool      `json:"retain"`
}

// TopicQuery asks for topics; what is zero does not narrow.
type TopicQuery struct {
	Branch  string               // below it; "" = the root
	Flat    bool                 // all topics below it, not its levels
	Word    string               // part of the name
	Accept  func(*TopicRow) bool // nil = all; called with the numbers alone: no names, no Last, no Children
	Order   tally.Order
	Reverse bool
	After   int // rows to pass over
	Limit   int // 0 = 100, at most 10,000
}

// TopicList is an answer.
type TopicList struct {
	At      time.Time
	Total   int // names and branches there are
	Matched int
	Rows    []TopicRow
}

// Topics lists topics, or the levels right below a branch. It works on a view that is shared for a second: no loop waits for it.
func (w *View) Topics(ctx context.Context, q TopicQuery) (TopicList, error) {
	v, err := w.TopicView(ctx)
	if err != nil {
		return TopicList{}, err
	}
	list := TopicList{At: v.At, Total: len(v.Own) - 2}
	x := tally.Query{Flat: q.Flat, Order: q.Order, Reverse: q.Reverse, After: q.After, Limit: min(q.Limit, 10_000)}
	if q.Word != "" {
		x.Word = []byte(q.Word)
	}
	if q.Branch != "" {
		if x.Branch = v.Names.Find([]byte(q.Branch)); x.Branch == 0 {
			return list, nil
		}
	}
	if q.Accept != nil {
		x.Accept = func(_ tally.Topic, s *tally.Sum) bool {
			row := rowOf(s)
			return q.Accept(&row)
		}
	}
	found, matched := v.Select(v.Branches, &x)
	list.Matched = matched
	err = w.rows(ctx, v, found, &list)
	return list, err
}

// Unheard lists the topics that were published to and nobody ever listened to.
func (w *View) Unheard(ctx context.Context, q TopicQuery) (TopicList, error) {
	also := q.Accept
	q.Flat, q.Accept = true, func(r *TopicRow) bool {
		return r.Messages > 0 && r.Unheard == r.Messages && (also == nil || also(r))
	}
	return w.Topics(ctx, q)
}

// rowOf is a row without names.
func rowOf(s *tally.Sum) TopicRow {
	row := TopicRow{
		Topics: s.Topics, Messages: s.Messages, Bytes: s.Bytes, Copies: s.Copies, Sent: s.Sent,
		Waiting: int64(s.Copies) - int64(s.Sent) - int64(s.Dropped),
		Rate:    s.Rates.Now, Rate1: s.Rates.Average[0], Rate5: s.Rates.Average[1], Rate15: s.Rates.Average[2],
		Dropped: s.Dropped, Denied: s.Denied, Refused: s.Refused, Unheard: s.Unheard, MaxSize: s.Largest,
	}
	if s.Last != 0 {
		row.Last = &LastSeen{At: time.UnixMilli(s.Last)}
	}
	return row
}

// rows makes the rows of what was found, with what only the shards know of their last messages.
func (w *View) rows(ctx context.Context, v *TopicView, found []tally.Found, list *TopicList) error {
	details := make([]tally.Detail, len(found))
	for _, sh := range w.b.shards {
		for from := 0; from < len(found); from += slice {
			end := min(from+slice, len(found))
			err := w.in(ctx, sh, func() {
				for i := from; i < end; i++ {
					sh.books.topics.Detail(found[i].Topic, &sh.books.publishers, &details[i])
				}
			})
			if err != nil {
				return err
			}
		}
	}
	for i, f := range found {
		row := rowOf(&f.Sum)
		row.Name, row.Topic = string(v.Names.Level(f.Topic)), v.Names.Name(f.Topic)
		row.Children, row.Branch, row.Rest = f.Children, f.Children > 0, v.Names.IsRest(f.Topic)
		if _, ok := w.b.retained.tree.Get([]byte(row.Topic)); ok {
			row.Retained = 1
		}
		if d := &details[i]; row.Last != nil && d.Last == f.Sum.Last {
			row.Last.Publisher = d.Publisher
			if p := d.Payload; p != nil {
				row.Last.Size, row.Last.QoS, row.Last.Retain = p.Size, p.QoS, p.Retain
			}
		}
		list.Rows = append(list.Rows, row)
	}
	return nil
}

// TopTopic is a topic among the heaviest.
type TopTopic struct {
	Topic  string `json:"topic"`
	Weight uint64 `json:"weight"`
	Error  uint64 `json:"error" doc:"By so much Weight may be too great, at most; 0 = it is exact."`
}

// Top lists the heaviest topics of any branch. They are exact as long as every topic is counted by itself; beyond
// Bookkeeping.Topics a sketch finds them among the others, and misses says how heavy a topic may be and not be found.
func (w *View) Top(ctx context.Context, by tally.Weight, n int) (top []TopTopic, misses uint64, err error) {
	v, err := w.TopicView(ctx)
	if err != nil {
		return nil, 0, err
	}
	order := map[tally.Weight]tally.Order{
		tally.ByMessages: tally.MostMessages, tally.ByBytes: tally.MostBytes, tally.ByCopies: tally.MostCopies, tally.ByDrops: tally.MostDropped,
	}[by]
	found, _ := v.Select(nil, &tally.Query{Flat: true, Order: order, Limit: n, Accept: func(t tally.Topic, _ *tally.Sum) bool { return !v.Names.IsRest(t) }})
	heavy := v.Heavy[by]
	for len(top) < n && len(found)+len(heavy) > 0 {
		if len(found) > 0 && (len(heavy) == 0 || found[0].Sum.By(by) >= heavy[0].Weight) {
			top = append(top, TopTopic{Topic: v.Names.Name(found[0].Topic), Weight: found[0].Sum.By(by)})
			found = found[1:]
			continue
		}
		top = append(top, TopTopic{Topic: heavy[0].Name, Weight: heavy[0].Weight, Error: heavy[0].Error})
		heavy = heavy[1:]
	}
	return top, v.Misses[by], nil
}

// Unfed are the filters that somebody subscribes to and that nothing published since the start matched, with how many
// subscriptions each has; at most so many, and how many there are. It looks at every topic: a second for a million.
func (w *View) Unfed(ctx context.Context, most int) (filters map[string]int, all int, err error) {
	var names []string
	subscribers := make(map[string]int)
	_, err = w.onAll(ctx, nil, func(_ *shard, c *client) bool {
		for _, s := range c.s.Subscriptions() {
			if subscribers[s.Filter]++; subscribers[s.Filter] == 1 {
				names = append(names, s.Filter)
			}
		}
		return false
	})
	if err != nil {
		return nil, 0, err
	}
	v, err := w.TopicView(ctx)
	if err != nil {
		return nil, 0, err
	}
	index := topic.NewIndex()
	for i, f := range names {
		if _, inner := splitShared(f); inner != "" {
			index.Set(inner, topic.Entry{ID: uint32(i)})
		}
	}
	fed := make([]bool, len(names))
	var name []byte
	var entries []topic.Entry
	for t := range v.Own {
		if n := tally.Topic(t); v.Own[t].Messages > 0 && !v.Names.IsRest(n) {
			name = v.Names.Append(name[:0], n)
			entries = index.Match(name, entries[:0])
			for _, e := range entries {
				fed[e.ID] = true
			}
		}
	}
	filters = make(map[string]int)
	for i, f := range names {
		if strings.HasPrefix(f, "$SYS/") || fed[i] {
			continue
		}
		if all++; len(filters) < most {
			filters[f] = subscribers[f]
		}
	}
	return filters, all, nil
}
