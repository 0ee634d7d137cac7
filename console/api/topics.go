package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/console/api/filter"
	"github.com/sapwood-mqtt/sapwood/console/api/payload"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Topics is what the broker has counted by topic.
type Topics interface {
	// Look has use look at what was counted by topic, at most a second old; it is there no longer when use is back, and use must not look again.
	Look(ctx context.Context, use func(*tally.View)) error
	// Topic is one topic with at most so many subscribers; false = nothing is known of it.
	Topic(ctx context.Context, name string, subscribers int) (TopicData, bool, error)
	Retained(name string) *mqtt.Message
	// Search returns the topics in whose last payload, as far as it is kept, or in whose retained message there is a word.
	Search(ctx context.Context, word []byte) (map[tally.Topic]bool, error)
}

// TopicData is what is known of one topic.
type TopicData struct {
	Detail      tally.Detail
	DroppedBy   map[string]uint64
	Retained    *mqtt.Message
	Subscribers []TopicSubscriber
	More        bool
}

// TopicSubscriber is one who gets what is published to a topic.
type TopicSubscriber struct {
	Client string `json:"client"`
	Filter string `json:"filter"`
	QoS    int    `json:"qos"`
	Group  string `json:"group,omitempty"`
}

// TopicRow is a topic, or a branch with all that is below it.
type TopicRow struct {
	Name     string       `json:"name" doc:"The last level."`
	Topic    string       `json:"topic"`
	Branch   bool         `json:"branch" doc:"There is something below it; the figures are of it all."`
	Children int          `json:"children,omitempty"`
	Topics   uint32       `json:"topics" doc:"That were published to, or had a retained message at the start, in it and below."`
	Messages uint64       `json:"messages"`
	QoS      [3]uint64    `json:"qos" doc:"Messages by QoS."`
	Bytes    uint64       `json:"bytes" doc:"Payloads."`
	Copies   uint64       `json:"copies" doc:"For receivers."`
	Rate     float32      `json:"rate" doc:"Messages per second, of the last whole five seconds."`
	Rate1    float32      `json:"rate1" doc:"Average over a minute."`
	Rate5    float32      `json:"rate5"`
	Rate15   float32      `json:"rate15"`
	Dropped  uint64       `json:"dropped" doc:"Copies."`
	Denied   uint32       `json:"denied"`
	Unheard  uint64       `json:"unheard" doc:"Messages for which there was no subscription."`
	Retained bool         `json:"retained" doc:"It has a retained message."`
	MaxSize  uint32       `json:"max_size"`
	Last     *LastMessage `json:"last,omitempty"`
}

// LastMessage is the last message of a topic; publisher, size, QoS and retain where one topic is asked about.
type LastMessage struct {
	At        *time.Time `json:"at,omitempty"`
	Publisher string     `json:"publisher,omitempty"`
	Size      *int       `json:"size,omitempty"`
	QoS       *int       `json:"qos,omitempty"`
	Retain    *bool      `json:"retain,omitempty"`
}

// TopicDetail is all about one topic.
type TopicDetail struct {
	TopicRow
	Payload     *payload.Shown    `json:"payload,omitempty" doc:"Of the last message, or of one a little before where many come; of the retained one where none is kept."`
	Subscribers []TopicSubscriber `json:"subscribers"`
	More        bool              `json:"more_subscribers,omitempty"`
	Sizes       []SizeClass       `json:"sizes" doc:"Messages by the size of their payload; classes without any are left out."`
	DroppedBy   map[string]uint64 `json:"dropped_by"`
	DeniedBy    map[string]uint64 `json:"denied_by"`
}

// SizeClass is how many messages are larger than the class before, and not larger than this.
type SizeClass struct {
	UpTo     int    `json:"up_to" doc:"Bytes; -1 = any."`
	Messages uint64 `json:"messages"`
}

// TopTopic is one of the heaviest.
type TopTopic struct {
	Topic  string `json:"topic"`
	Weight uint64 `json:"weight"`
	Error  uint64 `json:"error,omitempty" doc:"The weight may be too much by this: the topic has no count of its own."`
}

// look is one look at what was counted by topic.
type look struct {
	*tally.View
	of       func(tally.Topic) (*tally.Counts, *tally.Rates) // a topic's own, or those of a branch
	retained func(name string) *mqtt.Message
	b        []byte
}

// schema are the fields of topics.
func (l *look) schema() *filter.Schema[tally.Topic] {
	type f = filter.Field[tally.Topic]
	number := func(name string, n func(*tally.Counts) float64) f {
		return f{Name: name, Kind: filter.Number, Number: func(t *tally.Topic) float64 { c, _ := l.of(*t); return n(c) }}
	}
	rate := func(name string, n func(*tally.Rates) float32) f {
		return f{Name: name, Kind: filter.Number, Number: func(t *tally.Topic) float64 { _, r := l.of(*t); return float64(n(r)) }}
	}
	name := f{Name: "topic", Append: func(b []byte, t *tally.Topic) []byte { return l.Names.Append(b, *t) }, Word: true, Has: l.has}
	return filter.New(name, name,
		number("messages", func(c *tally.Counts) float64 { return float64(c.Messages) }),
		number("bytes", func(c *tally.Counts) float64 { return float64(c.Bytes) }),
		number("copies", func(c *tally.Counts) float64 { return float64(c.Copies) }),
		number("topics", func(c *tally.Counts) float64 { return float64(c.Topics) }),
		rate("rate", func(r *tally.Rates) float32 { return r.Now }),
		rate("rate1", func(r *tally.Rates) float32 { return r.Average[0] }),
		rate("rate5", func(r *tally.Rates) float32 { return r.Average[1] }),
		rate("rate15", func(r *tally.Rates) float32 { return r.Average[2] }),
		number("dropped", func(c *tally.Counts) float64 { return float64(c.Dropped) }),
		number("denied", func(c *tally.Counts) float64 { return float64(c.Denied) }),
		number("unheard", func(c *tally.Counts) float64 { return float64(c.Unheard) }),
		number("max_size", func(c *tally.Counts) float64 { return float64(c.Largest) }),
		f{Name: "retained", Kind: filter.Bool, Number: func(t *tally.Topic) float64 { return truth(l.retained(l.Names.Name(*t)) != nil) }},
		f{Name: "last", Kind: filter.Time, Number: func(t *tally.Topic) float64 { c, _ := l.of(*t); return float64(c.Last) / 1000 }},
	)
}

// has looks for a word in names: in each level once, however many topics are below it, unless the word goes beyond a level.
func (l *look) has(word string) func(*tally.Topic) bool {
	in := filter.Contains(word)
	text := func(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
	if strings.Contains(word, "/") {
		return func(t *tally.Topic) bool {
			l.b = l.Names.Append(l.b[:0], *t)
			return in(text(l.b))
		}
	}
	const yes, no = 1, 2
	known := make([]uint8, l.Len())
	var look func(t tally.Topic) bool
	look = func(t tally.Topic) bool {
		if t <= tally.Root {
			return false
		}
		if known[t] == 0 {
			known[t] = no
			if in(text(l.Names.Level(t))) || look(l.Names.Parent(t)) {
				known[t] = yes
			}
		}
		return known[t] == yes
	}
	return func(t *tally.Topic) bool { return look(*t) }
}

func (l *look) row(t *tally.Topic) TopicRow {
	name := l.Names.Name(*t)
	counts, rates := l.of(*t)
	r := topicRow(name, counts, rates)
	r.Retained = l.retained(name) != nil
	return r
}

func topicRow(name string, c *tally.Counts, rates *tally.Rates) TopicRow {
	r := TopicRow{
		Name: name[strings.LastIndexByte(name, '/')+1:], Topic: name, Topics: c.Topics,
		Messages: c.Messages, QoS: c.QoS(), Bytes: c.Bytes, Copies: c.Copies, Rate: rates.Now, Rate1: rates.Average[0], Rate5: rates.Average[1],
		Rate15: rates.Average[2], Dropped: c.Dropped, Denied: c.Denied, Unheard: c.Unheard, MaxSize: c.Largest,
	}
	if c.Last != 0 {
		r.Last = &LastMessage{At: atOf(c.Last)}
	}
	return r
}

// topicsOf is the part of the API that is about topics.
type topicsOf struct {
	Topics
	clients Inspector
	unfed   *filter.Schema[Subscriber]
}

func registerTopics(h huma.API, t Topics, c Inspector) {
	o := &topicsOf{Topics: t, clients: c, unfed: subscriberSchema()}
	op := func(id, path, summary string) huma.Operation {
		return serve.Operation(id, http.MethodGet, path, "topics", summary, http.StatusNotFound, http.StatusConflict)
	}
	huma.Register(h, op("topics-tree", "/topics/tree", "What is right below a branch of the topics, each with the sums of all that is below"), o.tree)
	huma.Register(h, op("topics", "/topics", "Topics that were published to, or had a retained message at the start, a page at a time"), func(ctx context.Context, in *struct {
		ListQuery
		Payload string `query:"payload" maxLength:"256" doc:"Only topics that have this word in their last message, as far as it is kept, or in their retained one."`
	},
	) (*answer[serve.List[TopicRow]], error) {
		return o.list(ctx, &in.ListQuery, in.Payload, nil)
	})
	huma.Register(h, op("topics-unheard", "/topics/unheard", "Topics with messages for which there was no subscription, but for the broker's own below $SYS and $canary"), func(ctx context.Context, in *struct{ ListQuery }) (*answer[serve.List[TopicRow]], error) {
		return o.list(ctx, &in.ListQuery, "", func(l *look) func(tally.Topic) bool {
			ours := l.ours()
			return func(t tally.Topic) bool { c, _ := l.Own(t); return c.Unheard > 0 && !ours(t) }
		})
	})
	huma.Register(h, op("topics-unfed", "/topics/unfed", "Subscriptions whose filter matches no topic that was published to; the broker's own with the filter own:true"), o.listUnfed)
	huma.Register(h, op("topics-top", "/topics/top", "The heaviest topics, but for the broker's own below $SYS and $canary"), o.top)
	huma.Register(h, op("topic", "/topics/detail", "One topic: its figures, its last message, who gets it"), o.detail)
}

func (o *topicsOf) there() error {
	if o.Topics == nil {
		return huma.Error409Conflict("this process counts nothing by topic")
	}
	return nil
}

// look has use look at what was counted.
func (o *topicsOf) look(ctx context.Context, use func(*look) error) error {
	if err := o.there(); err != nil {
		return err
	}
	var wrong error
	if err := o.Look(ctx, func(v *tally.View) {
		wrong = use(&look{View: v, of: v.Own, retained: o.Retained})
	}); err != nil {
		return serve.Failure(err)
	}
	return wrong
}

// below tells of a topic whether it is a branch, or below it.
func (l *look) below(branch string) func(tally.Topic) bool {
	root := l.Names.Find([]byte(branch))
	return func(t tally.Topic) bool {
		for t > root && t > tally.Root { // what is below a branch has a greater number
			t = l.Names.Parent(t)
		}
		return root != 0 && t == root
	}
}

// ours tells whether a topic is one that the broker itself publishes to: $SYS, or its canary's.
func (l *look) ours() func(tally.Topic) bool {
	sys, canary := l.below("$SYS"), l.below("$canary")
	return func(t tally.Topic) bool { return sys(t) || canary(t) }
}

// treeQuery is what the tree is asked.
type treeQuery struct {
	ListQuery
	Branch string `query:"branch" maxLength:"65535" doc:"A topic without its last levels; absent = the top. Empty, it is the level without a name that topics such as /a begin with."`

	given bool
}

// Resolve tells an empty branch from an absent one.
func (q *treeQuery) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	q.given = u.Query().Has("branch")
	return nil
}

func (o *topicsOf) tree(ctx context.Context, in *treeQuery) (found *answer[serve.List[TopicRow]], err error) {
	err = o.look(ctx, func(l *look) (err error) {
		root := tally.Root
		if in.given {
			if root = l.Names.Find([]byte(in.Branch)); !l.Has(root) {
				return serve.Missing("branch", in.Branch)
			}
		}
		below := make([]tally.Topic, 0, l.Children(root))
		for t := range l.Below(root) {
			below = append(below, t)
		}
		l.of = l.Branch
		found, err = page(l.schema(), each(below), &in.ListQuery, func(t *tally.Topic) TopicRow {
			r := l.row(t)
			r.Children = l.Children(*t)
			r.Branch = r.Children > 0
			return r
		})
		return err
	})
	return found, err
}

func (o *topicsOf) list(ctx context.Context, q *ListQuery, word string, only func(*look) func(tally.Topic) bool) (found *answer[serve.List[TopicRow]], err error) {
	if err := o.there(); err != nil {
		return nil, err
	}
	var has map[tally.Topic]bool
	if word != "" {
		if has, err = o.Search(ctx, []byte(word)); err != nil {
			return nil, serve.Failure(err)
		}
	}
	err = o.look(ctx, func(l *look) (err error) {
		all := func(t tally.Topic) bool { return word == "" || has[t] }
		if only != nil {
			all = only(l)
		}
		list := l.Listed()
		found, err = page(l.schema(), func(yield func(*tally.Topic) bool) {
			for i, t := range list {
				if c, _ := l.Own(t); (c.Topics > 0 || c.Denied > 0 || c.Refused > 0) && all(t) && !yield(&list[i]) {
					return
				}
			}
		}, q, l.row)
		return err
	})
	return found, err
}

func (o *topicsOf) listUnfed(ctx context.Context, in *struct{ ListQuery }) (*answer[serve.List[SubscriptionRow]], error) {
	if err := o.there(); err != nil {
		return nil, err
	}
	var subs []Subscriber
	fed := map[string]bool{} // by what is subscribed to, once for all who do
	if err := o.clients.Subscriptions(ctx, func(some []Subscriber) {
		some = others(some, in.Filter)
		for i := range some {
			fed[inner(some[i].Filter)] = false
		}
		subs = append(subs, some...)
	}); err != nil {
		return nil, serve.Failure(err)
	}
	if err := o.look(ctx, func(l *look) error { return noteFed(ctx, fed, l.View) }); err != nil {
		return nil, err
	}
	subs = slices.DeleteFunc(subs, func(s Subscriber) bool { return fed[inner(s.Filter)] })
	return page(o.unfed, each(subs), &in.ListQuery, func(s *Subscriber) SubscriptionRow {
		return SubscriptionRow{s.Client, s.User, filterRow(&s.Subscription, s.Resting)}
	})
}

// feedEvery is after how many topics it is looked whether somebody still waits for the answer.
const feedEvery = 4096

// noteFed notes which filters match one of the topics that were published to. A filter with wildcards is looked for until one does, by an index: to
// try each with each topic would take minutes where there are many of both.
func noteFed(ctx context.Context, fed map[string]bool, v *tally.View) error {
	wild, filters := topic.NewIndex(), []string(nil)
	for f := range fed {
		if strings.ContainsAny(f, "+#") {
			wild.Set(f, topic.Entry{ID: uint32(len(filters))})
			filters = append(filters, f)
			continue
		}
		if t := v.Names.Find([]byte(f)); v.Has(t) {
			own, _ := v.Own(t)
			fed[f] = own.Topics > 0
		}
	}
	var met []topic.Entry
	var name []byte
	left := len(filters)
	for i, t := range v.Listed() {
		if left == 0 {
			break
		}
		if i%feedEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if own, _ := v.Own(t); own.Topics == 0 {
			continue
		}
		name = v.Names.Append(name[:0], t)
		met = wild.Match(name, met[:0])
		for _, e := range met {
			fed[filters[e.ID]] = true
			wild.Delete(filters[e.ID], e.ID)
			left--
		}
	}
	return nil
}

// inner is what a shared subscription shares, or the filter itself.
func inner(subscribed string) string {
	if _, in, shared, err := topic.ParseShared(subscribed); shared && err == nil {
		return in
	}
	return subscribed
}

func (o *topicsOf) top(ctx context.Context, in *struct {
	By    string `query:"by" enum:"messages,bytes,copies,dropped" default:"messages"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"20"`
},
) (*answer[heaviest], error) {
	by := map[string]tally.Weight{"messages": tally.ByMessages, "bytes": tally.ByBytes, "copies": tally.ByCopies, "dropped": tally.ByDrops}[in.By]
	t := heaviest{Items: []TopTopic{}, Exact: true}
	if err := o.look(ctx, func(l *look) error {
		for _, n := range l.heaviest(by, in.Limit) {
			c, _ := l.Own(n)
			t.Items = append(t.Items, TopTopic{Topic: l.Names.Name(n), Weight: c.By(by)})
		}
		for _, x := range l.Heavy[by] {
			t.Items = append(t.Items, TopTopic{x.Name, x.Weight, x.Error})
			t.Error, t.Exact = max(t.Error, x.Error), false
		}
		return nil
	}); err != nil {
		return nil, err
	}
	slices.SortStableFunc(t.Items, func(a, b TopTopic) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), strings.Compare(a.Topic, b.Topic))
	})
	t.Items = t.Items[:min(len(t.Items), in.Limit)]
	return &answer[heaviest]{t}, nil
}

// heaviest are the heaviest of the topics that have a count of their own, but for the broker's.
func (l *look) heaviest(by tally.Weight, most int) []tally.Topic {
	ours := l.ours()
	weight := func(t tally.Topic) uint64 { c, _ := l.Own(t); return c.By(by) }
	heavier := func(a, b tally.Topic) int { return cmp.Compare(weight(b), weight(a)) }
	var list []tally.Topic
	least := uint64(0) // what is not heavier does not count
	for _, t := range l.Listed() {
		if weight(t) <= least || l.Names.IsRest(t) || ours(t) {
			continue
		}
		if list = append(list, t); len(list) == 2*most {
			slices.SortFunc(list, heavier)
			list = list[:most]
			least = weight(list[most-1])
		}
	}
	slices.SortFunc(list, heavier)
	return list[:min(len(list), most)]
}

// heaviest are the heaviest topics.
type heaviest struct {
	Items []TopTopic `json:"items"`
	Error uint64     `json:"error" doc:"By how much a weight may be too much, at most."`
	Exact bool       `json:"exact" doc:"Every topic has its own count."`
}

func (o *topicsOf) detail(ctx context.Context, in *struct {
	Topic       string `query:"topic" required:"true" maxLength:"65535"`
	Subscribers int    `query:"subscribers" minimum:"0" maximum:"1000" default:"100"`
	Payload     int    `query:"payload_bytes" minimum:"0" maximum:"1048576" default:"65536"`
},
) (*answer[TopicDetail], error) {
	if err := o.there(); err != nil {
		return nil, err
	}
	if err := topic.ValidName(in.Topic); err != nil {
		return nil, huma.Error422UnprocessableEntity("topic: " + err.Error())
	}
	x, ok, err := o.Topic(ctx, in.Topic, in.Subscribers)
	switch {
	case err != nil:
		return nil, serve.Failure(err)
	case !ok:
		return nil, serve.Missing("topic", in.Topic)
	}
	d := TopicDetail{
		TopicRow: topicRow(in.Topic, &x.Detail.Sum.Counts, &x.Detail.Sum.Rates), Subscribers: x.Subscribers, More: x.More,
		Sizes: sizes(&x.Detail), DroppedBy: x.DroppedBy, DeniedBy: map[string]uint64{},
	}
	d.Retained = x.Retained != nil
	if d.Subscribers == nil {
		d.Subscribers = []TopicSubscriber{}
	}
	for e, n := range x.Detail.Ended {
		if n > 0 {
			d.DeniedBy[tally.End(e).String()] = n
		}
	}
	if d.Last != nil {
		d.Last.Publisher = x.Detail.Publisher
	}
	switch p := x.Detail.Payload; {
	case p != nil:
		shown := payload.Show(in.Topic, p.Kept, in.Payload)
		shown.Truncated = shown.Truncated || p.Size > len(p.Kept)
		shown.Size = p.Size
		d.Payload = &shown
		if d.Last != nil {
			qos := int(p.QoS)
			d.Last.Size, d.Last.QoS, d.Last.Retain = &p.Size, &qos, &p.Retain
		}
	case x.Retained != nil:
		shown := payload.Show(in.Topic, x.Retained.Payload, in.Payload)
		d.Payload = &shown
	}
	return &answer[TopicDetail]{d}, nil
}

func sizes(d *tally.Detail) []SizeClass {
	limits := tally.SizeLimits()
	classes := []SizeClass{}
	for i, n := range d.Sizes {
		if n == 0 {
			continue
		}
		c := SizeClass{UpTo: -1, Messages: n}
		if i < len(limits) {
			c.UpTo = limits[i]
		}
		classes = append(classes, c)
	}
	return classes
}
