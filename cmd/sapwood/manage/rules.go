package manage

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
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
)

// RulesCmd is `sapwood rules`.
type RulesCmd struct {
	List    rulesListCmd    `cmd:"" default:"withargs" help:"List the rules that are stored."`
	Add     rulesAddCmd     `cmd:"" help:"Create a rule."`
	Replace rulesReplaceCmd `cmd:"" help:"Put another rule in the place of one."`
	Delete  rulesDeleteCmd  `cmd:"" help:"Delete a rule."`
}

// precedence says how rules decide.
const precedence = `Of all rules that fit, the one with the highest priority decides; among equals a denial wins; if none fits, the answer is no.
A change holds at once, for those connected too. `

// rulesListCmd is `sapwood rules list`.
type rulesListCmd struct {
	reach.Listed
	Filter []string `arg:"" optional:"" help:"Terms of a filter."`
}

// Help is the long part of the help page.
func (*rulesListCmd) Help() string {
	return precedence + `Rules of the configuration file are not among them. ` + reach.Through + reach.FilterHelp + `
Examples:

    sapwood rules list
    sapwood rules list topics:plant/* --sort=-priority --json`
}

// Run lists rules.
func (c *rulesListCmd) Run(ctx context.Context, std *screen.Streams) error {
	return reach.Show(ctx, &c.Listed, std, "/rules", reach.Query("filter", strings.Join(c.Filter, " ")), []string{"ID", "PRIORITY", "RULE", "TOPICS", "WHO", "NOTE"}, func(r *rights.Rule) []string {
		f := &r.RuleFields
		return []string{r.ID, strconv.Itoa(f.Priority), ruleText(f), strings.Join(f.Topics, " "), whoText(f), f.Note}
	})
}

// ruleText is what a rule allows or denies.
func ruleText(f *rights.RuleFields) string {
	text := "allow " + strings.Join(f.Allow, ",")
	if len(f.Deny) > 0 {
		text = "deny " + strings.Join(f.Deny, ",")
	}
	if len(f.QoS) > 0 {
		text += " qos " + strings.Trim(fmt.Sprint(f.QoS), "[]")
	}
	if f.Retain == "only" || f.Retain == "never" {
		text += " retained " + f.Retain
	}
	return text
}

// whoText is whom a rule is about.
func whoText(f *rights.RuleFields) string {
	var parts []string
	for _, p := range []struct {
		name   string
		values []string
	}{
		{"user", f.Users},
		{"group", f.Groups},
		{"client", f.Clients},
		{"cn", f.CommonNames},
		{"listener", f.Listeners},
		{"address", f.Addresses},
		{"claim", f.Claims},
	} {
		if len(p.values) > 0 {
			parts = append(parts, p.name+" "+strings.Join(p.values, "|"))
		}
	}
	if len(parts) == 0 {
		return "everybody"
	}
	return strings.Join(parts, ", ")
}

// ruleFlags are a rule.
type ruleFlags struct {
	Allow    []string `placeholder:"ACTION" help:"publish, subscribe, receive, retain. Repeatable, or separated by commas."`
	Deny     []string `placeholder:"ACTION" help:"The same, to deny."`
	Topic    []string `short:"t" sep:"none" placeholder:"FILTER" help:"A filter; {client}, {user}, {cn}, {group} and {claim.NAME} stand for the client's own. Repeatable."`
	ForUser  []string `sep:"none" placeholder:"NAME" help:"Users it is about; * stands for any characters. Repeatable, as the next."`
	Group    []string `short:"g" sep:"none" placeholder:"GROUP" help:"Groups it is about."`
	Client   []string `sep:"none" placeholder:"ID" help:"Client ids it is about."`
	CN       []string `name:"cn" sep:"none" placeholder:"NAME" help:"Common names of certificates it is about."`
	Listener []string `sep:"none" placeholder:"NAME" help:"Listeners it is about."`
	Address  []string `sep:"none" placeholder:"NET" help:"Networks it is about, such as 10.0.0.0/8."`
	Claim    []string `sep:"none" placeholder:"NAME=VALUE" help:"Claims that have to hold."`
	QoS      []int    `name:"qos" placeholder:"QOS" help:"Only these."`
	Retained string   `enum:"any,only,never" default:"any" placeholder:"any" help:"Publications: any, only retained ones, never those."`
	Priority int      `default:"0" help:"The highest decides."`
	Name     string   `placeholder:"TEXT" help:"How explanations call it."`
	Note     string   `placeholder:"TEXT" help:"A note."`
}

func (f *ruleFlags) fields() (*rights.RuleFields, error) {
	if (len(f.Allow) == 0) == (len(f.Deny) == 0) {
		return nil, errors.New("a rule has --allow or --deny")
	}
	if len(f.Topic) == 0 {
		return nil, errors.New("a rule has a --topic")
	}
	return &rights.RuleFields{
		Name: f.Name, Allow: f.Allow, Deny: f.Deny, Topics: f.Topic, Users: f.ForUser, Groups: f.Group, Clients: f.Client, CommonNames: f.CN,
		Listeners: f.Listener, Addresses: f.Address, Claims: f.Claim, QoS: f.QoS, Retain: f.Retained, Priority: f.Priority, Note: f.Note,
	}, nil
}

// rulesAddCmd is `sapwood rules add`.
type rulesAddCmd struct {
	reach.Flags
	ruleFlags
	JSON bool `help:"Print it as JSON."`
}

// Help is the long part of the help page.
func (*rulesAddCmd) Help() string {
	return precedence + reach.Through + `
Examples:

    sapwood rules add --allow publish --topic 'plant/{group}/{client}/#' --group line-a
    sapwood rules add --deny publish --topic 'plant/+/cmd/#' --priority 10 --name "no commands"
    sapwood rules add --allow subscribe,receive --topic '#' --for-user anna`
}

// Run creates a rule.
func (c *rulesAddCmd) Run(ctx context.Context, std *screen.Streams) error {
	f, err := c.fields()
	if err != nil {
		return err
	}
	r, err := c.API()
	if err != nil {
		return err
	}
	var made rights.Rule
	if err := r.Call(ctx, http.MethodPost, "/rules", f, &made); err != nil {
		return err
	}
	return screen.Tell(std, c.JSON, made, "rule %s holds", screen.Printable(made.ID))
}

func ruleAt(id string) string { return "/rules/" + url.PathEscape(id) }

// rulesReplaceCmd is `sapwood rules replace`.
type rulesReplaceCmd struct {
	reach.Flags
	ID string `arg:"" help:"The rule, as sapwood rules list calls it."`
	ruleFlags
	JSON bool `help:"Print it as JSON."`
}

// Help is the long part of the help page.
func (*rulesReplaceCmd) Help() string {
	return `Nothing of the old one stays. ` + precedence + reach.Through + `
Examples:

    sapwood rules replace k3jq9xw2ab --allow publish --topic 'plant/{client}/#'`
}

// Run replaces a rule.
func (c *rulesReplaceCmd) Run(ctx context.Context, std *screen.Streams) error {
	f, err := c.fields()
	if err != nil {
		return err
	}
	r, err := c.API()
	if err != nil {
		return err
	}
	var put rights.Rule
	if err := r.Call(ctx, http.MethodPut, ruleAt(c.ID), f, &put, "If-Match", "*"); err != nil {
		return err
	}
	return screen.Tell(std, c.JSON, put, "rule %s holds", screen.Printable(put.ID))
}

// rulesDeleteCmd is `sapwood rules delete`.
type rulesDeleteCmd struct {
	reach.Flags
	ID   string `arg:"" help:"The rule, as sapwood rules list calls it."`
	JSON bool   `help:"Print what was done as JSON."`
}

// Help is the long part of the help page.
func (*rulesDeleteCmd) Help() string {
	return `What it allowed or denied is up to the other rules from then on, for connected clients too. ` + reach.Through + `
Examples:

    sapwood rules delete k3jq9xw2ab`
}

// Run deletes a rule.
func (c *rulesDeleteCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	if err := r.Call(ctx, http.MethodDelete, ruleAt(c.ID), nil, nil); err != nil {
		return err
	}
	return screen.Tell(std, c.JSON, map[string]any{"rule": c.ID, "deleted": true}, "rule %s deleted", screen.Printable(c.ID))
}
