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
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
)

// OperatorsCmd is `sapwood operators`.
type OperatorsCmd struct {
	List     operatorsListCmd     `cmd:"" default:"withargs" help:"List who may use the API and the console."`
	Add      operatorsAddCmd      `cmd:"" help:"Create an operator."`
	Set      operatorsSetCmd      `cmd:"" help:"Change an operator."`
	Password operatorsPasswordCmd `cmd:"" help:"Give an operator another password."`
	Delete   operatorsDeleteCmd   `cmd:"" help:"Delete operators."`
}

// roles explains what operators may do.
const roles = `A viewer reads, an operator acts on clients and messages too, an admin does everything. `

// operatorsListCmd is `sapwood operators list`.
type operatorsListCmd struct {
	reach.Listed
	Filter []string `arg:"" optional:"" help:"Terms of a filter."`
}

// Help is the long part of the help page.
func (*operatorsListCmd) Help() string {
	return roles + reach.Through + reach.FilterHelp + `
Examples:

    sapwood operators list
    sapwood operators list role:admin --json`
}

// Run lists operators.
func (c *operatorsListCmd) Run(ctx context.Context, std *screen.Streams) error {
	return reach.Show(ctx, &c.Listed, std, "/operators", reach.Query("filter", strings.Join(c.Filter, " ")), []string{"NAME", "ROLE", "STATE", "SESSIONS", "CHANGED", "NOTE"}, func(o *rights.Operator) []string {
		state := "ok"
		switch {
		case o.Disabled:
			state = "disabled"
		case o.ChangeNeeded:
			state = "first password"
		}
		return []string{o.Name, string(o.Role), state, strconv.Itoa(o.Sessions), screen.Moment(o.Changed), o.Note}
	})
}

func operatorAt(name string) string { return "/operators/" + url.PathEscape(name) }

// operatorFlags are what of an operator can be set, but for its password.
type operatorFlags struct {
	Role *string `enum:"viewer,operator,admin" placeholder:"ROLE" help:"viewer, operator or admin. A new one is a viewer."`
	Note *string `placeholder:"TEXT" help:"A note."`
}

func (f *operatorFlags) fields() rights.OperatorFields {
	fields := rights.OperatorFields{Note: f.Note}
	if f.Role != nil {
		role := access.Role(*f.Role)
		fields.Role = &role
	}
	return fields
}

// operatorsAddCmd is `sapwood operators add`.
type operatorsAddCmd struct {
	reach.Flags
	Name string `arg:"" help:"The operator."`
	operatorFlags
	newPassword
	JSON bool `help:"Print it as JSON, with the password if one was made."`
}

// Help is the long part of the help page.
func (*operatorsAddCmd) Help() string {
	return roles + `Without --generate and --password-stdin it asks for the password. ` + reach.Through + `
Examples:

    sapwood operators add anna --role operator --generate
    pass show sapwood/anna | sapwood operators add anna --password-stdin`
}

// Run creates an operator.
func (c *operatorsAddCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	body := struct {
		Name string `json:"name"`
		rights.OperatorFields
	}{c.Name, c.fields()}
	body.Generate = c.Generate
	if body.Password, err = c.read(std, c.Name); err != nil {
		return err
	}
	var made rights.OperatorSecret
	err = r.Call(ctx, http.MethodPost, "/operators", body, &made)
	if reach.IsStatus(err, http.StatusConflict) {
		return fmt.Errorf("%w; sapwood operators set changes it", err)
	}
	return tellOperator(std, err, &made, c.JSON, "created")
}

// tellOperator prints what was done to an operator.
func tellOperator(std *screen.Streams, err error, o *rights.OperatorSecret, asJSON bool, done string) error {
	return (&secretive{"operator", o.Name, o.Secret, o}).tell(std, err, asJSON, done)
}

// operatorsSetCmd is `sapwood operators set`.
type operatorsSetCmd struct {
	reach.Flags
	Name string `arg:"" help:"The operator."`
	operatorFlags
	Disabled *bool `negatable:"" help:"Let it in no more; --no-disabled lets it in again."`
	JSON     bool  `help:"Print it as JSON."`
}

// Help is the long part of the help page.
func (*operatorsSetCmd) Help() string {
	return `What is not given stays as it is. Another role and --disabled end its sessions at once. ` + reach.Through + `
Examples:

    sapwood operators set anna --role admin
    sapwood operators set anna --disabled`
}

// Run changes an operator.
func (c *operatorsSetCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	fields := c.fields()
	fields.Disabled = c.Disabled
	if fields == (rights.OperatorFields{}) {
		return errors.New("nothing to change: see sapwood operators set --help")
	}
	var o rights.OperatorSecret
	err = r.Call(ctx, http.MethodPatch, operatorAt(c.Name), fields, &o)
	return tellOperator(std, err, &o, c.JSON, "changed")
}

// operatorsPasswordCmd is `sapwood operators password`.
type operatorsPasswordCmd struct {
	reach.Flags
	Name string `arg:"" help:"The operator."`
	newPassword
	JSON bool `help:"Print the operator as JSON, with the password if one was made."`
}

// Help is the long part of the help page.
func (*operatorsPasswordCmd) Help() string {
	return `Its sessions end at once. On the broker's own machine this also helps when the password of admin is lost.
Without --generate and --password-stdin it asks for the password. ` + reach.Through + `
Examples:

    sapwood operators password admin --generate
    sapwood operators password anna`
}

// Run changes a password.
func (c *operatorsPasswordCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	fields := rights.OperatorFields{Generate: c.Generate}
	if fields.Password, err = c.read(std, c.Name); err != nil {
		return err
	}
	var o rights.OperatorSecret
	err = r.Call(ctx, http.MethodPatch, operatorAt(c.Name), fields, &o)
	return tellOperator(std, err, &o, c.JSON, "has another password")
}

// operatorsDeleteCmd is `sapwood operators delete`.
type operatorsDeleteCmd struct {
	reach.Flags
	Name []string `arg:"" help:"The operators."`
	JSON bool     `help:"Print lines of JSON."`
}

// Help is the long part of the help page.
func (*operatorsDeleteCmd) Help() string {
	return `Their sessions end at once. ` + reach.Through + `
Examples:

    sapwood operators delete anna`
}

// Run deletes operators.
func (c *operatorsDeleteCmd) Run(ctx context.Context, std *screen.Streams) error {
	return deleteEach(ctx, std, &c.Flags, c.Name, c.JSON, operatorAt, "operator", "deleted")
}

// deleteEach deletes one after the other, and says so of each.
func deleteEach(ctx context.Context, std *screen.Streams, f *reach.Flags, names []string, asJSON bool, at func(string) string, what, done string) error {
	r, err := f.API()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := r.Call(ctx, http.MethodDelete, at(name), nil, nil); err != nil {
			return err
		}
		if asJSON {
			err = screen.Line(std.Out, map[string]any{what: name, done: true})
		} else {
			_, err = fmt.Fprintf(std.Out, "%s %s %s\n", what, screen.Printable(name), done)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
