// Package websocket is the server's side of RFC 6455 as pure functions on bytes: the upgrade and the frames. It carries a stream of bytes
// in binary frames, which is all that MQTT needs (MQTT 5.0 section 6), and so never collects a message. It does no I/O, keeps
// no clock, and allocates nothing by a length that a peer announced.
package websocket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The opcodes of RFC 6455 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// Status is a close code of RFC 6455 7.4.1.
type Status uint16

// The codes that this package uses.
const (
	NormalClosure   Status = 1000
	GoingAway       Status = 1001
	ProtocolError   Status = 1002
	UnsupportedData Status = 1003 // a text frame [MQTT-6.0.0-1]
)

// Error is why a connection had to be failed.
type Error struct {
	Status Status
	Text   string
}

// Error says it to people.
func (e *Error) Error() string { return fmt.Sprintf("%s (%d)", e.Text, e.Status) }

const (
	finalBit  = 0x80
	reserved  = 0x70
	maskBit   = 0x80
	maxHeader = 14
	// maxControl is the longest payload of a control frame (5.5).
	maxControl = 125
)

// Decoder decodes the frames of one client. The zero value is ready.
type Decoder struct {
	rest    uint64 // payload bytes of the current frame still to come
	mask    [4]byte
	at      uint8 // place in mask
	opcode  uint8 // of the current frame
	partial bool  // a fragmented message is open
	closed  bool  // a close frame came, or an error
	have    uint8 // bytes in head
	head    [maxHeader]byte
	control []byte // payload of a control frame that came in pieces
}

// Decode takes all of b and returns the payload of its binary frames, together and in place, and answer with what was appended to
// it: pongs and the closing frame. The error is io.EOF after the client's closing frame, or an *Error; after either everything is ignored.
func (d *Decoder) Decode(b, answer []byte) (payload, out []byte, err error) {
	w := 0
	for r := 0; r < len(b) && !d.closed; {
		if d.rest == 0 {
			n, err := d.header(b[r:])
			r += n
			if err == nil && d.have > 0 {
				break // the rest of the header is to come
			}
			if err == nil && d.rest == 0 {
				answer, err = d.finish(nil, answer)
			}
			if err != nil {
				return b[:w], d.fail(answer, err), err
			}
			continue
		}
		n := int(min(d.rest, uint64(len(b)-r)))
		p := b[r : r+n]
		d.unmask(p)
		r += n
		d.rest -= uint64(n)
		if d.opcode < opClose {
			w += copy(b[w:], p)
			continue
		}
		if d.rest > 0 || len(d.control) > 0 {
			d.control = append(d.control, p...)
			p = d.control
		}
		if d.rest > 0 {
			continue
		}
		if answer, err = d.finish(p, answer); err != nil {
			return b[:w], d.fail(answer, err), err
		}
	}
	return b[:w], answer, nil
}

// fail appends the closing frame for err and ends the decoding.
func (d *Decoder) fail(answer []byte, err error) []byte {
	d.closed = true
	var e *Error
	if errors.As(err, &e) {
		return AppendClose(answer, e.Status)
	}
	return answer
}

// header takes bytes of a frame's header until it is whole, and returns how many. While it is not, have is above 0.
func (d *Decoder) header(b []byte) (used int, err error) {
	for used < len(b) {
		d.head[d.have] = b[used]
		d.have++
		used++
		if d.have == 1 {
			if err := d.first(d.head[0]); err != nil {
				return used, err
			}
			continue
		}
		if d.have == 2 {
			if err := d.second(d.head[1]); err != nil {
				return used, err
			}
		}
		length := d.head[1] &^ maskBit
		size := uint8(2 + 4)
		switch length {
		case 126:
			size += 2
		case 127:
			size += 8
		}
		if d.have < size {
			continue
		}
		switch length {
		case 126:
			d.rest = uint64(binary.BigEndian.Uint16(d.head[2:]))
		case 127:
			d.rest = binary.BigEndian.Uint64(d.head[2:])
		default:
			d.rest = uint64(length)
		}
		if d.rest > 1<<63-1 {
			return used, &Error{ProtocolError, "a frame length with its top bit set"}
		}
		copy(d.mask[:], d.head[size-4:size])
		d.at, d.have = 0, 0
		return used, nil
	}
	return used, nil
}

// first judges a frame's first byte: FIN, the reserved bits, the opcode.
func (d *Decoder) first(x byte) error {
	final := x&finalBit != 0
	d.opcode = x & 0xF
	switch {
	case x&reserved != 0:
		return &Error{ProtocolError, "reserved bits are set, and no extension was agreed on"}
	case d.opcode >= opClose && !final:
		return &Error{ProtocolError, "a fragmented control frame"}
	}
	switch d.opcode {
	case opContinuation:
		if !d.partial {
			return &Error{ProtocolError, "a continuation of nothing"}
		}
		d.partial = !final
	case opBinary:
		if d.partial {
			return &Error{ProtocolError, "a new message within a fragmented one"}
		}
		d.partial = !final
	case opText:
		return &Error{UnsupportedData, "a text frame: MQTT is in binary ones"}
	case opClose, opPing, opPong:
	default:
		return &Error{ProtocolError, fmt.Sprintf("opcode %#x", d.opcode)}
	}
	return nil
}

// second judges a frame's second byte: MASK and the short length.
func (d *Decoder) second(x byte) error {
	switch {
	case x&maskBit == 0:
		return &Error{ProtocolError, "an unmasked frame"} // 5.1
	case d.opcode >= opClose && x&^maskBit > maxControl:
		return &Error{ProtocolError, "a control frame of more than 125 bytes"}
	}
	return nil
}

// finish deals with a frame whose payload, p if it is a control frame, is complete.
func (d *Decoder) finish(p, answer []byte) ([]byte, error) {
	d.control = nil
	switch d.opcode {
	case opPing:
		answer = append(answer, finalBit|opPong, byte(len(p)))
		answer = append(answer, p...)
	case opClose:
		status := NormalClosure
		switch {
		case len(p) == 1:
			return answer, &Error{ProtocolError, "a closing frame with half a status"}
		case len(p) >= 2:
			status = Status(binary.BigEndian.Uint16(p))
		}
		if !status.sendable() {
			return answer, &Error{ProtocolError, "a closing frame with a status that may not be sent"}
		}
		return AppendClose(answer, status), io.EOF
	}
	return answer, nil
}

// sendable says whether a status may be in a frame (7.4).
func (s Status) sendable() bool {
	switch {
	case s >= 3000:
		return s < 5000
	case s == 1004, s == 1005, s == 1006:
		return false
	}
	return s >= 1000 && s <= 1014
}

// unmask removes the mask, 8 bytes at a time.
func (d *Decoder) unmask(p []byte) {
	m := d.mask
	for i := range m {
		m[i] = d.mask[(int(d.at)+i)&3]
	}
	d.at = uint8((int(d.at) + len(p)) & 3)
	m32 := uint64(binary.LittleEndian.Uint32(m[:]))
	wide := m32<<32 | m32
	for len(p) >= 32 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^wide)
		binary.LittleEndian.PutUint64(p[8:], binary.LittleEndian.Uint64(p[8:])^wide)
		binary.LittleEndian.PutUint64(p[16:], binary.LittleEndian.Uint64(p[16:])^wide)
		binary.LittleEndian.PutUint64(p[24:], binary.LittleEndian.Uint64(p[24:])^wide)
		p = p[32:]
	}
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^wide)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= m[i&3]
	}
}

// AppendHeader appends the header of a final binary frame of n bytes, unmasked as a server's are.
func AppendHeader(b []byte, n int) []byte {
	switch {
	case n <= maxControl:
		return append(b, finalBit|opBinary, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, finalBit|opBinary, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(b, finalBit|opBinary, 127), uint64(n))
}

// AppendClose appends a closing frame.
func AppendClose(b []byte, s Status) []byte {
	return binary.BigEndian.AppendUint16(append(b, finalBit|opClose, 2), uint16(s))
}
