package mqtt

import "encoding/binary"

const (
	// repeatable may stand more than once in the properties of a message.
	repeatable = 1<<PropUser | 1<<PropSubscriptionID

	forwarded PropertySet = 1<<PropPayloadFormat | 1<<PropContentType | 1<<PropResponseTopic |
		1<<PropCorrelationData | 1<<PropUser
	publishProps = forwarded | 1<<PropMessageExpiry | 1<<PropTopicAlias | 1<<PropSubscriptionID
	willProps    = forwarded | 1<<PropMessageExpiry | 1<<PropWillDelay
)

func (m *MessageProperties) reset() {
	*m = MessageProperties{SubscriptionIDs: m.SubscriptionIDs[:0]}
}

// decode reads the property section of a PUBLISH or a will. The forwarded
// properties are moved together in place, each byte at most once, unless they
// stand together already.
func (m *MessageProperties) decode(r *reader, allowed PropertySet, lim Limits) {
	m.reset()
	props := r.properties(lim)
	section := props.b
	var seen PropertySet
	var from, to, users int // section[from:to] is Forward
	for len(props.b) > 0 {
		start := len(section) - len(props.b)
		id := props.propertyID(&seen, allowed, repeatable)
		if id == PropUser {
			users++
			props.limitUsers(users, lim)
		}
		m.decodeValue(&props, id)
		if props.err != nil {
			r.adopt(&props)
			return
		}
		if !forwarded.Has(id) {
			continue
		}
		end := len(section) - len(props.b)
		switch to {
		case 0:
			from, to = start, end
		case start:
			to = end
		default:
			to += copy(section[to:], section[start:end])
		}
	}
	if to > 0 {
		m.Forward = section[from:to:to]
	}
}

func (m *MessageProperties) decodeValue(r *reader, id PropertyID) {
	switch id {
	case PropPayloadFormat:
		m.UTF8 = r.flag()
	case PropMessageExpiry:
		m.Expiry, m.HasExpiry = r.u32(), true
	case PropContentType:
		r.text()
	case PropResponseTopic:
		if t := r.text(); r.err == nil && (len(t) == 0 || hasWildcard(t)) {
			r.fail(ProtocolError, "response topic is empty or has a wildcard")
		}
	case PropCorrelationData:
		r.binary()
	case PropUser:
		r.text()
		r.text()
	case PropTopicAlias:
		m.TopicAlias = r.nonZero16("topic alias 0")
	case PropSubscriptionID:
		m.SubscriptionIDs = append(m.SubscriptionIDs, r.subscriptionID())
	case PropWillDelay:
		m.WillDelay = r.u32()
	}
}

// size is the length of the section that append writes, without its own length.
func (m *MessageProperties) size(will bool) int {
	n := len(m.Forward)
	if m.HasExpiry {
		n += 5
	}
	if will {
		if m.WillDelay != 0 {
			n += 5
		}
		return n
	}
	if m.TopicAlias != 0 {
		n += 3
	}
	for _, id := range m.SubscriptionIDs {
		n += 1 + varintSize(int(id))
	}
	return n
}

// append writes the properties of a will or of a PUBLISH, Forward last: what is
// decoded from it needs no moving.
func (m *MessageProperties) append(dst []byte, will bool) []byte {
	if m.HasExpiry {
		dst = appendU32(dst, PropMessageExpiry, m.Expiry)
	}
	if will {
		if m.WillDelay != 0 {
			dst = appendU32(dst, PropWillDelay, m.WillDelay)
		}
		return append(dst, m.Forward...)
	}
	if m.TopicAlias != 0 {
		dst = append(dst, byte(PropTopicAlias), byte(m.TopicAlias>>8), byte(m.TopicAlias))
	}
	for _, id := range m.SubscriptionIDs {
		dst = appendVarint(append(dst, byte(PropSubscriptionID)), int(id))
	}
	return append(dst, m.Forward...)
}

// Each calls yield for every property in Forward, in order, until it returns
// false. name is set for user properties only; the value of the Payload Format
// Indicator is its one byte. The slices are views into Forward.
func (m *MessageProperties) Each(yield func(id PropertyID, name, value []byte) bool) {
	r := reader{b: m.Forward}
	for len(r.b) > 0 {
		id := PropertyID(r.u8())
		var name, value []byte
		switch id {
		case PropPayloadFormat:
			value = r.take(1)
		case PropUser:
			name = r.binary()
			value = r.binary()
		default:
			value = r.binary()
		}
		if r.err != nil || !yield(id, name, value) {
			return
		}
	}
}

// AppendPayloadFormat appends a Payload Format Indicator for Forward; the
// caller keeps MessageProperties.UTF8 the same.
func AppendPayloadFormat(dst []byte, utf8 bool) []byte {
	return append(dst, byte(PropPayloadFormat), boolByte(utf8))
}

// AppendContentType appends a Content Type for Forward, at most 65,535 bytes.
func AppendContentType[T string | []byte](dst []byte, s T) []byte {
	return appendField(append(dst, byte(PropContentType)), s)
}

// AppendResponseTopic appends a Response Topic for Forward: a valid topic name.
func AppendResponseTopic[T string | []byte](dst []byte, topic T) []byte {
	return appendField(append(dst, byte(PropResponseTopic)), topic)
}

// AppendCorrelationData appends Correlation Data for Forward, at most 65,535
// bytes.
func AppendCorrelationData[T string | []byte](dst []byte, data T) []byte {
	return appendField(append(dst, byte(PropCorrelationData)), data)
}

// AppendUserProperty appends a User Property for Forward, name and value of at
// most 65,535 bytes each.
func AppendUserProperty[T string | []byte](dst []byte, name, value T) []byte {
	return appendField(appendField(append(dst, byte(PropUser)), name), value)
}

// appendField writes a UTF-8 Encoded String or Binary Data. What does not fit
// its two-byte length is cut, so that the framing of the packet holds.
func appendField[T string | []byte](dst []byte, s T) []byte {
	n := min(len(s), 0xFFFF)
	dst = append(dst, byte(n>>8), byte(n))
	return append(dst, s[:n]...)
}

func appendU32(dst []byte, id PropertyID, v uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, byte(id)), v)
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}
