package mqtt

import "encoding/binary"

// reader walks the body of a packet. The first fault sticks: it empties the
// reader and every later read returns zero, so that callers check err once.
// Slices it returns are views whose capacity ends with their length.
type reader struct {
	b   []byte // what is left
	err error
}

func (r *reader) fail(reason ReasonCode, detail string) {
	if r.err == nil {
		r.err = &Error{reason, detail}
	}
	r.b = nil
}

// adopt takes over the fault of the reader of a part.
func (r *reader) adopt(part *reader) {
	if r.err == nil && part.err != nil {
		r.err, r.b = part.err, nil
	}
}

// take returns the next n bytes, nil past the end.
func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		return r.overrun()
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

func (r *reader) overrun() []byte {
	r.fail(MalformedPacket, "a field runs past the end of the packet")
	return nil
}

func (r *reader) u8() byte {
	if s := r.take(1); s != nil {
		return s[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if s := r.take(2); s != nil {
		return binary.BigEndian.Uint16(s)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if s := r.take(4); s != nil {
		return binary.BigEndian.Uint32(s)
	}
	return 0
}

// flag reads a byte that may only be 0 or 1.
func (r *reader) flag() bool {
	c := r.u8()
	if c > 1 {
		r.fail(ProtocolError, "property value other than 0 or 1")
	}
	return c == 1
}

// nonZero16 reads a number for which 0 is a protocol error, detail says which.
func (r *reader) nonZero16(detail string) uint16 {
	n := r.u16()
	if n == 0 {
		r.fail(ProtocolError, detail)
	}
	return n
}

func (r *reader) varint() uint32 {
	v, n, ok := parseVarint(r.b)
	if !ok || n == 0 {
		r.fail(MalformedPacket, "not a variable byte integer")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// binary reads Binary Data (MQTT5 1.5.6).
func (r *reader) binary() []byte {
	if len(r.b) < 2 {
		return r.overrun()
	}
	n := 2 + int(r.b[0])<<8 + int(r.b[1])
	if len(r.b) < n {
		return r.overrun()
	}
	s := r.b[2:n:n]
	r.b = r.b[n:]
	return s
}

// text reads a UTF-8 Encoded String (MQTT5 1.5.4).
func (r *reader) text() []byte {
	s := r.binary()
	if !validText(s) {
		r.fail(MalformedPacket, "a string is not UTF-8 without U+0000")
		return nil
	}
	return s
}

// packetID reads a Packet Identifier, which is never 0 (MQTT5 2.2.1).
func (r *reader) packetID() uint16 { return r.nonZero16("packet identifier 0") }

// properties takes the property section out of r (MQTT5 2.2.2.1).
func (r *reader) properties(lim Limits) reader {
	n := int(r.varint())
	if lim.PropertyBytes > 0 && n > lim.PropertyBytes {
		r.fail(PacketTooLarge, "too many bytes of properties")
	}
	return reader{b: r.take(n)}
}

// propertyID reads the identifier of the next property and checks that it may
// stand in this packet and, unless it is in repeat, that it was not seen yet.
func (r *reader) propertyID(seen *PropertySet, allowed, repeat PropertySet) PropertyID {
	id := PropertyID(r.b[0])
	switch {
	case !allowed.Has(id):
		r.fail(MalformedPacket, "a property that is unknown or not for this packet")
		return 0
	case seen.Has(id) && !repeat.Has(id):
		r.fail(ProtocolError, "a property is given twice")
		return 0
	}
	*seen = seen.With(id)
	r.b = r.b[1:]
	return id
}

// subscriptionID reads a Subscription Identifier, which is never 0.
func (r *reader) subscriptionID() uint32 {
	id := r.varint()
	if id == 0 {
		r.fail(ProtocolError, "subscription identifier 0")
	}
	return id
}

// limitUsers checks the number of user properties before one more is kept.
func (r *reader) limitUsers(n int, lim Limits) {
	if lim.UserProperties > 0 && n > lim.UserProperties {
		r.fail(QuotaExceeded, "too many user properties")
	}
}

// end checks that nothing is left, and returns the first fault.
func (r *reader) end() error {
	if len(r.b) > 0 {
		r.fail(MalformedPacket, "bytes after the last field")
	}
	return r.err
}
