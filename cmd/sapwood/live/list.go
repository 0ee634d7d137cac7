// Package live is the commands that look at what a running broker holds, and change it: clients, sessions, topics, retained messages. They act
// through its public API alone.
package live

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// filterHelp explains filters.
const filterHelp = `
A filter is terms separated by spaces, all of which must hold: field:value (* stands for any characters), field>n (and <, >=, <=), !term;
any other word is looked for in names. Numbers take k, M, Ki, Mi; durations and ages are 30s, 5m, 2h, 7d.
`

// Listed are the flags of every list.
type Listed struct {
	reach.Flags
	Sort  string `short:"s" placeholder:"FIELDS" help:"Fields to sort by, separated by commas; - before one: the greatest first."`
	Limit int    `short:"n" default:"100" help:"At most so many, 0 = all."`
	JSON  bool   `help:"Print lines of JSON."`
}

// walk gives each item of a list to each, page by page, and tells how many match.
func walk[T any](ctx context.Context, r *reach.Broker, path string, q url.Values, limit int, each func(*T) error) (matched int, err error) {
	for n := 0; ; {
		page := 1000
		if limit > 0 {
			page = min(page, limit-n)
		}
		q.Set("limit", strconv.Itoa(page))
		var l serve.List[T]
		if err := r.Call(ctx, http.MethodGet, path+"?"+q.Encode(), nil, &l); err != nil {
			return 0, err
		}
		for i := range l.Items {
			if err := each(&l.Items[i]); err != nil {
				return 0, err
			}
		}
		n += len(l.Items)
		if l.Next == "" || limit > 0 && n >= limit {
			return l.Matched, nil
		}
		q.Set("cursor", l.Next)
	}
}

// show prints a list as a table, or as lines of JSON, and tells on the error stream when there is more.
func show[T any](ctx context.Context, l *Listed, std *screen.Streams, path string, q url.Values, heads []string, row func(*T) []string) error {
	r, err := l.API()
	if err != nil {
		return err
	}
	if l.Sort != "" {
		q.Set("sort", l.Sort)
	}
	t := screen.NewTable(std.Out, heads...)
	n := 0
	matched, err := walk(ctx, r, path, q, l.Limit, func(v *T) error {
		n++
		if l.JSON {
			return screen.Line(std.Out, v)
		}
		t.Row(row(v)...)
		return nil
	})
	if err != nil || l.JSON {
		return err
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if n < matched {
		_, err = fmt.Fprintf(std.Err, "%d of %d; --limit 0 shows all\n", n, matched)
	}
	return err
}

func query(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

// count is a number for people, in few characters.
func count[N int | int64 | uint64 | uint32 | float32 | float64](n N) string {
	v := float64(n)
	for _, u := range []string{"", "k", "M", "G"} {
		switch {
		case v < 10 && v != float64(int64(v)):
			return strconv.FormatFloat(v, 'f', 1, 64) + u
		case v < 1000 || u == "" && v < 10000:
			return strconv.FormatFloat(v, 'f', 0, 64) + u
		}
		v /= 1000
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + "T"
}

// size is a number of bytes for people, in the units of the configuration.
func size[N int | int64 | uint64 | uint32 | float64](n N) string { return screen.Bytes(int64(n)) }

// ago is how long ago a time is, for people.
func ago(t *time.Time) string {
	if t == nil {
		return "-"
	}
	switch d := time.Since(*t); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(int(d.Seconds()), 0))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
