package pcapng

import (
	"encoding/binary"
	"net/netip"
)

// The flags of TCP in use (RFC 9293 3.1).
const (
	flagFin  = 0x01
	flagSyn  = 0x02
	flagPush = 0x08
	flagAck  = 0x10
)

const (
	segment = 1440  // bytes of a packet in one frame: with IPv6 it fills an Ethernet frame
	quarter = 16384 // bytes after which the other side acknowledges
	mqtt    = 1883  // the port
)

// flow is one made-up TCP connection.
type flow struct {
	key            string
	number         uint32 // of its interface
	client, server netip.AddrPort
	sent           [2]uint32 // next sequence number of client and broker
	acked          [2]uint32 // of it, what the other side has acknowledged
	ids            uint16    // identification of IPv4
	buf            []byte
}

// frame is what was captured of an Ethernet frame, and its full length.
type frame struct {
	bytes  []byte
	length int
}

func newFlow(key string, client netip.AddrPort, number uint32) *flow {
	ip := client.Addr().Unmap()
	f := &flow{key: key, number: number, client: netip.AddrPortFrom(ip.WithZone(""), client.Port())}
	broker := ip
	switch { // addresses for examples (RFC 5737, RFC 3849): which of the broker's it was is not told
	case ip.IsLoopback():
	case ip.Is4():
		broker = netip.AddrFrom4([4]byte{192, 0, 2, 1})
	default:
		broker = netip.MustParseAddr("2001:db8::1")
	}
	f.server = netip.AddrPortFrom(broker.WithZone(""), mqtt)
	f.sent = [2]uint32{number*0x01000193 + 1000, number*0x01000193 + 500_000_000}
	f.acked = f.sent
	return f
}

func side(out bool) int {
	if out {
		return 1
	}
	return 0
}

// skip goes over bytes that were not captured.
func (f *flow) skip(out bool, n int) { f.sent[side(out)] += uint32(n) }

func (f *flow) unacknowledged(out bool) uint32 { return f.sent[side(out)] - f.acked[side(out)] }

// build makes the next frame in a direction, with so many bytes of data of which some were captured. It is valid until the next
// call.
func (f *flow) build(out bool, flags byte, captured []byte, length int) frame {
	from, to := f.client, f.server
	if out {
		from, to = to, from
	}
	me, other := side(out), side(!out)
	tcp := 20 + length
	b := f.buf[:0]
	if out {
		b = append(b, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2)
	} else {
		b = append(b, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1)
	}
	source, target := from.Addr().AsSlice(), to.Addr().AsSlice()
	if from.Addr().Is4() {
		b = append(b, 0x08, 0x00)
		b = f.ipv4(b, source, target, 20+tcp)
	} else {
		b = append(b, 0x86, 0xDD)
		b = append(b, 0x60, 0, 0, 0, byte(tcp>>8), byte(tcp), 6, 64)
		b = append(append(b, source...), target...)
	}
	at := len(b)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint32(b, f.sent[me])
	ack := uint32(0)
	if flags&flagAck != 0 {
		ack = f.sent[other]
		f.acked[other] = ack
	}
	b = binary.BigEndian.AppendUint32(b, ack)
	b = append(b, 5<<4, flags, 0xFF, 0xFF, 0, 0, 0, 0)
	b = append(b, captured...)
	sum := sumOf(0, source)
	sum = sumOf(sum, target) + 6 + uint32(tcp)
	// What was not captured counts as zeros: no checksum can be right there, and none is looked at.
	binary.BigEndian.PutUint16(b[at+16:], ^fold(sumOf(sum, b[at:])))
	f.sent[me] += uint32(length)
	if flags&(flagSyn|flagFin) != 0 {
		f.sent[me]++
	}
	f.buf = b
	return frame{b, len(b) + length - len(captured)}
}

// ipv4 appends the header (RFC 791 3.1).
func (f *flow) ipv4(b, source, target []byte, total int) []byte {
	f.ids++
	at := len(b)
	b = append(b, 0x45, 0, byte(total>>8), byte(total), byte(f.ids>>8), byte(f.ids), 0x40, 0, 64, 6, 0, 0)
	b = append(append(b, source...), target...)
	binary.BigEndian.PutUint16(b[at+10:], ^fold(sumOf(0, b[at:])))
	return b
}

// sumOf adds to the sum of the Internet checksum (RFC 1071).
func sumOf(sum uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func fold(sum uint32) uint16 {
	for sum > 0xFFFF {
		sum = sum>>16 + sum&0xFFFF
	}
	return uint16(sum)
}
