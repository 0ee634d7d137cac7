package broker

import (
	"errors"
	"io"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/trace"
)

// hungUp tells of a connection that its client ended before its CONNECT had an answer: most often the client was less patient than whoever is asked
// about its password. Nobody refused it, so it counts as no refusal.
func (l *lobby) hungUp(p *pending, err error) {
	if p.conn == nil || p.request == nil || err == nil { // it moves to another loop, sent no CONNECT, or we closed it
		return
	}
	const text = "hung up before it had an answer"
	id, t, why := p.request.ClientID, &l.sh.traces, ""
	if !errors.Is(err, io.EOF) {
		why = closeCause(err)
	}
	if t.ring != nil {
		if log := t.logOf(id); log != nil {
			t.note(log, noteClosed, 0, text, ", from ", p.peer.Remote())
		}
	}
	if t.taps != nil {
		t.offer(id, p.peer.Address, "", func(int) trace.Packet { return trace.Packet{Text: text, Closed: true} })
	}
	if l.sh.b.tells() {
		l.sh.b.entrance.refusals.tell(l.sh.b, Refused{
			Party: Party{ClientID: id, User: p.request.Username, Address: p.peer.Address, Listener: p.door.listener.Load().Name},
			Cause: RefusedHangUp, Why: why, Waited: time.Duration(max(l.sh.now-p.asked, 0)) * time.Millisecond,
		})
	}
}
