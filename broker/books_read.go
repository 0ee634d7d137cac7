package broker

import (
	"context"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// topicBooks are what the shards' books of topics share.
type topicBooks struct {
	options Bookkeeping // TotalPayloads is that of one shard
	names   *tally.Names

	mu   sync.RWMutex // guards the rest; held while the view is brought up to date: others wait for it and share it
	at   time.Time    // of view
	view *tally.View  // nil = nobody looked for viewKept
	old  *time.Timer  // forgets the view
}

// open readies the books; nil = DefaultBookkeeping.
func (t *topicBooks) open(o *Bookkeeping, shards int) {
	t.options = DefaultBookkeeping()
	if o != nil {
		t.options = *o
	}
	t.options.TotalPayloads /= shards
	t.names = tally.NewNames(t.options.Topics)
}

// Books are the lines of all shards and those of each. Each shard's are of one moment, but not all of the same: in the sum
// Mailed and Got may differ for that alone.
type Books struct {
	At     time.Time
	Since  time.Time
	Total  tally.Lines
	Shards []tally.Lines
}

// Balanced tells that the law holds in every shard.
func (b *Books) Balanced() bool {
	for i := range b.Shards {
		if s := &b.Shards[i]; s.Difference() != 0 || s.Messages() != 0 {
			return false
		}
	}
	return true
}

// Books returns the books as they are. After Close they are those at the end.
func (w *View) Books(ctx context.Context) (Books, error) {
	all := Books{At: time.Now(), Since: w.b.started}
	for _, sh := range w.b.shards {
		var lines tally.Lines
		if err := w.within(ctx, sh, func() { lines = sh.books.lines() }); err != nil {
			return Books{}, err
		}
		all.Shards = append(all.Shards, lines)
		all.Total.Add(&lines)
	}
	return all, nil
}

// Tally is what a client id sent and got; the zero one if nothing ever did.
func (w *View) Tally(ctx context.Context, id string) (ClientTally, error) {
	var t ClientTally
	err := w.on(ctx, id, func(sh *shard, c *client) { t = tallyOf(sh, c) })
	return t, err
}

// ClientTally is a client's page of the books, with its rates as they are.
type ClientTally struct {
	tally.Client
	In, Out tally.Rates
}

func tallyOf(sh *shard, c *client) ClientTally {
	a := c.account()
	if a == nil {
		return ClientTally{}
	}
	t := ClientTally{Client: a.Copy()}
	t.In, t.Out = t.Rates(tally.Slot(sh.now))
	return t
}

// Unbalanced are the clients whose own law does not hold, at most some, and how many were looked at.
func (w *View) Unbalanced(ctx context.Context, most int) (bad map[string]int64, looked int, err error) {
	bad = make(map[string]int64)
	looked, err = w.onAll(ctx, nil, func(_ *shard, c *client) bool {
		a := c.account()
		if a == nil {
			return false
		}
		if d := a.Difference(); d != 0 && len(bad) < most {
			bad[c.id] = d
		}
		return true
	})
	return bad, looked, err
}

// TopicDetail is what is known of one topic.
type TopicDetail struct {
	Topic string
	tally.Detail
	Retained    *mqtt.Message // nil = none; not to be changed
	Subscribers []TopicSubscriber
	More        bool // there are more subscribers than are listed
}

// ErrNoTopic says that nothing is known of a topic.
var ErrNoTopic = errNoTopic{}

type errNoTopic struct{}

// Error implements error.
func (errNoTopic) Error() string { return "nothing was published to the topic" }

// Topic tells about one topic, with at most so many subscribers. It is ErrNoTopic when nothing was published to it and nothing is retained.
func (w *View) Topic(ctx context.Context, name string, subscribers int) (TopicDetail, error) {
	d := TopicDetail{Topic: name}
	d.Retained, _ = w.b.retained.tree.Get([]byte(name))
	n := w.b.topics.names.Find([]byte(name))
	if n == 0 && d.Retained == nil {
		return d, ErrNoTopic
	}
	if n != 0 {
		for _, sh := range w.b.shards {
			if err := w.in(ctx, sh, func() { sh.books.topics.Detail(n, sh.books.slot, &sh.books.publishers, &d.Detail) }); err != nil {
				return d, err
			}
		}
	}
	var err error
	d.Subscribers, d.More, err = w.subscribers(ctx, name, subscribers)
	return d, err
}
