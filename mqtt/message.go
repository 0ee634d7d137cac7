package mqtt

// Message is an application message (MQTT5 1.2) as it travels through a server:
// a PUBLISH without what belongs to one connection alone (packet identifier,
// DUP, topic alias). While it is routed it is a view into somebody's buffer;
// Keep makes a copy that may be held.
type Message struct {
	Topic   []byte
	Payload []byte
	// Forward holds the encoded properties that are passed on unaltered
	// (MessageProperties.Forward).
	Forward []byte
	// Publisher is the client id of the publisher, empty for the server itself.
	Publisher string
	// Expires is when the message expires, in milliseconds of the server's steady
	// clock; 0 = never.
	Expires int64
	// At is when it was retained, in milliseconds of the server's steady clock; 0 = it was not, or nobody knows.
	At     int64
	QoS    QoS
	Retain bool // as published
	// Label is a note of whoever routes the message, such as its topic's number; it is neither sent nor stored. 0 = none.
	Label uint32
	// Span is set while the message is traced, nil = it is not. It is neither sent nor stored.
	Span *Span

	kept *Message // the copy that Keep made; the message itself once it is one
}

// Keep returns a copy of m that shares no memory with it, in one block. A view is
// copied once however often Keep is called, and a kept message is returned as it is.
func (m *Message) Keep() *Message {
	if m.kept != nil {
		return m.kept
	}
	k := *m
	block := make([]byte, 0, len(m.Topic)+len(m.Forward)+len(m.Payload))
	block = append(block, m.Topic...)
	block = append(block, m.Forward...)
	block = append(block, m.Payload...)
	t, f := len(m.Topic), len(m.Topic)+len(m.Forward)
	k.Topic, k.Forward, k.Payload = block[:t:t], block[t:f:f], block[f:]
	k.kept = &k
	m.kept = &k
	return &k
}

// Own tells that m is no view: nobody else writes to its memory, so that Keep returns it as it is. It
// returns m.
func (m *Message) Own() *Message {
	m.kept = m
	return m
}

// Kept tells that m is a copy made by Keep, or told to Own its memory, and not a view.
func (m *Message) Kept() bool { return m.kept == m }

// Bytes is what a held message weighs against a limit: topic, properties and
// payload, and a fixed share for the value itself.
func (m *Message) Bytes() int { return len(m.Topic) + len(m.Forward) + len(m.Payload) + 128 }

// Remaining is the Message Expiry Interval to send at the time now, in whole
// seconds rounded up (MQTT5 3.3.2.3.3); expired tells that there is none left.
func (m *Message) Remaining(now int64) (seconds uint32, expired bool) {
	left := m.Expires - now
	if left <= 0 {
		return 0, true
	}
	return uint32((left + 999) / 1000), false
}

// Delivery is how one receiver gets a message: what its subscription makes of it.
type Delivery struct {
	QoS    QoS  // min of the message's and the granted one
	Retain bool // the RETAIN flag to send
	// Group is the shared subscription ("$share/group/filter") it came by, or empty.
	Group           string
	SubscriptionIDs []uint32
}
