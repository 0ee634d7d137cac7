package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/sapwood-mqtt/sapwood/console/api"
)

// banFlags are a ban.
type banFlags struct {
	apiFlags
	Subject string        `arg:"" enum:"client,user,address,pattern" help:"client, user, address, or pattern of client ids."`
	Value   string        `arg:"" help:"The client id, the user, the address or network, or the pattern, in which * stands for any characters."`
	For     time.Duration `placeholder:"TIME" help:"How long: 90s, 1h30m, 72h. Without it for ever."`
	Reason  string        `placeholder:"TEXT" help:"It is told."`
	JSON    bool          `help:"Print what was done as JSON."`
}

func (f *banFlags) add(ctx context.Context, std *streams, quarantine bool) error {
	r, err := f.api()
	if err != nil {
		return err
	}
	body := struct {
		api.Ban
		TTL float64 `json:"ttl_seconds,omitempty"`
	}{api.Ban{Subject: f.Subject, Value: f.Value, Quarantine: quarantine, Reason: f.Reason}, f.For.Seconds()}
	var made struct {
		Ban api.Ban `json:"ban"`
		Met int     `json:"met"`
	}
	if err := r.call(ctx, http.MethodPost, "/bans", body, &made); err != nil {
		return err
	}
	if f.JSON {
		return printJSON(std.out, made)
	}
	what, until := "banned", "for ever"
	if quarantine {
		what = "in quarantine"
	}
	if !made.Ban.Until.IsZero() {
		until = "until " + moment(made.Ban.Until)
	}
	_, err = fmt.Fprintf(std.out, "%s %s: %s %s; %s met\n", f.Subject, printable(f.Value), what, until, count(made.Met, "connected client"))
	return err
}

// banCmd is `sapwood ban`.
type banCmd struct{ banFlags }

// Help is the long part of the help page.
func (*banCmd) Help() string {
	return `Those connected are disconnected. ` + through + `
Examples:

    sapwood ban client press-07 --for 1h --reason "floods"
    sapwood ban address 192.0.2.0/24
    sapwood ban pattern 'test-*'`
}

// Run bans.
func (c *banCmd) Run(ctx context.Context, std *streams) error { return c.add(ctx, std, false) }

// quarantineCmd is `sapwood quarantine`.
type quarantineCmd struct{ banFlags }

// Help is the long part of the help page.
func (*quarantineCmd) Help() string {
	return `They may connect, but see and reach nobody until sapwood unban lets them out. ` + through + `
Examples:

    sapwood quarantine client press-07 --reason "unknown firmware"`
}

// Run puts in quarantine.
func (c *quarantineCmd) Run(ctx context.Context, std *streams) error { return c.add(ctx, std, true) }

// unbanCmd is `sapwood unban`.
type unbanCmd struct {
	apiFlags
	Subject string `arg:"" enum:"client,user,address,pattern" help:"client, user, address or pattern."`
	Value   string `arg:"" help:"As sapwood bans lists it."`
}

// Help is the long part of the help page.
func (*unbanCmd) Help() string {
	return `Ends a quarantine too. ` + through + `
Examples:

    sapwood unban client press-07
    sapwood unban address 192.0.2.0/24`
}

// Run lifts a ban.
func (c *unbanCmd) Run(ctx context.Context, std *streams) error {
	r, err := c.api()
	if err != nil {
		return err
	}
	if err := r.call(ctx, http.MethodDelete, "/bans/"+c.Subject+"/"+url.PathEscape(c.Value), nil, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "%s %s is let in again\n", c.Subject, printable(c.Value))
	return err
}

// bansCmd is `sapwood bans`.
type bansCmd struct {
	apiFlags
	JSON bool `help:"Print them as JSON."`
}

// Help is the long part of the help page.
func (*bansCmd) Help() string {
	return through + `
Examples:

    sapwood bans
    sapwood bans --json`
}

// Run lists bans.
func (c *bansCmd) Run(ctx context.Context, std *streams) error {
	r, err := c.api()
	if err != nil {
		return err
	}
	var bans []api.Ban
	if err := r.call(ctx, http.MethodGet, "/bans", nil, &bans); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, bans)
	}
	t := newTable(std.out, "SUBJECT", "VALUE", "WHAT", "UNTIL", "BY", "REASON")
	for _, b := range bans {
		what := "ban"
		if b.Quarantine {
			what = "quarantine"
		}
		t.row(b.Subject, b.Value, what, moment(b.Until), b.By, b.Reason)
	}
	return t.flush()
}
