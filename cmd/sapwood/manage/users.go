// Package manage is the commands that change who may use a broker and what they may do: users, groups, devices, rules, bans. They act on a
// running broker, through its public API alone.
package manage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
)

// UsersCmd is `sapwood users`.
type UsersCmd struct {
	List     usersListCmd     `cmd:"" default:"withargs" help:"List users."`
	Show     usersShowCmd     `cmd:"" help:"Show one user."`
	Add      usersAddCmd      `cmd:"" help:"Create a user."`
	Set      usersSetCmd      `cmd:"" help:"Change a user."`
	Password usersPasswordCmd `cmd:"" help:"Give a user another password."`
	Delete   usersDeleteCmd   `cmd:"" help:"Delete users."`
	Import   usersImportCmd   `cmd:"" help:"Create and change many users from a file."`
	Export   usersExportCmd   `cmd:"" help:"Write users as lines of JSON."`
	Flush    usersFlushCmd    `cmd:"" help:"Forget what the broker remembers of credentials."`
}

// usersListCmd is `sapwood users list`.
type usersListCmd struct {
	reach.Flags
	Prefix string `arg:"" optional:"" help:"Only names that begin so."`
	Group  string `short:"g" placeholder:"GROUP" help:"Only members of this group."`
	Limit  int    `default:"0" help:"At most so many, 0 = all."`
	JSON   bool   `help:"Print lines of JSON."`
}

// Help is the long part of the help page.
func (*usersListCmd) Help() string {
	return reach.Through + `
Examples:

    sapwood users list
    sapwood users list press- --group line-a
    sapwood users list --json | jq -r .name`
}

// Run lists users.
func (c *usersListCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	t := screen.NewTable(std.Out, "NAME", "KIND", "GROUPS", "STATE", "CHANGED", "NOTE")
	err = users(ctx, r, c.Prefix, c.Group, c.Limit, func(u *rights.User) error {
		if c.JSON {
			return screen.Line(std.Out, u)
		}
		t.Row(u.Name, string(u.Kind), screen.List(u.Groups), userState(u), screen.Moment(u.Changed), u.Note)
		return nil
	})
	if err != nil || c.JSON {
		return err
	}
	return t.Flush()
}

// users walks through the users, page by page.
func users(ctx context.Context, r *reach.Broker, prefix, group string, limit int, each func(*rights.User) error) error {
	q := url.Values{}
	q.Set("prefix", prefix)
	q.Set("group", group)
	for n := 0; ; {
		page := 1000
		if limit > 0 {
			page = min(page, limit-n)
		}
		q.Set("limit", strconv.Itoa(page))
		var answer rights.UserPage
		if err := r.Call(ctx, http.MethodGet, "/users?"+q.Encode(), nil, &answer); err != nil {
			return err
		}
		for i := range answer.Users {
			if err := each(&answer.Users[i]); err != nil {
				return err
			}
		}
		if n += len(answer.Users); answer.Next == "" || limit > 0 && n >= limit {
			return nil
		}
		q.Set("after", answer.Next)
	}
}

// userState says in words whether somebody gets in as this user.
func userState(u *rights.User) string {
	switch {
	case u.Disabled:
		return "disabled"
	case !u.HasPassword:
		return "no password"
	case !u.Expires.IsZero():
		return "until " + screen.Moment(u.Expires)
	}
	return "ok"
}

// usersShowCmd is `sapwood users show`.
type usersShowCmd struct {
	reach.Flags
	Name string `arg:"" help:"The user."`
	JSON bool   `help:"Print it as JSON."`
}

// Help is the long part of the help page.
func (*usersShowCmd) Help() string {
	return `What is known of the password is not shown, only whether there is one. ` + reach.Through + `
Examples:

    sapwood users show anna
    sapwood users show press-07 --json`
}

// Run shows a user.
func (c *usersShowCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	var u rights.User
	if err := r.Call(ctx, http.MethodGet, userAt(c.Name), nil, &u); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, u)
	}
	screen.Fact(std.Out, "name", u.Name)
	screen.Fact(std.Out, "kind", string(u.Kind))
	screen.Fact(std.Out, "state", userState(&u))
	screen.Fact(std.Out, "groups", screen.List(u.Groups))
	screen.Fact(std.Out, "client id", u.ClientID)
	screen.Fact(std.Out, "methods", strings.Join(append([]string{"password"}, u.Methods...), ", "))
	screen.Fact(std.Out, "created", screen.Moment(u.Created))
	screen.Fact(std.Out, "changed", screen.Moment(u.Changed))
	screen.Fact(std.Out, "note", u.Note)
	return nil
}

func userAt(name string) string { return "/users/" + url.PathEscape(name) }

// userFlags are what of a user can be set, but for its password.
type userFlags struct {
	Person   *bool    `help:"A person, not a device."`
	Group    []string `short:"g" sep:"none" placeholder:"GROUP" help:"A group that it is in, in place of those before. Repeatable."`
	ClientID *string  `placeholder:"ID" help:"The only client id to connect with; * stands for any characters."`
	Expires  *string  `placeholder:"TIME" help:"When it ends: 2027-01-31T00:00:00Z, or never."`
	Note     *string  `placeholder:"TEXT" help:"A note."`
}

func (f *userFlags) fields() rights.UserFields {
	fields := rights.UserFields{ClientID: f.ClientID, Expires: f.Expires, Note: f.Note}
	if f.Group != nil {
		fields.Groups = &f.Group
	}
	if f.Person != nil {
		kind := accounts.Device
		if *f.Person {
			kind = accounts.Person
		}
		fields.Kind = &kind
	}
	return fields
}

// usersAddCmd is `sapwood users add`.
type usersAddCmd struct {
	reach.Flags
	Name string `arg:"" help:"The user."`
	userFlags
	newPassword
	JSON bool `help:"Print it as JSON, with the secret if one was made."`
}

// Help is the long part of the help page.
func (*usersAddCmd) Help() string {
	return `Without --generate and --password-stdin it asks for the password. ` + reach.Through + `
Examples:

    sapwood users add anna --person --group operators
    sapwood users add press-07 --group line-a --client-id press-07 --generate
    pass show mqtt/anna | sapwood users add anna --password-stdin`
}

// Run creates a user.
func (c *usersAddCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	body := struct {
		Name string `json:"name"`
		rights.UserFields
	}{c.Name, c.fields()}
	body.Generate = c.Generate
	if body.Password, err = c.read(std, c.Name); err != nil {
		return err
	}
	var made rights.UserSecret
	err = r.Call(ctx, http.MethodPost, "/users", body, &made)
	if reach.IsStatus(err, http.StatusConflict) {
		return fmt.Errorf("%w; sapwood users set changes it", err)
	}
	return tellUser(std, err, &made, c.JSON, "created")
}

// tellUser prints what was done to a user.
func tellUser(std *screen.Streams, err error, u *rights.UserSecret, asJSON bool, done string) error {
	return (&secretive{"user", u.Name, u.Secret, u}).tell(std, err, asJSON, done)
}

// usersSetCmd is `sapwood users set`.
type usersSetCmd struct {
	reach.Flags
	Name string `arg:"" help:"The user."`
	userFlags
	NoGroups bool  `help:"Take it out of all groups."`
	Disabled *bool `negatable:"" help:"Let nobody in as this user any more; --no-disabled lets it in again."`
	JSON     bool  `help:"Print it as JSON."`
}

// Help is the long part of the help page.
func (*usersSetCmd) Help() string {
	return `What is not given stays as it is. A user that is disabled is disconnected at once. ` + reach.Through + `
Examples:

    sapwood users set press-07 --disabled
    sapwood users set anna --group operators --group line-a --expires 2027-01-31T00:00:00Z`
}

// Run changes a user.
func (c *usersSetCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	fields := c.fields()
	fields.Disabled = c.Disabled
	if c.NoGroups {
		if fields.Groups != nil {
			return errors.New("--group or --no-groups, not both")
		}
		fields.Groups = &[]string{}
	}
	if fields == (rights.UserFields{}) {
		return errors.New("nothing to change: see sapwood users set --help")
	}
	var u rights.UserSecret
	err = r.Call(ctx, http.MethodPatch, userAt(c.Name), fields, &u)
	return tellUser(std, err, &u, c.JSON, "changed")
}

// usersPasswordCmd is `sapwood users password`.
type usersPasswordCmd struct {
	reach.Flags
	Name string `arg:"" help:"The user."`
	newPassword
	JSON bool `help:"Print the user as JSON, with the secret if one was made."`
}

// Help is the long part of the help page.
func (*usersPasswordCmd) Help() string {
	return `Clients that are connected with the old one are disconnected. Without --generate and --password-stdin it asks for the
password. ` + reach.Through + `
Examples:

    sapwood users password anna
    sapwood users password press-07 --generate`
}

// Run changes a password.
func (c *usersPasswordCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	fields := rights.Credentials{Generate: c.Generate}
	if fields.Password, err = c.read(std, c.Name); err != nil {
		return err
	}
	var u rights.UserSecret
	err = r.Call(ctx, http.MethodPatch, userAt(c.Name), fields, &u)
	return tellUser(std, err, &u, c.JSON, "has another password")
}

// usersDeleteCmd is `sapwood users delete`.
type usersDeleteCmd struct {
	reach.Flags
	Name []string `arg:"" help:"The users."`
	JSON bool     `help:"Print what was done as JSON."`
}

// Help is the long part of the help page.
func (*usersDeleteCmd) Help() string {
	return `All of them or none. Their clients are disconnected; their sessions stay, and nobody else gets them. ` + reach.Through + `
Examples:

    sapwood users delete anna
    sapwood users list press- --json | jq -r .name | xargs sapwood users delete`
}

// Run deletes users.
func (c *usersDeleteCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	gone := make([]rights.BulkUser, len(c.Name))
	for i, name := range c.Name {
		gone[i] = rights.BulkUser{Name: name, Delete: true}
	}
	result, err := bulk(ctx, r, std, "delete", gone)
	if err != nil {
		return err
	}
	return screen.Tell(std, c.JSON, result, "%s deleted", screen.Count(result.Deleted, "user"))
}

// usersFlushCmd is `sapwood users flush`.
type usersFlushCmd struct {
	reach.Flags
	JSON bool `help:"Print how many as JSON."`
}

// Help is the long part of the help page.
func (*usersFlushCmd) Help() string {
	return `Every backend is asked again at the next connect. For a backend outside, such as LDAP, whose users have changed; those that
are stored here need it not. ` + reach.Through + `
Examples:

    sapwood users flush`
}

// Run flushes.
func (c *usersFlushCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	var answer struct {
		Forgotten int `json:"forgotten"`
	}
	if err := r.Call(ctx, http.MethodPost, "/auth/cache/flush", nil, &answer); err != nil {
		return err
	}
	return screen.Tell(std, c.JSON, answer, "%s forgotten", screen.Count(answer.Forgotten, "credential"))
}
