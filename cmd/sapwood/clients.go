package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// clientsCmd is `sapwood clients`.
type clientsCmd struct {
	Disconnect clientsDisconnectCmd `cmd:"" help:"Close a client's connection."`
}

// clientsDisconnectCmd is `sapwood clients disconnect`.
type clientsDisconnectCmd struct {
	apiFlags
	ID     string `arg:"" help:"The client id."`
	Reason string `placeholder:"TEXT" help:"It is told (MQTT 5)."`
}

// Help is the long part of the help page.
func (*clientsDisconnectCmd) Help() string {
	return `Its session stays, and it may come back; sapwood ban keeps it out. ` + through + `
Examples:

    sapwood clients disconnect press-07 --reason "maintenance"`
}

// Run disconnects a client.
func (c *clientsDisconnectCmd) Run(ctx context.Context, std *streams) error {
	r, err := c.api()
	if err != nil {
		return err
	}
	body := map[string]string{"reason": c.Reason}
	if err := r.call(ctx, http.MethodPost, "/clients/"+url.PathEscape(c.ID)+"/disconnect", body, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "client %s disconnected\n", printable(c.ID))
	return err
}
