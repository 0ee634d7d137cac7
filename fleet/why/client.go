package why

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// Client tells how a client is, and why. What is no client id but an address is answered about what came from there: a
// connection that ends before its CONNECT has no client id.
func (e *Engine) Client(ctx context.Context, id string) (Answer, error) {
	h, err := e.history(ctx, id)
	if err != nil {
		return Answer{}, err
	}
	s, known, err := e.src.State(ctx, id)
	if err != nil {
		return Answer{}, err
	}
	c := &look{id: id, now: e.now(), h: h, s: s, known: known}
	addr, err := netip.ParseAddr(id)
	switch {
	case !known && len(h) == 0 && err == nil:
		if err := c.address(ctx, e.src, addr.String()); err != nil {
			return Answer{}, err
		}
	case known && s.Connected:
		c.connected()
	case c.refused():
	default:
		if err := c.gone(ctx, e.src); err != nil {
			return Answer{}, err
		}
	}
	c.a.Client = id
	if c.a.Evidence == nil {
		c.a.Evidence = []fact.Fact{}
	}
	if c.a.Suggestions == nil {
		c.a.Suggestions = []string{}
	}
	return c.a, nil
}

// look is one look at a client.
type look struct {
	id    string
	now   time.Time
	h     history
	s     State
	known bool
	a     Answer
}

func (c *look) say(v Verdict, cause string, since time.Time, format string, args ...any) {
	c.a.Verdict, c.a.Cause, c.a.Since, c.a.Text = v, cause, since, fmt.Sprintf(format, args...)
}

// prove adds evidence.
func (c *look) prove(facts ...fact.Fact) {
	for _, f := range facts {
		if len(c.a.Evidence) < 20 {
			c.a.Evidence = append(c.a.Evidence, f)
		}
	}
}

func (c *look) suggest(text string) { c.a.Suggestions = append(c.a.Suggestions, text) }

// for how long something counts as recent.
const recent = 10 * time.Minute

// connected says how a client is that is there: the gravest first.
func (c *look) connected() {
	s := &c.s
	since := c.now.Add(-recent)
	switch over := c.h.since(since, fact.TakenOver); {
	case s.Quarantined:
		c.say(Hindered, "quarantine", s.Since, "It is connected, but in quarantine: what it publishes goes nowhere and it receives nothing.")
		if q := c.h.last(fact.Quarantined); q != nil {
			c.a.Since = q.At
			c.prove(*q)
		}
		c.suggest("sapwood unban lifts the quarantine once the reason is gone.")
	case len(over) >= fights:
		c.contested(over)
	case len(c.h.since(since, fact.Connected)) >= 5:
		again := c.h.since(since, fact.Connected)
		c.say(Flapping, "flapping", again[len(again)-1].At, "It is connected, but connected %s in the last %s; %s", times(again.count()), span(recent), c.lastEnd())
		c.prove(c.h.since(since, fact.Disconnected)...)
		c.suggest("Look at the link, the device's power and its keep-alive; the evidence tells how each connection ended.")
	case c.stalls():
	case c.waitsForAcks():
	case c.limited(since):
	case c.denied(since):
	case c.drops(since, false):
	case c.rests():
	case c.wanted(since):
	case c.drops(since, true):
	case c.replaced(since):
	default:
		c.quiet()
	}
}

// lastEnd is how the last connection ended.
func (c *look) lastEnd() string {
	if d := c.h.last(fact.Disconnected); d != nil {
		return "the last connection ended: " + ended(d)
	}
	return "how the connections ended is not known."
}

// stalls: it does not read what it is sent.
func (c *look) stalls() bool {
	st := c.h.last(fact.Stalled, fact.StallEnded, fact.Connected)
	if st == nil || st.Kind != fact.Stalled {
		return false
	}
	behind := ""
	if c.s.Queued > 0 {
		behind = ", and " + plural(uint64(c.s.Queued), "message") + " of QoS 1 and 2 behind them"
	}
	c.say(Slow, "write_stall", st.At, "It has not read from its connection for %s: %s wait to be sent to it%s.", span(c.now.Sub(st.At)), fact.Bytes(c.s.Pending), behind)
	c.prove(*st)
	c.suggest("The device or its link hangs. sapwood clients disconnect ends the connection; a session keeps what waits.")
	return true
}

// From when on a message in flight is old: one among others, and one that keeps others from being sent.
const (
	slowAck = 30 * time.Second
	fullAck = 5 * time.Second
)

func (c *look) waitsForAcks() bool {
	s := &c.s
	full, old := "", slowAck
	if s.Window > 0 && s.Inflight >= s.Window {
		full, old = ", as many as may be, so that nothing more is sent", fullAck
	}
	if s.Inflight == 0 || s.Oldest < old {
		return false
	}
	c.say(Slow, "ack_stall", c.now.Add(-s.Oldest), "It does not acknowledge what it gets: %s in flight for up to %s%s, and %s.", are(s.Inflight, "message"), span(s.Oldest), full, waiting(s.Queued))
	c.prove(c.h.since(c.now.Add(-recent), fact.Dropped)...)
	c.suggest("The application on the device does not return from handling a message, or its client does not send acknowledgements; sapwood trace shows the packets.")
	return true
}

func (c *look) limited(since time.Time) bool {
	l := c.h.since(since, fact.Limited)
	if len(l) == 0 {
		return false
	}
	c.prove(l...)
	if l[0].Reason == "store" { // nobody tells each client that the store is well again
		c.say(Slow, "store", l[0].At, "It was held back %s ago: %s", span(c.now.Sub(l[0].At)), lower(l[0].Text))
		c.suggest("sapwood events --kind store tells whether the store is well again.")
		return true
	}
	c.say(Slow, cmp.Or(l[0].Reason, "limited"), l[len(l)-1].At, "It is held back: %s", lower(l[0].Text))
	c.suggest("Raise the rate for its class in rates.classes, or have the device send less.")
	return true
}

func (c *look) denied(since time.Time) bool {
	d := c.h.since(since, fact.Denied)
	if len(d) == 0 {
		return false
	}
	c.say(Hindered, "denied", d[len(d)-1].At, "It is connected, but was denied something %s in the last %s, the last time %s ago: %s", times(d.count()), span(recent), span(c.now.Sub(d[0].At)), lower(d[0].Text))
	c.prove(d...)
	c.suggest(fmt.Sprintf("sapwood acl explain %s %s --action %s tells the rule.", quoted(c.id), quoted(d[0].Topic), cmp.Or(d[0].Detail["action"], "publish")))
	return true
}

// rests: it may not use subscriptions that it has.
func (c *look) rests() bool {
	var resting []string
	for _, f := range c.s.Filters {
		if f.Rests {
			resting = append(resting, f.Filter)
		}
	}
	if len(resting) == 0 {
		return false
	}
	c.say(Hindered, "rests", time.Time{}, "It is connected, but the rules do not allow it any more to have %s: %s.", plural(uint64(len(resting)), "subscription"), strings.Join(resting, ", "))
	if f := c.h.last(fact.SubscriptionRests); f != nil {
		c.a.Since = f.At
		c.prove(*f)
	}
	return true
}

// wanted: others try to use its client id.
func (c *look) wanted(since time.Time) bool {
	var others history
	for _, f := range c.h.since(since, fact.Refused) {
		if f.User != c.s.User && f.Reason != hungUp {
			others = append(others, f)
		}
	}
	if len(others) == 0 {
		return false
	}
	c.say(Fine, "id_wanted", others[len(others)-1].At, "It is connected, but somebody else wanted to connect with its client id and was refused (%s, the last time %s ago): %s", times(others.count()), span(c.now.Sub(others[0].At)), refusal(&others[0]))
	c.prove(others...)
	c.suggest("A device that has the id of another one is refused because its user is another; give it an id of its own.")
	return true
}

// replaced: it took the place of another connection.
func (c *look) replaced(since time.Time) bool {
	over := c.h.since(since, fact.TakenOver)
	if len(over) == 0 {
		return false
	}
	c.say(Fine, "taken_over", over[0].At, "It is connected, and took the place of another connection with its client id, from %s, %s ago.", over[0].Address, span(c.now.Sub(over[0].At)))
	c.prove(over...)
	c.suggest("If that was not the device itself that came back, two devices share the client id.")
	return true
}

// quiet: nothing is wrong with it, as far as the broker can know.
func (c *look) quiet() {
	s := &c.s
	if on := c.h.last(fact.Connected); on != nil {
		c.prove(*on)
	}
	if refused := c.h.since(s.Since, fact.Subscribed); slices.ContainsFunc(refused, func(f fact.Fact) bool { return f.Code >= 0x80 }) {
		i := slices.IndexFunc(refused, func(f fact.Fact) bool { return f.Code >= 0x80 })
		c.say(Hindered, "subscription_refused", refused[i].At, "It is connected, but a subscription was refused: %s", lower(refused[i].Text))
		c.prove(refused[i])
		return
	}
	switch {
	case s.Published.IsZero() && s.Publishes == 0 && len(s.Filters) == 0:
		c.say(Silent, "idle", s.Since, "It has been connected for %s, but has neither published nor subscribed to anything.", span(c.now.Sub(s.Since)))
		c.suggest("The application on the device has not started its work, or waits for something.")
	case !s.Published.IsZero() && s.Heard.Sub(s.Published) > recent:
		c.say(Silent, "no_data", s.Published, "It is connected and answers, but has not published anything for %s.", span(c.now.Sub(s.Published)))
		c.suggest("The device's MQTT client works and its application does not; sapwood trace --back shows its last packets.")
	default:
		c.say(Fine, "fine", s.Since, "It has been connected for %s and nothing hinders it.", span(c.now.Sub(s.Since)))
	}
}

// ended is how a connection ended, as the end of a sentence.
func ended(f *fact.Fact) string { return lower(strings.TrimPrefix(f.Text, "Disconnected ")) }

// gone: it is not connected, and does not try.
func (c *look) gone(ctx context.Context, src Sources) error {
	end := c.h.last(fact.Disconnected, fact.TakenOver, fact.Connected)
	switch {
	case end == nil && !c.known && len(c.h) == 0:
		kept, err := memory(ctx, src, c.now)
		if err != nil {
			return err
		}
		c.say(Unknown, "never_seen", time.Time{}, "No client of this id has connected, or tried to, %s.", kept)
		c.suggest("Compare the client id with the device's, letter by letter; sapwood clients lists those that are there.")
		return nil
	case end == nil:
		c.say(Disconnected, "long_gone", c.s.Since, "It is not connected; how its last connection ended is older than what is remembered.")
		return nil
	case end.Kind == fact.Connected: // and no end: the broker did not see it
		starts, err := src.Facts(ctx, fact.Query{Kinds: []fact.Kind{fact.Started}, From: end.At, Oldest: true, Limit: 1})
		if err != nil {
			return err
		}
		c.prove(*end)
		if len(starts) > 0 {
			c.say(Disconnected, "broker_restarted", starts[0].At, "It was connected when the broker stopped without a farewell, and has not come back since the broker started %s ago.", span(c.now.Sub(starts[0].At)))
			c.prove(starts[0])
			c.suggest("The device does not connect again by itself, or cannot reach the broker: look at its network and its client's reconnect setting.")
			return nil
		}
		c.say(Disconnected, "unknown", end.At, "It is not connected; how its connection ended was not recorded.")
		return nil
	}
	cause := cmp.Or(end.Reason, "disconnected")
	if broke := c.h.since(end.At.Add(-time.Second), fact.ProtocolError); cause == "protocol_error" && len(broke) > 0 {
		cause = cmp.Or(broke[0].Reason, cause)
	}
	how := ended(end)
	by, err := c.byWhom(ctx, src, end)
	if err != nil {
		return err
	}
	if by != nil {
		how = strings.Replace(how, "by an administrator", doer(by), 1)
		c.prove(*by)
	}
	c.say(Disconnected, cause, end.At, "It has been disconnected for %s: %s", span(c.now.Sub(end.At)), how)
	c.prove(*end)
	c.prove(c.h.since(end.At.Add(-time.Minute), fact.ProtocolError, fact.Stalled, fact.Limited, fact.Banned)...)
	if err := c.turnedAway(ctx, src, end); err != nil {
		return err
	}
	advice := cmp.Or(advices[cause], advices[end.Reason])
	if by != nil {
		advice = "sapwood audit tells all that was done."
	}
	if l := c.h.last(fact.Limited, fact.Connected); l != nil && l.Kind == fact.Limited && l.Reason == "store" && cause == "closed" {
		if l.At.Before(end.At.Add(-time.Minute)) { // else it is proved already
			c.prove(*l)
		}
		advice = "It was not read while the store took nothing, and may have given up: sapwood events --kind store tells why."
	}
	if advice != "" {
		c.suggest(advice)
	}
	if c.known && c.s.Queued > 0 {
		c.suggest(fmt.Sprintf("Its session keeps %s for it.", plural(uint64(c.s.Queued), "message")))
	}
	return nil
}

// advices are what to do, by how a connection ended: broker.Cause, or what the protocol's violation is called.
var advices = map[string]string{
	"client":                   "Its application, or its operator, ended the connection; the device's log tells why.",
	"closed":                   "The program on the device ended or restarted: look at its log and its power.",
	"broken":                   "The link broke, or the device restarted: look at its network and its log.",
	"keep_alive":               "The device or its link went away without a word: look at its power and its network.",
	"taken_over":               "The same client id connected from elsewhere: if that was not the device itself, two devices share the id.",
	"admin":                    "Somebody disconnected it: sapwood audit tells who.",
	"banned":                   "sapwood unban lets it in again.",
	"shutdown":                 "The broker was stopped, and the device has not come back since: look at its network and its client's reconnect setting.",
	"protocol_error":           "The device's client library breaks the protocol: the evidence says how; update it.",
	"malformed_packet":         "The device's client library sends what is no MQTT packet, or something between changes it: update it; sapwood trace shows the packets.",
	"packet_too_large":         "Send less at once, or raise limits.max_packet_size.",
	"receive_maximum_exceeded": "Its client has to wait for acknowledgements as CONNACK says; or raise limits.receive_maximum.",
	"topic_alias_invalid":      "Its client uses topic aliases beyond what CONNACK allows; or raise limits.max_topic_aliases.",
	"stalled":                  "The device did not read what it was sent: its application hangs, or its link is too slow.",
	"rate":                     "Have the device send less, or raise its rate in rates.",
	"queue_full":               "The device is slower than what it has subscribed to: subscribe to less, or raise limits.max_queued_messages.",
	"credentials_expired":      "The device has to connect with new credentials before the old ones end.",
	"denied":                   "It published what the rules do not allow: sapwood acl explain tells the rule.",
	"store":                    "The broker could not keep what it asked for: look at the disk and the broker's log.",
	"fault":                    "It is the broker's fault: see its log, and report it.",
}

// lower makes a sentence the second part of another.
func lower(s string) string {
	if s == "" {
		return "no more is known."
	}
	if len(s) > 1 && s[1] >= 'A' && s[1] <= 'Z' { // an abbreviation
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// span writes a duration for people.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return "less than a second"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// are is so many of a thing that are.
func are(n int, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return fmt.Sprintf("%d %ss are", n, what)
}

// waiting is how many messages wait.
func waiting(n int) string {
	switch n {
	case 0:
		return "none waits"
	case 1:
		return "1 waits"
	}
	return fmt.Sprintf("%d wait", n)
}

func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// quoted is a word for a shell.
func quoted(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
