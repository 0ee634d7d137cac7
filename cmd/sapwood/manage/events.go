package manage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// EventsCmd is `sapwood events`.
type EventsCmd struct {
	reach.Flags
	Client  []string `placeholder:"ID" help:"Of this client; several may be named."`
	Topic   string   `placeholder:"TOPIC" help:"About this topic and its branches; a filter such as a/# asks for all below."`
	Kind    []string `placeholder:"KIND" help:"Of this kind, such as disconnected; several may be named."`
	Name    string   `name:"user" placeholder:"NAME" help:"Of this user."`
	Address string   `placeholder:"IP" help:"From this address."`
	Reason  string   `placeholder:"WORD" help:"With this reason, such as keep_alive."`
	Text    string   `placeholder:"TEXT" help:"With this in the sentence."`
	Since   string   `placeholder:"TIME" help:"From then on: 15m, 24h, 7d ago, or 2026-01-31T12:00:00Z."`
	Until   string   `placeholder:"TIME" help:"Before then."`
	Limit   int      `short:"n" default:"50" help:"How many of the newest; 0 = all."`
	Follow  bool     `short:"f" help:"Go on with what happens, until interrupted."`
	JSON    bool     `help:"Print lines of JSON."`
}

// Help is the long part of the help page.
func (*EventsCmd) Help() string {
	return `What happened, the newest last. ` + reach.Through + `
Examples:

    sapwood events --client press-07 --since 24h
    sapwood events --kind dropped --topic 'plant/#'
    sapwood events --follow --json`
}

// filter is what narrows, as the API takes it.
func (c *EventsCmd) filter() url.Values {
	v := url.Values{}
	for name, values := range map[string][]string{
		"client": c.Client, "kind": c.Kind, "topic": {c.Topic}, "user": {c.Name}, "address": {c.Address},
		"reason": {c.Reason}, "text": {c.Text}, "since": {c.Since}, "until": {c.Until},
	} {
		for _, value := range values {
			if value != "" {
				v.Add(name, value)
			}
		}
	}
	return v
}

// Run shows events.
func (c *EventsCmd) Run(ctx context.Context, std *screen.Streams) error {
	if c.Follow && c.Until != "" {
		return errors.New("--follow has no end: leave out --until")
	}
	r, err := c.API()
	if err != nil {
		return err
	}
	found, err := c.past(ctx, r)
	if err != nil {
		return err
	}
	if c.JSON {
		for _, f := range found {
			if err := screen.Line(std.Out, f); err != nil {
				return err
			}
		}
	} else if len(found) > 0 || !c.Follow {
		t := screen.NewTable(std.Out, "TIME", "KIND", "CLIENT", "TOPIC", "TEXT")
		for _, f := range found {
			t.Row(row(&f)...)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if !c.Follow {
		return nil
	}
	return c.follow(ctx, std, r, found)
}

// past are the newest events that there are, the newest last.
func (c *EventsCmd) past(ctx context.Context, r *reach.Broker) (found []fact.Fact, err error) {
	v := c.filter()
	for c.Limit == 0 || len(found) < c.Limit {
		want := fact.MaxLimit
		if c.Limit > 0 {
			want = min(want, c.Limit-len(found))
		}
		v.Set("limit", strconv.Itoa(want))
		var page api.FactPage
		if err := r.Call(ctx, http.MethodGet, "/events?"+v.Encode(), nil, &page); err != nil {
			return nil, err
		}
		found = append(found, page.Items...)
		if page.Next == "" {
			break
		}
		v.Set("cursor", page.Next)
	}
	slices.Reverse(found)
	return found, nil
}

// again is how long a broken stream waits before it is opened again.
const again = 2 * time.Second

// follow goes on where the past ended; a stream that breaks, as when the broker restarts, is taken up again.
func (c *EventsCmd) follow(ctx context.Context, std *screen.Streams, r *reach.Broker, past []fact.Fact) error {
	after := ""
	if len(past) > 0 {
		after = strconv.FormatUint(past[len(past)-1].ID, 10)
	}
	v := c.filter()
	v.Del("since") // what is before is shown
	broken := false
	for {
		seen := false
		var failed error // of writing
		err := r.Follow(ctx, "/events/stream?"+v.Encode(), after, func(e reach.Event) error {
			if e.ID != "" {
				after = e.ID
			}
			seen = true
			failed = c.show(std, e)
			return failed
		})
		if ctx.Err() != nil {
			return nil // interrupted, as it ends
		}
		if failed != nil {
			return failed
		}
		if !seen && !broken && reach.Refused(err) {
			return err
		}
		if !broken || seen {
			fmt.Fprintf(std.Err, "sapwood: %v; trying again\n", err)
		}
		broken = true
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return nil
		}
		if fresh, err := c.API(); err == nil { // it may have another port and key now
			r = fresh
		}
	}
}

// show prints one live event.
func (c *EventsCmd) show(std *screen.Streams, e reach.Event) error {
	if c.JSON {
		if e.Name != "fact" {
			_, err := fmt.Fprintf(std.Err, "sapwood: %s %s\n", e.Name, e.Data)
			return err
		}
		_, err := fmt.Fprintf(std.Out, "%s\n", e.Data)
		return err
	}
	if e.Name == "gone" {
		_, err := fmt.Fprintf(std.Out, "... missed: %s\n", e.Data)
		return err
	}
	var f fact.Fact
	if err := json.Unmarshal(e.Data, &f); err != nil {
		return fmt.Errorf("the stream has what is no event: %w", err)
	}
	t := screen.NewLines(std.Out, 19, 15, 16, 16)
	return t.Line(row(&f)...)
}

// row is an event as cells.
func row(f *fact.Fact) []string {
	text := f.Text
	if text == "" {
		text = f.Reason
	}
	if f.Count > 1 && !strings.Contains(text, strconv.FormatUint(f.Count, 10)) {
		text = fmt.Sprintf("(%d) %s", f.Count, text)
	}
	return []string{f.At.Local().Format(time.DateTime), string(f.Kind), f.Client, f.Topic, text}
}
