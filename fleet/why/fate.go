package why

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// fate: the client has a subscription by which it should get the message, and may.
func (m *message) fate(ctx context.Context, src Sources) (err error) {
	if m.place, err = src.Place(ctx, m.id, m.topic); err != nil {
		return err
	}
	lost := m.loss()
	if lost != nil && lost.again(m) {
		lost = nil
	}
	switch {
	case m.place.Waiting > 0 && (lost == nil || !lost.onArrival(m)):
		m.waits()
	case lost != nil && m.offline(lost):
	case lost != nil:
		m.dropped(lost)
	case m.place.Inflight > 0:
		m.unacknowledged()
	case m.offline(nil):
	case m.place.Partly:
		m.say(Waiting, "queued", m.was.Last, "The message may wait: %s in the queue of %s, more than were looked through.", are(m.s.Queued, "message"), m.id)
		m.suggest(fmt.Sprintf("sapwood queue list %s --limit 0 shows all that waits.", quoted(m.id)))
	default:
		m.arrived()
	}
	return nil
}

// loss is a drop that may be about the last message.
type loss struct {
	at    time.Time
	why   string
	text  string // as the end of a sentence
	sure  bool   // it is about that topic, not another one of its branch
	facts []fact.Fact
}

// loss is the last drop of a message of the topic, unless that is older than the topic's last message.
func (m *message) loss() *loss {
	var l *loss
	for _, f := range m.about(fact.Dropped) {
		at := dropTime(&f)
		if f.Detail["from_it"] != "" || at.Before(m.was.Last.Add(-blur)) {
			continue
		}
		if l == nil {
			l = &loss{at: at, why: f.Reason, text: because(&f), sure: f.Topic == m.topic || f.Detail["example"] == m.topic}
		}
		l.facts = append(l.facts, f)
	}
	if p := &m.place; !p.Dropped.Before(m.was.Last.Add(-blur)) && (l == nil || l.at.Before(p.Dropped) || !l.sure) {
		x := &loss{at: p.Dropped, why: p.Why, text: cmp.Or(p.Text, p.Why) + ".", sure: true}
		if l != nil && l.why == p.Why {
			x.text, x.facts = l.text, l.facts
		}
		l = x
	}
	return l
}

// dropTime is when the last message of a sum was dropped: it is told up to a minute later.
func dropTime(f *fact.Fact) time.Time {
	if t, err := time.Parse(fact.Moment, f.Detail["last"]); err == nil {
		return t
	}
	return f.At
}

// again: a message of the topic was sent after the drop, so that this was about another one.
func (l *loss) again(m *message) bool {
	p := &m.place
	return m.sent() && (!l.sure || p.Sent.After(l.at) || p.Sent.Equal(l.at) && p.SentLast)
}

// skew is how far the clocks of two loops may be apart, by which a message and what becomes of it have their times.
const skew = 20 * time.Millisecond

// onArrival: the message was dropped as it came, so that those of the topic that wait came before. What is dropped later, as it should be sent, has
// waited in front of them.
func (l *loss) onArrival(m *message) bool {
	if !m.published || l.at.Before(m.was.Last.Add(-skew)) { // not published: since counts that are younger than what waits
		return false
	}
	if l.why == "offline" && !m.was.Unsure && min(m.by.QoS, m.was.QoS) > 0 {
		return false // of another message, of QoS 0, at about the same time
	}
	return slices.Contains([]string{"offline", "server_full", "store_failed", "store_unwell", "overloaded", "rate_limited", "slow_consumer"}, l.why) ||
		l.why == "queue_full" && !m.s.DropsOldest
}

// dropped: it was for the client, and did not reach it.
func (m *message) dropped(l *loss) {
	lead := "The message was dropped"
	if !l.sure {
		lead = "The message was probably dropped"
	}
	m.say(Lost, cmp.Or(l.why, "dropped"), l.at, "%s: %s", lead, l.text)
	m.prove(l.facts...)
	if advice := remedies[l.why]; advice != "" {
		m.suggest(advice)
	}
}

// offline: what is sent at QoS 0 reaches only those that are there. A drop for that reason proves it.
func (m *message) offline(l *loss) bool {
	away := !m.s.Connected && m.was.Last.Add(blur).After(m.s.Since) && !m.sent()
	if !away || l != nil && l.why != "offline" || min(m.by.QoS, m.was.QoS) > 0 && l == nil || m.was.Unsure && m.by.QoS > 0 && l == nil {
		return false
	}
	at := "the message was published at QoS 0"
	if m.by.QoS == 0 && m.was.QoS > 0 {
		at = "its subscription has QoS 0, which downgrades the message"
	}
	m.say(Absent, "offline", m.s.Since, "%s has not been connected for %s, and %s: nothing was kept for it.", m.id, span(m.now.Sub(m.s.Since)), at)
	m.suggest(remedies["offline"])
	if d := m.h.last(fact.Disconnected); d != nil {
		m.prove(*d)
	}
	if l != nil {
		m.prove(l.facts...)
	}
	return true
}

// waits: it stands in the queue.
func (m *message) waits() {
	p := &m.place
	where := "first in the queue of " + m.id
	if p.Before > 0 {
		where = fmt.Sprintf("in the queue of %s, behind %s", m.id, plural(uint64(p.Before), "other"))
	}
	if !p.Expires.IsZero() && !p.Expires.After(m.now) {
		m.say(Lost, "expired", p.Expires, "The message stands %s, but its expiry interval passed %s ago: it is dropped when its turn comes.", where, span(m.now.Sub(p.Expires)))
		m.suggest(remedies["expired"])
		return
	}
	how := ": it has been disconnected for " + span(m.now.Sub(m.s.Since))
	switch {
	case m.s.Connected && m.s.Inflight > 0:
		how = fmt.Sprintf("; %s in flight and not acknowledged, for up to %s", are(m.s.Inflight, "message"), span(m.s.Oldest))
	case m.s.Connected && m.s.Pending > 0:
		how = fmt.Sprintf("; its connection has not taken %s yet", fact.Bytes(m.s.Pending))
	case m.s.Connected:
		how = ", about to be sent"
	}
	m.say(Waiting, "queued", m.was.Last, "The message waits %s%s.", where, how)
	m.suggest(fmt.Sprintf("sapwood queue list %s shows what waits.", quoted(m.id)))
}

// unacknowledged: it was sent, and nobody knows whether it came.
func (m *message) unacknowledged() {
	at := ""
	if t := m.place.SentAt; !t.IsZero() {
		at = " " + span(m.now.Sub(t)) + " ago"
	}
	m.say(Waiting, "unacknowledged", m.place.SentAt, "The message was sent to %s%s, and is not acknowledged.", m.id, at)
	m.suggest(fmt.Sprintf("sapwood clients inflight %s shows what is not acknowledged; the application on the device may not return from handling a message.", quoted(m.id)))
}

// sent: a message of the topic went to it when the last one was published, or later.
func (m *message) sent() bool {
	return !m.place.Sent.IsZero() && !m.place.Sent.Before(m.was.Last.Add(-blur))
}

// sentSince: a message went to it when that of the topic was published, or later.
func (m *message) sentSince() bool {
	return m.sent() || !m.s.Received.IsZero() && !m.s.Received.Before(m.was.Last)
}

// blur is how far the time of a topic's last message may be behind: it is that at which a loop began its turn.
const blur = 100 * time.Millisecond

// before tells that the message was published before something happened.
func (m *message) before(f *fact.Fact) bool { return m.was.Last.Add(blur).Before(f.At) }

// arrived: all went well as far as the broker can see.
func (m *message) arrived() {
	if on := m.h.last(fact.Connected); on != nil && m.before(on) {
		if ended := m.h.last(fact.SessionCreated); ended != nil && m.before(ended) {
			m.say(Absent, "too_late", on.At, "The last message of %s was published %s ago, before the session of %s was there.", m.topic, span(m.now.Sub(m.was.Last)), m.id)
			m.prove(*ended)
			m.suggest("Publish it retained, so that whoever subscribes later gets the last one.")
			return
		}
	}
	if subs := m.about(fact.Subscribed); len(subs) > 0 {
		if f := subs[0]; m.before(&f) && f.Topic == m.by.Filter && f.Detail["again"] == "" && !m.sentSince() {
			m.say(NotMatched, "too_late", f.At, "The last message of %s was published %s ago, before %s subscribed to %s.", m.topic, span(m.now.Sub(m.was.Last)), m.id, m.by.Filter)
			m.prove(f)
			m.suggest("Publish it retained, so that whoever subscribes later gets the last one.")
			return
		}
	}
	if strings.HasPrefix(m.by.Filter, "$share/") && !m.sentSince() {
		m.say(NotMatched, "shared", m.was.Last, "%s shares %s with others: each message goes to one of them, and nothing was sent to this one since the last message of %s, %s ago.", m.id, m.by.Filter, m.topic, span(m.now.Sub(m.was.Last)))
		m.suggest(fmt.Sprintf("sapwood route %s lists the members.", quoted(m.topic)))
		return
	}
	if !m.s.Connected && m.was.Last.After(m.s.Since) && !m.sent() {
		m.say(Unknown, "unknown", m.was.Last, "What became of the last message of %s, %s ago, is not known: %s was not connected, and nothing of that topic waits for it.", m.topic, span(m.now.Sub(m.was.Last)), m.id)
		m.prove(m.about(fact.Dropped)...)
		return
	}
	how := "was sent to it"
	if min(m.by.QoS, m.was.QoS) > 0 {
		how = "was sent to it and acknowledged"
	}
	m.say(Received, "received", m.was.Last, "As far as the broker knows %s did get it: it has subscribed to %s, and the last message of %s, %s ago, %s.", m.id, m.by.Filter, m.topic, span(m.now.Sub(m.was.Last)), how)
	m.suggest(fmt.Sprintf("sapwood trace %s shows what goes to the device.", quoted(m.id)))
}
