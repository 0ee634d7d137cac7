package manage

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
)

// banFlags are a ban.
type banFlags struct {
	reach.Flags
	Subject string        `arg:"" enum:"client,user,address,pattern" help:"client, user, address, or pattern of client ids."`
	Value   string        `arg:"" help:"The client id, the user, the address or network, or the pattern, in which * stands for any characters."`
	For     time.Duration `placeholder:"TIME" help:"How long: 90s, 1h30m, 7d. Without it for ever."`
	Reason  string        `placeholder:"TEXT" help:"It is told."`
	JSON    bool          `help:"Print what was done as JSON."`
}

func (f *banFlags) add(ctx context.Context, std *screen.Streams, quarantine bool) error {
	r, err := f.API()
	if err != nil {
		return err
	}
	body := struct {
		rights.Ban
		TTL float64 `json:"ttl_seconds,omitempty"`
	}{rights.Ban{Subject: f.Subject, Value: f.Value, Quarantine: quarantine, Reason: f.Reason}, f.For.Seconds()}
	var made struct {
		Ban rights.Ban `json:"ban"`
		Met int        `json:"met"`
	}
	if err := r.Call(ctx, http.MethodPost, "/bans", body, &made); err != nil {
		return err
	}
	if f.JSON {
		return screen.JSON(std.Out, made)
	}
	what, until := "banned", "for ever"
	if quarantine {
		what = "in quarantine"
	}
	if !made.Ban.Until.IsZero() {
		until = "until " + screen.Moment(made.Ban.Until)
	}
	_, err = fmt.Fprintf(std.Out, "%s %s: %s %s; %s met\n", f.Subject, screen.Printable(f.Value), what, until, screen.Count(made.Met, "connected client"))
	return err
}

// BanCmd is `sapwood ban`.
type BanCmd struct{ banFlags }

// Help is the long part of the help page.
func (*BanCmd) Help() string {
	return `Those connected are disconnected. Whom it is about: sapwood clients connected:true address:NETWORK, or user:NAME, or id:PATTERN. ` + reach.Through + `
Examples:

    sapwood ban client press-07 --for 1h --reason "floods"
    sapwood ban address 192.0.2.0/24
    sapwood ban pattern 'test-*'`
}

// Run bans.
func (c *BanCmd) Run(ctx context.Context, std *screen.Streams) error { return c.add(ctx, std, false) }

// QuarantineCmd is `sapwood quarantine`.
type QuarantineCmd struct{ banFlags }

// Help is the long part of the help page.
func (*QuarantineCmd) Help() string {
	return `They may connect, but see and reach nobody until sapwood unban lets them out. ` + reach.Through + `
Examples:

    sapwood quarantine client press-07 --reason "unknown firmware"`
}

// Run puts in quarantine.
func (c *QuarantineCmd) Run(ctx context.Context, std *screen.Streams) error {
	return c.add(ctx, std, true)
}

// UnbanCmd is `sapwood unban`.
type UnbanCmd struct {
	reach.Flags
	Subject string `arg:"" enum:"client,user,address,pattern" help:"client, user, address or pattern."`
	Value   string `arg:"" help:"As sapwood bans lists it."`
	JSON    bool   `help:"Print what was done as JSON."`
}

// Help is the long part of the help page.
func (*UnbanCmd) Help() string {
	return `Ends a quarantine too. ` + reach.Through + `
Examples:

    sapwood unban client press-07
    sapwood unban address 192.0.2.0/24`
}

// Run lifts a ban.
func (c *UnbanCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	if err := r.Call(ctx, http.MethodDelete, "/bans/"+c.Subject+"/"+url.PathEscape(c.Value), nil, nil); err != nil {
		return err
	}
	return screen.Tell(std, c.JSON, map[string]any{"subject": c.Subject, "value": c.Value, "unbanned": true}, "%s %s is let in again", c.Subject, screen.Printable(c.Value))
}

// BansCmd is `sapwood bans`.
type BansCmd struct {
	reach.Listed
	Filter []string `arg:"" optional:"" help:"Terms of a filter."`
}

// Help is the long part of the help page.
func (*BansCmd) Help() string {
	return reach.Through + reach.FilterHelp + `
Examples:

    sapwood bans
    sapwood bans subject:address --sort until --json`
}

// Run lists bans.
func (c *BansCmd) Run(ctx context.Context, std *screen.Streams) error {
	return reach.Show(ctx, &c.Listed, std, "/bans", reach.Query("filter", strings.Join(c.Filter, " ")), []string{"SUBJECT", "VALUE", "WHAT", "UNTIL", "BY", "REASON"}, func(b *rights.Ban) []string {
		what := "ban"
		if b.Quarantine {
			what = "quarantine"
		}
		return []string{b.Subject, b.Value, what, screen.Moment(b.Until), b.By, b.Reason}
	})
}
