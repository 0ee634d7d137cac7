package live

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
)

// clientsDisconnectCmd is `sapwood clients disconnect`.
type clientsDisconnectCmd struct {
	reach.Flags
	ID     string `arg:"" help:"The client id."`
	Reason string `placeholder:"TEXT" help:"It is told (MQTT 5)."`
}

// Help is the long part of the help page.
func (*clientsDisconnectCmd) Help() string {
	return `Its session stays, and it may come back; sapwood ban keeps it out. ` + reach.Through + `
Examples:

    sapwood clients disconnect press-07 --reason "maintenance"`
}

// Run disconnects a client.
func (c *clientsDisconnectCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	body := map[string]string{"reason": c.Reason}
	if err := r.Call(ctx, http.MethodPost, "/clients/"+url.PathEscape(c.ID)+"/disconnect", body, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.Out, "client %s disconnected\n", screen.Printable(c.ID))
	return err
}
