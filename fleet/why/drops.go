package why

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// remedies are what to do, by why a message was dropped: session.Why.
var remedies = map[string]string{
	"queue_full":    "Have the client acknowledge faster or connect more often, or raise limits.max_queued_messages for its class.",
	"expired":       "Publish with a longer message expiry interval, or have the client connect more often.",
	"too_large":     "Publish smaller messages, or let the client allow larger packets (Maximum Packet Size).",
	"slow_consumer": "The client reads too slowly: subscribe to less, or use QoS 1, which waits.",
	"offline":       "Subscribe, and publish, at QoS 1 to have messages kept while the client is away.",
	"rate_limited":  "Use QoS 1, which waits, or raise the rate.",
	"overloaded":    "The broker dropped QoS 0 to survive: see sapwood events --kind overload.",
	"session_ended": "A longer session expiry keeps what waits.",
	"server_full":   "See whose messages wait: sapwood sessions list --sort=-queue_bytes; or raise limits.max_total_queued_bytes.",
	"denied":        "sapwood acl explain tells the rule.",
	"store_failed":  "sapwood events --kind store tells whether the store is well again.",
	"store_unwell":  "sapwood events --kind store tells whether the store is well again.",
	"retained_full": "Raise limits.max_retained or limits.max_retained_bytes, or delete what nobody needs: sapwood retained.",
}

// drops: messages did not reach it, or its own went nowhere, while it was here or while it was not. It is slow only where more came than it took.
func (c *look) drops(since time.Time, gone bool) bool {
	var last *fact.Fact
	var some history // of the last one's reason, and way
	others := uint64(0)
	for _, f := range c.h.since(since, fact.Dropped) {
		switch {
		case away(&f) != gone:
		case last == nil:
			last = &f
			some = history{f}
		case f.Reason == last.Reason && f.Detail["from_it"] == last.Detail["from_it"]:
			some = append(some, f)
		default:
			others += max(f.Count, 1)
		}
	}
	if last == nil {
		return false
	}
	verdict, lead := Hindered, "It is connected, but"
	switch last.Reason {
	case "queue_full", "slow_consumer", "rate_limited":
		verdict = Slow
	}
	if gone {
		verdict, lead = Fine, "It is connected; while it was away,"
	}
	what := plural(some.count(), "message") + " did not reach it"
	switch {
	case last.Reason == "retained_full" || last.Reason == "store_unwell" && last.Detail["from_it"] != "":
		what = plural(some.count(), "message") + " of its own could not be retained"
	case last.Detail["from_it"] != "":
		what = plural(some.count(), "message") + " of its own went to nobody"
	}
	c.say(verdict, cmp.Or(last.Reason, "dropped"), some[len(some)-1].At, "%s %s in the last %s: %s", lead, what, span(recent), because(last))
	if others > 0 {
		c.a.Text += fmt.Sprintf(" And %d more for other reasons.", others)
	}
	c.prove(some...)
	if advice := remedies[last.Reason]; advice != "" {
		c.suggest(advice)
	}
	return true
}

// away: a message was dropped because the client was not there, or while it was not.
func away(f *fact.Fact) bool {
	return f.Detail["connected"] == "" && f.Detail["from_it"] == "" && (f.Reason == "offline" || f.Reason == "queue_full" || f.Reason == "session_ended" || f.Reason == "expired")
}

// because is the reason that stands in the text of a drop, behind how many messages of which topic did not get where.
func because(f *fact.Fact) string {
	for _, what := range []string{" did not reach the client", " went to nobody", " could not be retained"} {
		if _, rest, ok := strings.Cut(f.Text, what); ok {
			if _, why, ok := strings.Cut(rest, ": "); ok {
				return why
			}
		}
	}
	return lower(f.Text)
}
