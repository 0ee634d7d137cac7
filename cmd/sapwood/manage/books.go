package manage

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// BooksCmd is `sapwood books`.
type BooksCmd struct {
	reach.Flags
	Client string `arg:"" optional:"" help:"Show the books of this client id."`
	JSON   bool   `help:"Print them as JSON."`
}

// Help is the long part of the help page.
func (*BooksCmd) Help() string {
	return `Every message that came in ends in one line, and so does every copy of it that was meant for a receiver. Those of the broker
go on over restarts. ` + reach.Through + `
Exit status: 0 when the books balance, 1 when they could not be read, 3 when they do not balance.

Examples:

    sapwood books
    sapwood books press-07
    sapwood books --json`
}

// unbalanced ends a command whose output has said it.
type unbalanced struct{}

// Error implements error.
func (unbalanced) Error() string { return "" }

// ExitCode is the status for books that do not balance.
func (unbalanced) ExitCode() int { return 3 }

// Run shows the books.
func (c *BooksCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	if c.Client != "" {
		var b api.ClientBooks
		if err := r.Call(ctx, http.MethodGet, "/books/clients/"+url.PathEscape(c.Client), nil, &b); err != nil {
			return err
		}
		return c.show(std, b, b.Lines, b.Balanced, b.Imbalance)
	}
	var b api.Balance
	if err := r.Call(ctx, http.MethodGet, "/books", nil, &b); err != nil {
		return err
	}
	return c.show(std, b, b.Lines, b.Balanced, b.Imbalance)
}

func (c *BooksCmd) show(std *screen.Streams, all any, lines []api.Line, balanced bool, difference int64) error {
	var end error
	if !balanced {
		end = unbalanced{}
	}
	if c.JSON {
		if err := screen.JSON(std.Out, all); err != nil {
			return err
		}
		return end
	}
	t := screen.NewTable(std.Out, "OF", "", "LINE", "COUNT", "WHAT")
	for _, l := range lines {
		t.Row(l.Of, l.Side, l.Name, fmt.Sprint(l.Count), l.Text)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	said := "The books balance."
	if !balanced {
		said = fmt.Sprintf("The books do NOT balance: %d are not accounted for.", difference)
	}
	if _, err := fmt.Fprintln(std.Out, said); err != nil {
		return err
	}
	return end
}
