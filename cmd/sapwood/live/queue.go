package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// QueueCmd is `sapwood queue`.
type QueueCmd struct {
	List    queueListCmd    `cmd:"" default:"withargs" help:"Look at what waits for a client: sapwood queue CLIENT."`
	Remove  queueRemoveCmd  `cmd:"" help:"Take one message out of a queue."`
	Requeue queueRequeueCmd `cmd:"" help:"Give a message of a shared subscription to another member."`
	Purge   queuePurgeCmd   `cmd:"" help:"Empty a queue."`
}

func queueOf(id string) string { return "/clients/" + url.PathEscape(id) + "/queue" }

// queueListCmd is `sapwood queue list`.
type queueListCmd struct {
	reach.Flags
	ID      string `arg:"" name:"client" help:"The client id."`
	Limit   int    `short:"n" default:"20" help:"At most so many, 0 = all."`
	Payload int    `default:"1024" placeholder:"BYTES" help:"How much of each payload is shown; at most 65536."`
	JSON    bool   `help:"Print lines of JSON."`
}

// Help is the long part of the help page.
func (*queueListCmd) Help() string {
	return `The first to be sent first; nothing is taken out. What is in flight comes before it: sapwood clients inflight. ` + reach.Through + `
Examples:

    sapwood queue press-07
    sapwood queue press-07 --limit 0 --json`
}

// Run lists what waits.
func (c *queueListCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	list := screen.NewListing(std.Out, c.JSON, "POSITION", "QOS", "SIZE", "EXPIRES", "PUBLISHER", "TOPIC", "PAYLOAD")
	next, err := reach.Pages(ctx, r, queueOf(c.ID), reach.Query("payload_bytes", strconv.Itoa(c.Payload)), c.Limit,
		func(p *api.QueuePage) ([]api.QueueRow, string) { return p.Items, p.Next }, func(x *api.QueueRow) error { return list.Item(x, queueCells(x)...) })
	if err != nil {
		return err
	}
	if err := list.Flush(); err != nil || next == "" || c.JSON {
		return err
	}
	_, err = fmt.Fprintln(std.Err, "there are more; --limit 0 shows all")
	return err
}

func queueCells(x *api.QueueRow) []string {
	position, expires := "-", "-"
	if x.Position > 0 {
		position = strconv.FormatUint(x.Position, 10)
	}
	if x.Expires != nil {
		expires = screen.Moment(*x.Expires)
		if x.Expired {
			expires += " (expired)"
		}
	}
	return []string{position, strconv.Itoa(x.QoS), size(x.Size), expires, x.Publisher, x.Topic, brief(&api.RetainedRow{Size: x.Size, Payload: x.Payload})}
}

// queueRemoveCmd is `sapwood queue remove`.
type queueRemoveCmd struct {
	reach.Flags
	Agreed
	ID       string `arg:"" name:"client" help:"The client id."`
	Position uint64 `arg:"" help:"As sapwood queue shows it."`
	JSON     bool   `help:"Print what was done as JSON."`
}

// Help is the long part of the help page.
func (*queueRemoveCmd) Help() string {
	return `It is dropped, and counted as such. ` + reach.Through + `
Examples:

    sapwood queue remove press-07 42 --yes`
}

// Run removes a message.
func (c *queueRemoveCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	what := c.what(ctx, r)
	if err := c.ask(std, "Drop "+what+"?"); err != nil {
		return err
	}
	if err := r.Call(ctx, http.MethodDelete, queueOf(c.ID)+"/"+strconv.FormatUint(c.Position, 10), nil, nil); err != nil {
		return err
	}
	return screen.Tell(std, c.JSON, map[string]any{"client": c.ID, "position": c.Position, "removed": true}, "%s dropped", what)
}

// what names the message, as far as it is found.
func (c *queueRemoveCmd) what(ctx context.Context, r *reach.Broker) string {
	text := fmt.Sprintf("message %d of %s", c.Position, screen.Printable(c.ID))
	var page api.QueuePage
	q := reach.Query("limit", "1", "payload_bytes", "64")
	if c.Position > 1 {
		q.Set("cursor", strconv.FormatUint(c.Position-1, 10))
	}
	if err := r.Call(ctx, http.MethodGet, queueOf(c.ID)+"?"+q.Encode(), nil, &page); err == nil && len(page.Items) > 0 && page.Items[0].Position == c.Position {
		text += ", " + strings.TrimSpace(screen.Printable(page.Items[0].Topic)) + ", " + size(page.Items[0].Size)
	}
	return text
}

// queueRequeueCmd is `sapwood queue requeue`.
type queueRequeueCmd struct {
	reach.Flags
	ID       string `arg:"" name:"client" help:"The client id."`
	Position uint64 `arg:"" help:"As sapwood queue shows it."`
	JSON     bool   `help:"Print what was done as JSON."`
}

// Help is the long part of the help page.
func (*queueRequeueCmd) Help() string {
	return `For a message that came by a shared subscription, and is not under way. ` + reach.Through + `
Examples:

    sapwood queue requeue worker-3 42`
}

// Run gives a message to another.
func (c *queueRequeueCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	if err := r.Call(ctx, http.MethodPost, queueOf(c.ID)+"/"+strconv.FormatUint(c.Position, 10)+"/requeue", nil, nil); err != nil {
		return err
	}
	return screen.Tell(std, c.JSON, map[string]any{"client": c.ID, "position": c.Position, "requeued": true}, "message %d of %s is another member's", c.Position, screen.Printable(c.ID))
}

// queuePurgeCmd is `sapwood queue purge`.
type queuePurgeCmd struct {
	reach.Flags
	Agreed
	ID      string `arg:"" name:"client" help:"The client id."`
	Confirm *int   `placeholder:"NUMBER" help:"Do it, if they are so many."`
	JSON    bool   `help:"Print what was done as JSON."`
}

// Help is the long part of the help page.
func (*queuePurgeCmd) Help() string {
	return `It tells how many messages there are, and asks. They are dropped, and counted as such; those under way stay. ` + reach.Through + `
Examples:

    sapwood queue purge press-07
    sapwood queue purge press-07 --confirm 120`
}

// Run empties a queue.
func (c *queuePurgeCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	var p api.Purged
	confirm := c.Confirm
	if confirm == nil {
		if err := r.Call(ctx, http.MethodDelete, queueOf(c.ID)+"?preview=true", nil, &p); err != nil {
			return err
		}
		about := fmt.Sprintf("%s of %s, %s", screen.Count(p.Messages, "message"), screen.Printable(c.ID), screen.Bytes(p.Bytes))
		switch err := c.ask(std, "Drop "+about+"?"); {
		case errors.Is(err, errNobody):
			return fmt.Errorf("%s: %w, or --confirm %d", about, err, p.Messages)
		case err != nil:
			return err
		}
		confirm = &p.Messages
	}
	if err := r.Call(ctx, http.MethodDelete, queueOf(c.ID)+"?confirm="+strconv.Itoa(*confirm), nil, &p); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, p)
	}
	_, err = fmt.Fprintf(std.Out, "%s dropped, %d under way stay\n", screen.Count(p.Messages, "message"), p.Stay)
	return err
}

// SubscriptionsCmd is `sapwood subscriptions`.
type SubscriptionsCmd struct {
	reach.Listed
	Filter []string `arg:"" optional:"" help:"Terms of a filter."`
	Topic  string   `placeholder:"TOPIC" help:"Only those that a message of this topic matches."`
}

// Help is the long part of the help page.
func (*SubscriptionsCmd) Help() string {
	return `Of all clients. Who would really get a message, with rules and states: sapwood route. ` + reach.Through + reach.FilterHelp + `
Examples:

    sapwood subscriptions --topic plant/line-a/speed
    sapwood subscriptions shared:true client:worker* --json`
}

// Run lists subscriptions.
func (c *SubscriptionsCmd) Run(ctx context.Context, std *screen.Streams) error {
	return reach.Show(ctx, &c.Listed, std, "/subscriptions", reach.Query("filter", strings.Join(c.Filter, " "), "topic", c.Topic),
		[]string{"CLIENT", "QOS", "RESTS", "USER", "SUBSCRIPTION"}, func(r *api.SubscriptionRow) []string {
			rests := ""
			if r.Resting {
				rests = "yes"
			}
			return []string{r.Client, strconv.Itoa(r.QoS), rests, r.User, r.Filter}
		})
}
