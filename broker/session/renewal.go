package session

import "github.com/sapwood-mqtt/sapwood/mqtt"

// renewal is the enhanced authentication of a connection that was admitted by one, and may be authenticated
// anew while everything else on it goes on (MQTT5 4.12.1).
type renewal struct {
	method string
	until  int64 // when the exchange that goes on has to be over
	state  renewalState
	steps  uint8 // AUTH packets taken
}

type renewalState uint8

const (
	settled renewalState = iota // no exchange goes on
	judged                      // the owner works on what the client sent
	asked                       // the client owes an AUTH
)

// deadline is when the exchange has to be over, 0 = none goes on.
func (r *renewal) deadline() int64 {
	if r == nil || r.state == settled {
		return 0
	}
	return r.until
}

// take takes an AUTH of a connected client; nil = it has no method.
func (r *renewal) take(l *Line, t Turn, p *mqtt.Auth, do []Effect) []Effect {
	begins := p.Reason == mqtt.Reauthenticate
	switch {
	case r == nil: // [MQTT-4.12.0-7]
		return l.close(mqtt.ProtocolError, "AUTH on a connection without an authentication method", do)
	case string(p.Props.AuthMethod) != r.method: // [MQTT-4.12.1-1]
		return l.close(mqtt.ProtocolError, "AUTH of another method than that of CONNECT", do)
	case !l.greeted, r.state == judged, begins != (r.state == settled), p.Reason == mqtt.Success:
		return l.close(mqtt.ProtocolError, "AUTH out of turn", do)
	case r.steps == maxSteps:
		return l.close(mqtt.NotAuthorized, "the authentication takes too many steps", do)
	}
	if begins {
		r.until, r.steps = t.Now+l.rules.AuthTime, 0
	}
	r.state = judged
	r.steps++
	return append(do, Effect{Kind: Authenticate, Flag: begins})
}

// AuthStep sends what an authentication step has come to: ContinueAuthentication asks the client for more [MQTT-4.12.0-2], Success
// ends the exchange. Of a failure tells Kick.
func (s *Session) AuthStep(outcome mqtt.ReasonCode, data []byte, do []Effect) []Effect {
	r := s.renewal
	if r == nil || r.state != judged {
		return do
	}
	r.state = settled
	if outcome == mqtt.ContinueAuthentication {
		r.state = asked
	}
	return s.answer(&Effect{Kind: SendAuth, Type: mqtt.AUTH, Reason: outcome, Text: string(data)}, do)
}
