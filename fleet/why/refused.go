package why

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// hungUp is the reason of who was not refused, but did not wait for an answer: broker.RefusedHangUp.
const hungUp = "hung_up"

// refused: it is not connected, and its last try was refused.
func (c *look) refused() bool {
	r := c.h.last(fact.Refused, fact.Connected)
	if r == nil || r.Kind != fact.Refused {
		return false
	}
	since := time.Time{}
	if on := c.h.last(fact.Connected); on != nil {
		since = on.At
	}
	all := sameEnd(c.h.since(since, fact.Refused), r)
	if how := fmt.Sprintf("%s, the last time %s ago", times(all.count()), span(c.now.Sub(r.At))); r.Reason == hungUp {
		c.say(Refused, hungUp, all[len(all)-1].At, "It tries to connect and hangs up before it has an answer (%s): it does not wait until it is known who it is.", how)
	} else {
		c.say(Refused, cmp.Or(r.Reason, "refused"), all[len(all)-1].At, "It tries to connect and is refused (%s): %s", how, refusal(r))
	}
	c.prove(all...)
	if b := c.h.last(fact.Banned, fact.Unbanned); b != nil && b.Kind == fact.Banned {
		c.prove(*b)
		c.suggest("sapwood unban lets it in again.")
	} else if advice := remedy(r); advice != "" {
		c.suggest(advice)
	}
	return true
}

// address: what came from an address.
func (c *look) address(ctx context.Context, src Sources, addr string) (err error) {
	if c.h, err = src.Facts(ctx, fact.Query{
		Address: addr, Kinds: []fact.Kind{fact.Refused, fact.Connected}, From: c.now.Add(-window), Limit: shortly,
	}); err != nil {
		return err
	}
	r := c.h.last(fact.Refused, fact.Connected)
	switch {
	case r == nil:
		kept, err := memory(ctx, src, c.now)
		if err != nil {
			return err
		}
		c.say(Unknown, "never_seen", time.Time{}, "Nothing has come from %s %s.", addr, kept)
	case r.Kind == fact.Refused:
		since := time.Time{}
		if on := c.h.last(fact.Connected); on != nil {
			since = on.At
		}
		all := sameEnd(c.h.since(since, fact.Refused), r)
		what := "is refused"
		if r.Reason == hungUp {
			what = "does not get in"
		}
		c.say(Refused, cmp.Or(r.Reason, "refused"), all[len(all)-1].At, "A connection from %s %s (%s, the last time %s ago): %s", addr, what, times(all.count()), span(c.now.Sub(r.At)), refusal(r))
		c.prove(all...)
		if advice := remedy(r); advice != "" {
			c.suggest(advice)
		}
	default:
		c.say(Fine, "address", r.At, "Clients get in from %s; the last one was %s, %s ago.", addr, r.Client, span(c.now.Sub(r.At)))
		c.prove(c.h.since(time.Time{}, fact.Connected)...)
		c.suggest("sapwood why " + quoted(r.Client) + " tells about it.")
	}
	return nil
}

// refusals are what to do, by why a connection was refused.
var refusals = map[string]string{
	"bad_user_name_or_password":    "Set the password anew with sapwood users password, or correct it on the device.",
	"not_authorized":               "The credentials are right, but not for this client id or listener; sapwood users show tells what the user is bound to.",
	"unsupported_protocol_version": "Connect to a listener that accepts the version, or change versions of this one.",
	"server_busy":                  "Wait: the broker lets nobody in until it has room again; see overload in the configuration.",
	"overloaded":                   "Wait: the broker lets nobody in until it has room again; see overload in the configuration.",
	"tls":                          "sapwood cert show tells when a certificate ends and who signed it; the listener's tls.client_ca says who is believed.",
	"not_mqtt":                     "Whatever connects speaks another protocol: HTTP, TLS on a port without it, or the reverse.",
	"connect_timeout":              "It opened the connection and said nothing: a health check, a scanner, or a client that waits for TLS.",
	hungUp:                         "Its connect timeout is shorter than it takes to check its password: raise it on the device, and see whether the authentication backend is slow.",
	"client_identifier_not_valid":  "The client id is empty, too long or has characters that are not allowed.",
}

// remedy is what to do about a refusal; "" where nobody knows.
func remedy(f *fact.Fact) string {
	if f.Reason == "connection_rate_exceeded" {
		if f.Detail["by"] != "" { // whoever checks passwords
			return "Correct the password on the device, and on others behind its address; it is let in once authentication.password.max_wait is over."
		}
		return "Have the device connect less often, or raise rates.user."
	}
	return refusals[f.Reason]
}

// sameEnd are those of some refusals that are told in the same words as f: of who was refused, or of who hung up.
func sameEnd(all history, f *fact.Fact) (some history) {
	for _, x := range all {
		if (x.Reason == hungUp) == (f.Reason == hungUp) {
			some = append(some, x)
		}
	}
	return some
}

// refusal is why a connection was refused, as the end of a sentence.
func refusal(f *fact.Fact) string {
	if rest, ok := strings.CutPrefix(f.Text, "A connection from "+f.Address); ok { // which the sentence has named
		return "it " + strings.TrimLeft(rest, ", ")
	}
	return lower(strings.TrimPrefix(f.Text, "Refused "))
}

// aside is how long may be looked for what is beside the question.
const aside = 100 * time.Millisecond

// turnedAway adds what became of connections from its address since, which did not get so far as to tell a client id. Nothing says that they are its own.
func (c *look) turnedAway(ctx context.Context, src Sources, end *fact.Fact) error {
	if end.Address == "" {
		return nil
	}
	from := end.At
	if hour := c.now.Add(-time.Hour); from.Before(hour) {
		from = hour // refusals are looked through one by one
	}
	brief, cancel := context.WithTimeout(ctx, aside)
	defer cancel()
	all, err := src.Facts(brief, fact.Query{Address: end.Address, Kinds: []fact.Kind{fact.Refused}, From: from, Limit: shortly})
	if brief.Err() != nil && ctx.Err() == nil {
		return nil // too many refusals to find its own among them
	}
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.Client == "" {
			c.a.Text += " Since then, from the same address and perhaps of another device: " + lower(f.Text)
			c.prove(f)
			break
		}
	}
	return nil
}

// memory is how far back the facts go, as the end of a sentence about something that is not among them.
func memory(ctx context.Context, src Sources, now time.Time) (string, error) {
	first, err := src.Facts(ctx, fact.Query{Oldest: true, Limit: 1})
	switch {
	case err != nil:
		return "", err
	case len(first) == 0:
		return "as far as events are kept", nil
	case first[0].At.After(now.Add(-window)):
		return "since the events begin, " + span(now.Sub(first[0].At)) + " ago", nil
	}
	return "in the last " + span(window), nil
}
