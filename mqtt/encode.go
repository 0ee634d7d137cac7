package mqtt

import "encoding/binary"

// begin starts a packet: the first byte of the fixed header and one byte kept
// free for the Remaining Length.
func begin(dst []byte, t Type) []byte {
	return append(dst, byte(t)<<4|fixedFlags(t), 0)
}

// seal writes the Remaining Length of the packet that begins at dst[start]. It
// reports false, and the packet must not be sent, when the packet exceeds max
// (0 = none) or what MQTT can frame at all.
func seal(dst []byte, start int, max uint32) ([]byte, bool) {
	rest := len(dst) - start - 2
	if rest > maxRemaining || max > 0 && uint64(1+varintSize(rest)+rest) > uint64(max) {
		return dst, false
	}
	return closeLength(dst, start+1), true
}

// shedding lists what a packet does without, step by step, while it exceeds the
// receiver's maximum: nothing, user properties, also the reason string.
func shedding() [3]PropertySet {
	return [3]PropertySet{0, 1 << PropUser, 1<<PropUser | 1<<PropReasonString}
}

// Size is the number of bytes that AppendTo writes.
func (p *Publish) Size(v Version) int {
	_, rest := p.lengths(v)
	if rest > maxRemaining {
		return 0
	}
	return 1 + varintSize(rest) + rest
}

// lengths are the Property Length and the Remaining Length.
func (p *Publish) lengths(v Version) (props, rest int) {
	rest = 2 + min(len(p.Topic), 0xFFFF) + len(p.Payload)
	if p.QoS > 0 {
		rest += 2
	}
	if v >= V5 {
		props = p.Props.size(false)
		rest += varintSize(props) + props
	}
	return props, rest
}

// AppendTo appends the packet. It allocates only if dst has less than Size bytes
// to spare. A packet of more than 256 MiB, which MQTT cannot frame, is not
// appended. DUP is not written at QoS 0.
func (p *Publish) AppendTo(dst []byte, v Version) []byte {
	head := p.AppendHead(dst, v)
	if len(head) == len(dst) {
		return dst
	}
	return append(head, p.Payload...)
}

// AppendHead appends the packet up to its payload, the length of which is
// counted: for a payload that is sent from a shared buffer.
func (p *Publish) AppendHead(dst []byte, v Version) []byte {
	props, rest := p.lengths(v)
	if rest > maxRemaining {
		return dst
	}
	first := byte(PUBLISH)<<4 | byte(p.QoS)<<1 | boolByte(p.Retain)
	if p.Dup && p.QoS > 0 {
		first |= 0x08
	}
	dst = appendVarint(append(dst, first), rest)
	dst = appendField(dst, p.Topic)
	if p.QoS > 0 {
		dst = append(dst, byte(p.ID>>8), byte(p.ID))
	}
	if v >= V5 {
		dst = p.Props.append(appendVarint(dst, props), false)
	}
	return dst
}

// AppendTo appends the packet of type t: PUBACK, PUBREC, PUBREL or PUBCOMP.
// Before v5 it is the packet identifier only. max is the receiver's Maximum
// Packet Size in bytes, 0 = none: to keep to it user properties, then the reason
// string are left out; if that is not enough dst is returned as it was. Success
// without properties takes four bytes.
func (a *Ack) AppendTo(dst []byte, t Type, v Version, max uint32) []byte {
	if v < V5 || a.Reason == Success && a.Props.blank() {
		if max > 0 && max < 4 {
			return dst
		}
		return append(dst, byte(t)<<4|fixedFlags(t), 2, byte(a.ID>>8), byte(a.ID))
	}
	start := len(dst)
	for _, omit := range shedding() {
		out := append(begin(dst, t), byte(a.ID>>8), byte(a.ID))
		out = appendReason(out, a.Reason, &a.Props, ackProps&^omit)
		if out, ok := seal(out, start, max); ok {
			return out
		}
	}
	return dst
}

// appendReason writes a reason code and properties in the shortest form: no
// empty property section, and no Success before none (MQTT5 3.4.2.1, 3.14.2.1).
func appendReason(dst []byte, reason ReasonCode, props *Properties, allowed PropertySet) []byte {
	if !props.blank() {
		at := len(dst) + 1
		if out := props.append(append(dst, byte(reason)), allowed); out[at] != 0 {
			return out
		}
	}
	if reason == Success {
		return dst
	}
	return append(dst, byte(reason))
}

// blank tells whether p has nothing that an acknowledgement or a DISCONNECT
// carries.
func (p *Properties) blank() bool {
	return p.Has == 0 && len(p.User) == 0 && p.ReasonString == nil &&
		p.SessionExpiry == 0 && p.ServerReference == nil
}

// AppendTo appends the packet; max as in Ack.AppendTo. Before v5 a reason that
// has no return code appends nothing (ReasonCode.ConnackV3). Session Present is
// written only with Success [MQTT-3.2.2-6].
func (c *Connack) AppendTo(dst []byte, v Version, max uint32) []byte {
	start := len(dst)
	present := boolByte(c.SessionPresent && c.Reason == Success && v != V31)
	if v < V5 {
		code, ok := c.Reason.ConnackV3()
		if !ok || max > 0 && max < 4 {
			return dst
		}
		return append(dst, byte(CONNACK)<<4, 2, present, code)
	}
	for _, omit := range shedding() {
		out := append(begin(dst, CONNACK), present, byte(c.Reason))
		out = c.Props.append(out, connackProps&^omit)
		if out, ok := seal(out, start, max); ok {
			return out
		}
	}
	return dst
}

// AppendTo appends the packet of type t, SUBACK or UNSUBACK; max as in
// Ack.AppendTo. Before v5 every failure is 0x80 and an UNSUBACK has no codes.
func (s *Suback) AppendTo(dst []byte, t Type, v Version, max uint32) []byte {
	start := len(dst)
	for _, omit := range shedding() {
		out := append(begin(dst, t), byte(s.ID>>8), byte(s.ID))
		if v >= V5 {
			out = s.Props.append(out, problemProps&^omit)
		}
		if v >= V5 || t == SUBACK {
			for _, code := range s.Reasons {
				if v < V5 && code.Failed() {
					code = UnspecifiedError
				}
				out = append(out, byte(code))
			}
		}
		if out, ok := seal(out, start, max); ok {
			return out
		}
	}
	return dst
}

// AppendTo appends the packet; max as in Ack.AppendTo. Before v5 it has no
// content; only a client may send that.
func (d *Disconnect) AppendTo(dst []byte, v Version, max uint32) []byte {
	start := len(dst)
	for _, omit := range shedding() {
		out := begin(dst, DISCONNECT)
		if v >= V5 {
			out = appendReason(out, d.Reason, &d.Props, disconnectProps&^omit)
		}
		if out, ok := seal(out, start, max); ok {
			return out
		}
	}
	return dst
}

// AppendTo appends the packet, which only v5 knows; max as in Ack.AppendTo.
func (a *Auth) AppendTo(dst []byte, max uint32) []byte {
	start := len(dst)
	for _, omit := range shedding() {
		out := begin(dst, AUTH)
		at := len(out) + 1
		out = a.Props.append(append(out, byte(a.Reason)), authProps&^omit)
		if a.Reason == Success && out[at] == 0 {
			out = out[:at-1]
		}
		if out, ok := seal(out, start, max); ok {
			return out
		}
	}
	return dst
}

// AppendTo appends the packet in the form of c.Version. What MQTT cannot frame
// is not appended.
func (c *Connect) AppendTo(dst []byte) []byte {
	start := len(dst)
	name := "MQTT"
	if c.Version == V31 {
		name = "MQIsdp"
	}
	out := appendField(begin(dst, CONNECT), name)
	out = append(out, byte(c.Version), c.flags(), byte(c.KeepAlive>>8), byte(c.KeepAlive))
	if c.Version >= V5 {
		out = c.Props.append(out, connectProps)
	}
	out = appendField(out, c.ClientID)
	if w := c.Will; w != nil {
		if c.Version >= V5 {
			out = w.Props.append(appendVarint(out, w.Props.size(true)), true)
		}
		out = appendField(appendField(out, w.Topic), w.Payload)
	}
	if c.HasUser {
		out = appendField(out, c.Username)
	}
	if c.HasPass {
		out = appendField(out, c.Password)
	}
	if out, ok := seal(out, start, 0); ok {
		return out
	}
	return dst
}

func (c *Connect) flags() byte {
	flags := boolByte(c.CleanStart) * flagCleanStart
	if c.Will != nil {
		flags |= flagWill | byte(c.Will.QoS)<<3 | boolByte(c.Will.Retain)*flagWillRetain
	}
	return flags | boolByte(c.HasUser)*flagUsername | boolByte(c.HasPass)*flagPassword
}

// AppendTo appends the packet. Before v5 only the QoS of the options is written.
// What MQTT cannot frame is not appended.
func (s *Subscribe) AppendTo(dst []byte, v Version) []byte {
	start := len(dst)
	out := binary.BigEndian.AppendUint16(begin(dst, SUBSCRIBE), s.ID)
	mask := SubOptions(0x03)
	if v >= V5 {
		out = s.Props.append(out, subscribeProps)
		mask = 0x3F
	}
	for _, f := range s.Filters {
		out = append(appendField(out, f.Filter), byte(f.Options&mask))
	}
	if out, ok := seal(out, start, 0); ok {
		return out
	}
	return dst
}

// AppendTo appends the packet. What MQTT cannot frame is not appended.
func (u *Unsubscribe) AppendTo(dst []byte, v Version) []byte {
	start := len(dst)
	out := binary.BigEndian.AppendUint16(begin(dst, UNSUBSCRIBE), u.ID)
	if v >= V5 {
		out = u.Props.append(out, unsubscribeProps)
	}
	for _, f := range u.Filters {
		out = appendField(out, f)
	}
	if out, ok := seal(out, start, 0); ok {
		return out
	}
	return dst
}

// AppendPing appends a PINGREQ or a PINGRESP.
func AppendPing(dst []byte, t Type) []byte { return append(dst, byte(t)<<4, 0) }
