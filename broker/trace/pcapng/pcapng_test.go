package pcapng

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// stream is what a reader makes of one direction of a connection.
type stream struct {
	next  uint32 // sequence number
	bytes []byte
	holes int
	began bool
	ended bool
}

// reader reads a capture by itself, and says what is wrong with it.
type reader struct {
	t          testing.TB
	interfaces []string
	streams    map[string]*stream // by source and target
	comments   []string
	frames     int
	last       uint64
}

func read(t testing.TB, file []byte) *reader {
	t.Helper()
	r := &reader{t: t, streams: map[string]*stream{}}
	le := binary.LittleEndian
	for n := 0; len(file) > 0; n++ {
		if len(file) < 12 {
			t.Fatalf("block %d: %d bytes are left", n, len(file))
		}
		kind, length := le.Uint32(file), int(le.Uint32(file[4:]))
		if length%4 != 0 || length < 12 || length > len(file) || int(le.Uint32(file[length-4:])) != length {
			t.Fatalf("block %d of type %x: length %d of %d", n, kind, length, len(file))
		}
		body := file[8 : length-4]
		file = file[length:]
		if n == 0 != (kind == blockSection) {
			t.Fatalf("block %d is of type %x", n, kind)
		}
		switch kind {
		case blockSection:
			if le.Uint32(body) != 0x1A2B3C4D {
				t.Fatal("byte order")
			}
		case blockInterface:
			if le.Uint16(body) != 1 {
				t.Fatal("link type")
			}
			r.interfaces = append(r.interfaces, r.options(body[8:])[optName])
		case blockPacket:
			if int(le.Uint32(body)) >= len(r.interfaces) {
				t.Fatal("an interface that is not there")
			}
			at := uint64(le.Uint32(body[4:]))<<32 | uint64(le.Uint32(body[8:]))
			if at <= r.last {
				t.Fatalf("time %d after %d", at, r.last)
			}
			r.last = at
			captured, whole := int(le.Uint32(body[12:])), int(le.Uint32(body[16:]))
			if captured > whole {
				t.Fatalf("%d of %d bytes", captured, whole)
			}
			r.frame(body[20:20+captured], whole)
			if c := r.options(body[20+(captured+3)/4*4:])[optComment]; c != "" {
				r.comments = append(r.comments, c)
			}
		default:
			t.Fatalf("block of type %x", kind)
		}
	}
	return r
}

func (r *reader) options(b []byte) map[uint16]string {
	found := map[uint16]string{}
	for len(b) > 0 {
		code, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		if code == optEnd {
			if len(b) != 4 {
				r.t.Fatalf("%d bytes after the last option", len(b)-4)
			}
			return found
		}
		found[code] = string(b[4 : 4+n])
		b = b[4+(n+3)/4*4:]
	}
	return found
}

// checksum is the Internet checksum, written once more.
func checksum(parts ...[]byte) uint16 {
	sum := uint64(0)
	for i, b := range bytes.Join(parts, nil) {
		if i%2 == 0 {
			sum += uint64(b) << 8
		} else {
			sum += uint64(b)
		}
	}
	for sum > 0xFFFF {
		sum = sum&0xFFFF + sum>>16
	}
	return uint16(sum)
}

func (r *reader) frame(b []byte, whole int) {
	t := r.t
	r.frames++
	var source, target netip.Addr
	var tcp []byte
	length := 0 // of the segment, whole
	switch binary.BigEndian.Uint16(b[12:]) {
	case 0x0800:
		ip := b[14:]
		if ip[0] != 0x45 || checksum(ip[:20]) != 0xFFFF || int(binary.BigEndian.Uint16(ip[2:])) != whole-14 {
			t.Fatalf("IPv4 header %x of %d bytes", ip[:20], whole-14)
		}
		source, target, tcp = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20])), ip[20:]
		length = whole - 14 - 20
	case 0x86DD:
		ip := b[14:]
		if length = int(binary.BigEndian.Uint16(ip[4:])); length != whole-14-40 {
			t.Fatalf("IPv6 payload length %d of %d", length, whole-14-40)
		}
		source, target, tcp = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40])), ip[40:]
	default:
		t.Fatalf("ethertype %x", b[12:14])
	}
	if whole == len(b) {
		pseudo := append(append(append([]byte{}, source.AsSlice()...), target.AsSlice()...), 0, 6, byte(length>>8), byte(length))
		if c := checksum(pseudo, tcp); c != 0xFFFF {
			t.Fatalf("TCP checksum is off: %x", c)
		}
	}
	from := netip.AddrPortFrom(source, binary.BigEndian.Uint16(tcp)).String()
	to := netip.AddrPortFrom(target, binary.BigEndian.Uint16(tcp[2:])).String()
	seq, ack, flags := binary.BigEndian.Uint32(tcp[4:]), binary.BigEndian.Uint32(tcp[8:]), tcp[13]
	s := r.streams[from+" "+to]
	if flags&flagSyn != 0 {
		s = &stream{next: seq, began: true}
		if old := r.streams[from+" "+to]; old != nil {
			s.bytes = old.bytes
		}
		r.streams[from+" "+to] = s
	}
	if s == nil || s.ended && flags&flagAck == 0 {
		t.Fatalf("%s -> %s: a segment outside a connection", from, to)
	}
	if seq != s.next {
		if int32(seq-s.next) < 0 {
			t.Fatalf("%s -> %s: sequence %d after %d", from, to, seq, s.next)
		}
		s.holes += int(seq - s.next)
	}
	data := tcp[20:]
	s.bytes = append(s.bytes, data...)
	s.holes += length - 20 - len(data)
	s.next = seq + uint32(length-20)
	if flags&(flagSyn|flagFin) != 0 {
		s.next++
	}
	s.ended = s.ended || flags&flagFin != 0
	if back := r.streams[to+" "+from]; flags&flagAck != 0 && (back == nil || ack != back.next) {
		t.Fatalf("%s -> %s acknowledges %d", from, to, ack)
	}
}

func TestWrite(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file, "test")
	at := time.UnixMilli(1_700_000_000_000)
	address := netip.MustParseAddrPort("10.1.2.3:5555")
	connect := []byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0}
	large := append([]byte{0x30, 0xE0, 0x5D, 0, 1, 't'}, make([]byte, 12_000-3)...)
	packets := []*Packet{
		{Client: "one", Address: address, Version: 4, Data: connect},
		{Client: "one", Address: address, Version: 4, Out: true, Data: []byte{0x20, 2, 0, 0}},
		{Client: "six", Address: netip.MustParseAddrPort("[2001:db8::9]:7777"), Version: 5, Data: []byte{0xC0, 0}},
		{Client: "unix", Version: 4, Data: connect},
		{Client: "one", Address: address, Version: 4, Data: large},
		{Client: "one", Address: address, Version: 4, Data: large[:100], Size: len(large), Out: true},
		{Client: "one", Address: address, Version: 4, Out: true, Data: []byte{0xD0, 0}},
		{Client: "one", Address: address, Version: 4, Closed: true, Comment: "closed: enough"},
		{Client: "one", Address: address, Version: 4, Data: connect},
	}
	for _, p := range packets {
		p.At = at
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	r := read(t, file.Bytes())
	in, out := r.streams["10.1.2.3:5555 192.0.2.1:1883"], r.streams["192.0.2.1:1883 10.1.2.3:5555"]
	if want := bytes.Join([][]byte{connect, large, connect}, nil); !bytes.Equal(in.bytes, want) {
		t.Errorf("in: %d bytes, want %d", len(in.bytes), len(want))
	}
	if want := append(append([]byte{0x20, 2, 0, 0}, large[:100]...), 0xD0, 0); !bytes.Equal(out.bytes, want) {
		t.Errorf("out: %x", out.bytes)
	}
	if got := strings.Join(r.interfaces, " "); got != "one six unix one" {
		t.Errorf("interfaces %s", got)
	}
	if got := strings.Join(r.comments, "; "); got != "client one; client six; made up: the client was connected before the trace began; client unix; closed: enough; client one" {
		t.Errorf("comments %s", got)
	}
	six := r.streams["[2001:db8::9]:7777 [2001:db8::1]:1883"]
	if six == nil || !bytes.HasSuffix(six.bytes, []byte{0xC0, 0}) || six.bytes[8] != 5 {
		t.Errorf("IPv6: %+v", six)
	}
}

// FuzzWrite: whatever connections do, a reader gets their bytes in order, with right lengths, checksums and acknowledgements.
func FuzzWrite(f *testing.F) {
	f.Add(uint64(1), 50)
	f.Fuzz(func(t *testing.T, seed uint64, n int) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var file bytes.Buffer
		w := NewWriter(&file, "fuzz")
		want := map[int]map[bool][]byte{}
		for i := range n % 200 {
			c := rnd.IntN(4)
			address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(c)}), uint16(1000+c))
			if c%2 == 1 {
				address = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0xFD, 15: byte(c)}), uint16(1000+c))
			}
			data := make([]byte, rnd.IntN(5000))
			for k := range data {
				data[k] = byte(rnd.Uint32())
			}
			p := &Packet{
				At: time.UnixMilli(int64(1e12 + rnd.IntN(i+1))), Client: fmt.Sprint(c), Address: address, Out: rnd.IntN(2) == 0, Data: data, Size: len(data),
				Closed: rnd.IntN(20) == 0, Comment: strings.Repeat("c", rnd.IntN(4)),
			}
			if err := w.Write(p); err != nil {
				t.Fatal(err)
			}
			if want[c] == nil {
				want[c] = map[bool][]byte{}
			}
			want[c][p.Out] = append(want[c][p.Out], data...)
		}
		r := read(t, file.Bytes())
		for c, directions := range want {
			for from, s := range r.streams {
				client := fmt.Sprintf(":%d ", 1000+c)
				out := strings.HasSuffix(from, client[:5])
				if !out && !strings.Contains(from, client) {
					continue
				}
				if !bytes.Equal(s.bytes, directions[out]) || s.holes != 0 {
					t.Fatalf("%s: %d bytes, want %d", from, len(s.bytes), len(directions[out]))
				}
			}
		}
	})
}
