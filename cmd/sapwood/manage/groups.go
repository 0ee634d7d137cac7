package manage

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
)

// GroupsCmd is `sapwood groups`.
type GroupsCmd struct {
	List   groupsListCmd   `cmd:"" default:"withargs" help:"List groups."`
	Add    groupsAddCmd    `cmd:"" help:"Create a group, or change its note."`
	Delete groupsDeleteCmd `cmd:"" help:"Delete a group without members."`
}

// groupsListCmd is `sapwood groups list`.
type groupsListCmd struct {
	reach.Listed
	Filter []string `arg:"" optional:"" help:"Terms of a filter."`
}

// Help is the long part of the help page.
func (*groupsListCmd) Help() string {
	return `Who is in one tells sapwood users list --group. ` + reach.Through + reach.FilterHelp + `
Examples:

    sapwood groups list
    sapwood groups list --json name:line-*`
}

// Run lists groups.
func (c *groupsListCmd) Run(ctx context.Context, std *screen.Streams) error {
	return reach.Show(ctx, &c.Listed, std, "/groups", reach.Query("filter", strings.Join(c.Filter, " ")), []string{"NAME", "CHANGED", "NOTE"}, func(g *accounts.Group) []string {
		return []string{g.Name, screen.Moment(g.Changed), g.Note}
	})
}

func groupAt(name string) string { return "/groups/" + url.PathEscape(name) }

// groupsAddCmd is `sapwood groups add`.
type groupsAddCmd struct {
	reach.Flags
	Name string `arg:"" help:"The group."`
	Note string `placeholder:"TEXT" help:"A note."`
	JSON bool   `help:"Print it as JSON."`
}

// Help is the long part of the help page.
func (*groupsAddCmd) Help() string {
	return `A group is a name that users share, for rules to go by. ` + reach.Through + `
Examples:

    sapwood groups add line-a --note "the first line"`
}

// Run creates a group.
func (c *groupsAddCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	var g accounts.Group
	if err := r.Call(ctx, http.MethodPut, groupAt(c.Name), map[string]string{"note": c.Note}, &g); err != nil {
		return err
	}
	return screen.Tell(std, c.JSON, g, "group %s is there", screen.Printable(g.Name))
}

// groupsDeleteCmd is `sapwood groups delete`.
type groupsDeleteCmd struct {
	reach.Flags
	Name string `arg:"" help:"The group."`
	JSON bool   `help:"Print what was done as JSON."`
}

// Help is the long part of the help page.
func (*groupsDeleteCmd) Help() string {
	return `Its members have to be taken out first. ` + reach.Through + `
Examples:

    sapwood groups delete line-a`
}

// Run deletes a group.
func (c *groupsDeleteCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	if err := r.Call(ctx, http.MethodDelete, groupAt(c.Name), nil, nil); err != nil {
		return err
	}
	return screen.Tell(std, c.JSON, map[string]any{"group": c.Name, "deleted": true}, "group %s deleted", screen.Printable(c.Name))
}
