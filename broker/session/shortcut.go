package session

import "github.com/sapwood-mqtt/sapwood/mqtt"

// Routes tells that Packet of a PUBLISH of QoS 0 would have one effect, Route, which Routed adds nothing to. The client was heard then, and an owner in a hurry may route without asking for the list.
func (s *Session) Routes(now int64, x *mqtt.Publish) bool {
	if x.Props.TopicAlias != 0 || len(x.Topic) == 0 || !s.connected || s.closing {
		return false
	}
	if x.Retain && !s.rules.RetainAvailable || len(x.Props.SubscriptionIDs) > 0 {
		return false
	}
	if code, _ := s.unfit(x); code != 0 {
		return false
	}
	s.seen = now
	return true
}

// Misses tells why Deliver at QoS 0 would have one effect, Drop; 0 = it would not.
func (l *Line) Misses() Why {
	switch {
	case !l.greeted || l.closing:
		return Offline
	case l.blocked:
		return SlowConsumer
	}
	return 0
}
