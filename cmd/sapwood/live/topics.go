package live

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// TopicsCmd is `sapwood topics`.
type TopicsCmd struct {
	List    topicsListCmd    `cmd:"" default:"withargs" help:"List topics: sapwood topics [FILTER ...]."`
	Tree    topicsTreeCmd    `cmd:"" help:"What is right below a branch."`
	Top     topicsTopCmd     `cmd:"" help:"The heaviest topics."`
	Unheard topicsUnheardCmd `cmd:"" help:"Topics with messages that nobody had subscribed to."`
	Unfed   topicsUnfedCmd   `cmd:"" help:"Subscriptions that match no topic that was published to."`
	Show    topicsShowCmd    `cmd:"" help:"Show one topic, its last message and who gets it."`
}

func topicHeads() []string {
	return []string{"TOPIC", "RATE/S", "MESSAGES", "BYTES", "COPIES", "DROPPED", "UNHEARD", "LAST"}
}

func topicCells(r *api.TopicRow) []string {
	name := r.Topic
	if r.Branch {
		name += "/ (" + strconv.Itoa(r.Children) + ")"
	}
	last := "-"
	if r.Last != nil {
		last = ago(r.Last.At)
	}
	return []string{name, count(r.Rate), count(r.Messages), size(r.Bytes), count(r.Copies), count(r.Dropped), count(r.Unheard), last}
}

// topicsListCmd is `sapwood topics list`.
type topicsListCmd struct {
	reach.Listed
	Filter  []string `arg:"" optional:"" help:"Terms of a filter."`
	Payload string   `placeholder:"WORD" help:"Only topics whose last message has this in it."`
}

// Help is the long part of the help page.
func (*topicsListCmd) Help() string {
	return reach.Through + reach.FilterHelp + `
Examples:

    sapwood topics plant "rate>10" --sort=-bytes
    sapwood topics --payload alarm`
}

// Run lists topics.
func (c *topicsListCmd) Run(ctx context.Context, std *screen.Streams) error {
	return reach.Show(ctx, &c.Listed, std, "/topics", reach.Query("filter", withoutSys(c.Filter), "payload", c.Payload), topicHeads(), topicCells)
}

// topicsTreeCmd is `sapwood topics tree`.
type topicsTreeCmd struct {
	reach.Listed
	Branch string `arg:"" optional:"" help:"A topic without its last levels; none = the top."`
}

// Run lists a branch.
func (c *topicsTreeCmd) Run(ctx context.Context, std *screen.Streams) error {
	return reach.Show(ctx, &c.Listed, std, "/topics/tree", reach.Query("branch", strings.TrimSuffix(c.Branch, "/")), topicHeads(), topicCells)
}

// Help is the long part of the help page.
func (*topicsTreeCmd) Help() string {
	return reach.Through + `
Examples:

    sapwood topics tree
    sapwood topics tree plant/line-1 --sort=-rate`
}

// topicsUnheardCmd is `sapwood topics unheard`.
type topicsUnheardCmd struct{ reach.Listed }

// Run lists topics that nobody hears.
func (c *topicsUnheardCmd) Run(ctx context.Context, std *screen.Streams) error {
	return reach.Show(ctx, &c.Listed, std, "/topics/unheard", reach.Query(), topicHeads(), topicCells)
}

// Help is the long part of the help page.
func (*topicsUnheardCmd) Help() string {
	return reach.Through + `
Examples:

    sapwood topics unheard --sort=-bytes`
}

// topicsUnfedCmd is `sapwood topics unfed`.
type topicsUnfedCmd struct{ reach.Listed }

// Run lists subscriptions that get nothing.
func (c *topicsUnfedCmd) Run(ctx context.Context, std *screen.Streams) error {
	return reach.Show(ctx, &c.Listed, std, "/topics/unfed", reach.Query(), []string{"SUBSCRIPTION", "CLIENT", "USER"}, func(r *api.SubscriptionRow) []string {
		return []string{r.Filter, r.Client, r.User}
	})
}

// Help is the long part of the help page.
func (*topicsUnfedCmd) Help() string {
	return reach.Through + `
Examples:

    sapwood topics unfed`
}

// topicsTopCmd is `sapwood topics top`.
type topicsTopCmd struct {
	reach.Flags
	By    string `default:"messages" enum:"messages,bytes,copies,dropped" help:"What counts: ${enum}."`
	Limit int    `short:"n" default:"20" help:"How many."`
	JSON  bool   `help:"Print them as JSON."`
}

// Help is the long part of the help page.
func (*topicsTopCmd) Help() string {
	return reach.Through + `
Examples:

    sapwood topics top --by bytes`
}

// Run lists the heaviest topics.
func (c *topicsTopCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	var top struct {
		Items []api.TopTopic `json:"items"`
		Error uint64         `json:"error"`
		Exact bool           `json:"exact"`
	}
	if err := r.Call(ctx, http.MethodGet, "/topics/top?"+reach.Query("by", c.By, "limit", strconv.Itoa(c.Limit)).Encode(), nil, &top); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, top)
	}
	t := screen.NewTable(std.Out, strings.ToUpper(c.By), "TOPIC")
	for _, x := range top.Items {
		t.Row(count(x.Weight), x.Topic)
	}
	return t.Flush()
}

// topicsShowCmd is `sapwood topics show`.
type topicsShowCmd struct {
	reach.Flags
	Topic string `arg:"" help:"The topic."`
	JSON  bool   `help:"Print it as JSON."`
}

// Help is the long part of the help page.
func (*topicsShowCmd) Help() string {
	return reach.Through + `
Examples:

    sapwood topics show plant/line-1/temperature`
}

// Run shows a topic.
func (c *topicsShowCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	var d api.TopicDetail
	if err := r.Call(ctx, http.MethodGet, "/topics/detail?"+reach.Query("topic", c.Topic).Encode(), nil, &d); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, d)
	}
	w := std.Out
	screen.Fact(w, "topic", d.Topic)
	screen.Fact(w, "messages", fmt.Sprintf("%d, %s, %.1f/s", d.Messages, size(d.Bytes), d.Rate))
	screen.Fact(w, "copies", fmt.Sprintf("%d, %d dropped", d.Copies, d.Dropped))
	if d.Last != nil {
		screen.Fact(w, "last", ago(d.Last.At)+" ago by "+d.Last.Publisher)
	}
	for _, s := range d.Subscribers {
		screen.Fact(w, "to", fmt.Sprintf("%s by %s, QoS %d", s.Client, s.Filter, s.QoS))
	}
	if p := d.Payload; p != nil {
		screen.Fact(w, "payload", p.Encoding+", "+size(p.Size))
		for line := range strings.Lines(p.Text) {
			fmt.Fprintln(w, "  "+screen.Printable(strings.TrimRight(line, "\n")))
		}
	}
	return nil
}

// withoutSys leaves the broker's own topics out, unless they are asked for.
func withoutSys(terms []string) string {
	expr := strings.Join(terms, " ")
	for _, own := range []string{"$SYS", "$canary"} {
		if !strings.Contains(expr, own) {
			expr += " !topic:" + own + "/*"
		}
	}
	return strings.TrimSpace(expr)
}
