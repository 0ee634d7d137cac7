package mqtt

// Span marks a message whose way through a server is told as steps of a W3C trace: it names the step that later ones belong to.
// Whoever routes the message makes it and says what may change in it.
type Span struct {
	Trace [16]byte
	ID    [8]byte
	State string // the trace's tracestate, passed on
	From  int64  // when the next step began, in Unix nanoseconds
	Left  int32  // how many further steps are told
}
