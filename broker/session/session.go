package session

import "github.com/sapwood-mqtt/sapwood/mqtt"

// Overflow is what happens to QoS 1 and 2 messages when a session's queue is full.
type Overflow uint8

// The policies.
const (
	// RefuseNewest keeps what waits and refuses what comes: its publisher is told (0x97)
	// when nobody else got the message.
	RefuseNewest Overflow = iota
	// DropOldest makes room by dropping what has waited longest.
	DropOldest
	// Disconnect closes the connection with 0x97.
	Disconnect
)

// Rules are the limits a session enforces. They are shared and never changed.
type Rules struct {
	ReceiveMaximum       uint16 // QoS 1 and 2 messages from the client at a time
	Inflight             uint16 // QoS 1 and 2 messages to the client at a time, at most
	TopicAliases         uint16 // topic aliases the client may set
	SendAliases          uint16 // topic aliases set towards the client, at most
	TopicBytes           int
	TopicLevels          int
	FiltersPerSubscribe  int
	Subscriptions        int
	QueuedMessages       int
	QueuedBytes          int64
	SessionExpiry        uint32 // seconds, at most; Never = no limit
	MaximumQoS           mqtt.QoS
	RetainAvailable      bool
	SharedAvailable      bool
	WildcardAvailable    bool
	ValidateUTF8Payloads bool
	AuthTime             int64 // milliseconds that a re-authentication may take
	Overflow             Overflow
}

// Subscription is one subscription of a session.
type Subscription struct {
	Filter  string // as subscribed, "$share/group/" included
	Options mqtt.SubOptions
	ID      uint32 // subscription identifier, 0 = none
}

// Will is the will of a connection.
type Will struct {
	Msg   *mqtt.Message // kept; Expires is the message expiry interval in ms, 0 = never
	Delay uint32        // seconds
}

// Never is the session expiry interval of a session that does not expire (MQTT5 3.1.2.11.2).
const Never = 0xFFFFFFFF

// Session is the state of one client id, connected or not (MQTT5 4.1). Its methods
// append effects to do and return it. It belongs to one goroutine at a time.
type Session struct {
	Line
	subs []Subscription // sorted by filter
	out  *outbound      // nil until a QoS 1 or 2 message or a queued one went out
	cold *cold          // the queue as it was found at a restart, until it is needed; then out is nil

	willAt int64 // offline: when the will is due, 0 = no will pending
	endAt  int64 // offline: when the session ends, 0 = connected or never
	ended  bool
}

// Rule changes the rules of a session, nil = they stay. What its client was told in CONNACK must not shrink while it is
// connected. With singly, messages that wait go to the client one by one, so that the owner can stop between any two.
func (s *Session) Rule(r *Rules, singly bool) {
	if r != nil {
		s.rules = r
	}
	s.single = singly
}

// InForce are the rules of a session.
func InForce(s *Session) *Rules { return s.rules }

// Params are what a CONNECT settled on, after every clamp.
type Params struct {
	Version           mqtt.Version
	KeepAlive         uint16 // seconds
	Expiry            uint32 // seconds, Never
	ReceiveMaximum    uint16 // the client's; 0 = 65,535
	MaximumPacketSize uint32 // the client's; 0 = none
	SendAliases       uint16 // the client's Topic Alias Maximum
	NoProblemInfo     bool   // Request Problem Information 0
	AuthMethod        string // of enhanced authentication; "" = none
	Will              *Will
}

// New returns the session of a client that has none.
func New(r *Rules) *Session { return &Session{Line: Line{rules: r}} }

// Attach gives the session its connection. fresh tells that the session was made for
// it, so that Session Present is 0 (MQTT5 3.2.2.1.1); otherwise what was not acknowledged
// is sent again, in order, before anything new [MQTT-4.4.0-1].
func (s *Session) Attach(t Turn, p Params, fresh bool, do []Effect) []Effect {
	if fresh {
		s.durable = p.Expiry > 0
	}
	s.thaw()
	s.version, s.keepAlive, s.expiry, s.maxPacket = p.Version, p.KeepAlive, p.Expiry, p.MaximumPacketSize
	s.will, s.willAt, s.endAt = p.Will, 0, 0
	s.connected, s.blocked, s.closing, s.problem = true, false, false, !p.NoProblemInfo
	s.seen = t.Now
	s.recvMax = p.ReceiveMaximum
	if s.recvMax == 0 || s.recvMax > s.rules.Inflight {
		s.recvMax = s.rules.Inflight
	}
	s.alias = nil // [MQTT-3.3.2-7]
	if n := min(p.SendAliases, s.rules.SendAliases); n > 0 {
		s.alias = &aliases{sendMax: n}
	}
	s.renewal = nil
	if p.AuthMethod != "" {
		s.renewal = &renewal{method: p.AuthMethod}
	}
	if s.in != nil {
		s.in.attach()
	}
	if s.out != nil {
		s.out.attach(s.recvMax)
	}
	s.greeted = false
	ack := &Effect{Kind: SendConnack, Flag: !fresh}
	if !s.durable {
		return s.answer(ack, do)
	}
	do = append(do, Effect{Kind: Keep, Change: PutSession})
	return s.reply(t.Batch, ack, do)
}

// Closed takes the connection away. What the will and the session's expiry ask for follows,
// at once or by Tick.
func (s *Session) Closed(t Turn, do []Effect) []Effect {
	if !s.connected {
		return do
	}
	s.connected, s.greeted, s.blocked = false, false, false
	s.alias, s.renewal = nil, nil
	if s.in != nil {
		s.in.waiting = nil
	}
	if s.expiry == 0 {
		return s.End(t, do)
	}
	if s.expiry != Never {
		s.endAt = t.Now + int64(s.expiry)*1000
	}
	if s.will != nil {
		s.willAt = t.Now + int64(s.will.Delay)*1000
		if s.will.Delay == 0 {
			do = s.publishWill(do)
		}
	}
	do = append(do, Effect{Kind: Keep, Change: PutSession})
	return s.out.freeze(do)
}

// End ends the session at once: by expiry, by a clean start or by an operator. A will
// that still waits for its delay is published (MQTT5 3.1.3.2.2).
func (s *Session) End(_ Turn, do []Effect) []Effect {
	if s.ended {
		return do
	}
	do = s.publishWill(do)
	s.thaw()
	unsent, lost := s.out.unsent(), s.lost()
	do = s.out.abandon(&s.Line, do)
	s.ended, s.connected, s.greeted = true, false, false
	s.in = nil // out stays, for Account and Holds
	return append(do, Effect{Kind: End, Flag: s.durable, Seq: unsent, To: lost})
}

// lost is how many messages a session in the store never sent.
func (s *Session) lost() uint64 {
	if !s.durable || s.out == nil {
		return 0
	}
	n := s.out.count
	for i := range s.out.slots {
		if s.out.slots[i].state >= sent {
			n--
		}
	}
	return uint64(max(n, 0))
}

func (s *Session) publishWill(do []Effect) []Effect {
	w := s.will
	s.will, s.willAt = nil, 0
	if w == nil {
		return do
	}
	return append(do, Effect{Kind: PublishWill, Msg: w.Msg})
}

// ClosedAt is when the connection ended of a session that is offline, as far as its expiry or its will
// depends on it; now if neither does.
func (s *Session) ClosedAt(now int64) int64 {
	switch {
	case s.endAt != 0:
		return s.endAt - int64(s.expiry)*1000
	case s.willAt != 0:
		return s.willAt - int64(s.will.Delay)*1000
	}
	return now
}

// Stored tells that batch, and so every earlier one, is stored: what waited for it goes out.
func (s *Session) Stored(batch uint64, do []Effect) []Effect {
	before := s.greeted
	return s.begin(before, s.stored(batch, do))
}

// Failed tells that batch could not be stored. What was to be acknowledged by it is not: a v5
// publisher is told so with reason, everybody else loses the connection and may try again.
func (s *Session) Failed(batch uint64, reason mqtt.ReasonCode, do []Effect) []Effect {
	before := s.greeted
	return s.begin(before, s.failed(batch, reason, do))
}

// begin has what waits sent once CONNACK has gone out.
func (s *Session) begin(greeted bool, do []Effect) []Effect {
	if s.greeted && !greeted && s.out != nil && s.out.waits() {
		do = append(do, Effect{Kind: More})
	}
	return do
}

// Tick does what is due: keep-alive while connected, the will's delay and the session's
// expiry while not.
func (s *Session) Tick(t Turn, do []Effect) []Effect {
	if s.connected {
		switch d := s.Deadline(); {
		case d == 0 || t.Now < d:
		case d == s.renewal.deadline():
			do = s.close(mqtt.NotAuthorized, "the re-authentication was not finished in time", do)
		default:
			do = s.close(mqtt.KeepAliveTimeout, "no packet within one and a half times the keep-alive interval", do)
		}
		return do
	}
	if s.willAt != 0 && t.Now >= s.willAt {
		do = s.publishWill(do)
		if s.endAt == 0 || t.Now < s.endAt {
			do = append(do, Effect{Kind: Keep, Change: PutSession})
		}
	}
	if s.endAt != 0 && t.Now >= s.endAt {
		do = s.End(t, do)
	}
	return do
}

// Heard begins the keep-alive anew, for a client that the owner has not read from.
func (s *Session) Heard(t Turn) { s.seen = t.Now }

// Deadline is when Tick has something to do at the earliest, in ms; 0 = never as things are.
func (s *Session) Deadline() int64 {
	if s.connected {
		if s.closing {
			return 0
		}
		d := s.renewal.deadline()
		if s.keepAlive == 0 {
			return d
		}
		silent := s.seen + int64(s.keepAlive)*1500 // [MQTT-3.1.2-22]
		if d == 0 || silent < d {
			return silent
		}
		return d
	}
	if s.willAt != 0 && (s.endAt == 0 || s.willAt < s.endAt) {
		return s.willAt
	}
	return s.endAt
}

// Ended tells that the session is over.
func (s *Session) Ended() bool { return s.ended }

// Subscriptions are the session's, sorted by filter; not to be changed.
func (s *Session) Subscriptions() []Subscription { return s.subs }

// Restored is what a store knows of a session that was there before. Messages and Bytes do not
// count positions for which PUBREC came.
type Restored struct {
	Version      mqtt.Version
	Expiry       uint32
	Disconnected int64 // ms; when the connection ended
	Will         *Will
	Subs         []Subscription
	Received     []uint16
	First, Next  uint64
	// Unsent is the first position that was certainly never sent; 0 = any may have been.
	Unsent   uint64
	Messages int
	Bytes    int64
}

// Restore returns a session as a store knew it: offline, with its queue still to be read.
func Restore(rules *Rules, r Restored) *Session {
	s := New(rules)
	s.durable, s.version, s.expiry, s.will = true, r.Version, r.Expiry, r.Will
	for _, sub := range r.Subs {
		s.putSub(sub)
	}
	if len(r.Received) > 0 {
		in := s.inbound()
		for _, id := range r.Received {
			in.receive(id, receipt{})
		}
	}
	if r.Next > 1 {
		unsent := r.Next
		if r.Unsent != 0 {
			unsent = max(r.First, min(r.Unsent, r.Next))
		}
		s.cold = &cold{first: r.First, next: r.Next, bytes: r.Bytes, count: int32(r.Messages), doubt: uint32(unsent - r.First)}
	}
	if s.expiry != Never {
		s.endAt = r.Disconnected + int64(s.expiry)*1000
	}
	if s.will != nil {
		s.willAt = r.Disconnected + int64(s.will.Delay)*1000
	}
	return s
}
