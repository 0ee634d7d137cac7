package api

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

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
	// View is what was counted, at most a second old, and the sums of all branches. It is not to be changed.
	View(ctx context.Context) (v *tally.View, branches []tally.Sum, err error)
	// Topic is one topic with at most so many subscribers; false = nothing is known of it.
	Topic(ctx context.Context, name string, subscribers int) (TopicData, bool, error)
	Retained(name string) *mqtt.Message
	// Search returns the topics in whose last payload, as far as it is kept, there is a word.
	Search(ctx context.Context, word []byte) (map[tally.Topic]bool, error)
}

// TopicData is what is known of one topic.
type TopicData struct {
	Sum         tally.Sum
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
	Topics   uint32       `json:"topics" doc:"That were published to, in it and below."`
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

// named is a topic in a list.
type named struct {
	topic    tally.Topic
	name     string
	sum      *tally.Sum
	children int
	retained bool
}

func topicSchema() *filter.Schema[named] {
	type f = filter.Field[named]
	number := func(name string, n func(*named) float64) f { return f{Name: name, Kind: filter.Number, Number: n} }
	return filter.New(func(n *named) string { return n.name },
		f{Name: "topic", Text: func(n *named) string { return n.name }, Word: true},
		number("messages", func(n *named) float64 { return float64(n.sum.Messages) }),
		number("bytes", func(n *named) float64 { return float64(n.sum.Bytes) }),
		number("copies", func(n *named) float64 { return float64(n.sum.Copies) }),
		number("topics", func(n *named) float64 { return float64(n.sum.Topics) }),
		number("rate", func(n *named) float64 { return float64(n.sum.Rates.Now) }),
		number("rate1", func(n *named) float64 { return float64(n.sum.Rates.Average[0]) }),
		number("rate5", func(n *named) float64 { return float64(n.sum.Rates.Average[1]) }),
		number("rate15", func(n *named) float64 { return float64(n.sum.Rates.Average[2]) }),
		number("dropped", func(n *named) float64 { return float64(n.sum.Dropped) }),
		number("denied", func(n *named) float64 { return float64(n.sum.Denied) }),
		number("unheard", func(n *named) float64 { return float64(n.sum.Unheard) }),
		number("max_size", func(n *named) float64 { return float64(n.sum.Largest) }),
		f{Name: "retained", Kind: filter.Bool, Number: func(n *named) float64 { return truth(n.retained) }},
		f{Name: "last", Kind: filter.Time, Number: func(n *named) float64 { return float64(n.sum.Last) / 1000 }},
	)
}

func topicRow(n *named) TopicRow {
	s := n.sum
	r := TopicRow{
		Name: n.name[strings.LastIndexByte(n.name, '/')+1:], Topic: n.name, Branch: n.children > 0, Children: n.children, Topics: s.Topics,
		Messages: s.Messages, QoS: s.QoS(), Bytes: s.Bytes, Copies: s.Copies, Rate: s.Rates.Now, Rate1: s.Rates.Average[0], Rate5: s.Rates.Average[1],
		Rate15: s.Rates.Average[2], Dropped: s.Dropped, Denied: s.Denied, Unheard: s.Unheard, Retained: n.retained, MaxSize: s.Largest,
	}
	if s.Last != 0 {
		r.Last = &LastMessage{At: atOf(s.Last)}
	}
	return r
}

// topicsOf is the part of the API that is about topics.
type topicsOf struct {
	Topics
	clients Inspector
	schema  *filter.Schema[named]
	flat    snapshot[[]named]
	unfed   *filter.Schema[Subscriber]
}

func registerTopics(h huma.API, t Topics, c Inspector) {
	o := &topicsOf{Topics: t, clients: c, schema: topicSchema(), unfed: subscriberSchema()}
	o.flat.make = o.all
	op := func(id, path, summary string) huma.Operation {
		return serve.Operation(id, http.MethodGet, path, "topics", summary, http.StatusNotFound, http.StatusConflict)
	}
	huma.Register(h, op("topics-tree", "/topics/tree", "What is right below a branch of the topics, each with the sums of all that is below"), o.tree)
	huma.Register(h, op("topics", "/topics", "Topics that were published to, a page at a time"), func(ctx context.Context, in *struct {
		ListQuery
		Payload string `query:"payload" maxLength:"256" doc:"Only topics that have this word in their last message, as far as it is kept, or in their retained one."`
	},
	) (*answer[serve.List[TopicRow]], error) {
		return o.list(ctx, &in.ListQuery, in.Payload, nil)
	})
	huma.Register(h, op("topics-unheard", "/topics/unheard", "Topics with messages for which there was no subscription, but for those of $SYS"), func(ctx context.Context, in *struct{ ListQuery }) (*answer[serve.List[TopicRow]], error) {
		return o.list(ctx, &in.ListQuery, "", func(n *named) bool { return n.sum.Unheard > 0 && !strings.HasPrefix(n.name, "$SYS/") })
	})
	huma.Register(h, op("topics-unfed", "/topics/unfed", "Subscriptions whose filter matches no topic that was published to"), o.listUnfed)
	huma.Register(h, op("topics-top", "/topics/top", "The heaviest topics"), o.top)
	huma.Register(h, op("topic", "/topics/detail", "One topic: its figures, its last message, who gets it"), o.detail)
}

func (o *topicsOf) there() error {
	if o.Topics == nil {
		return huma.Error409Conflict("this process counts nothing by topic")
	}
	return nil
}

// all are the topics that were published to.
func (o *topicsOf) all(ctx context.Context) ([]named, error) {
	v, _, err := o.View(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]named, 0, len(v.Own))
	for t := tally.Root + 1; int(t) < len(v.Own); t++ {
		if s := &v.Own[t]; s.Fed() || s.Denied > 0 || s.Refused > 0 {
			list = append(list, named{topic: t, name: v.Names.Name(t), sum: s})
		}
	}
	return list, nil
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

func (o *topicsOf) tree(ctx context.Context, in *treeQuery) (*answer[serve.List[TopicRow]], error) {
	if err := o.there(); err != nil {
		return nil, err
	}
	v, sums, err := o.View(ctx)
	if err != nil {
		return nil, serve.Failure(err)
	}
	root := tally.Root
	if in.given {
		if root = v.Names.Find([]byte(in.Branch)); root == 0 || int(root) >= len(sums) {
			return nil, serve.Missing("branch", in.Branch)
		}
	}
	var below []named
	children := make([]uint32, len(sums))
	for t := tally.Root + 1; int(t) < len(sums); t++ {
		p := v.Names.Parent(t)
		children[p]++
		if p == root {
			below = append(below, named{topic: t, name: v.Names.Name(t), sum: &sums[t]})
		}
	}
	for i := range below {
		below[i].children = int(children[below[i].topic])
		below[i].retained = o.Retained(below[i].name) != nil
	}
	return page(o.schema, below, &in.ListQuery, topicRow)
}

func (o *topicsOf) list(ctx context.Context, q *ListQuery, word string, only func(*named) bool) (*answer[serve.List[TopicRow]], error) {
	if err := o.there(); err != nil {
		return nil, err
	}
	all, err := o.flat.get(ctx)
	if err != nil {
		return nil, serve.Failure(err)
	}
	if only != nil {
		var some []named
		for i := range all {
			if only(&all[i]) {
				some = append(some, all[i])
			}
		}
		all = some
	}
	if word != "" {
		if all, err = o.search(ctx, all, word); err != nil {
			return nil, err
		}
	}
	return page(o.schema, all, q, func(n *named) TopicRow {
		r := topicRow(n)
		r.Retained = o.Retained(n.name) != nil
		return r
	})
}

// search keeps the topics in whose last payload, or retained one, a word is.
func (o *topicsOf) search(ctx context.Context, all []named, word string) (found []named, err error) {
	last, err := o.Search(ctx, []byte(word))
	if err != nil {
		return nil, serve.Failure(err)
	}
	for i := range all {
		n := &all[i]
		if !last[n.topic] {
			if m := o.Retained(n.name); m == nil || !bytes.Contains(m.Payload, []byte(word)) {
				continue
			}
		}
		found = append(found, *n)
	}
	return found, nil
}

func (o *topicsOf) listUnfed(ctx context.Context, in *struct{ ListQuery }) (*answer[serve.List[SubscriptionRow]], error) {
	if err := o.there(); err != nil {
		return nil, err
	}
	all, err := o.flat.get(ctx)
	if err != nil {
		return nil, serve.Failure(err)
	}
	var subs []Subscriber
	fed := map[string]bool{} // by what is subscribed to, once for all who do
	if err := o.clients.Subscriptions(ctx, func(some []Subscriber) {
		for i := range some {
			fed[inner(some[i].Filter)] = false
		}
		subs = append(subs, some...)
	}); err != nil {
		return nil, serve.Failure(err)
	}
	if err := noteFed(ctx, fed, all); err != nil {
		return nil, serve.Failure(err)
	}
	subs = slices.DeleteFunc(subs, func(s Subscriber) bool { return fed[inner(s.Filter)] })
	return page(o.unfed, subs, &in.ListQuery, func(s *Subscriber) SubscriptionRow {
		return SubscriptionRow{s.Client, s.User, filterRow(&s.Subscription, s.Resting)}
	})
}

// feedEvery is after how many topics it is looked whether somebody still waits for the answer.
const feedEvery = 4096

// noteFed notes which filters match one of the topics. A filter with wildcards is looked for until one does, by an index: to try each with each
// topic would take minutes where there are many of both.
func noteFed(ctx context.Context, fed map[string]bool, all []named) error {
	wild, filters := topic.NewIndex(), []string(nil)
	for f := range fed {
		if strings.ContainsAny(f, "+#") {
			wild.Set(f, topic.Entry{ID: uint32(len(filters))})
			filters = append(filters, f)
		}
	}
	var met []topic.Entry
	for i := range all {
		if i%feedEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		name := all[i].name
		if _, ok := fed[name]; ok {
			fed[name] = true
		}
		met = wild.Match([]byte(name), met[:0])
		for _, e := range met {
			fed[filters[e.ID]] = true
			wild.Delete(filters[e.ID], e.ID)
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
	if err := o.there(); err != nil {
		return nil, err
	}
	v, _, err := o.View(ctx)
	if err != nil {
		return nil, serve.Failure(err)
	}
	weight := map[string]func(*tally.Sum) uint64{
		"messages": func(s *tally.Sum) uint64 { return s.Messages }, "bytes": func(s *tally.Sum) uint64 { return s.Bytes },
		"copies": func(s *tally.Sum) uint64 { return s.Copies }, "dropped": func(s *tally.Sum) uint64 { return s.Dropped },
	}[in.By]
	t := heaviest{Items: []TopTopic{}, Exact: true}
	for _, n := range counted(v, weight, in.Limit) {
		t.Items = append(t.Items, TopTopic{Topic: v.Names.Name(n), Weight: weight(&v.Own[n])})
	}
	by := map[string]tally.Weight{"messages": tally.ByMessages, "bytes": tally.ByBytes, "copies": tally.ByCopies, "dropped": tally.ByDrops}[in.By]
	for _, x := range v.Heavy[by] {
		t.Items = append(t.Items, TopTopic{x.Name, x.Weight, x.Error})
		t.Error, t.Exact = max(t.Error, x.Error), false
	}
	slices.SortStableFunc(t.Items, func(a, b TopTopic) int {
		switch {
		case a.Weight > b.Weight:
			return -1
		case a.Weight < b.Weight:
			return 1
		}
		return strings.Compare(a.Topic, b.Topic)
	})
	t.Items = t.Items[:min(len(t.Items), in.Limit)]
	return &answer[heaviest]{t}, nil
}

// counted are the heaviest of the topics that have a count of their own, but for those of $SYS.
func counted(v *tally.View, weight func(*tally.Sum) uint64, most int) []tally.Topic {
	sys := v.Names.Find([]byte("$SYS"))
	ours := func(t tally.Topic) bool {
		for ; t > tally.Root; t = v.Names.Parent(t) {
			if t == sys {
				return true
			}
		}
		return false
	}
	heavier := func(a, b tally.Topic) int { return cmp.Compare(weight(&v.Own[b]), weight(&v.Own[a])) }
	var list []tally.Topic
	least := uint64(0) // what is not heavier does not count
	for t := tally.Root + 1; int(t) < len(v.Own); t++ {
		if weight(&v.Own[t]) <= least || v.Names.IsRest(t) || ours(t) {
			continue
		}
		if list = append(list, t); len(list) == 2*most {
			slices.SortFunc(list, heavier)
			list = list[:most]
			least = weight(&v.Own[list[most-1]])
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
		TopicRow: topicRow(&named{name: in.Topic, sum: &x.Sum, retained: x.Retained != nil}), Subscribers: x.Subscribers, More: x.More,
		Sizes: sizes(&x.Detail), DroppedBy: x.DroppedBy, DeniedBy: map[string]uint64{},
	}
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
