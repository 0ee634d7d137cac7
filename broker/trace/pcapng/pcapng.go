// Package pcapng writes MQTT packets as a capture file (draft-ietf-opsawg-pcapng) that Wireshark and tshark read: around the bytes of
// each packet it makes up Ethernet, IP and TCP to port 1883, whatever the client's transport was. It does no I/O but to the
// io.Writer that it is given.
package pcapng

import (
	"encoding/binary"
	"io"
	"net/netip"
	"time"
)

// Packet is one MQTT packet of a connection.
type Packet struct {
	At      time.Time
	Client  string         // client id, for the names of interfaces and for comments
	Address netip.AddrPort // of the client; invalid where it has none, such as on a Unix socket
	Out     bool           // from the broker to the client
	Version byte           // of MQTT, as in CONNECT; 0 = not known
	Data    []byte         // its bytes, or the first of them
	Size    int            // of all its bytes; what Data lacks is there as what was not captured
	Comment string         // "" = none
	Closed  bool           // the connection ends with it; Data may be empty
}

// Writer writes a capture. The zero value is of no use: see NewWriter.
type Writer struct {
	w     io.Writer
	buf   []byte
	flows map[string]*flow
	used  uint32 // interfaces
	port  uint16 // of the last client without an address
	last  int64  // time of the last frame, µs: two frames of one moment stay in order
	err   error
}

// The block types and options in use.
const (
	blockSection   = 0x0A0D0D0A
	blockInterface = 1
	blockPacket    = 6

	optEnd         = 0
	optComment     = 1
	optApplication = 4 // of a section
	optName        = 2 // of an interface
	optDescription = 3
)

// NewWriter begins a capture; application is what made it.
func NewWriter(w io.Writer, application string) *Writer {
	p := &Writer{w: w, flows: make(map[string]*flow), port: 49151}
	p.block(blockSection, func(b []byte) []byte {
		b = binary.LittleEndian.AppendUint32(b, 0x1A2B3C4D)
		b = binary.LittleEndian.AppendUint16(b, 1) // version 1.0
		b = binary.LittleEndian.AppendUint16(b, 0)
		b = binary.LittleEndian.AppendUint64(b, ^uint64(0)) // length of the section: not told
		b = option(b, optApplication, application)
		return option(b, optEnd, "")
	})
	return p
}

// block writes a block with the body that fill appends.
func (p *Writer) block(kind uint32, fill func([]byte) []byte) {
	if p.err != nil {
		return
	}
	b := binary.LittleEndian.AppendUint32(p.buf[:0], kind)
	b = fill(append(b, 0, 0, 0, 0))
	length := uint32(len(b) + 4)
	binary.LittleEndian.PutUint32(b[4:], length)
	p.buf = binary.LittleEndian.AppendUint32(b, length)
	_, p.err = p.w.Write(p.buf)
}

// option appends an option; text that is longer than one may be is cut.
func option(b []byte, code uint16, text string) []byte {
	text = text[:min(len(text), 1<<12)]
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	return pad(append(b, text...))
}

// pad fills up to 32 bits.
func pad(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// Write adds a packet, with the handshake of its connection if it is the first one of it.
func (p *Writer) Write(m *Packet) error {
	f := p.flow(m)
	comment := m.Comment
	size := max(m.Size, len(m.Data))
	for from := 0; from < size; from += segment {
		captured := m.Data[min(from, len(m.Data)):min(from+segment, len(m.Data))]
		if from > 0 && len(captured) == 0 { // nothing of it was seen: the sequence goes on without it
			f.skip(m.Out, size-from)
			break
		}
		p.frame(f, m, f.build(m.Out, flagPush|flagAck, captured, min(size-from, segment)), comment)
		comment = ""
		if f.unacknowledged(m.Out) > quarter {
			p.frame(f, m, f.build(!m.Out, flagAck, nil, 0), "")
		}
	}
	if m.Closed {
		p.frame(f, m, f.build(true, flagFin|flagAck, nil, 0), comment)
		p.frame(f, m, f.build(false, flagFin|flagAck, nil, 0), "")
		p.frame(f, m, f.build(true, flagAck, nil, 0), "")
		delete(p.flows, f.key)
	}
	return p.err
}

// flow finds the connection of a packet, or begins it.
func (p *Writer) flow(m *Packet) *flow {
	key := m.Client
	if m.Address.IsValid() {
		key = m.Address.String()
	}
	if f := p.flows[key]; f != nil {
		return f
	}
	address := m.Address
	if !address.IsValid() {
		if p.port++; p.port == 0 {
			p.port = 49152
		}
		address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), p.port)
	}
	f := newFlow(key, address, p.used)
	p.flows[key] = f
	p.used++
	name := m.Client
	if name == "" {
		name = address.String()
	}
	p.block(blockInterface, func(b []byte) []byte {
		b = append(b, 1, 0, 0, 0, 0, 0, 0, 0) // Ethernet; packets are of any length
		b = option(b, optName, name)
		b = option(b, optDescription, "MQTT client "+name)
		return option(b, optEnd, "")
	})
	p.frame(f, m, f.build(false, flagSyn, nil, 0), "client "+name)
	p.frame(f, m, f.build(true, flagSyn|flagAck, nil, 0), "")
	p.frame(f, m, f.build(false, flagAck, nil, 0), "")
	if connects := !m.Out && len(m.Data) > 0 && m.Data[0]>>4 == 1; !connects && m.Version != 0 {
		hello := connect(m.Version, m.Client)
		p.frame(f, m, f.build(false, flagPush|flagAck, hello, len(hello)), "made up: the client was connected before the trace began")
	}
	return f
}

// connect is a CONNECT, by which readers learn the version of MQTT; nothing else in it is true.
func connect(version byte, client string) []byte {
	client = client[:min(len(client), 64)]
	name := "MQTT"
	if version < 4 {
		name = "MQIsdp"
	}
	body := append([]byte{0, byte(len(name))}, name...)
	body = append(body, version, 2, 0, 0) // clean start, no keep-alive
	if version >= 5 {
		body = append(body, 0) // no properties
	}
	body = append(append(body, 0, byte(len(client))), client...)
	return append([]byte{0x10, byte(len(body))}, body...)
}

// frame writes what build returned: the captured bytes of a frame and its full length.
func (p *Writer) frame(f *flow, m *Packet, built frame, comment string) {
	p.last = max(m.At.UnixMicro(), p.last+1)
	at := uint64(p.last)
	p.block(blockPacket, func(b []byte) []byte {
		b = binary.LittleEndian.AppendUint32(b, f.number)
		b = binary.LittleEndian.AppendUint32(b, uint32(at>>32))
		b = binary.LittleEndian.AppendUint32(b, uint32(at))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(built.bytes)))
		b = binary.LittleEndian.AppendUint32(b, uint32(built.length))
		b = pad(append(b, built.bytes...))
		if comment != "" {
			b = option(option(b, optComment, comment), optEnd, "")
		}
		return b
	})
}
