package mqtt

// Error is a fault in received bytes. It unwraps to its reason code, so that
// errors.Is(err, MalformedPacket) and errors.As with a ReasonCode work.
type Error struct {
	Reason ReasonCode // what to tell the peer
	Detail string     // what to tell the operator; never holds received bytes
}

// Error is the name of the reason code and the detail.
func (e *Error) Error() string { return e.Reason.String() + ": " + e.Detail }

// Unwrap is the reason code.
func (e *Error) Unwrap() error { return e.Reason }
