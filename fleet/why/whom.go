package why

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// byWhom is the fact of the request by which somebody ended a connection; nil where it is not known, or nobody did.
func (c *look) byWhom(ctx context.Context, src Sources, end *fact.Fact) (*fact.Fact, error) {
	if end.Reason != "admin" {
		return nil, nil
	}
	from := end.At.Add(-time.Hour)
	if on := c.h.last(fact.Connected); on != nil {
		from = on.At.Add(-skew) // what was done before was done to another connection
	}
	to := end.At.Add(time.Second)
	for _, f := range c.h.since(from, fact.Admin) {
		if f.At.Before(to) && f.Detail["outcome"] != "failed" && (f.Reason == "client-disconnect" || f.Reason == "session-end") {
			return &f, nil
		}
	}
	// Of many at once each has the text that was asked for.
	many, err := src.Facts(ctx, fact.Query{Kinds: []fact.Kind{fact.Admin}, Reason: "clients-disconnect", From: from, To: to, Limit: 1})
	if err != nil || len(many) == 0 || !strings.HasPrefix(end.Text, "Disconnected by an administrator.") && !strings.Contains(many[0].Detail["asked"], end.Detail["text"]) {
		return nil, err
	}
	return &many[0], nil
}

// doer is who did something by the API, as part of a sentence.
func doer(f *fact.Fact) string {
	who := fmt.Sprintf("by the %s %q", f.Detail["kind"], f.Detail["by"])
	if f.Detail["kind"] == "local" {
		return "by a command on the broker's machine"
	}
	if f.Address != "" {
		who += " from " + f.Address
	}
	return who
}
