package manage

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
)

// AuditCmd is `sapwood audit`.
type AuditCmd struct {
	reach.Flags
	By        string `placeholder:"NAME" help:"Only by this operator or key."`
	Operation string `placeholder:"NAME" help:"Only this operation, such as user-patch."`
	Target    string `placeholder:"TEXT" help:"Only where the path has this part."`
	Outcome   string `enum:",done,refused,failed" default:"" placeholder:"WORD" help:"Only done, refused or failed."`
	Since     string `placeholder:"TIME" help:"Only from then on: 2027-01-31T00:00:00Z, or ago as in 2h or 7d."`
	Until     string `placeholder:"TIME" help:"Only before then."`
	Limit     int    `short:"n" default:"50" help:"At most so many, the newest; 0 = all."`
	JSON      bool   `help:"Print them as JSON, one a line, with what was there before and after."`
}

// Help is the long part of the help page.
func (*AuditCmd) Help() string {
	return `Who changed what by the API, and from where; the newest first. Secrets are not in it. ` + reach.Through + `
Examples:

    sapwood audit
    sapwood audit --by anna --since 7d
    sapwood audit --target /users/press-07 --json`
}

// Run prints entries of the audit log.
func (c *AuditCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	q := reach.Query("by", c.By, "operation", c.Operation, "target", c.Target, "outcome", c.Outcome)
	for name, text := range map[string]string{"since": c.Since, "until": c.Until} {
		if text == "" {
			continue
		}
		at, err := moment(text, -1)
		if err != nil {
			return fmt.Errorf("--%s: %w", name, err)
		}
		q.Set(name, at.Format(time.RFC3339))
	}
	list := screen.NewListing(std.Out, c.JSON, "WHEN", "WHO", "FROM", "WHAT", "TARGET", "OUTCOME")
	_, err = reach.Pages(ctx, r, "/audit", q, c.Limit, func(p *rights.AuditPage) ([]access.Entry, string) { return p.Items, p.Next }, func(e *access.Entry) error {
		return list.Item(e, screen.Moment(e.At), whoDid(e), e.From, e.Operation, e.Target, outcomeText(e))
	})
	if err != nil {
		return err
	}
	return list.Flush()
}

// whoDid names who did something.
func whoDid(e *access.Entry) string {
	return (&access.Caller{Kind: e.Kind, Name: e.By}).String()
}

func outcomeText(e *access.Entry) string {
	text := e.Outcome
	if e.Outcome != access.Done {
		text += " (" + strconv.Itoa(e.Status) + ")"
	}
	if e.More > 0 {
		text += fmt.Sprintf(", and %d more before", e.More)
	}
	return text
}

// moment reads a time: as RFC 3339, or as a distance from now, in the direction that sign has.
func moment(text string, sign time.Duration) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	days := time.Duration(1)
	if number, ok := strings.CutSuffix(text, "d"); ok {
		text, days = number+"h", 24
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return time.Time{}, fmt.Errorf("%q is no time: write 2027-01-31T00:00:00Z, or a distance from now as in 90d or 12h", text)
	}
	return time.Now().Add(sign * d * days).UTC().Truncate(time.Second), nil
}
