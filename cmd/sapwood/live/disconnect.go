package live

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// bulkFlags are those of an action on all clients that pass a filter.
type bulkFlags struct {
	Confirm *int `placeholder:"NUMBER" help:"Do it, if they are so many. Without it they are only counted."`
	Yes     bool `short:"y" help:"Do it, however many they are."`
	JSON    bool `help:"Print what was done, or would be, as JSON."`
}

// clientsDisconnectCmd is `sapwood clients disconnect`.
type clientsDisconnectCmd struct {
	reach.Flags
	ID     string `arg:"" optional:"" help:"The client id."`
	Where  string `placeholder:"FILTER" help:"All clients that pass a filter, in place of one."`
	Reason string `placeholder:"TEXT" help:"It is told (MQTT 5)."`
	bulkFlags
}

// Help is the long part of the help page.
func (*clientsDisconnectCmd) Help() string {
	return `Its session stays, and it may come back; sapwood ban keeps it out. With --where it tells the first time how many there are, and disconnects
nobody; then confirm that number. ` + reach.Through + `
Examples:

    sapwood clients disconnect press-07 --reason "maintenance"
    sapwood clients disconnect --where 'user:test* seen>5m'
    sapwood clients disconnect --where 'user:test* seen>5m' --confirm 12`
}

// Run disconnects a client, or counts or disconnects many.
func (c *clientsDisconnectCmd) Run(ctx context.Context, std *screen.Streams) error {
	if (c.ID == "") == (c.Where == "") || c.ID != "" && c.Confirm != nil {
		return errors.New("give a client id, or --where with a filter, which --confirm goes with")
	}
	r, err := c.API()
	if err != nil {
		return err
	}
	if c.Where != "" {
		m := many{path: "/clients/disconnect", task: "disconnect", did: "disconnected", about: "connected client", where: c.Where, reason: c.Reason, confirm: c.Confirm, agreed: c.Yes, json: c.JSON}
		return m.run(ctx, std, r)
	}
	body := map[string]string{"reason": c.Reason}
	if err := r.Call(ctx, http.MethodPost, "/clients/"+url.PathEscape(c.ID)+"/disconnect", body, nil); err != nil {
		return err
	}
	return screen.Tell(std, c.JSON, map[string]any{"client": c.ID, "disconnected": true}, "client %s disconnected", screen.Printable(c.ID))
}

// banFlags are a ban of all clients that pass a filter.
type banFlags struct {
	reach.Flags
	Where  string        `arg:"" name:"filter" help:"Which clients."`
	For    time.Duration `placeholder:"TIME" help:"How long: 90s, 1h30m, 7d. Without it for ever."`
	Reason string        `placeholder:"TEXT" help:"It is told (MQTT 5)."`
	bulkFlags
}

func (c *banFlags) run(ctx context.Context, std *screen.Streams, m many) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	m.where, m.reason, m.confirm, m.agreed, m.json, m.seconds = c.Where, c.Reason, c.Confirm, c.Yes, c.JSON, c.For.Seconds()
	return m.run(ctx, std, r)
}

// clientsBanCmd is `sapwood clients ban`.
type clientsBanCmd struct{ banFlags }

// Help is the long part of the help page.
func (*clientsBanCmd) Help() string {
	return `Each by its id; sapwood ban is for one, or for addresses, users and patterns. It tells the first time how many there are, and bans nobody; then confirm that number.
` + reach.Through + reach.FilterHelp + `
Examples:

    sapwood clients ban 'user:test* denied>100' --for 1h --reason "broken firmware"
    sapwood clients ban 'user:test* denied>100' --for 1h --confirm 12`
}

// Run counts or bans.
func (c *clientsBanCmd) Run(ctx context.Context, std *screen.Streams) error {
	return c.run(ctx, std, many{path: "/clients/ban", task: "ban", did: "banned", about: "client"})
}

// clientsQuarantineCmd is `sapwood clients quarantine`.
type clientsQuarantineCmd struct{ banFlags }

// Help is the long part of the help page.
func (*clientsQuarantineCmd) Help() string {
	return `They may connect, but see and reach nobody until sapwood unban lets each out. It tells the first time how many there are, and does nothing; then confirm that number.
` + reach.Through + reach.FilterHelp + `
Examples:

    sapwood clients quarantine 'press in_rate>1000' --for 1h
    sapwood clients quarantine 'press in_rate>1000' --for 1h --confirm 3`
}

// Run counts or quarantines.
func (c *clientsQuarantineCmd) Run(ctx context.Context, std *screen.Streams) error {
	return c.run(ctx, std, many{path: "/clients/quarantine", task: "quarantine", did: "put in quarantine", about: "client"})
}

// clientsInflightCmd is `sapwood clients inflight`.
type clientsInflightCmd struct {
	reach.Flags
	ID   string `arg:"" help:"The client id."`
	JSON bool   `help:"Print it as JSON."`
}

// Help is the long part of the help page.
func (*clientsInflightCmd) Help() string {
	return `QoS 1 and 2 messages that were sent and are not settled, both ways, with what is awaited and since when. ` + reach.Through + `
Examples:

    sapwood clients inflight press-07`
}

// Run lists what is in flight.
func (c *clientsInflightCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	var found struct {
		Items []api.FlightRow `json:"items"`
	}
	if err := r.Call(ctx, http.MethodGet, "/clients/"+url.PathEscape(c.ID)+"/inflight", nil, &found); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, found)
	}
	t := screen.NewTable(std.Out, "WAY", "PACKET", "QOS", "AGE", "SIZE", "AWAITED", "TOPIC")
	for _, x := range found.Items {
		age := "-"
		if x.Age != nil {
			age = spell(*x.Age)
		}
		payload, name := "?", cmp.Or(x.Topic, "?")
		if x.Size != nil {
			payload = size(*x.Size)
		}
		t.Row(x.Direction, strconv.Itoa(x.PacketID), strconv.Itoa(x.QoS), age, payload, x.State, name)
	}
	return t.Flush()
}
