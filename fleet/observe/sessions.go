package observe

import (
	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

func sessionCreated(e *broker.SessionCreated) fact.Fact {
	return of(fact.SessionCreated, &e.Party, fact.Fact{Text: "A session begins, which " + lasting(e.Expiry) + ".", Detail: details("session_expiry_seconds", seconds(e.Expiry))})
}

func sessionResumed(e *broker.SessionResumed) fact.Fact {
	text := "The session goes on after " + fact.Span(e.Away) + " without a connection, with " + fact.Many(e.Subscriptions, "subscription") + "; "
	switch e.Queued {
	case 0:
		text += "no message waits."
	case 1:
		text += "1 message (" + fact.Bytes(e.QueueBytes) + ") waits."
	default:
		text += fact.Many(e.Queued, "message") + " (" + fact.Bytes(e.QueueBytes) + ") wait."
	}
	return of(fact.SessionResumed, &e.Party, fact.Fact{Text: text, Detail: details(
		"offline_for_seconds", seconds(e.Away), "queued", number(e.Queued), "queue_bytes", number(e.QueueBytes), "subscriptions", number(e.Subscriptions))})
}

func sessionEnded(e *broker.SessionEnded) fact.Fact {
	text := ""
	switch e.Why {
	case broker.EndExpired:
		text = "The session expired: its client did not come back in time"
	case broker.EndCleanStart:
		text = "The session was thrown away: its client connected with a clean start"
	case broker.EndDisconnected:
		text = "The session ended with its connection"
	case broker.EndAdmin:
		text = "The session was ended by an administrator"
	case broker.EndReplaced:
		text = "The session was thrown away: the store had a newer one of the same client"
	case broker.EndOwn:
		text = "The session was thrown away: a client of the broker's own begins anew under its client id"
	}
	text += "."
	if e.Subscriptions > 0 {
		text += " It had " + fact.Many(e.Subscriptions, "subscription") + "."
	}
	if e.Queued > 0 {
		text += " " + fact.Many(e.Queued, "message") + " of QoS 1 and 2 had not been acknowledged: lost, but for those of shared subscriptions that another member gets."
	}
	return of(fact.SessionEnded, &e.Party, fact.Fact{Reason: e.Why.String(), Count: uint64(max(e.Queued, 0)), Text: text, Detail: details(
		"queued", number(e.Queued), "subscriptions", number(e.Subscriptions), "received", number(e.Totals.In.Messages), "received_bytes", number(e.Totals.In.Bytes),
		"sent", number(e.Totals.Out.Messages), "sent_bytes", number(e.Totals.Out.Bytes), "dropped", number(e.Totals.Dropped), "denied", number(e.Totals.Denied))})
}

func subscribed(e *broker.Subscribed) fact.Fact {
	f := fact.Fact{Topic: e.Filter, Code: uint8(e.Code), Detail: details(
		"qos", qos(uint8(e.Code)), "asked_qos", qos(uint8(e.Options.QoS())), "no_local", yes(e.Options.NoLocal()), "id", number(int(e.ID)),
		"again", yes(e.Again), "refused", yes(e.Code.Failed()))}
	switch {
	case e.Code.Failed():
		delete(f.Detail, "qos")
		f.Reason = word(e.Code)
		f.Text = "The subscription to " + quote(e.Filter) + " was refused: " + coded(e.Code) + "."
	case uint8(e.Code) < uint8(e.Options.QoS()):
		f.Text = "Subscribed to " + quote(e.Filter) + " with QoS " + qos(uint8(e.Code)) + ", though it asked for " + qos(uint8(e.Options.QoS())) + " (limits.max_qos)."
	case e.Again:
		f.Text = "Subscribed again to " + quote(e.Filter) + " with QoS " + qos(uint8(e.Code)) + "."
	default:
		f.Text = "Subscribed to " + quote(e.Filter) + " with QoS " + qos(uint8(e.Code)) + "."
	}
	return of(fact.Subscribed, &e.Party, f)
}

func qos(q uint8) string { return string(rune('0' + min(q, 9))) }

func rests(e *broker.SubscriptionRests) fact.Fact {
	text := "The subscription to " + quote(e.Filter) + " rests: the client may not have it any more"
	if e.Why != "" {
		text += " (" + clean(e.Why) + ")"
	}
	return of(fact.SubscriptionRests, &e.Party, fact.Fact{Topic: e.Filter, Reason: "not_authorized", Text: text + ". It works again once it may.", Detail: details("rule", e.Rule, "text", e.Why)})
}

func willSent(e *broker.WillSent) fact.Fact {
	f := fact.Fact{Topic: e.Topic, Code: uint8(e.Reason), Detail: details("qos", qos(uint8(e.QoS)), "retain", yes(e.Retain), "size", number(e.Bytes), "receivers", number(e.Receivers))}
	if e.Reason.Failed() {
		f.Reason = word(e.Reason)
		f.Text = "Its will for " + quote(e.Topic) + " was not published: " + coded(e.Reason) + "."
		return of(fact.WillFailed, &e.Party, f)
	}
	f.Text = "Its will was published to " + quote(e.Topic) + ", for " + fact.Many(e.Receivers, "receiver")
	if e.Retain {
		f.Text += ", and retained"
	}
	f.Text += "."
	return of(fact.WillSent, &e.Party, f)
}

func willCancelled(e *broker.WillCancelled) fact.Fact {
	f := fact.Fact{Topic: e.Topic, Reason: "disconnected", Text: "Its will for " + quote(e.Topic) + " is cancelled: it disconnected in good order."}
	if e.Reconnect {
		f.Reason, f.Text = "reconnected", "Its will for "+quote(e.Topic)+" is cancelled: it came back before the will's delay was over."
	}
	return of(fact.WillCancelled, &e.Party, f)
}
