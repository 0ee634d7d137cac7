package session

import (
	"cmp"
	"slices"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Flight is one QoS 1 or 2 message that is under way between a client and us.
type Flight struct {
	Out   bool // to the client
	ID    uint16
	QoS   mqtt.QoS
	State string // what is awaited
	Seq   uint64 // its position in the queue, 0 = it came in
	Size  int    // its weight, 0 = not known
	At    int64  // ms, when the last packet about it went or came; 0 = not known
	Topic string // where the message is at hand

	Known   bool // the message is at hand
	Payload int  // bytes, if it is
}

// Flights are the messages under way, those that came in first, by position or identifier.
func Flights(s *Session) []Flight {
	var list []Flight
	if in := s.in; in != nil {
		for _, r := range in.waiting {
			if r.typ == mqtt.PUBACK {
				list = append(list, Flight{ID: r.id, QoS: 1, State: "awaits the store"})
			}
		}
		for id, r := range in.received {
			f := Flight{ID: id, QoS: 2, State: "awaits PUBREL", At: r.at}
			if s.owes(mqtt.PUBREC, id) {
				f.State = "awaits the store"
			}
			list = append(list, f)
		}
		slices.SortFunc(list, func(a, b Flight) int { return cmp.Compare(a.ID, b.ID) })
	}
	if s.out == nil {
		return list
	}
	for i := range s.out.slots {
		sl := &s.out.slots[i]
		if sl.state < sent || !underWay(s, sl) {
			continue
		}
		seq := s.out.base + uint64(i)
		f := Flight{Out: true, ID: packetID(seq), QoS: sl.qos, State: "awaits PUBACK", Seq: seq, Size: int(sl.size), At: sl.at}
		switch {
		case sl.state == released:
			f.State = "awaits PUBCOMP"
		case sl.qos == 2:
			f.State = "awaits PUBREC"
		}
		if sl.shared != nil {
			f.Note(sl.shared.msg)
		}
		list = append(list, f)
	}
	return list
}

// Note takes from the message what is told of it.
func (f *Flight) Note(m *mqtt.Message) {
	f.Topic, f.Payload, f.Known = string(m.Topic), len(m.Payload), true
}

// Inflight is how many messages were sent on this connection and are not settled: what its quota has spent.
func Inflight(s *Session) int {
	if s.out == nil || !s.connected {
		return 0
	}
	return int(s.recvMax) - int(s.out.quota)
}

// Unsettled is how many QoS 1 and 2 messages were sent on this connection and are not at the client as far as is known.
func Unsettled(s *Session) (n int) {
	for _, f := range Flights(s) {
		if f.Out && f.State != "awaits PUBCOMP" {
			n++
		}
	}
	return n
}

// ReceiveMaximum is how many QoS 1 and 2 messages the client takes at a time.
func ReceiveMaximum(l *Session) uint16 { return l.recvMax }

// Outstanding is how many QoS 1 and 2 messages of the client are not acknowledged.
func Outstanding(l *Session) int {
	if l.in == nil {
		return 0
	}
	return l.in.outstanding
}

// Aliases are how many topic aliases either side has set, and how many we may.
func Aliases(l *Session) (heard, sent, most int) {
	if l.alias == nil {
		return 0, 0, 0
	}
	return len(l.alias.heard), len(l.alias.sent), int(l.alias.sendMax)
}

// Seen is when the client was last heard, in ms; 0 = not since the session was restored.
func Seen(l *Session) int64 { return l.seen }

// Held is a message that waits in memory.
type Held struct {
	Seq      uint64 // 0 = QoS 0
	Msg      *mqtt.Message
	Delivery mqtt.Delivery
}

// Waiting are the first messages that wait in memory behind position after, at most most of them; those that the store keeps are not among
// them.
func Waiting(s *Session, after uint64, most int) []Held {
	var list []Held
	if s.out == nil {
		return nil
	}
	for _, part := range [][]queued{s.out.front, s.out.rest} {
		for i := range part {
			q := &part[i]
			if q.msg == nil || s.durable && q.seq != 0 || q.seq != 0 && q.seq <= after || q.seq == 0 && after != 0 {
				continue
			}
			if len(list) == most {
				return list
			}
			list = append(list, Held{q.seq, q.msg, q.d})
		}
	}
	return list
}

// Stretch is where in the store's queue what waits may lie: from the oldest position that is not settled to the newest; from > to when nothing does.
func Stretch(s *Session) (from, to uint64) {
	switch {
	case s.cold != nil:
		return s.cold.first, s.cold.next - 1
	case !s.durable || s.out == nil:
		return 1, 0
	}
	return s.out.base, s.out.tail
}

// Waits tells whether a message that the store shows at a position waits for the client: it is not under way on the present connection, and neither
// acknowledged nor dropped with the store about to know.
func Waits(s *Session, seq uint64) bool {
	if s.cold != nil || s.out == nil {
		return s.cold != nil
	}
	if sl := s.out.slot(seq); sl != nil && sl.state >= sent && underWay(s, sl) {
		return false
	}
	return s.out.wants(seq)
}

// underWay tells whether a message that was sent awaits an answer on the present connection.
func underWay(s *Session, sl *slot) bool { return s.connected && (sl.state == released || sl.charged) }
