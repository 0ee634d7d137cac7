package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/sapwood-mqtt/sapwood/console/api"
)

// aclCmd is `sapwood acl`.
type aclCmd struct {
	Test    aclTestCmd    `cmd:"" help:"Check what clients may do against expectations."`
	Explain aclExplainCmd `cmd:"" help:"Say which rule decides about a client and a topic, and why."`
}

// exitDenied is the exit code of an explanation that says no.
const exitDenied = 3

// aclExplainCmd is `sapwood acl explain`.
type aclExplainCmd struct {
	apiFlags
	Client   string            `arg:"" help:"The client id."`
	Topic    string            `arg:"" help:"The topic name, or a filter to subscribe to."`
	Action   string            `short:"a" enum:"publish,subscribe,receive,retain" default:"publish" placeholder:"publish" help:"publish, subscribe, receive, or retain (publish a retained message)."`
	QoS      int               `name:"qos" short:"q" default:"0" placeholder:"0" help:"The QoS."`
	AsUser   string            `placeholder:"NAME" help:"A client that is not there, with this user name; with any of these the one that is there is not looked at."`
	Group    []string          `short:"g" sep:"none" placeholder:"GROUP" help:"Its groups. Repeatable."`
	Listener string            `placeholder:"NAME" help:"Its listener."`
	Address  string            `placeholder:"IP" help:"Its address."`
	CN       string            `name:"cn" placeholder:"NAME" help:"Common name of its certificate."`
	Claim    map[string]string `mapsep:"none" placeholder:"NAME=VALUE" help:"Its claims. Repeatable."`
	JSON     bool              `help:"Print the answer as JSON."`
}

// Help is the long part of the help page.
func (*aclExplainCmd) Help() string {
	return `Asks the running broker, with the rules of all sources, about a client as the broker knows it, or about one that is described.
sapwood acl test asks files, without a broker. ` + through + `
Exit status: 0 when it is allowed, 1 if it could not be asked, 2 for a wrong command line, 3 when it is denied.

Examples:

    sapwood acl explain press-07 plant/line-a/press-07/state
    sapwood acl explain press-07 'plant/#' --action subscribe
    sapwood acl explain press-99 plant/x --as-user press-99 --group line-a --address 10.1.2.3`
}

// Run explains.
func (c *aclExplainCmd) Run(ctx context.Context, std *streams) error {
	r, err := c.api()
	if err != nil {
		return err
	}
	ask := api.Explain{
		Client: c.Client, User: c.AsUser, Groups: c.Group, Listener: c.Listener, Address: c.Address, CN: c.CN, Claims: c.Claim,
		Action: c.Action, Topic: c.Topic, QoS: c.QoS,
	}
	var said api.Explained
	if err := r.call(ctx, http.MethodPost, "/acl/explain", ask, &said); err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(std.out, said)
	} else {
		err = printExplained(std, c.Action, c.Topic, &said)
	}
	if err == nil && !said.Allowed {
		return denied{}
	}
	return err
}

func printExplained(std *streams, action, topic string, said *api.Explained) error {
	verdict := "denied"
	if said.Allowed {
		verdict = "allowed"
	}
	fmt.Fprintf(std.out, "%s: %s %s\n", verdict, action, printable(topic))
	fact(std.out, "rule", said.Rule)
	fact(std.out, "why", said.Why)
	fact(std.out, "client", said.Client.ClientID)
	switch {
	case said.Client.User != "":
		fact(std.out, "user", said.Client.User)
	default:
		fact(std.out, "user", "none: anonymous")
	}
	fact(std.out, "groups", strings.Join(said.Client.Groups, ", "))
	fact(std.out, "listener", said.Client.Listener)
	fact(std.out, "address", said.Client.Address)
	fact(std.out, "cn", said.Client.CN)
	if !said.Client.Known {
		fact(std.out, "note", "the broker was not asked about a client that it knows, but about one as described")
	}
	return nil
}

// denied ends an explanation whose output has already said so.
type denied struct{ silent }

// ExitCode is the status for a denial.
func (denied) ExitCode() int { return exitDenied }
