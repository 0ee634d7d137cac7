package live

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// RetainedCmd is `sapwood retained`.
type RetainedCmd struct {
	List      retainedListCmd      `cmd:"" default:"withargs" help:"List retained messages: sapwood retained [TOPIC FILTER]."`
	Get       retainedGetCmd       `cmd:"" help:"Show the retained message of a topic."`
	Delete    retainedDeleteCmd    `cmd:"" help:"Delete retained messages, which are kept as a snapshot."`
	Snapshots retainedSnapshotsCmd `cmd:"" help:"List what was deleted and can be restored."`
	Restore   retainedRestoreCmd   `cmd:"" help:"Put back what was deleted."`
}

// retainedListCmd is `sapwood retained list`.
type retainedListCmd struct {
	reach.Listed
	Filter    string `arg:"" default:"#" help:"A topic filter."`
	OlderThan string `placeholder:"AGE" help:"Retained longer ago than this, such as 7d."`
	Publisher string `placeholder:"ID" help:"Of this client; * stands for any characters."`
	Payload   string `placeholder:"WORD" help:"With this in the payload."`
}

// Help is the long part of the help page.
func (*retainedListCmd) Help() string {
	return reach.Through + `
Examples:

    sapwood retained 'plant/#' --older-than 7d --sort=-size`
}

// Run lists retained messages.
func (c *retainedListCmd) Run(ctx context.Context, std *screen.Streams) error {
	q := reach.Query("filter", c.Filter, "older_than", c.OlderThan, "publisher", c.Publisher, "payload", c.Payload)
	return reach.Show(ctx, &c.Listed, std, "/retained", q, []string{"TOPIC", "SIZE", "AGE", "PUBLISHER", "PAYLOAD"}, func(r *api.RetainedRow) []string {
		return []string{r.Topic, size(r.Size), ago(r.At), r.Publisher, brief(r)}
	})
}

// brief is a payload in one line.
func brief(r *api.RetainedRow) string {
	text := r.Payload.Text
	if r.Payload.Encoding == "hex" {
		return "(" + size(r.Size) + ")"
	}
	return strings.Join(strings.Fields(text), " ")
}

// retainedGetCmd is `sapwood retained get`.
type retainedGetCmd struct {
	reach.Flags
	Topic string `arg:"" help:"The topic."`
	JSON  bool   `help:"Print it as JSON."`
}

// Help is the long part of the help page.
func (*retainedGetCmd) Help() string {
	return reach.Through + `
Examples:

    sapwood retained get plant/line-1/state`
}

// Run shows a retained message.
func (c *retainedGetCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	var m api.RetainedRow
	if err := r.Call(ctx, http.MethodGet, "/retained/message?"+reach.Query("topic", c.Topic).Encode(), nil, &m); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, m)
	}
	screen.Fact(std.Out, "topic", m.Topic)
	screen.Fact(std.Out, "publisher", m.Publisher)
	screen.Fact(std.Out, "age", ago(m.At))
	screen.Fact(std.Out, "payload", m.Payload.Encoding+", "+size(m.Size))
	for line := range strings.Lines(m.Payload.Text) {
		fmt.Fprintln(std.Out, "  "+screen.Printable(strings.TrimRight(line, "\n")))
	}
	return nil
}

// retainedDeleteCmd is `sapwood retained delete`.
type retainedDeleteCmd struct {
	reach.Flags
	Filter    string        `arg:"" help:"A topic filter."`
	OlderThan time.Duration `placeholder:"AGE" help:"Only those retained longer ago than this, such as 7d."`
	Publisher string        `placeholder:"ID" help:"Only those of this client; * stands for any characters."`
	bulkFlags
}

// Help is the long part of the help page.
func (*retainedDeleteCmd) Help() string {
	return `It tells the first time how many there are, and deletes nothing; then confirm that number. What is deleted is kept as a snapshot for seven
days, from which sapwood retained restore puts it back. Nobody is sent anything. ` + reach.Through + `
Examples:

    sapwood retained delete 'old/#' --older-than 30d
    sapwood retained delete 'old/#' --older-than 30d --confirm 12`
}

// Run counts or deletes retained messages.
func (c *retainedDeleteCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	send := func(confirm *int) (d api.Deletion, err error) {
		body := map[string]any{"filter": c.Filter, "older_than_seconds": c.OlderThan.Seconds(), "publisher": c.Publisher, "preview": confirm == nil}
		if confirm != nil {
			body["confirm"] = *confirm
		}
		return d, r.Call(ctx, http.MethodPost, "/retained/delete", body, &d)
	}
	d, err := send(c.Confirm)
	if err == nil && c.Confirm == nil && c.Yes {
		d, err = send(&d.Matched)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, d)
	}
	if c.Confirm == nil && !c.Yes {
		for _, topic := range d.Sample {
			fmt.Fprintln(std.Out, screen.Printable(topic))
		}
		_, err = fmt.Fprintf(std.Out, "%s, %s; nothing is deleted. To delete them: --confirm %d\n", screen.Count(d.Matched, "retained message"), size(d.Bytes), d.Matched)
		return err
	}
	how := ""
	if d.Snapshot != nil {
		how = "; sapwood retained restore " + d.Snapshot.ID + " puts them back"
	}
	_, err = fmt.Fprintf(std.Out, "%s deleted%s\n", screen.Count(d.Deleted, "retained message"), how)
	return err
}

// retainedSnapshotsCmd is `sapwood retained snapshots`.
type retainedSnapshotsCmd struct {
	reach.Flags
	JSON bool `help:"Print them as JSON."`
}

// Help is the long part of the help page.
func (*retainedSnapshotsCmd) Help() string {
	return reach.Through + `
Examples:

    sapwood retained snapshots`
}

// Run lists snapshots.
func (c *retainedSnapshotsCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	var all struct {
		Items []api.Snapshot `json:"items"`
	}
	if err := r.Call(ctx, http.MethodGet, "/retained/snapshots", nil, &all); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, all)
	}
	t := screen.NewTable(std.Out, "SNAPSHOT", "WHEN", "MESSAGES", "BYTES", "BY", "FILTER")
	for _, s := range all.Items {
		t.Row(s.ID, screen.Moment(s.At), strconv.Itoa(s.Messages), size(s.Bytes), s.By, s.Filter)
	}
	return t.Flush()
}

// retainedRestoreCmd is `sapwood retained restore`.
type retainedRestoreCmd struct {
	reach.Flags
	ID   string `arg:"" help:"The snapshot."`
	JSON bool   `help:"Print what was done as JSON."`
}

// Help is the long part of the help page.
func (*retainedRestoreCmd) Help() string {
	return `Where the topic has a newer message that stays, and what has expired meanwhile stays away. ` + reach.Through + `
Examples:

    sapwood retained restore 20270131-120000-1f00a2b3`
}

// Run restores a snapshot.
func (c *retainedRestoreCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	var x api.Restoration
	if err := r.Call(ctx, http.MethodPost, "/retained/snapshots/"+url.PathEscape(c.ID)+"/restore", nil, &x); err != nil {
		return err
	}
	return screen.Tell(std, c.JSON, x, "%s restored, %d newer, %d expired, %d beyond the limits", screen.Count(x.Restored, "message"), x.Newer, x.Expired, x.Refused)
}
