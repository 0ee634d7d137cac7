package client

import (
	"errors"
	"fmt"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// The errors that are not the server's.
var (
	// ErrOptions is what Dial returns, wrapped, for Options that cannot be.
	ErrOptions = errors.New("client options")
	// ErrClosed is what calls return after Close.
	ErrClosed = errors.New("client is closed")
	// ErrStop, returned by OnMessage, acknowledges the message and then closes
	// the client: no message after it is taken or acknowledged.
	ErrStop = errors.New("stop")
	// ErrSessionLost is the end of a QoS 2 message that was sent when the
	// server forgot the session: it may or may not have been delivered, and
	// sending it again could deliver it twice.
	ErrSessionLost = errors.New("the server lost the session: the message may or may not have been delivered")
	// ErrSilent is a server that owed an answer for longer than Timeout.
	ErrSilent = errors.New("the server does not answer")
	// ErrAborted is the end by Abort.
	ErrAborted = errors.New("aborted")

	errNoID = errors.New("no packet identifier is free")
)

// ReasonError is a reason code of 0x80 or above from the server. It unwraps to
// the code: errors.Is(err, mqtt.NotAuthorized).
type ReasonError struct {
	Packet    mqtt.Type // the packet it came in
	Reason    mqtt.ReasonCode
	Text      string // Reason String, as the server sent it
	Reference string // Server Reference
}

// Error names the reason code and what the server said about it.
func (e *ReasonError) Error() string {
	what := "server answered"
	switch e.Packet {
	case mqtt.CONNACK:
		what = "connection refused by the server"
	case mqtt.DISCONNECT:
		what = "disconnected by the server"
	case mqtt.PUBACK, mqtt.PUBREC:
		what = "publish refused by the server"
	case mqtt.SUBACK:
		what = "subscription refused by the server"
	}
	s := fmt.Sprintf("%s: %s (0x%02X)", what, e.Reason, uint8(e.Reason))
	if e.Text != "" {
		s += fmt.Sprintf(": %q", e.Text)
	}
	if e.Reference != "" {
		s += fmt.Sprintf(", use %q", e.Reference)
	}
	return s
}

// Unwrap is the reason code.
func (e *ReasonError) Unwrap() error { return e.Reason }

func reasonError(t mqtt.Type, r mqtt.ReasonCode, p *mqtt.Properties) *ReasonError {
	return &ReasonError{Packet: t, Reason: r, Text: string(p.ReasonString), Reference: string(p.ServerReference)}
}

// violation is a fault of the server, told to it in a DISCONNECT.
func violation(r mqtt.ReasonCode, detail string) error {
	return &mqtt.Error{Reason: r, Detail: detail}
}

// temporary tells whether to try again after err. A refusal that the next
// attempt would meet again ends the client, above all Session Taken Over: two
// clients of one id would throw each other out for ever.
func temporary(err error) bool {
	if fault := new(mqtt.Error); errors.As(err, &fault) {
		return true // the server's, and maybe only this connection's
	}
	refusal := new(ReasonError)
	if !errors.As(err, &refusal) {
		return true
	}
	switch refusal.Reason {
	case mqtt.Success, mqtt.UnspecifiedError, mqtt.ImplementationSpecificError,
		mqtt.ServerUnavailable, mqtt.ServerBusy, mqtt.ServerShuttingDown,
		mqtt.KeepAliveTimeout, mqtt.MessageRateTooHigh, mqtt.QuotaExceeded,
		mqtt.AdministrativeAction, mqtt.ConnectionRateExceeded, mqtt.MaximumConnectTime:
		return true
	}
	return false
}
