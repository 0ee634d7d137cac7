package live

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// ClientsCmd is `sapwood clients`.
type ClientsCmd struct {
	List       clientsListCmd       `cmd:"" default:"withargs" help:"List clients: sapwood clients [FILTER ...]."`
	Show       clientsShowCmd       `cmd:"" help:"Show one client with its subscriptions and limits."`
	Inflight   clientsInflightCmd   `cmd:"" help:"Show messages under way to and from a client."`
	Disconnect clientsDisconnectCmd `cmd:"" help:"Close a client's connection, or those of all that pass a filter."`
	Ban        clientsBanCmd        `cmd:"" help:"Keep all clients out that pass a filter."`
	Quarantine clientsQuarantineCmd `cmd:"" help:"Keep all clients apart that pass a filter."`
}

// clientsListCmd is `sapwood clients list`.
type clientsListCmd struct {
	reach.Listed
	Filter []string `arg:"" optional:"" help:"Terms of a filter."`
}

// Help is the long part of the help page.
func (*clientsListCmd) Help() string {
	return reach.Through + reach.FilterHelp + `
Examples:

    sapwood clients
    sapwood clients press "queued>100" --sort=-queue_bytes
    sapwood clients "seen>5m" connected:true --json`
}

// Run lists clients.
func (c *clientsListCmd) Run(ctx context.Context, std *screen.Streams) error {
	return reach.Show(ctx, &c.Listed, std, "/clients", reach.Query("filter", strings.Join(c.Filter, " ")),
		[]string{"CLIENT", "STATE", "SINCE", "IN/S", "OUT/S", "QUEUED", "DROPPED", "MQTT", "USER", "ADDRESS"},
		func(r *api.ClientRow) []string {
			return []string{
				r.ID, clientState(r), ago(r.Since), count(r.In.Rate), count(r.Out.Rate), count(r.Queued), count(r.Dropped), r.Protocol, r.User, r.Address,
			}
		})
}

func clientState(r *api.ClientRow) string {
	switch {
	case r.Quarantined:
		return "quarantine"
	case r.Connected:
		return "connected"
	}
	return "away"
}

// clientsShowCmd is `sapwood clients show`.
type clientsShowCmd struct {
	reach.Flags
	ID   string `arg:"" help:"The client id."`
	JSON bool   `help:"Print it as JSON."`
}

// Help is the long part of the help page.
func (*clientsShowCmd) Help() string {
	return reach.Through + `
Examples:

    sapwood clients show press-07`
}

// Run shows a client.
func (c *clientsShowCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	var d api.ClientDetail
	if err := r.Call(ctx, http.MethodGet, "/clients/"+url.PathEscape(c.ID), nil, &d); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, d)
	}
	w := std.Out
	screen.Fact(w, "client", d.ID)
	screen.Fact(w, "user", d.User)
	screen.Fact(w, "groups", strings.Join(d.Groups, ","))
	screen.Fact(w, "state", clientState(&d.ClientRow)+" for "+ago(d.Since))
	screen.Fact(w, "from", strings.TrimSpace(d.Address+" "+d.Listener))
	screen.Fact(w, "mqtt", d.Protocol)
	session := "stays " + lasting(d.Expiry) + " after the connection"
	switch {
	case d.Expiry < 0:
		session = "stays for ever"
	case d.Expiry == 0:
		session = "ends with the connection"
	}
	screen.Fact(w, "session", session)
	alive := "not known since the start"
	switch {
	case d.KeepAlive != nil && *d.KeepAlive == 0:
		alive = "off"
	case d.KeepAlive != nil:
		alive = lasting(*d.KeepAlive)
	}
	screen.Fact(w, "keep-alive", alive)
	screen.Fact(w, "in", flow(&d.In))
	screen.Fact(w, "out", flow(&d.Out))
	screen.Fact(w, "waiting", fmt.Sprintf("%d in flight, %d queued; together %s with 128 bytes for each", d.Inflight, d.Queued, screen.Bytes(d.QueueBytes)))
	for why, n := range d.DroppedBy {
		screen.Fact(w, "dropped", fmt.Sprintf("%d %s", n, why))
	}
	if d.Will != nil {
		screen.Fact(w, "will", fmt.Sprintf("%s, QoS %d, %s", d.Will.Topic, d.Will.QoS, screen.Bytes(int64(d.Will.Size))))
	}
	t := screen.NewTable(w, "SUBSCRIPTION", "QOS", "RESTS")
	for _, f := range d.Filters {
		rests := ""
		if f.Resting {
			rests = "yes"
		}
		t.Row(f.Filter, strconv.Itoa(f.QoS), rests)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	t = screen.NewTable(w, "LIMIT", "USED", "OF")
	for _, l := range d.Limits {
		number := count[int64]
		if strings.HasSuffix(l.Name, "_bytes") {
			number = size[int64]
		}
		t.Row(l.Name, number(l.Used), number(l.Limit))
	}
	return t.Flush()
}

// lasting is so many seconds, 0 = none.
func lasting(seconds float64) string {
	if seconds == 0 {
		return "none"
	}
	return fact.Span(time.Duration(seconds * float64(time.Second)))
}

// flow is one direction of a client's traffic.
func flow(f *api.Flow) string {
	return fmt.Sprintf("%s, %s, %.1f/s", screen.Count(int(f.Messages), "message"), screen.Bytes(int64(f.Bytes)), f.Rate)
}

// SessionsCmd is `sapwood sessions`.
type SessionsCmd struct {
	List sessionsListCmd `cmd:"" default:"withargs" help:"List sessions: sapwood sessions [FILTER ...]."`
	End  sessionsEndCmd  `cmd:"" help:"End a session with all that waits in it."`
}

// sessionsListCmd is `sapwood sessions list`.
type sessionsListCmd struct {
	reach.Listed
	Filter []string `arg:"" optional:"" help:"Terms of a filter."`
}

// Help is the long part of the help page.
func (*sessionsListCmd) Help() string {
	return `Sessions that outlive their connection, with what waits in them. ` + reach.Through + reach.FilterHelp + `
Examples:

    sapwood sessions "since>7d" connected:false --sort=-queue_bytes`
}

// Run lists sessions.
func (c *sessionsListCmd) Run(ctx context.Context, std *screen.Streams) error {
	return reach.Show(ctx, &c.Listed, std, "/sessions", reach.Query("filter", strings.Join(c.Filter, " ")),
		[]string{"CLIENT", "STATE", "SINCE", "QUEUED", "BYTES", "FILTERS", "USER"},
		func(r *api.ClientRow) []string {
			return []string{r.ID, clientState(r), ago(r.Since), count(r.Queued), size(r.QueueBytes), strconv.Itoa(r.Subscriptions), r.User}
		})
}

// sessionsEndCmd is `sapwood sessions end`.
type sessionsEndCmd struct {
	reach.Flags
	Agreed
	ID   string `arg:"" help:"The client id."`
	JSON bool   `help:"Print what was done as JSON."`
}

// Help is the long part of the help page.
func (*sessionsEndCmd) Help() string {
	return `Its client is disconnected, what waits for it is dropped and counted. ` + reach.Through + `
Examples:

    sapwood sessions end press-07 --yes`
}

// Run ends a session.
func (c *sessionsEndCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	var d api.ClientDetail
	if err := r.Call(ctx, http.MethodGet, "/clients/"+url.PathEscape(c.ID), nil, &d); err != nil {
		return err
	}
	if err := c.ask(std, fmt.Sprintf("End the session of %s (%s), with %s and %d queued messages?", screen.Printable(c.ID), clientState(&d.ClientRow), screen.Count(d.Subscriptions, "subscription"), d.Queued)); err != nil {
		return err
	}
	if err := r.Call(ctx, http.MethodDelete, "/sessions/"+url.PathEscape(c.ID), nil, nil); err != nil {
		return err
	}
	return screen.Tell(std, c.JSON, map[string]any{"client": c.ID, "ended": true}, "session %s ended", screen.Printable(c.ID))
}
