package live

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// clientsDisconnectCmd is `sapwood clients disconnect`.
type clientsDisconnectCmd struct {
	reach.Flags
	ID      string `arg:"" optional:"" help:"The client id."`
	Where   string `placeholder:"FILTER" help:"All clients that pass a filter, in place of one."`
	Confirm *int   `placeholder:"NUMBER" help:"Disconnect those of --where, if they are so many. Without it they are only counted."`
	Reason  string `placeholder:"TEXT" help:"It is told (MQTT 5)."`
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
		return c.many(ctx, std, r)
	}
	body := map[string]string{"reason": c.Reason}
	if err := r.Call(ctx, http.MethodPost, "/clients/"+url.PathEscape(c.ID)+"/disconnect", body, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.Out, "client %s disconnected\n", screen.Printable(c.ID))
	return err
}

func (c *clientsDisconnectCmd) many(ctx context.Context, std *screen.Streams, r *reach.Broker) error {
	text, err := json.Marshal(api.BulkAction{Confirmed: api.Confirmed{Preview: c.Confirm == nil, Confirm: c.Confirm}, Filter: c.Where, Reason: c.Reason})
	if err != nil {
		return err
	}
	show, end := screen.ProgressBar(std.Err, "disconnect", func(n int64) string { return fmt.Sprint(n) })
	d, err := reach.Task[api.BulkDone](ctx, r, "/clients/disconnect", bytes.NewReader(text), "application/json", show, nil)
	end()
	if err != nil {
		return err
	}
	if c.Confirm != nil {
		_, err = fmt.Fprintf(std.Out, "%s disconnected, %d gone meanwhile\n", screen.Count(d.Done, "client"), d.Gone)
		return err
	}
	for _, id := range d.Sample {
		fmt.Fprintln(std.Out, screen.Printable(id))
	}
	_, err = fmt.Fprintf(std.Out, "%s; nobody is disconnected. To disconnect them: --confirm %d\n", screen.Count(d.Matched, "connected client"), d.Matched)
	return err
}
