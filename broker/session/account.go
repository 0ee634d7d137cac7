package session

// Account is what happened to copies of messages meant for the client beside what the effects tell.
type Account struct {
	Acknowledged   uint32 // PUBACK came, or PUBREC
	Found          int32  // read from the store before Deliver told of them, less those of which it has told since
	Unacknowledged uint32 // sent, and the session, which was not in the store, ended before the acknowledgement
}

// Queue is what a session holds for its client, for those who keep account of it.
type Queue struct{ s *Session }

// Queue returns the session's queue.
func (s *Session) Queue() Queue { return Queue{s} }

// Unused tells that the session never held anything.
func (q Queue) Unused() bool { return q.s.out == nil && q.s.cold == nil }

// Account returns what happened since it was last called.
func (q Queue) Account() (a Account, some bool) {
	s := q.s
	if s.out == nil || s.out.account == (Account{}) {
		return a, false
	}
	a, s.out.account = s.out.account, a
	return a, true
}

// Held is how many copies the session holds: QoS 1 and 2 that wait or are in flight, without those for which PUBREC came,
// and QoS 0 that waits between them. Each came by Deliver or was there at Restore, and none is left out that did not go
// by an effect (SendPublish of QoS 0, Drop, Requeue), by Withdraw, by End or as Account says.
func (q Queue) Held() int {
	s := q.s
	switch {
	case s.cold != nil:
		return int(s.cold.count)
	case s.out == nil || s.ended:
		return 0
	}
	return s.out.count - int(s.out.released) + int(s.out.zeros)
}

// Left is how many QoS 1 and 2 messages a session in the store held as it ended, or holds.
func (q Queue) Left() int {
	s := q.s
	switch {
	case s.cold != nil:
		return int(s.cold.count)
	case s.out == nil || !s.durable:
		return 0
	}
	return s.out.count - int(s.out.released)
}

// Rests tells whether a message found in the offline session's queue still waits there, never sent. The others were sent
// meanwhile, or withdrawn or dropped with the store about to know.
func (q Queue) Rests(seq uint64) bool {
	s := q.s
	if s.cold != nil {
		return seq >= s.cold.unsent() && seq < s.cold.next
	}
	o := s.out
	return o != nil && s.durable && o.slot(seq) == nil && seq >= o.unsent() && o.wants(seq)
}

// Holds tells, after the end of a session in the store, whether a message found in its queue was one that it held. The
// others are acknowledged or gone, with the store about to know, or still on their way here.
func (q Queue) Holds(seq uint64, released bool) bool {
	s := q.s
	o := s.out
	if o == nil {
		return s.cold != nil && !released
	}
	if sl := o.slot(seq); sl != nil {
		return sl.state == waiting || sl.state == sent
	}
	if w := o.weight(seq); w != nil && *w == 0 {
		return false
	}
	return !released && o.wants(seq)
}
