package session

import (
	"slices"
	"strings"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// subscribe judges what the packet alone tells; authorisation is the owner's.
func (s *Session) subscribe(p *mqtt.Subscribe, do []Effect) []Effect {
	codes := make([]mqtt.ReasonCode, len(p.Filters))
	held := len(s.subs)
	for i, f := range p.Filters {
		filter := string(f.Filter)
		group, inner, shared, err := topic.ParseShared(filter)
		switch {
		case err == nil && !shared:
			inner = filter
			err = topic.ValidFilter(inner)
		case shared && f.Options.NoLocal():
			return s.close(mqtt.ProtocolError, "No Local on the shared subscription of group "+group, do) // [MQTT-3.8.3-4]
		}
		_, had := s.findSub(filter)
		switch {
		case err != nil, len(inner) > s.rules.TopicBytes, topic.Levels(inner) > s.rules.TopicLevels:
			codes[i] = mqtt.TopicFilterInvalid
		case i >= s.rules.FiltersPerSubscribe, !had && held >= s.rules.Subscriptions:
			codes[i] = mqtt.QuotaExceeded
		case shared && !s.rules.SharedAvailable:
			codes[i] = mqtt.SharedSubsNotSupported
		case !s.rules.WildcardAvailable && strings.ContainsAny(inner, "+#"):
			codes[i] = mqtt.WildcardSubsNotSupported
		default:
			codes[i] = mqtt.ReasonCode(min(f.Options.QoS(), s.rules.MaximumQoS))
			if !had {
				held++
			}
		}
	}
	return append(do, Effect{Kind: Authorize, Codes: codes})
}

// Subscribed tells the outcome of Authorize: one code per filter of p, a granted QoS or a failure.
func (s *Session) Subscribed(t Turn, p *mqtt.Subscribe, codes []mqtt.ReasonCode, do []Effect) []Effect {
	batch := uint64(0)
	var replays []Effect
	for i, f := range p.Filters {
		if codes[i].Failed() {
			continue
		}
		sub := Subscription{Filter: string(f.Filter), Options: f.Options&^3 | mqtt.SubOptions(codes[i]), ID: p.Props.SubscriptionID}
		had := s.putSub(sub)
		do = append(do, Effect{Kind: AddSubscription, Sub: &sub, Flag: had})
		if s.durable {
			batch = t.Batch
		}
		if h := f.Options.RetainHandling(); h == 0 || h == 1 && !had {
			if !strings.HasPrefix(sub.Filter, "$share/") { // MQTT5 4.8.2: no retained messages to a shared subscription
				replays = append(replays, Effect{Kind: Replay, Sub: &sub})
			}
		}
	}
	do = s.reply(batch, &Effect{Kind: Send, Type: mqtt.SUBACK, ID: p.ID, Codes: codes}, do)
	for i := range replays {
		do = s.reply(batch, &replays[i], do)
	}
	return do
}

func (s *Session) unsubscribe(t Turn, p *mqtt.Unsubscribe, do []Effect) []Effect {
	codes := make([]mqtt.ReasonCode, len(p.Filters))
	batch := uint64(0)
	for i, f := range p.Filters {
		at, had := s.findSub(string(f))
		sub := Subscription{Filter: string(f)}
		if had {
			sub = s.subs[at]
			s.subs = slices.Delete(s.subs, at, at+1)
		} else if codes[i] = mqtt.NoSubscriptionExisted; !s.durable {
			continue
		} // also an unknown one is removed from the store: the batch that was to remove it may have failed
		do = append(do, Effect{Kind: RemoveSubscription, Sub: &sub, Flag: !had})
		if s.durable {
			batch = t.Batch
		}
	}
	return s.reply(batch, &Effect{Kind: Send, Type: mqtt.UNSUBACK, ID: p.ID, Codes: codes}, do)
}

// Subscribes tells whether the session has a subscription to filter.
func (s *Session) Subscribes(filter string) bool {
	_, had := s.findSub(filter)
	return had
}

func (s *Session) findSub(filter string) (int, bool) {
	return slices.BinarySearchFunc(s.subs, filter, func(a Subscription, f string) int { return strings.Compare(a.Filter, f) })
}

func (s *Session) putSub(sub Subscription) (had bool) {
	at, had := s.findSub(sub.Filter)
	if had {
		s.subs[at] = sub
	} else {
		s.subs = slices.Insert(s.subs, at, sub)
	}
	return had
}
