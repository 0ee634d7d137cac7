package why

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

// world is what an engine is told.
type world struct {
	facts  []fact.Fact // any order
	state  *State
	topic  *Topic
	place  Place
	denied string
}

func (w *world) Facts(_ context.Context, q fact.Query) ([]fact.Fact, error) {
	var some []fact.Fact
	for _, f := range w.facts {
		if len(q.Clients) > 0 && !slices.Contains(q.Clients, f.Client) || len(q.Kinds) > 0 && !slices.Contains(q.Kinds, f.Kind) ||
			q.Topic != "" && !concerns(f.Topic, q.Topic) || f.At.Before(q.From) {
			continue
		}
		some = append(some, f)
	}
	slices.SortStableFunc(some, func(a, b fact.Fact) int {
		if q.Oldest {
			return a.At.Compare(b.At)
		}
		return b.At.Compare(a.At)
	})
	if q.Limit > 0 && len(some) > q.Limit {
		some = some[:q.Limit]
	}
	return some, nil
}

func (w *world) State(context.Context, string) (State, bool, error) {
	if w.state == nil {
		return State{}, false, nil
	}
	return *w.state, true, nil
}

func (w *world) Topic(context.Context, string) (Topic, bool, error) {
	if w.topic == nil {
		return Topic{}, false, nil
	}
	return *w.topic, true, nil
}

func (w *world) Place(context.Context, string, string) (Place, error) { return w.place, nil }

func (w *world) MayReceive(context.Context, string, string) (bool, string, string, error) {
	if w.denied != "" {
		return false, w.denied, "the rule " + w.denied + " denies it", nil
	}
	return true, "all", "", nil
}

func of(kind fact.Kind, before time.Duration, reason, text string) fact.Fact {
	return fact.Fact{At: ago(before), Kind: kind, Client: "d1", Reason: reason, Text: text}
}

func on(mod func(*State)) *State {
	s := &State{Connected: true, Since: ago(time.Hour), Heard: ago(time.Second), Published: ago(2 * time.Second), Publishes: 9, Window: 20}
	if mod != nil {
		mod(s)
	}
	return s
}

func TestClient(t *testing.T) {
	f := func(name string, w world, verdict Verdict, cause, text string) {
		t.Run(name, func(t *testing.T) {
			t.Helper()
			a, err := New(&w, func() time.Time { return now }).Client(t.Context(), "d1")
			if err != nil {
				t.Fatal(err)
			}
			if a.Verdict != verdict || a.Cause != cause || a.Text != text {
				t.Errorf("%s, %s\n%s\nwant %s, %s\n%s", a.Verdict, a.Cause, a.Text, verdict, cause, text)
			}
		})
	}
	connected := of(fact.Connected, time.Hour, "", "It connected.")
	f("fine", world{state: on(nil), facts: []fact.Fact{connected}}, Fine, "fine", "It has been connected for 1 h 0 min and nothing hinders it.")
	f("never seen", world{}, Unknown, "never_seen", "No client of this id has connected, or tried to, as far as events are kept.")
	older := func(d time.Duration) fact.Fact { return fact.Fact{At: ago(d), Kind: fact.Started, Text: "Started."} }
	f("never seen in a short memory", world{facts: []fact.Fact{older(2 * time.Minute)}}, Unknown, "never_seen", "No client of this id has connected, or tried to, since the events begin, 2 min ago.")
	f("never seen in a long memory", world{facts: []fact.Fact{older(40 * 24 * time.Hour)}}, Unknown, "never_seen", "No client of this id has connected, or tried to, in the last 30 days.")
	hung := of(fact.Refused, time.Minute, hungUp, "A connection from 10.0.0.1 hung up 2 s after its CONNECT, before it had an answer.")
	f("hangs up", world{facts: []fact.Fact{hung}}, Refused, "hung_up", "It tries to connect and hangs up before it has an answer (once, the last time 1 min ago): it does not wait until it is known who it is.")
	gone := of(fact.Disconnected, time.Minute, "closed", "The client closed the connection.")
	gone.Address = "10.0.0.1"
	f("strangers at its address", world{facts: []fact.Fact{connected, gone, {At: ago(time.Second), Kind: fact.Refused, Address: "10.0.0.1", Text: "A connection from 10.0.0.1 was closed: what it sent is not MQTT."}}},
		Disconnected, "closed", "It has been disconnected for 1 min: the client closed the connection. Since then, from the same address and perhaps of another device: a connection from 10.0.0.1 was closed: what it sent is not MQTT.")
	kicked := of(fact.Disconnected, time.Minute, "admin", "Disconnected by an administrator: a new firmware.")
	by := of(fact.Admin, time.Minute+time.Second, "client-disconnect", "Close a client's connection, by anna: /clients/d1/disconnect.")
	by.Address, by.Detail = "10.0.0.9", map[string]string{"by": "anna", "kind": "operator"}
	f("disconnected by somebody", world{facts: []fact.Fact{connected, kicked, by}}, Disconnected, "admin", `It has been disconnected for 1 min: by the operator "anna" from 10.0.0.9: a new firmware.`)
	asked := by
	asked.At = connected.At.Add(-time.Millisecond) // at once, and facts of requests have whole milliseconds
	f("disconnected as it came", world{facts: []fact.Fact{connected, kicked, asked}}, Disconnected, "admin", `It has been disconnected for 1 min: by the operator "anna" from 10.0.0.9: a new firmware.`)
	before := by
	before.At = ago(2 * time.Hour)
	f("disconnected by nobody knows whom", world{facts: []fact.Fact{connected, kicked, before}}, Disconnected, "admin", "It has been disconnected for 1 min: by an administrator: a new firmware.")
	many := fact.Fact{At: ago(70 * time.Second), Kind: fact.Admin, Reason: "clients-disconnect", Detail: map[string]string{"by": "ci", "kind": "key", "asked": `{"reason":"a new firmware"}`}}
	kicked.Detail = map[string]string{"text": "a new firmware"}
	f("disconnected with others", world{facts: []fact.Fact{connected, kicked, many}}, Disconnected, "admin", `It has been disconnected for 1 min: by the key "ci": a new firmware.`)
	kicked.Detail = map[string]string{"text": "the account has changed"}
	f("disconnected beside others", world{facts: []fact.Fact{connected, kicked, many}}, Disconnected, "admin", "It has been disconnected for 1 min: by an administrator: a new firmware.")
	f("keep-alive", world{
		state: &State{Since: ago(5 * time.Minute)},
		facts: []fact.Fact{connected, of(fact.Disconnected, 5*time.Minute, "keep_alive", "No packet came for 90 s.")},
	}, Disconnected, "keep_alive", "It has been disconnected for 5 min: no packet came for 90 s.")
	f("gave up on a full store", world{
		facts: []fact.Fact{connected, of(fact.Limited, 10*time.Minute, "store", "Nothing is read from it."), of(fact.Disconnected, 5*time.Minute, "closed", "The client closed the connection.")},
	}, Disconnected, "closed", "It has been disconnected for 5 min: the client closed the connection.")
	f("refused since", world{
		facts: []fact.Fact{
			connected, of(fact.Disconnected, 5*time.Minute, "connection_lost", "The connection broke."),
			of(fact.Refused, time.Minute, "bad_credentials", "The password is wrong."), of(fact.Refused, 2*time.Minute, "bad_credentials", "The password is wrong."),
		},
	}, Refused, "bad_credentials", "It tries to connect and is refused (2 times, the last time 1 min ago): the password is wrong.")
	f("the broker crashed", world{
		facts: []fact.Fact{connected, {At: ago(10 * time.Minute), Kind: fact.Started, Text: "Started."}},
	}, Disconnected, "broker_restarted", "It was connected when the broker stopped without a farewell, and has not come back since the broker started 10 min ago.")
	f("does not read", world{
		state: on(func(s *State) { s.Pending, s.Queued = 70000, 12 }), facts: []fact.Fact{connected, of(fact.Stalled, 40*time.Second, "", "It does not read.")},
	}, Slow, "write_stall", "It has not read from its connection for 40 s: 68 KiB wait to be sent to it, and 12 messages of QoS 1 and 2 behind them.")
	f("reads again", world{
		state: on(nil), facts: []fact.Fact{connected, of(fact.Stalled, 40*time.Second, "", "It does not read."), of(fact.StallEnded, 30*time.Second, "", "It reads again.")},
	}, Fine, "fine", "It has been connected for 1 h 0 min and nothing hinders it.")
	f("does not acknowledge", world{
		state: on(func(s *State) { s.Inflight, s.Queued, s.Oldest = 20, 30, 3*time.Minute }), facts: []fact.Fact{connected},
	}, Slow, "ack_stall", "It does not acknowledge what it gets: 20 messages are in flight for up to 3 min, as many as may be, so that nothing more is sent, and 30 wait.")
	f("no data", world{
		state: on(func(s *State) { s.Published = ago(45 * time.Minute) }), facts: []fact.Fact{connected},
	}, Silent, "no_data", "It is connected and answers, but has not published anything for 45 min.")
	f("idle", world{
		state: on(func(s *State) { s.Published, s.Publishes = time.Time{}, 0 }), facts: []fact.Fact{connected},
	}, Silent, "idle", "It has been connected for 1 h 0 min, but has neither published nor subscribed to anything.")
	f("quarantine", world{
		state: on(func(s *State) { s.Quarantined = true }), facts: []fact.Fact{connected},
	}, Hindered, "quarantine", "It is connected, but in quarantine: what it publishes goes nowhere and it receives nothing.")
	denied := of(fact.Denied, time.Minute, "", "It may not publish to a/b.")
	denied.Count = 7
	f("denied", world{state: on(nil), facts: []fact.Fact{connected, denied}}, Hindered, "denied", "It is connected, but was denied something 7 times in the last 10 min, the last time 1 min ago: it may not publish to a/b.")
	var flaps []fact.Fact
	for i := range 5 {
		flaps = append(flaps, of(fact.Connected, time.Duration(2*i)*time.Minute, "", "It connected."), of(fact.Disconnected, time.Duration(2*i+1)*time.Minute, "connection_lost", "The connection broke."))
	}
	f("flapping", world{state: on(nil), facts: flaps}, Flapping, "flapping", "It is connected, but connected 5 times in the last 10 min; the last connection ended: the connection broke.")
	f("a subscription rests", world{
		state: on(func(s *State) { s.Filters = []Filter{{Filter: "a/#", Rests: true}} }), facts: []fact.Fact{connected},
	}, Hindered, "rests", "It is connected, but the rules do not allow it any more to have 1 subscription: a/#.")
	f("limited", world{
		state: on(nil), facts: []fact.Fact{connected, of(fact.Limited, time.Minute, "client_messages", "It publishes more than 10 messages a second.")},
	}, Slow, "client_messages", "It is held back: it publishes more than 10 messages a second.")
	f("held back by the store", world{
		state: on(nil), facts: []fact.Fact{connected, of(fact.Limited, time.Minute, "store", "Nothing is read from it until the store is well.")},
	}, Slow, "store", "It was held back 1 min ago: nothing is read from it until the store is well.")
	drop := func(n uint64, reason, text string, detail ...string) fact.Fact {
		x := fact.Fact{At: ago(time.Minute), Kind: fact.Dropped, Client: "d1", Reason: reason, Count: n, Text: text, Detail: map[string]string{}}
		for _, d := range detail {
			x.Detail[d] = "yes"
		}
		return x
	}
	full := drop(4, "queue_full", `4 messages of "a: b" did not reach the client in 2 s: its queue is full.`, "connected")
	f("drops", world{state: on(nil), facts: []fact.Fact{connected, full}}, Slow, "queue_full", "It is connected, but 4 messages did not reach it in the last 10 min: its queue is full.")
	large := drop(1, "too_large", `1 message of "a" did not reach the client: it is larger than its Maximum Packet Size.`, "connected")
	f("a large one", world{state: on(nil), facts: []fact.Fact{connected, large}}, Hindered, "too_large", "It is connected, but 1 message did not reach it in the last 10 min: it is larger than its Maximum Packet Size.")
	full.At = ago(2 * time.Minute)
	f("a large one and others", world{state: on(nil), facts: []fact.Fact{connected, large, full}}, Hindered, "too_large", "It is connected, but 1 message did not reach it in the last 10 min: it is larger than its Maximum Packet Size. And 4 more for other reasons.")
	f("drops while it was away", world{state: on(nil), facts: []fact.Fact{connected, drop(2, "offline", `2 messages of "a" did not reach the client: QoS 0, and it is not connected.`)}},
		Fine, "offline", "It is connected; while it was away, 2 messages did not reach it in the last 10 min: QoS 0, and it is not connected.")
	f("its own are dropped", world{state: on(nil), facts: []fact.Fact{connected, drop(2, "rate_limited", `2 messages of "a" from the client went to nobody: QoS 0, and it publishes more than its rate allows.`, "from_it")}},
		Slow, "rate_limited", "It is connected, but 2 messages of its own went to nobody in the last 10 min: QoS 0, and it publishes more than its rate allows.")
}

func TestMessage(t *testing.T) {
	sub := func(filter string, qos uint8) func(*State) {
		return func(s *State) { s.Filters = append(s.Filters, Filter{Filter: filter, QoS: qos}) }
	}
	was := &Topic{Last: ago(time.Minute), Publisher: "p1", QoS: 1, Messages: 3}
	f := func(name string, w world, verdict Verdict, cause, part string) {
		t.Run(name, func(t *testing.T) {
			t.Helper()
			a, err := New(&w, func() time.Time { return now }).Message(t.Context(), "a/b", "d1")
			if err != nil {
				t.Fatal(err)
			}
			if said := a.Text + " " + strings.Join(a.Suggestions, " "); a.Verdict != verdict || a.Cause != cause || !strings.Contains(said, part) {
				t.Errorf("%s, %s\n%s\nwant %s, %s\n%s", a.Verdict, a.Cause, said, verdict, cause, part)
			}
		})
	}
	about := func(kind fact.Kind, before time.Duration, topic, reason string, code uint8) fact.Fact {
		x := of(kind, before, reason, "Because of "+string(kind)+".")
		x.Topic, x.Code = topic, code
		return x
	}
	f("never published", world{state: on(sub("a/b", 1))}, NotPublished, "never_published", "No message was published to a/b")
	f("waits, and the counts are younger", world{place: Place{Waiting: 1}, state: on(sub("a/b", 1))}, Waiting, "queued", "first in the queue")
	f("waits, the counts are younger, and one was dropped", world{place: Place{Waiting: 1}, state: on(sub("a/b", 1)), facts: []fact.Fact{about(fact.Dropped, time.Hour, "a/b", "offline", 0)}}, Waiting, "queued", "first in the queue")
	refused := fact.Fact{At: ago(time.Second), Kind: fact.Denied, Client: "p1", Topic: "a/b/#", Count: 3, Detail: map[string]string{"action": "publish"}, Text: "p1 may not."}
	f("publish denied", world{state: on(sub("a/b", 1)), facts: []fact.Fact{refused}}, NotPublished, "publish_denied", "p1 was not allowed to publish it (3 times, the last time 1 s ago)")
	f("no such client", world{topic: was}, Absent, "never_seen", "There is no client d1")
	f("clean session", world{topic: was, facts: []fact.Fact{about(fact.SessionEnded, time.Hour, "", "disconnected", 0)}}, Absent, "no_session", "has had no session that would keep messages")
	f("not subscribed", world{topic: was, state: on(sub("x/#", 1))}, NotMatched, "no_subscription", "It has 1 subscription;")
	f("nearly", world{topic: was, state: on(sub("A/+", 1))}, NotMatched, "no_subscription", "it has subscribed to A/+: they differ in upper and lower case.")
	f("a slash too many", world{topic: was, state: on(sub("/a/b", 1))}, NotMatched, "no_subscription", "/a/b: they differ in a slash")
	f("unsubscribed", world{topic: was, state: on(nil), facts: []fact.Fact{about(fact.Unsubscribed, time.Hour, "a/#", "", 0)}}, NotMatched, "unsubscribed", "unsubscribed from a/# 1 h 0 min ago")
	f("refused", world{topic: was, state: on(nil), facts: []fact.Fact{about(fact.Subscribed, time.Hour, "a/#", "", 0x87)}}, NotMatched, "subscription_refused", "d1 has no subscription that matches a/b: because of subscribed.")
	f("denied", world{topic: was, state: on(sub("a/#", 1)), denied: "rule 7"}, NotAllowed, "denied", "the rule rule 7 denies it. sapwood acl explain d1 a/b --action receive tells more.")
	f("no local", world{topic: &Topic{Last: ago(time.Minute), Publisher: "d1", QoS: 1}, state: on(func(s *State) { s.Filters = []Filter{{Filter: "a/b", NoLocal: true, QoS: 1}} })}, NotMatched, "no_local", "published the message itself")
	f("dropped", world{topic: was, state: on(sub("a/#", 1)), facts: []fact.Fact{about(fact.Dropped, 50*time.Second, "a/#", "queue_full", 0)}}, Lost, "queue_full", "The message was probably dropped: because of dropped.")
	f("dropped for sure", world{topic: was, state: on(sub("a/#", 1)), facts: []fact.Fact{about(fact.Dropped, 50*time.Second, "a/b", "queue_full", 0)}}, Lost, "queue_full", "The message was dropped: because of dropped.")
	// The drop of the message before is told a little later than the last message came.
	earlier := about(fact.Dropped, 59*time.Second, "a/b", "offline", 0)
	earlier.Detail = map[string]string{"last": ago(61 * time.Second).Format(fact.Moment)}
	f("dropped before", world{topic: was, state: on(sub("a/#", 1)), facts: []fact.Fact{earlier}}, Received, "received", "did get it")
	late := about(fact.Dropped, 50*time.Second, "a/b", "too_large", 0)
	f("sent after a drop", world{topic: was, place: Place{Sent: ago(49 * time.Second)}, state: on(sub("a/#", 1)), facts: []fact.Fact{late}}, Received, "received", "did get it")
	f("sent at once after a drop", world{topic: was, place: Place{Sent: late.At, Dropped: late.At, SentLast: true}, state: on(sub("a/#", 1)), facts: []fact.Fact{late}}, Received, "received", "did get it")
	f("dropped after one was sent", world{topic: was, place: Place{Sent: ago(51 * time.Second)}, state: on(sub("a/#", 1)), facts: []fact.Fact{late}}, Lost, "too_large", "because of dropped")
	f("a drop that is not told yet", world{topic: was, place: Place{Dropped: ago(50 * time.Second), Why: "expired", Text: "its time was over"}, state: on(sub("a/#", 1))}, Lost, "expired", "The message was dropped: its time was over.")
	f("its own are no loss", world{topic: was, state: on(sub("a/#", 1)), facts: []fact.Fact{func() fact.Fact {
		x := about(fact.Dropped, 50*time.Second, "a/b", "rate_limited", 0)
		x.Detail = map[string]string{"from_it": "yes"}
		return x
	}()}}, Received, "received", "did get it")
	f("waits though another was dropped", world{topic: was, place: Place{Waiting: 1}, state: on(sub("a/#", 1)), facts: []fact.Fact{late}}, Waiting, "queued", "first in the queue")
	newest := about(fact.Dropped, time.Minute, "a/b", "queue_full", 0)
	f("dropped behind those that wait", world{topic: was, place: Place{Waiting: 1}, state: on(sub("a/#", 1)), facts: []fact.Fact{newest}}, Lost, "queue_full", "because of dropped")
	f("waits in the place of an older one", world{topic: was, place: Place{Waiting: 1}, state: on(func(s *State) { s.Filters, s.DropsOldest = []Filter{{Filter: "a/#", QoS: 1}}, true }), facts: []fact.Fact{newest}}, Waiting, "queued", "first in the queue")
	f("not acknowledged", world{topic: was, place: Place{Inflight: 1, SentAt: ago(9 * time.Second)}, state: on(sub("a/#", 1))}, Waiting, "unacknowledged", "was sent to d1 9 s ago, and is not acknowledged")
	f("expired as it waits", world{topic: was, place: Place{Waiting: 1, Expires: ago(2 * time.Second)}, state: &State{Since: ago(time.Hour), Filters: []Filter{{Filter: "a/b", QoS: 1}}}}, Lost, "expired", "its expiry interval passed 2 s ago")
	f("went elsewhere", world{topic: was, state: &State{Since: ago(time.Hour), Filters: []Filter{{Filter: "a/b", QoS: 1}}}}, Unknown, "unknown", "nothing of that topic waits for it")
	f("got it, and left", world{topic: &Topic{Last: ago(time.Hour)}, place: Place{Sent: ago(time.Hour)}, state: &State{Since: ago(time.Minute), Filters: []Filter{{Filter: "a/b", QoS: 1}}}}, Received, "received", "was sent to it")
	f("many wait", world{topic: was, place: Place{Partly: true}, state: &State{Since: ago(time.Hour), Queued: 20_000, Filters: []Filter{{Filter: "a/b", QoS: 1}}}}, Waiting, "queued", "may wait: 20000 messages are in the queue of d1")
	f("an old drop", world{topic: was, state: on(sub("a/#", 1)), facts: []fact.Fact{about(fact.Dropped, time.Hour, "a/#", "queue_full", 0)}}, Received, "received", "did get it")
	f("offline at QoS 0", world{topic: &Topic{Last: ago(time.Minute)}, state: &State{Since: ago(time.Hour), Filters: []Filter{{Filter: "a/b", QoS: 1}}}}, Absent, "offline", "the message was published at QoS 0")
	f("downgraded", world{topic: was, state: &State{Since: ago(time.Hour), Filters: []Filter{{Filter: "a/b"}}}}, Absent, "offline", "which downgrades the message")
	f("waits offline", world{topic: was, state: &State{Since: ago(time.Hour), Queued: 5, Filters: []Filter{{Filter: "a/b", QoS: 1}}}, place: Place{Waiting: 2, Before: 3}}, Waiting, "queued", "The message waits in the queue of d1, behind 3 others: it has been disconnected for 1 h 0 min.")
	f("waits behind", world{topic: was, place: Place{Waiting: 1, Before: 1}, state: on(func(s *State) {
		s.Filters, s.Queued, s.Inflight, s.Oldest = []Filter{{Filter: "a/b", QoS: 1}}, 25, 20, 9*time.Second
	})}, Waiting, "queued", "The message waits in the queue of d1, behind 1 other; 20 messages are in flight and not acknowledged, for up to 9 s.")
	f("subscribed too late", world{topic: was, state: on(sub("a/b", 1)), facts: []fact.Fact{about(fact.Subscribed, time.Second, "a/b", "", 0)}}, NotMatched, "too_late", "before d1 subscribed")
	f("shared", world{topic: was, state: on(sub("$share/g/a/b", 1))}, NotMatched, "shared", "each message goes to one of them")
	f("received", world{topic: was, state: on(sub("a/b", 1))}, Received, "received", "was sent to it and acknowledged")
}
