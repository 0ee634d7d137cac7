package trace

import (
	"encoding/binary"
	"net/netip"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Packet is one packet that a tap has taken, or a note about what the broker did.
type Packet struct {
	At      int64          // ms of Unix time
	Client  string         // client id; "" where none is known yet
	Address netip.AddrPort // of the client; invalid for a Unix socket
	Dir     Direction      // None = a note
	Version mqtt.Version   // 0 = not known yet
	Topic   string         // of a PUBLISH, or what a note is about; whole, also where an alias stands for it
	Raw     []byte         // the packet as it was on the wire, but for secrets, which are blanked, and for what Size says is missing
	Size    int            // bytes of the whole packet
	Text    string         // what a note says, or what is wrong with a packet
	Reason  mqtt.ReasonCode
	Bad     bool // the packet cannot be decoded: Raw is what it begins with, Text why
	Closed  bool // the note says that the connection has ended
}

// Capture copies the bytes of a well-formed packet, without secrets and with no more than so many bytes of its payload; of a
// PUBLISH, published says how long that is.
func Capture(raw []byte, published, payload int) []byte {
	kept := append([]byte(nil), raw[:len(raw)-max(published-payload, 0)]...)
	blank(kept, payload)
	return kept
}

// HeadOf is the begin of bytes that are no packet: as much as helps, and none of what may be a secret.
func HeadOf(raw []byte) []byte {
	n := 32
	if len(raw) > 0 {
		switch mqtt.Type(raw[0] >> 4) {
		case mqtt.CONNECT:
			n = 12 // what comes before the client id
		case mqtt.AUTH:
			n = 4
		}
	}
	return append([]byte(nil), raw[:min(n, len(raw))]...)
}

// Mask is what stands in the place of a secret.
const Mask = '*'

// The bits of the connect flags (MQTT5 3.1.2.3).
const (
	flagUser     = 0x80
	flagPassword = 0x40
	flagWill     = 0x04
)

// blank overwrites what is secret in the bytes of a well-formed packet, and what is beyond the limit of a will's payload.
func blank(raw []byte, payload int) {
	h, n, err := mqtt.ParseHeader(raw)
	if err != nil || n == 0 {
		return
	}
	w := walker{raw[n:]}
	switch h.Type {
	case mqtt.AUTH:
		w.skip(1)
		w.properties()
	case mqtt.CONNACK:
		w.skip(2)
		w.properties()
	case mqtt.CONNECT:
		w.field()
		fixed := w.skip(4) // level, flags, keep-alive
		if len(fixed) < 4 {
			return
		}
		v5, flags := mqtt.Version(fixed[0]) >= mqtt.V5, fixed[1]
		if v5 {
			w.properties()
		}
		w.field()
		if flags&flagWill != 0 {
			if v5 {
				w.properties()
			}
			w.field()
			if will := w.field(); len(will) > payload {
				clear(will[payload:])
			}
		}
		if flags&flagUser != 0 {
			w.field()
		}
		if flags&flagPassword != 0 {
			mask(w.field())
		}
	}
}

func mask(b []byte) {
	for i := range b {
		b[i] = Mask
	}
}

// walker steps through the fields of a packet. What is not there is empty.
type walker struct{ left []byte }

func (w *walker) skip(n int) []byte {
	n = min(n, len(w.left))
	b := w.left[:n]
	w.left = w.left[n:]
	return b
}

// field is a string or binary data (MQTT5 1.5.4, 1.5.6).
func (w *walker) field() []byte {
	n := w.skip(2)
	if len(n) < 2 {
		return nil
	}
	return w.skip(int(binary.BigEndian.Uint16(n)))
}

// varint is a variable byte integer (MQTT5 1.5.5).
func (w *walker) varint() (n int) {
	for shift := 0; shift < 28 && len(w.left) > 0; shift += 7 {
		b := w.skip(1)[0]
		n |= int(b&0x7F) << shift
		if b < 0x80 {
			break
		}
	}
	return n
}

// properties steps over a section of properties and blanks Authentication Data in it (MQTT5 2.2.2).
func (w *walker) properties() {
	in := walker{w.skip(w.varint())}
	for len(in.left) > 0 {
		switch id := mqtt.PropertyID(in.skip(1)[0]); id {
		case mqtt.PropAuthData:
			mask(in.field())
		case mqtt.PropUser:
			in.field()
			in.field()
		case mqtt.PropSubscriptionID:
			in.varint()
		case mqtt.PropContentType, mqtt.PropResponseTopic, mqtt.PropCorrelationData, mqtt.PropAssignedClientID, mqtt.PropAuthMethod,
			mqtt.PropResponseInfo, mqtt.PropServerReference, mqtt.PropReasonString:
			in.field()
		case mqtt.PropMessageExpiry, mqtt.PropSessionExpiry, mqtt.PropWillDelay, mqtt.PropMaximumPacketSize:
			in.skip(4)
		case mqtt.PropServerKeepAlive, mqtt.PropReceiveMaximum, mqtt.PropTopicAliasMaximum, mqtt.PropTopicAlias:
			in.skip(2)
		default:
			in.skip(1)
		}
	}
}

// Outline reads packet identifier and reason out of the bytes of a packet that the broker has made itself: PUBACK, PUBREC, PUBREL,
// PUBCOMP, CONNACK, DISCONNECT, AUTH, and of SUBACK and UNSUBACK the first code that is a failure. What is not there is 0.
func Outline(raw []byte, v mqtt.Version) (id uint16, reason mqtt.ReasonCode) {
	_, n, err := mqtt.ParseHeader(raw)
	if err != nil || n == 0 {
		return 0, 0
	}
	w := walker{raw[n:]}
	code := func() (c mqtt.ReasonCode) {
		if len(w.left) > 0 {
			c = mqtt.ReasonCode(w.skip(1)[0])
		}
		return c
	}
	number := func() (n uint16) {
		if b := w.skip(2); len(b) == 2 {
			n = binary.BigEndian.Uint16(b)
		}
		return n
	}
	switch mqtt.Type(raw[0] >> 4) {
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		id = number()
		reason = code()
	case mqtt.SUBACK, mqtt.UNSUBACK:
		id = number()
		if v >= mqtt.V5 {
			w.skip(w.varint())
		}
		for len(w.left) > 0 && !reason.Failed() {
			reason = code()
		}
		if !reason.Failed() {
			reason = mqtt.Success
		}
	case mqtt.CONNACK:
		w.skip(1)
		if reason = code(); v < mqtt.V5 {
			reason = connackReason(reason)
		}
	case mqtt.DISCONNECT, mqtt.AUTH:
		reason = code()
	}
	return id, reason
}

// connackReason is what a return code of MQTT 3 is among those of MQTT 5 (MQTT311 3.2.2.3).
func connackReason(code mqtt.ReasonCode) mqtt.ReasonCode {
	all := [...]mqtt.ReasonCode{
		mqtt.Success, mqtt.UnsupportedProtocolVersion, mqtt.ClientIDNotValid, mqtt.ServerUnavailable, mqtt.BadUserNameOrPassword, mqtt.NotAuthorized,
	}
	if int(code) < len(all) {
		return all[code]
	}
	return mqtt.UnspecifiedError
}

// Decoded reads the packet's bytes again. A payload is as long as what was kept of it.
func (p *Packet) Decoded() (*mqtt.Packet, error) {
	h, n, err := mqtt.ParseHeader(p.Raw)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, mqtt.MalformedPacket
	}
	var d mqtt.Packet
	body := append([]byte(nil), p.Raw[n:]...) // decoding moves bytes about
	h.Length = len(body)
	if err := d.Decode(p.Version, h, body, mqtt.Limits{}); err != nil {
		return nil, err
	}
	if d.Type == mqtt.CONNECT && d.Connect.HasPass {
		d.Connect.Password = []byte("***") // not even how long it is
	}
	return &d, nil
}
