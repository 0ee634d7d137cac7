// Package ask is the commands that answer why: why a client is as it is, why a message did not arrive, who would receive one.
// Each asks the running broker's API and prints.
package ask

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/fleet/why"
)

// WhyCmd is `sapwood why`.
type WhyCmd struct {
	reach.Flags
	Client string `arg:"" help:"The client id, or the address of one that does not get so far as to tell its id."`
	JSON   bool   `help:"Print the answer as JSON, with all of its evidence."`
}

// Help is the long part of the help page.
func (*WhyCmd) Help() string {
	return `Tells in a sentence why a client is disconnected, silent or slow, also of the past: nothing has to be switched on before. Below it
stands the evidence, newest first, and what to do. ` + reach.Through + `
Examples:

    sapwood why press-07
    sapwood why 192.0.2.7
    sapwood why press-07 --json`
}

// Run asks.
func (c *WhyCmd) Run(ctx context.Context, std *screen.Streams) error {
	return answer(ctx, std, &c.Flags, "/clients/"+url.PathEscape(c.Client)+"/why", c.JSON)
}

// WhyNotCmd is `sapwood why-not`.
type WhyNotCmd struct {
	reach.Flags
	Topic  string `arg:"" help:"The topic that was published to."`
	Client string `arg:"" help:"The client id that should have got the message."`
	JSON   bool   `help:"Print the answer as JSON, with all of its evidence."`
}

// Help is the long part of the help page.
func (*WhyNotCmd) Help() string {
	return `Tells in a sentence why a client did not get the last message of a topic: nobody published it, no subscription matched, a rule
denied it, it was dropped at a limit, the client was away, it still waits. ` + reach.Through + `
Examples:

    sapwood why-not plant/line-a/speed display-3
    sapwood why-not 'plant/line-a/speed' display-3 --json`
}

// Run asks.
func (c *WhyNotCmd) Run(ctx context.Context, std *screen.Streams) error {
	q := url.Values{"topic": {c.Topic}, "client": {c.Client}}
	return answer(ctx, std, &c.Flags, "/why-not?"+q.Encode(), c.JSON)
}

func answer(ctx context.Context, std *screen.Streams, at *reach.Flags, path string, asJSON bool) error {
	r, err := at.API()
	if err != nil {
		return err
	}
	var a why.Answer
	if err := r.Call(ctx, http.MethodGet, path, nil, &a); err != nil {
		return err
	}
	if asJSON {
		return screen.JSON(std.Out, a)
	}
	return show(std.Out, &a)
}

// shown is how many facts are printed.
const shown = 8

func show(w io.Writer, a *why.Answer) error {
	fmt.Fprintf(w, "%s: %s\n", a.Verdict, screen.Printable(a.Text))
	for _, s := range a.Suggestions {
		fmt.Fprintf(w, "  do: %s\n", screen.Printable(s))
	}
	if len(a.Evidence) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := screen.NewTable(w, "WHEN", "WHAT", "EVIDENCE").Whole()
	for _, f := range a.Evidence[:min(len(a.Evidence), shown)] {
		t.Row(screen.Moment(f.At), string(f.Kind), f.Text)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if more := len(a.Evidence) - shown; more > 0 {
		fmt.Fprintf(w, "and %d more: --json\n", more)
	}
	return nil
}

// RouteCmd is `sapwood route`.
type RouteCmd struct {
	reach.Flags
	Topic     string `arg:"" help:"The topic name."`
	QoS       int    `name:"qos" short:"q" default:"1" placeholder:"1" help:"The QoS of the message."`
	Publisher string `placeholder:"ID" help:"Its publisher, where that matters (No Local)."`
	JSON      bool   `help:"Print the answer as JSON."`
}

// Help is the long part of the help page.
func (*RouteCmd) Help() string {
	return `Tells who would receive a message that is published to a topic now, at which QoS and by which rule, and who would not although it
has subscribed. Nothing is published. ` + reach.Through + `
Examples:

    sapwood route plant/line-a/speed
    sapwood route plant/line-a/speed --qos 0 --json`
}

// Run asks.
func (c *RouteCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	q := url.Values{"topic": {c.Topic}, "qos": {strconv.Itoa(c.QoS)}}
	if c.Publisher != "" {
		q.Set("publisher", c.Publisher)
	}
	var all api.Recipients
	if err := r.Call(ctx, http.MethodGet, "/route?"+q.Encode(), nil, &all); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, all)
	}
	if len(all.Items) == 0 {
		_, err := fmt.Fprintf(std.Out, "nobody has subscribed to %s\n", screen.Printable(c.Topic))
		return err
	}
	t := screen.NewTable(std.Out, "CLIENT", "FILTER", "QOS", "OUTCOME", "WAIT", "RULE", "WHY NOT")
	for _, x := range all.Items {
		t.Row(x.Client, x.Filter, strconv.Itoa(int(x.QoS)), string(x.Outcome), strconv.Itoa(x.Waiting), x.Rule, x.Why)
	}
	return t.Flush()
}
