package reach

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api/filter"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// FilterHelp explains filters.
const FilterHelp = `
A filter is terms separated by spaces, all of which must hold: field:value (* stands for any characters), field>n (and <, >=, <=), !term;
any other word is looked for in names. Numbers take k, M, Ki, Mi; durations and ages are 30s, 5m, 2h, 7d.
`

// Listed are the flags of every list.
type Listed struct {
	Flags
	Sort  string `short:"s" placeholder:"FIELDS" help:"Fields to sort by, separated by commas; - before one: the greatest first."`
	Limit int    `short:"n" default:"100" help:"At most so many, 0 = all."`
	JSON  bool   `help:"Print lines of JSON."`
}

// Pages gives at most so many items of a list to each, page by page; 0 = all. items takes a page apart. What is returned is the cursor of what
// follows, "" = nothing does.
func Pages[P, T any](ctx context.Context, r *Broker, path string, q url.Values, most int, items func(*P) ([]T, string), each func(*T) error) (next string, err error) {
	for n := 0; ; {
		limit := filter.MaxLimit
		if most > 0 {
			limit = min(limit, most-n)
		}
		q.Set("limit", strconv.Itoa(limit))
		var page P
		if err := r.Call(ctx, http.MethodGet, path+"?"+q.Encode(), nil, &page); err != nil {
			return "", err
		}
		list, next := items(&page)
		for i := range list {
			if err := each(&list[i]); err != nil {
				return "", err
			}
		}
		if n += len(list); next == "" || most > 0 && n >= most {
			return next, nil
		}
		q.Set("cursor", next)
	}
}

// Show prints a list as a table, or as lines of JSON, and tells on the error stream when there is more.
func Show[T any](ctx context.Context, l *Listed, std *screen.Streams, path string, q url.Values, heads []string, row func(*T) []string) error {
	r, err := l.API()
	if err != nil {
		return err
	}
	if l.Sort != "" {
		q.Set("sort", l.Sort)
	}
	list := screen.NewListing(std.Out, l.JSON, heads...)
	n, matched, total := 0, 0, 0
	next, err := Pages(ctx, r, path, q, l.Limit, func(p *serve.List[T]) ([]T, string) {
		n, matched, total = n+len(p.Items), p.Matched, p.Total
		return p.Items, p.Next
	}, func(v *T) error { return list.Item(v, row(v)...) })
	if err != nil {
		return err
	}
	if err := list.Flush(); err != nil || l.JSON {
		return err
	}
	switch {
	case next != "":
		_, err = fmt.Fprintf(std.Err, "%d of %d; --limit 0 shows all\n", n, matched)
	case n == 0 && total > 0:
		_, err = fmt.Fprintf(std.Err, "none of %d fits\n", total)
	case n == 0:
		_, err = fmt.Fprintln(std.Err, "there are none")
	}
	return err
}

// Whole prints what has no pages as a table, or as JSON.
func Whole[T any](ctx context.Context, f *Flags, std *screen.Streams, asJSON bool, path string, heads []string, row func(*T) []string) error {
	r, err := f.API()
	if err != nil {
		return err
	}
	var all []T
	if err := r.Call(ctx, http.MethodGet, path, nil, &all); err != nil {
		return err
	}
	if asJSON {
		return screen.JSON(std.Out, all)
	}
	t := screen.NewTable(std.Out, heads...)
	for i := range all {
		t.Row(row(&all[i])...)
	}
	return t.Flush()
}

// Query makes a query of names and values; empty ones are left out.
func Query(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}
