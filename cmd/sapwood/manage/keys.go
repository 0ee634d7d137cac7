package manage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
)

// KeysCmd is `sapwood keys`.
type KeysCmd struct {
	List   keysListCmd   `cmd:"" default:"withargs" help:"List the keys by which programs use the API."`
	Add    keysAddCmd    `cmd:"" help:"Create a key."`
	Set    keysSetCmd    `cmd:"" help:"Change a key."`
	Revoke keysRevokeCmd `cmd:"" help:"Revoke keys, at once."`
}

// scopes explains what keys may do.
const scopes = `A scope is read, operate or admin, or one of them for one resource, as in events:read or clients:operate. No key gets at
operators and keys. `

// keysListCmd is `sapwood keys list`.
type keysListCmd struct {
	reach.Listed
	Filter []string `arg:"" optional:"" help:"Terms of a filter."`
}

// Help is the long part of the help page.
func (*keysListCmd) Help() string {
	return `Of a key itself only the beginning is known, to tell it from others. ` + reach.Through + reach.FilterHelp + `
Examples:

    sapwood keys list
    sapwood keys list --sort last_used --json`
}

// Run lists keys.
func (c *keysListCmd) Run(ctx context.Context, std *screen.Streams) error {
	return reach.Show(ctx, &c.Listed, std, "/keys", reach.Query("filter", strings.Join(c.Filter, " ")), []string{"NAME", "KEY", "SCOPES", "STATE", "LAST USED", "BY", "NOTE"}, func(k *access.APIKey) []string {
		return []string{k.Name, k.Begins + "…", strings.Join(k.Scopes, " "), keyState(k), screen.Moment(k.Used), k.By, k.Note}
	})
}

// keyState says in words whether a key holds.
func keyState(k *access.APIKey) string {
	switch {
	case k.Disabled:
		return "disabled"
	case k.Expires.IsZero():
		return "ok"
	case k.Expires.Before(time.Now()):
		return "expired " + screen.Moment(k.Expires)
	}
	return "until " + screen.Moment(k.Expires)
}

func keyAt(name string) string { return "/keys/" + url.PathEscape(name) }

// keyFlags are what of a key can be set.
type keyFlags struct {
	Scope   []string `short:"s" placeholder:"SCOPE" help:"What it may do. Repeatable."`
	Expires string   `placeholder:"TIME" help:"When it ends: 2027-01-31T00:00:00Z, from now on as in 90d or 12h, or never."`
	Note    *string  `placeholder:"TEXT" help:"A note."`
}

func (f *keyFlags) fields() (rights.KeyFields, error) {
	fields := rights.KeyFields{Scopes: f.Scope, Note: f.Note}
	switch f.Expires {
	case "":
	case "never":
		fields.Expires = &time.Time{}
	default:
		at, err := moment(f.Expires, 1)
		if err != nil {
			return fields, fmt.Errorf("--expires: %w", err)
		}
		fields.Expires = &at
	}
	return fields, nil
}

// keysAddCmd is `sapwood keys add`.
type keysAddCmd struct {
	reach.Flags
	Name string `arg:"" help:"What the key is for."`
	keyFlags
	JSON bool `help:"Print it as JSON, with the key."`
}

// Help is the long part of the help page.
func (*keysAddCmd) Help() string {
	return scopes + `The key is printed this one time. ` + reach.Through + `
Examples:

    sapwood keys add grafana --scope metrics:read
    sapwood keys add ci --scope read --scope publish:operate --expires 90d`
}

// Run creates a key.
func (c *keysAddCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	body := struct {
		Name string `json:"name"`
		rights.KeyFields
	}{Name: c.Name}
	if body.KeyFields, err = c.fields(); err != nil {
		return err
	}
	if len(body.Scopes) == 0 {
		return errors.New("say what it may do, such as --scope read: see sapwood keys add --help")
	}
	var made rights.KeySecret
	if err := r.Call(ctx, http.MethodPost, "/keys", body, &made); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, made)
	}
	fmt.Fprintln(std.Err, "the key is shown this one time:")
	_, err = fmt.Fprintln(std.Out, made.Key)
	return err
}

// keysSetCmd is `sapwood keys set`.
type keysSetCmd struct {
	reach.Flags
	Name string `arg:"" help:"The key."`
	keyFlags
	Disabled *bool `negatable:"" help:"Let it in no more; --no-disabled lets it in again."`
	JSON     bool  `help:"Print it as JSON."`
}

// Help is the long part of the help page.
func (*keysSetCmd) Help() string {
	return scopes + `What is not given stays as it is, and so does the key itself. ` + reach.Through + `
Examples:

    sapwood keys set ci --expires 30d
    sapwood keys set ci --disabled`
}

// Run changes a key.
func (c *keysSetCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	fields, err := c.fields()
	if err != nil {
		return err
	}
	fields.Disabled = c.Disabled
	if fields.Scopes == nil && fields.Expires == nil && fields.Note == nil && fields.Disabled == nil {
		return errors.New("nothing to change: see sapwood keys set --help")
	}
	var k access.APIKey
	if err := r.Call(ctx, http.MethodPatch, keyAt(c.Name), fields, &k); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, k)
	}
	_, err = fmt.Fprintf(std.Out, "key %s: changed\n", screen.Printable(k.Name))
	return err
}

// keysRevokeCmd is `sapwood keys revoke`.
type keysRevokeCmd struct {
	reach.Flags
	Name []string `arg:"" help:"The keys."`
	JSON bool     `help:"Print lines of JSON."`
}

// Help is the long part of the help page.
func (*keysRevokeCmd) Help() string {
	return `What runs with them ends at once. ` + reach.Through + `
Examples:

    sapwood keys revoke ci`
}

// Run revokes keys.
func (c *keysRevokeCmd) Run(ctx context.Context, std *screen.Streams) error {
	return deleteEach(ctx, std, &c.Flags, c.Name, c.JSON, keyAt, "key", "revoked")
}
