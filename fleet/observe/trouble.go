package observe

import (
	"errors"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker"
	bans "github.com/sapwood-mqtt/sapwood/broker/ban"
	shed "github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	keep "github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

func limited(e *broker.Limited) fact.Fact {
	text := ""
	switch scope, what, _ := strings.Cut(e.What, "_"); {
	case e.What == "flapping":
		text = "Flaps: " + sentence(e.Text) + " Something ends its connections each time, or two devices have one id."
	case e.What == "store":
		text = "Nothing is read from it until the store is well: before MQTT 5 a publish cannot be refused, and " + clean(e.Text) + storeAdvice(e.Text)
	case strings.HasPrefix(what, "deliver_"):
		text = "It is to get more than its rate allows (rates.client." + what + ", or that of its class): QoS 1 and 2 wait in its queue, QoS 0 is dropped."
	case strings.HasPrefix(what, "publish_"):
		text = faster(scope, what) + answered(e.Text)
	default:
		text = "Has reached a rate: " + sentence(e.Text)
	}
	return of(fact.Limited, &e.Party, fact.Fact{Reason: e.What, Text: text})
}

// storeAdvice is what to do about a store that takes nothing new, by what is said of it, and ends the sentence.
func storeAdvice(text string) string {
	if strings.HasSuffix(text, "the store is full") || strings.Contains(text, keep.ErrFull.Error()) {
		return "; free disk space, or raise storage.max_bytes."
	}
	return "; see the disk and the log."
}

// faster says who publishes more than which setting allows.
func faster(scope, what string) string {
	switch scope {
	case "user":
		return "Its user publishes more than rates.user." + what + " allows"
	case "class":
		return "The clients of its class together publish more than rates.classes allow (together." + what + ")"
	case "listener":
		return "The clients of its listener together publish more than rates.listener." + what + " allows"
	case "total":
		return "All clients together publish more than rates.total." + what + " allows"
	}
	return "It publishes more than its rate allows (rates.client." + what + ", or that of its class)"
}

// answered is what the broker does about a rate, by the answer at the end of what it says.
func answered(text string) string {
	switch _, answer, _ := strings.Cut(text, "answer: "); answer {
	case "delay":
		return ": it is read no faster, and nothing is lost."
	case "refuse":
		return ": what is more is refused, QoS 0 is dropped; before MQTT 5 QoS 1 and 2 are delayed instead."
	case "disconnect":
		return ": it is disconnected."
	}
	return ": " + sentence(text)
}

func stalled(e *broker.Stalled) fact.Fact {
	text := "The client does not read: " + fact.Bytes(e.Pending) + " wait in its connection"
	if e.Queued > 0 {
		text += ", and " + fact.Many(e.Queued, "message") + " behind them"
	}
	return of(fact.Stalled, &e.Party, fact.Fact{Text: text + ". It is busy, or its network is slow; delivery.stall_timeout ends it.", Detail: details("pending_bytes", number(e.Pending), "queued", number(e.Queued))})
}

func quarantined(e *broker.Quarantined) fact.Fact {
	return of(fact.Quarantined, &e.Party, fact.Fact{
		Text:   "The client is kept apart, nothing goes to it or comes from it: " + sentence(e.Ban.Text()),
		Detail: details("by", e.Ban.By, "subject", string(e.Ban.Subject), "value", e.Ban.Value),
	})
}

func ban(e *broker.BanChanged) fact.Fact {
	b := &e.Ban
	f := fact.Fact{Kind: fact.Banned, Detail: details(
		"by", b.By, "subject", string(b.Subject), "value", b.Value, "reason", b.Reason, "quarantine", yes(b.Quarantine),
		"disconnected", number(e.Disconnected), "changed", number(e.Changed))}
	whom := "The " + string(b.Subject) + " " + quote(b.Value)
	switch b.Subject {
	case bans.Client:
		f.Client = b.Value
	case bans.User:
		f.User = b.Value
	case bans.Address:
		f.Address = b.Value
	case bans.Pattern:
		whom = "Clients like " + quote(b.Value)
	}
	verb := " is "
	if b.Subject == bans.Pattern {
		verb = " are "
	}
	switch {
	case e.Expired:
		f.Kind, f.Reason, f.Text = fact.Unbanned, "expired", whom+verb+"no longer banned: its time is over."
	case e.Ended:
		f.Kind, f.Reason, f.Text = fact.Unbanned, "lifted", whom+verb+"no longer banned."
	default:
		f.Text = whom + verb + sentence(b.Text())
		if b.By != "" {
			f.Text += " By " + clean(b.By) + "."
		}
	}
	if e.Disconnected > 0 {
		f.Text += " That disconnected " + fact.Many(e.Disconnected, "client") + "."
	}
	return f
}

func overload(e *broker.OverloadChanged) fact.Fact {
	level := map[shed.Level]string{shed.Normal: "normal", shed.Connects: "connects", shed.QoS0: "qos0", shed.Publish: "publish"}[e.Level]
	f := fact.Fact{Kind: fact.OverloadChanged, Reason: level, Text: "The broker is no longer overloaded.", Detail: details("why", e.Why)}
	if e.Level != shed.Normal {
		f.Text = "The broker is overloaded (" + clean(e.Why) + "): " + e.Level.String() + "."
	}
	return f
}

func store(e *broker.StoreChanged) fact.Fact {
	switch {
	case e.Err == nil:
		return fact.Fact{Kind: fact.StoreChanged, Reason: "healthy", Text: "The store is well again: everything is kept."}
	case errors.Is(e.Err, keep.ErrFull):
		return fact.Fact{Kind: fact.StoreChanged, Reason: "full", Text: "The store is full (" + clean(e.Err.Error()) + "): what would have to be kept is refused until there is room. Free disk space, raise storage.max_bytes, or see whose messages wait: sapwood sessions list --sort=-queue_bytes."}
	}
	return fact.Fact{Kind: fact.StoreChanged, Reason: "failed", Text: "The store takes nothing new (" + clean(e.Err.Error()) + "): what would have to be kept is refused. See the disk and the log."}
}

// sum is what a sum adds to a fact.
func sum(f fact.Fact, s *broker.Sum, more ...string) fact.Fact {
	f.Topic, f.Count = s.Branch, s.Count
	d := s.Last.Sub(s.First)
	during := ""
	if d > 0 {
		during = seconds(d)
	}
	f.Detail = details(append(more, "example", s.Topic, "bytes", number(s.Bytes), "during_seconds", during)...)
	return f
}

// where is a branch in a sentence.
func where(s *broker.Sum) string {
	switch s.Branch {
	case "":
		return ""
	case "#":
		return " of any topic"
	}
	return " of " + quote(s.Branch)
}

func during(s *broker.Sum) string {
	if d := s.Last.Sub(s.First); s.Count > 1 && d.Seconds() >= 1 {
		return " in " + fact.Span(d)
	}
	return ""
}

func dropped(e *broker.Dropped) fact.Fact {
	whom := "the client"
	if e.ClientID == "" {
		whom = "several clients, too many to be told apart"
	}
	text := fact.Many(e.Count, "message") + where(&e.Sum) + " did not reach " + whom + during(&e.Sum) + ": " + whyDropped(e)
	switch {
	case e.Why == session.RetainedFull:
		text = fact.Many(e.Count, "message") + where(&e.Sum) + " from " + whom + " could not be retained" + during(&e.Sum) + ": limits.max_retained or limits.max_retained_bytes is reached."
	case e.Why == session.StoreUnwell && e.Incoming:
		text = fact.Many(e.Count, "message") + where(&e.Sum) + " from " + whom + " could not be retained" + during(&e.Sum) + ": " + whyDropped(e)
	case e.Why == session.Expired && e.ClientID == "":
		text = fact.Many(e.Count, "retained message") + where(&e.Sum) + " expired."
	case e.Incoming:
		text = fact.Many(e.Count, "message") + where(&e.Sum) + " from " + whom + " went to nobody" + during(&e.Sum) + ": " + whyDropped(e)
	}
	return of(fact.Dropped, &e.Party, sum(fact.Fact{Reason: e.Why.String(), Text: text}, &e.Sum,
		"rule", e.Rule, "text", e.Decision.Why, "from_it", yes(e.Incoming), "connected", yes(e.Connected),
		"last", e.Last.UTC().Format(fact.Moment)))
}

// whyDropped is a reason in words, with what may be done about it.
func whyDropped(e *broker.Dropped) string {
	one := func(one, several string) string {
		if e.Count == 1 {
			return one
		}
		return several
	}
	switch e.Why {
	case session.Expired:
		return one("its expiry interval passed while it waited.", "their expiry intervals passed while they waited.")
	case session.TooLarge:
		return one("it is larger", "they are larger") + " than the Maximum Packet Size that the client told in CONNECT."
	case session.QueueFull:
		if e.Connected {
			return "its queue is full; it does not acknowledge fast enough (limits.max_queued_messages, limits.max_queued_bytes)."
		}
		return "its queue is full, and it is not connected (limits.max_queued_messages, limits.max_queued_bytes)."
	case session.SlowConsumer:
		return "QoS 0, and it does not read fast enough (limits.max_outgoing_bytes)."
	case session.Offline:
		return "QoS 0, and it is not connected; QoS 1 would wait for it."
	case session.SessionEnded:
		return "the client's session ended while " + one("it", "they") + " waited."
	case session.ServerFull:
		return "the queues of all clients together are full (limits.max_total_queued_bytes)."
	case session.Denied:
		if e.Decision.Why != "" {
			return "the client may not receive " + one("it", "them") + " (" + clean(e.Decision.Why) + ")."
		}
		return "the client may not receive " + one("it", "them") + "."
	case session.StoreFailed:
		return "the store could not keep " + one("it", "them") + "; events of kind store, and the log, say why."
	case session.StoreUnwell:
		return "the store takes nothing new; events of kind store say why."
	case session.RateLimited:
		if e.Incoming {
			return "QoS 0, and it publishes more than its rate allows (rates)."
		}
		return "QoS 0, and it gets more than its rate allows (rates.client.deliver_messages, deliver_bytes)."
	case session.Overloaded:
		return "QoS 0, and the broker is overloaded."
	case session.Removed:
		return "an operator took " + one("it", "them") + " out of its queue."
	}
	return e.Why.String() + "."
}

func denied(e *broker.Denied) fact.Fact {
	whom := "The client"
	if e.ClientID == "" {
		whom = "Somebody"
	}
	text := whom + " may not " + e.Action.String()
	if e.Action.String() == "publish" {
		text += " to"
	} else {
		text += " to the filter"
	}
	switch e.Branch {
	case "#":
		text = "Clients too many to be told apart were denied something"
	default:
		text += " " + quote(e.Topic)
	}
	switch e.From {
	case broker.DeniedByRate:
		text += " at present: it publishes more than its rate allows (rates)"
	case broker.DeniedByOverload:
		text += " at present: the broker is overloaded"
	case broker.DeniedByStore:
		if text += " at present: the store "; e.Reason == mqtt.QuotaExceeded {
			text += "is full; free disk space, or raise storage.max_bytes"
		} else {
			text += "takes nothing new; see the disk and the log"
		}
	default:
		if e.Why != "" {
			text += ": " + clean(e.Why)
		}
	}
	text += "."
	if e.Count > 1 {
		text += " That was " + fact.Many(e.Count, "time")
		if e.Branch != e.Topic && e.Branch != "#" {
			text += " below " + quote(e.Branch)
		}
		text += during(&e.Sum) + "."
	}
	return of(fact.Denied, &e.Party, sum(fact.Fact{Reason: e.From.String(), Code: uint8(e.Reason), Text: text}, &e.Sum,
		"action", e.Action.String(), "rule", e.Rule, "text", e.Why))
}
