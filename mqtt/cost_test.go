package mqtt

import (
	"bytes"
	"testing"
)

// hot are the packets of the publish path; each decodes and encodes without an
// allocation.
var hot = []struct {
	name string
	v    Version
	wire string
}{
	{"PublishQoS0", V311, "30 0012 'plant/7/robot/axis' "},
	{"PublishQoS1", V311, "32 0012 'plant/7/robot/axis' 0102"},
	{"PublishQoS0V5", V5, "30 0012 'plant/7/robot/axis' 00"},
	{"PublishQoS1V5", V5, "32 0012 'plant/7/robot/axis' 0102 00"},
	{"PublishQoS1V5Properties", V5, "32 0012 'plant/7/robot/axis' 0102" +
		" 1b 02 0000003c 01 01 03 0004 'json' 26 0003 'key' 0005 'value'"},
	{"Puback", V311, "40 0102"},
	{"PubackV5", V5, "40 0102"},
	{"PubackV5Reason", V5, "40 0102 10"},
}

// hotWire is the packet, a PUBLISH with 64 bytes of payload.
func hotWire(s string) []byte {
	w := sized(s)
	if Type(w[0]>>4) == PUBLISH {
		w = append(w, bytes.Repeat([]byte{'p'}, 64)...)
		w[1] += 64
	}
	return w
}

func TestNoAllocations(t *testing.T) {
	for _, h := range hot {
		in, out := hotWire(h.wire), make([]byte, 0, 256)
		var p Packet
		n := testing.AllocsPerRun(100, func() {
			if err := decodeWire(&p, h.v, in, Limits{UserProperties: 8}); err != nil {
				t.Fatal(err)
			}
			out = encode(&p, h.v, out[:0])
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", h.name, n)
		}
	}
}

// A used Packet decodes every type without an allocation, but for the Will of a
// CONNECT: the slices keep their capacity from packet to packet.
func TestReuse(t *testing.T) {
	for _, g := range goldens {
		in := wire(g.wire)
		var p Packet
		n := testing.AllocsPerRun(10, func() {
			if err := decodeWire(&p, g.v, in, Limits{}); err != nil {
				t.Fatal(err)
			}
		})
		want := 0.0
		if p.Type == CONNECT && p.Connect.Will != nil {
			want = 1
		}
		if n > want {
			t.Errorf("%s: %v allocations", g.name, n)
		}
	}
}

// A packet of one type does not show through the next of that type.
func TestNothingLeftOver(t *testing.T) {
	var p Packet
	for _, in := range []string{
		"70 0002 92 0b 1f 0001 'r' 26 0001 'n' 0001 'v'", "70 0002",
		"30 0001 't' 0a 01 01 02 00000001 23 0001", "30 0001 't' 00",
	} {
		if err := decodeWire(&p, V5, sized(in), Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	if a := p.Ack; a.Reason != Success || a.Props.Has != 0 || len(a.Props.User) != 0 || a.Props.ReasonString != nil {
		t.Errorf("%+v", a)
	}
	if m := p.Publish.Props; m.Forward != nil || m.HasExpiry || m.Expiry != 0 || m.UTF8 || m.TopicAlias != 0 {
		t.Errorf("%+v", m)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, h := range hot {
		b.Run(h.name, func(b *testing.B) {
			in := hotWire(h.wire)
			var p Packet
			b.ReportAllocs()
			for b.Loop() {
				h2, n, err := ParseHeader(in)
				if err != nil {
					b.Fatal(err)
				}
				if err := p.Decode(h.v, h2, in[n:], Limits{UserProperties: 8}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, h := range hot {
		b.Run(h.name, func(b *testing.B) {
			var p Packet
			if err := decodeWire(&p, h.v, hotWire(h.wire), Limits{}); err != nil {
				b.Fatal(err)
			}
			out := make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				out = encode(&p, h.v, out[:0])
			}
		})
	}
}
