package session

import "github.com/sapwood-mqtt/sapwood/mqtt"

// Line is the present or last connection of a session, and what the client's own messages have left
// behind on it and on earlier ones: its side of the conversation. It is part of Session.
type Line struct {
	rules *Rules
	in    *inbound // nil until a QoS 1 or 2 message came, or an answer waits
	alias *aliases // nil without topic aliases
	will  *Will

	renewal *renewal // nil without an authentication method

	seen      int64 // when the client was last heard, ms
	maxPacket uint32
	expiry    uint32
	keepAlive uint16 // seconds, in force
	recvMax   uint16 // the client's Receive Maximum, capped by Rules.Inflight
	version   mqtt.Version

	connected bool
	greeted   bool // CONNACK has gone out on this connection
	durable   bool // the session outlives it: made with an expiry above 0
	blocked   bool // the owner's output is at its cap
	problem   bool // the client wants reason strings (Request Problem Information)
	closing   bool // a Close was emitted on this connection
	single    bool // one message at a time
}

// Shutdown ends the connection because the server stops.
func (l *Line) Shutdown(do []Effect) []Effect {
	return l.close(mqtt.ServerShuttingDown, "the server is shutting down", do)
}

// TakenOver ends the connection because the client id connected anew [MQTT-3.1.4-3].
func (l *Line) TakenOver(by string, do []Effect) []Effect {
	return l.close(mqtt.SessionTakenOver, "taken over by a connection from "+by, do)
}

// Kick ends the connection for an operator's or the owner's reason.
func (l *Line) Kick(r mqtt.ReasonCode, why string, do []Effect) []Effect {
	return l.close(r, why, do)
}

func (l *Line) close(r mqtt.ReasonCode, text string, do []Effect) []Effect {
	if l.closing || !l.connected {
		return do
	}
	l.closing = true
	return append(do, Effect{Kind: Close, Reason: r, Text: text})
}

// Blocked tells that the owner's output for this client is at its cap; Session.Drained ends it.
func (l *Line) Blocked() { l.blocked = true }

// flowing tells that packets may go to the client now.
func (l *Line) flowing() bool { return l.greeted && !l.blocked && !l.closing }

// Version is the protocol version of the present or last connection.
func (l *Line) Version() mqtt.Version { return l.version }

// Connected tells whether there is a connection.
func (l *Line) Connected() bool { return l.connected }

// Closing tells that the connection is to be closed: nothing more is read from it.
func (l *Line) Closing() bool { return l.closing }

// Greeted tells that the connection's CONNACK has gone out.
func (l *Line) Greeted() bool { return l.greeted }

// Durable tells that the session outlives its connection.
func (l *Line) Durable() bool { return l.durable }

// Expiry is the session expiry interval in seconds.
func (l *Line) Expiry() uint32 { return l.expiry }

// KeepAlive is the keep-alive in force, in seconds.
func (l *Line) KeepAlive() uint16 { return l.keepAlive }

// MaximumPacketSize is the client's, in bytes; 0 = none.
func (l *Line) MaximumPacketSize() uint32 { return l.maxPacket }

// ProblemInfo tells whether reason strings may go with every packet (MQTT5 3.1.2.11.7).
func (l *Line) ProblemInfo() bool { return l.problem }

// Will is the will still to be published or cancelled, or nil.
func (l *Line) Will() *Will { return l.will }
