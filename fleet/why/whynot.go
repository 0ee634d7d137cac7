package why

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// The verdicts on a message that a client did not get.
const (
	Received     Verdict = "received" // as far as the broker knows, it did
	NotPublished Verdict = "not_published"
	NotMatched   Verdict = "not_matched"
	NotAllowed   Verdict = "not_allowed"
	Lost         Verdict = "dropped"
	Waiting      Verdict = "waiting"
	Absent       Verdict = "absent" // it was not there, and nothing was kept for it
)

// Message tells why a client did not get the messages of a topic. Everything that can come between is looked at in the order of a
// message's walk: published at all, matched, allowed, kept, sent.
func (e *Engine) Message(ctx context.Context, name, client string) (Answer, error) {
	if err := topic.ValidName(name); err != nil {
		return Answer{}, err
	}
	h, err := e.history(ctx, client)
	if err != nil {
		return Answer{}, err
	}
	s, known, err := e.src.State(ctx, client)
	if err != nil {
		return Answer{}, err
	}
	t, published, err := e.src.Topic(ctx, name)
	if err != nil {
		return Answer{}, err
	}
	m := &message{look: look{id: client, now: e.now(), h: h, s: s, known: known}, topic: name, was: t, published: published}
	if err := m.find(ctx, e.src); err != nil {
		return Answer{}, err
	}
	m.a.Client, m.a.Topic = client, name
	if m.a.Evidence == nil {
		m.a.Evidence = []fact.Fact{}
	}
	if m.a.Suggestions == nil {
		m.a.Suggestions = []string{}
	}
	return m.a, nil
}

// message is one look at a message that did not arrive.
type message struct {
	look
	topic     string
	was       Topic
	published bool
	by        Filter // the subscription that matches
	place     Place
}

func (m *message) find(ctx context.Context, src Sources) error {
	if done, err := m.neverSent(ctx, src); done || err != nil {
		return err
	}
	if done, err := m.nobody(ctx, src); done || err != nil {
		return err
	}
	if m.unmatched() {
		return nil
	}
	ok, rule, why, err := src.MayReceive(ctx, m.id, m.topic)
	if err != nil {
		return err
	}
	switch {
	case m.s.Quarantined:
		m.say(NotAllowed, "quarantine", m.s.Since, "%s is in quarantine and receives nothing.", m.id)
	case !ok:
		m.say(NotAllowed, "denied", time.Time{}, "%s may not receive messages of %s: %s.", m.id, m.topic, strings.TrimSuffix(why, "."))
		if rule != "" {
			m.suggest(fmt.Sprintf("sapwood acl explain %s %s --action receive tells more.", quoted(m.id), quoted(m.topic)))
		}
		m.prove(m.about(fact.Denied, fact.Dropped)...)
	case m.by.Rests:
		m.say(NotAllowed, "rests", time.Time{}, "The subscription %s of %s rests: the rules do not allow it any more.", m.by.Filter, m.id)
		m.prove(m.about(fact.SubscriptionRests)...)
	case m.by.NoLocal && m.was.Publisher == m.id:
		m.say(NotMatched, "no_local", m.was.Last, "%s published the message itself, and has subscribed to %s with No Local.", m.id, m.by.Filter)
	default:
		return m.fate(ctx, src)
	}
	return nil
}

// about are the facts of these kinds that are about the topic, newest first.
func (m *message) about(kinds ...fact.Kind) (some history) {
	for _, f := range m.h.since(time.Time{}, kinds...) {
		if concerns(f.Topic, m.topic) {
			some = append(some, f)
		}
	}
	return some
}

// concerns tells whether a fact about a topic, a filter or a branch is also about a topic name.
func concerns(about, name string) bool {
	if _, inner, shared, err := topic.ParseShared(about); shared && err == nil {
		about = inner
	}
	return about == name || topic.Match(about, name)
}

// neverSent: no message of that topic came, or those that came were refused.
func (m *message) neverSent(ctx context.Context, src Sources) (bool, error) {
	denied, err := src.Facts(ctx, fact.Query{Topic: m.topic, Kinds: []fact.Kind{fact.Denied}, From: m.now.Add(-window), Limit: 20})
	if err != nil {
		return false, err
	}
	for _, d := range denied {
		if d.Detail["action"] != "publish" || d.At.Before(m.was.Last) {
			continue
		}
		m.say(NotPublished, "publish_denied", d.At, "The message did not get into the broker: %s was not allowed to publish it (%s, the last time %s ago): %s.", d.Client, times(max(d.Count, 1)), span(m.now.Sub(d.At)), strings.TrimSuffix(cmp.Or(d.Detail["text"], "no more is known"), "."))
		m.prove(d)
		m.suggest(fmt.Sprintf("sapwood acl explain %s %s tells the rule.", quoted(d.Client), quoted(m.topic)))
		return true, nil
	}
	if m.published {
		return false, nil
	}
	// Counts may be younger than what a session holds.
	if p, err := src.Place(ctx, m.id, m.topic); err != nil || p.Waiting > 0 || p.Inflight > 0 {
		return false, err
	}
	m.say(NotPublished, "never_published", time.Time{}, "No message was published to %s since the broker's counts began.", m.topic)
	m.suggest("Compare the topic with the publisher's, letter by letter; sapwood topics lists those that are there.")
	return true, nil
}

// nobody: there is no session that could have got it.
func (m *message) nobody(ctx context.Context, src Sources) (bool, error) {
	if m.known {
		return false, nil
	}
	switch end := m.h.last(fact.SessionEnded, fact.Disconnected, fact.Connected, fact.Refused); {
	case end == nil:
		kept, err := memory(ctx, src, m.now)
		if err != nil {
			return false, err
		}
		m.say(Absent, "never_seen", time.Time{}, "There is no client %s, and none has connected %s.", m.id, kept)
	case end.Kind == fact.Refused && end.Reason == hungUp:
		m.say(Absent, hungUp, end.At, "There is no client %s: it hung up %s ago, before its CONNECT had an answer.", m.id, span(m.now.Sub(end.At)))
		m.prove(*end)
		m.suggest(refusals[hungUp])
	case end.Kind == fact.Refused:
		m.say(Absent, "refused", end.At, "There is no client %s: its connection was refused, %s ago: %s", m.id, span(m.now.Sub(end.At)), lower(end.Text))
		m.prove(*end)
	default:
		m.noSession(end)
	}
	return true, nil
}

// noSession: it is away, and so is its session, since a fact.
func (m *message) noSession(end *fact.Fact) {
	cause, how := "no_session", "its session ended with its connection: "+ended(end)
	if end.Kind == fact.SessionEnded {
		how = lower(end.Text)
		switch end.Reason {
		case "expired":
			cause = "session_expired"
		case "disconnected":
		default:
			cause = cmp.Or(end.Reason, cause)
		}
	}
	m.say(Absent, cause, end.At, "%s is not connected and has had no session that would keep messages for it for %s: %s", m.id, span(m.now.Sub(end.At)), how)
	m.prove(*end)
	if cause == "session_expired" {
		m.suggest("A longer session expiry (MQTT 5), or limits.max_session_expiry, keeps the session for as long as the client may be away.")
		return
	}
	m.suggest("With a session expiry (MQTT 5) or clean session 0, and QoS 1, the broker keeps messages for a client that is away.")
}

// unmatched: no subscription of the client matches the topic.
func (m *message) unmatched() bool {
	for _, f := range m.s.Filters {
		if !concerns(f.Filter, m.topic) {
			continue
		}
		if m.by.Filter == "" || f.QoS > m.by.QoS || m.by.Rests {
			m.by = f
		}
	}
	if m.by.Filter != "" {
		return false
	}
	m.say(NotMatched, "no_subscription", time.Time{}, "No subscription of %s matches %s.", m.id, m.topic)
	for _, f := range m.about(fact.Subscribed, fact.Unsubscribed) {
		switch {
		case f.Kind == fact.Unsubscribed:
			m.say(NotMatched, "unsubscribed", f.At, "%s unsubscribed from %s %s ago.", m.id, f.Topic, span(m.now.Sub(f.At)))
		case f.Code >= 0x80:
			m.say(NotMatched, "subscription_refused", f.At, "%s has no subscription that matches %s: %s", m.id, m.topic, lower(f.Text))
		default:
			continue
		}
		m.prove(f)
		return true
	}
	if near, how := nearest(m.topic, m.s.Filters); near != "" {
		m.a.Text = fmt.Sprintf("No subscription of %s matches %s; it has subscribed to %s: %s.", m.id, m.topic, near, how)
		m.suggest("Correct the filter, or the topic.")
		return true
	}
	m.suggest(fmt.Sprintf("It has %s; sapwood clients show %s lists them.", plural(uint64(len(m.s.Filters)), "subscription"), quoted(m.id)))
	return true
}
