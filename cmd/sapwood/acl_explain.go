package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
)

// exitDenied is the exit code of an explanation that says no.
const exitDenied = 3

// aclExplainCmd is `sapwood acl explain`.
type aclExplainCmd struct {
	reach.Flags
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
	Offline  bool              `help:"Ask the rules of the configuration file and its acl_file, without a broker."`
	JSON     bool              `help:"Print the answer as JSON."`
}

// Help is the long part of the help page.
func (*aclExplainCmd) Help() string {
	return `Asks the running broker, with the rules of all sources, about a client as the broker knows it, or about one that is described.
With --offline the rules of the configuration file alone, without a broker; sapwood acl test asks them many questions.
` + reach.Through + `
Exit status: 0 when it is allowed, 1 if it could not be asked, 2 for a wrong command line, 3 when it is denied.

Examples:

    sapwood acl explain press-07 plant/line-a/press-07/state
    sapwood acl explain press-07 'plant/#' --action subscribe
    sapwood acl explain press-07 plant/x --offline --config sapwood.yaml
    sapwood acl explain press-99 plant/x --as-user press-99 --group line-a --address 10.1.2.3`
}

// Run explains.
func (c *aclExplainCmd) Run(ctx context.Context, std *streams) error {
	said, err := c.ask(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		err = screen.JSON(std.out, said)
	} else {
		err = printExplained(std, c.Action, c.Topic, said)
	}
	if err == nil && !said.Allowed {
		return denied{}
	}
	return err
}

// ask asks the broker, or the file.
func (c *aclExplainCmd) ask(ctx context.Context) (*rights.Explained, error) {
	if c.Offline {
		return c.askFile()
	}
	r, err := c.API()
	if err != nil {
		return nil, err
	}
	question := rights.Explain{
		Client: c.Client, User: c.AsUser, Groups: c.Group, Listener: c.Listener, Address: c.Address, CN: c.CN, Claims: c.Claim,
		Action: c.Action, Topic: c.Topic, QoS: c.QoS,
	}
	var said rights.Explained
	return &said, r.Call(ctx, http.MethodPost, "/acl/explain", question, &said)
}

func (c *aclExplainCmd) askFile() (*rights.Explained, error) {
	engine, err := rulesOf(c.Config)
	if err != nil {
		return nil, err
	}
	subject := acl.Subject{Client: c.Client, User: c.AsUser, Groups: c.Group, Listener: c.Listener, Address: c.Address, CN: c.CN, Claims: c.Claim}
	who, err := subject.Principal()
	if err != nil {
		return nil, err
	}
	q, err := acl.ParseQuestion(fmt.Sprintf("%s qos=%d %s", c.Action, c.QoS, c.Topic))
	if err != nil {
		return nil, err
	}
	said := &rights.Explained{Decision: engine.Explain(who, q)}
	said.Client = rights.Asked{
		ClientID: c.Client, User: c.AsUser, Groups: c.Group, Listener: c.Listener, Address: c.Address, CN: c.CN, Claims: c.Claim,
	}
	return said, nil
}

func printExplained(std *streams, action, topic string, said *rights.Explained) error {
	verdict := "denied"
	if said.Allowed {
		verdict = "allowed"
	}
	fmt.Fprintf(std.out, "%s: %s %s\n", verdict, action, screen.Printable(topic))
	screen.Fact(std.out, "rule", said.Rule)
	screen.Fact(std.out, "why", said.Why)
	screen.Fact(std.out, "client", said.Client.ClientID)
	switch {
	case said.Client.User != "":
		screen.Fact(std.out, "user", said.Client.User)
	default:
		screen.Fact(std.out, "user", "none: anonymous")
	}
	screen.Fact(std.out, "groups", strings.Join(said.Client.Groups, ", "))
	screen.Fact(std.out, "listener", said.Client.Listener)
	screen.Fact(std.out, "address", said.Client.Address)
	screen.Fact(std.out, "cn", said.Client.CN)
	if !said.Client.Known {
		screen.Fact(std.out, "note", "no client of the broker, but one as described: without --address on this machine, without --as-user anonymous")
	}
	return nil
}

// denied ends an explanation whose output has already said so.
type denied struct{ silent }

// ExitCode is the status for a denial.
func (denied) ExitCode() int { return exitDenied }
