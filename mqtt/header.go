package mqtt

// maxRemaining is the greatest Remaining Length that four bytes can carry.
const maxRemaining = 268_435_455

// Header is the fixed header of a control packet (MQTT5 2.1.1).
type Header struct {
	Type   Type
	Flags  byte // the low four bits of the first byte
	Length int  // Remaining Length: the bytes that follow the header
}

// ParseHeader reads a fixed header from the start of b. n is its size in bytes;
// n == 0 without an error means that more bytes are needed. A fault is reported
// as soon as the bytes at hand show it: a reserved type, wrong flag bits, a
// Remaining Length of more than four bytes or of more bytes than it needs. The
// error is an *Error.
func ParseHeader(b []byte) (h Header, n int, err error) {
	if len(b) == 0 {
		return Header{}, 0, nil
	}
	h.Type, h.Flags = Type(b[0]>>4), b[0]&0x0F
	if detail := flagFault(h.Type, h.Flags); detail != "" {
		return h, 0, &Error{MalformedPacket, detail}
	}
	if len(b) >= 2 && b[1] < 0x80 {
		h.Length = int(b[1])
		return h, 2, nil
	}
	length, n, ok := parseVarint(b[1:])
	if !ok {
		return h, 0, &Error{MalformedPacket, "remaining length is not a variable byte integer"}
	}
	if n == 0 {
		return Header{}, 0, nil
	}
	h.Length = int(length)
	return h, 1 + n, nil
}

// flagFault says what is wrong with the flags of a fixed header (MQTT5 2.1.3),
// or nothing.
func flagFault(t Type, flags byte) string {
	switch t {
	case 0:
		return "packet type 0 is reserved"
	case PUBLISH:
		if flags&0x06 == 0x06 {
			return "PUBLISH with QoS 3"
		}
		if flags&0x0E == 0x08 {
			return "PUBLISH with DUP at QoS 0"
		}
		return ""
	}
	if flags&^dupFlag(t) != fixedFlags(t) {
		return "reserved bits of the fixed header"
	}
	return ""
}

// dupFlag is the bit that 3.1 knows as DUP in packets other than PUBLISH, and
// that a client of 3.1 sets when it sends one again. A header does not say its
// version, so Decode refuses the bit in all others.
func dupFlag(t Type) byte { return fixedFlags(t) << 2 }

// fixedFlags are the flags of every type but PUBLISH (MQTT5 table 2-2). They are
// 0 for all but those with a QoS of 1 in 3.1.
func fixedFlags(t Type) byte {
	switch t {
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		return 0x02
	}
	return 0
}

// parseVarint reads a variable byte integer (MQTT5 1.5.5). n == 0 with ok means
// that it goes on past b; ok is false when it needs a fifth byte or has a
// needless last one.
func parseVarint(b []byte) (v uint32, n int, ok bool) {
	for i, c := range b {
		if i == 3 && c >= 0x80 {
			return 0, 0, false
		}
		v |= uint32(c&0x7F) << (7 * i)
		if c < 0x80 {
			return v, i + 1, c != 0 || i == 0
		}
	}
	return 0, 0, true
}

// varintSize is the encoded size of v in bytes.
func varintSize(v int) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	}
	return 4
}

func appendVarint(dst []byte, v int) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}
