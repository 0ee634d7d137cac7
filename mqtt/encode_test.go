package mqtt

import (
	"bytes"
	"testing"
)

// What exceeds the receiver's maximum goes without user properties first, then
// without the reason string, then not at all.
func TestMaximumPacketSize(t *testing.T) {
	problem := Properties{ReasonString: b("why"), User: []UserProperty{{b("k"), b("v")}}}
	ack := Ack{ID: 1, Reason: NotAuthorized, Props: problem}
	connack := Connack{Reason: NotAuthorized, Props: problem}
	suback := Suback{ID: 1, Reasons: []ReasonCode{NotAuthorized}, Props: problem}
	disconnect := Disconnect{Reason: NotAuthorized, Props: problem}
	auth := Auth{Reason: ContinueAuthentication, Props: problem}

	f := func(name string, write func(dst []byte, max uint32) []byte, whole, noUser, bare string) {
		t.Run(name, func(t *testing.T) {
			prefix := b("before")
			for max := range uint32(40) {
				want := ""
				for _, w := range []string{whole, noUser, bare} {
					if size := len(wire(w)); max == 0 || size <= int(max) {
						want = w
						break
					}
				}
				got := write(prefix, max)
				if !bytes.Equal(got, append(prefix[:6:6], wire(want)...)) {
					t.Errorf("max %d: %x, want %s", max, got[6:], want)
				}
			}
		})
	}
	f("PUBACK [MQTT5 MQTT-3.4.2-2] [MQTT5 MQTT-3.4.2-3]",
		func(dst []byte, max uint32) []byte { return ack.AppendTo(dst, PUBACK, V5, max) },
		"40 11 0001 87 0d 1f 0003 'why' 26 0001 'k' 0001 'v'", "40 0a 0001 87 06 1f 0003 'why'", "40 03 0001 87")
	f("PUBREC [MQTT5 MQTT-3.5.2-2] [MQTT5 MQTT-3.5.2-3]",
		func(dst []byte, max uint32) []byte { return ack.AppendTo(dst, PUBREC, V5, max) },
		"50 11 0001 87 0d 1f 0003 'why' 26 0001 'k' 0001 'v'", "50 0a 0001 87 06 1f 0003 'why'", "50 03 0001 87")
	f("PUBREL [MQTT5 MQTT-3.6.2-2] [MQTT5 MQTT-3.6.2-3]",
		func(dst []byte, max uint32) []byte { return ack.AppendTo(dst, PUBREL, V5, max) },
		"62 11 0001 87 0d 1f 0003 'why' 26 0001 'k' 0001 'v'", "62 0a 0001 87 06 1f 0003 'why'", "62 03 0001 87")
	f("PUBCOMP [MQTT5 MQTT-3.7.2-2] [MQTT5 MQTT-3.7.2-3]",
		func(dst []byte, max uint32) []byte { return ack.AppendTo(dst, PUBCOMP, V5, max) },
		"70 11 0001 87 0d 1f 0003 'why' 26 0001 'k' 0001 'v'", "70 0a 0001 87 06 1f 0003 'why'", "70 03 0001 87")
	f("CONNACK [MQTT5 MQTT-3.2.2-19] [MQTT5 MQTT-3.2.2-20]",
		func(dst []byte, max uint32) []byte { return connack.AppendTo(dst, V5, max) },
		"20 10 00 87 0d 1f 0003 'why' 26 0001 'k' 0001 'v'", "20 09 00 87 06 1f 0003 'why'", "20 03 00 87 00")
	f("SUBACK [MQTT5 MQTT-3.9.2-1] [MQTT5 MQTT-3.9.2-2]",
		func(dst []byte, max uint32) []byte { return suback.AppendTo(dst, SUBACK, V5, max) },
		"90 11 0001 0d 1f 0003 'why' 26 0001 'k' 0001 'v' 87", "90 0a 0001 06 1f 0003 'why' 87", "90 04 0001 00 87")
	f("UNSUBACK [MQTT5 MQTT-3.11.2-1] [MQTT5 MQTT-3.11.2-2]",
		func(dst []byte, max uint32) []byte { return suback.AppendTo(dst, UNSUBACK, V5, max) },
		"b0 11 0001 0d 1f 0003 'why' 26 0001 'k' 0001 'v' 87", "b0 0a 0001 06 1f 0003 'why' 87", "b0 04 0001 00 87")
	f("DISCONNECT [MQTT5 MQTT-3.14.2-3] [MQTT5 MQTT-3.14.2-4]",
		func(dst []byte, max uint32) []byte { return disconnect.AppendTo(dst, V5, max) },
		"e0 0f 87 0d 1f 0003 'why' 26 0001 'k' 0001 'v'", "e0 08 87 06 1f 0003 'why'", "e0 01 87")
	f("AUTH [MQTT5 MQTT-3.15.2-2] [MQTT5 MQTT-3.15.2-3]",
		func(dst []byte, max uint32) []byte { return auth.AppendTo(dst, max) },
		"f0 0f 18 0d 1f 0003 'why' 26 0001 'k' 0001 'v'", "f0 08 18 06 1f 0003 'why'", "f0 02 18 00")
	f("3.1.1 CONNACK",
		func(dst []byte, max uint32) []byte { return connack.AppendTo(dst, V311, max) },
		"20 02 00 05", "20 02 00 05", "20 02 00 05")
}

// What v5 added is left out before it, and what a packet may not carry always.
func TestEncodeForms(t *testing.T) {
	f := func(name string, got []byte, want string) {
		t.Run(name, func(t *testing.T) {
			if !bytes.Equal(got, wire(want)) {
				t.Errorf("%x, want %s", got, want)
			}
		})
	}
	props := Properties{ReasonString: b("r"), SessionExpiry: 5, User: []UserProperty{{b("k"), b("v")}}}
	f("ack before v5", (&Ack{ID: 1, Reason: NotAuthorized, Props: props}).AppendTo(nil, PUBACK, V311, 0), "40 02 0001")
	f("ack writes only its properties", (&Ack{ID: 1, Props: Properties{SessionExpiry: 5}}).AppendTo(nil, PUBACK, V5, 0), "40 02 0001")
	f("failures before v5 [MQTT311 MQTT-3.9.3-2]",
		(&Suback{ID: 1, Reasons: []ReasonCode{2, TopicFilterInvalid}, Props: props}).AppendTo(nil, SUBACK, V311, 0), "90 04 0001 02 80")
	f("unsuback before v5", (&Suback{ID: 1, Reasons: []ReasonCode{0x11}}).AppendTo(nil, UNSUBACK, V31, 0), "b0 02 0001")
	f("disconnect before v5", (&Disconnect{Reason: ServerBusy, Props: props}).AppendTo(nil, V311, 0), "e0 00")
	f("connack before v5", (&Connack{Reason: ServerBusy, Props: props}).AppendTo(nil, V31, 0), "20 02 00 03")
	f("connack without a code [MQTT311 MQTT-3.2.2-6]", (&Connack{Reason: MalformedPacket}).AppendTo(nil, V311, 0), "")
	f("no session in a refusal [MQTT5 MQTT-3.2.2-6]",
		(&Connack{SessionPresent: true, Reason: ServerBusy}).AppendTo(nil, V5, 0), "20 03 00 89 00")
	f("no session in a refusal [MQTT311 MQTT-3.2.2-4]",
		(&Connack{SessionPresent: true, Reason: ServerBusy}).AppendTo(nil, V311, 0), "20 02 00 03")
	f("3.1 knows no session present", (&Connack{SessionPresent: true}).AppendTo(nil, V31, 0), "20 02 00 00")
	f("maximum QoS 2 is said by absence", (&Connack{Props: Properties{Has: has(PropMaximumQoS), MaximumQoS: 2}}).AppendTo(nil, V5, 0),
		"20 03 00 00 00")
	f("the set tells absent from zero", (&Connack{Props: Properties{
		Has: has(PropServerKeepAlive, PropRetainAvailable),
	}}).AppendTo(nil, V5, 0), "20 08 00 00 05 13 0000 25 00")
	f("publish before v5", (&Publish{Topic: b("t"), Props: MessageProperties{Forward: b("x"), TopicAlias: 1}}).AppendTo(nil, V311),
		"30 03 0001 't'")
	f("no DUP at QoS 0 [MQTT5 MQTT-3.3.1-2] [MQTT311 MQTT-3.3.1-2]",
		(&Publish{Topic: b("t"), Dup: true, ID: 7}).AppendTo(nil, V311), "30 03 0001 't'")
	f("no will delay in a publish", (&Publish{Topic: b("t"), Props: MessageProperties{WillDelay: 9}}).AppendTo(nil, V5), "30 04 0001 't' 00")
	f("no alias in a will", (&Connect{Version: V5, Will: &Will{Topic: b("t"), Props: MessageProperties{
		TopicAlias: 1, SubscriptionIDs: []uint32{1},
	}}}).AppendTo(nil), "10 13 0004 'MQTT' 05 04 0000 00 0000 00 0001 't' 0000")
	f("subscribe before v5", (&Subscribe{ID: 1, Filters: []Subscription{{b("t"), 0x2e}}}).AppendTo(nil, V311), "82 06 0001 0001 't' 02")
	f("a later level is answered as v5", (&Connack{Reason: UnsupportedProtocolVersion}).AppendTo(nil, 6, 0), "20 03 00 84 00")
}

// Every packet takes exactly the codes of its table in the specification, in
// both directions [MQTT5 MQTT-3.2.2-8] [MQTT5 MQTT-3.4.2-1] [MQTT5 MQTT-3.5.2-1]
// [MQTT5 MQTT-3.6.2-1] [MQTT5 MQTT-3.7.2-1] [MQTT5 MQTT-3.9.3-2]
// [MQTT5 MQTT-3.11.3-2] [MQTT5 MQTT-3.14.2-1] [MQTT5 MQTT-3.15.2-1].
func TestPermittedReasons(t *testing.T) {
	f := func(types []Type, codes string) {
		for _, typ := range types {
			for code := range 256 {
				want := bytes.IndexByte(wire(codes), byte(code)) >= 0
				if got := ReasonCode(code).permitted(typ); got != want {
					t.Errorf("%v with %#x: %v", typ, code, got)
				}
			}
		}
	}
	f([]Type{CONNACK}, "00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f")
	f([]Type{PUBACK, PUBREC}, "00 10 80 83 87 90 91 97 99")
	f([]Type{PUBREL, PUBCOMP}, "00 92")
	f([]Type{SUBACK}, "00 01 02 80 83 87 8f 91 97 9e a1 a2")
	f([]Type{UNSUBACK}, "00 11 80 83 87 8f 91")
	f([]Type{DISCONNECT}, "00 04 80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2")
	f([]Type{AUTH}, "00 18 19")
	f([]Type{PUBLISH, CONNECT, PINGREQ}, "")
}

// CONNACK return codes of 3.1 and 3.1.1 (MQTT311 table 3.1), there and back.
func TestConnackV3(t *testing.T) {
	for code := range byte(6) {
		r, ok := reasonFromConnackV3(code)
		if back, ok2 := r.ConnackV3(); !ok || !ok2 || back != code {
			t.Errorf("return code %d gives %v, which gives %d", code, r, back)
		}
	}
	if _, ok := ProtocolError.ConnackV3(); ok {
		t.Error("a return code for Protocol Error")
	}
}

// Lengths that need more than the one byte kept free for them, and sizes of
// every publish.
func TestLongLengths(t *testing.T) {
	for _, n := range []int{0, 1, 100, 110, 120, 127, 128, 129, 16_000, 16_370, 16_383, 16_384, 40_000, 65_535} {
		long := bytes.Repeat([]byte{'x'}, n)
		suback := Suback{ID: 1, Reasons: []ReasonCode{0}, Props: Properties{ReasonString: long, User: []UserProperty{{long, long}}}}
		var p Packet
		if err := decodeWire(&p, V5, suback.AppendTo(nil, SUBACK, V5, 0), Limits{}); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		if !bytes.Equal(p.Suback.Props.ReasonString, long) || !bytes.Equal(p.Suback.Props.User[0].Value, long) {
			t.Errorf("%d: properties are not what was written", n)
		}
		pub := Publish{Topic: b("t"), Payload: long, QoS: 1, ID: 1, Props: MessageProperties{
			Forward: AppendUserProperty(nil, long, nil), SubscriptionIDs: []uint32{1, 128, 16384, 2097152},
		}}
		for _, v := range []Version{V31, V311, V5} {
			out := pub.AppendTo(nil, v)
			if size := pub.Size(v); size != len(out) {
				t.Errorf("%d: size %d, written %d", n, size, len(out))
			}
			if head := pub.AppendHead(nil, v); !bytes.Equal(append(head, long...), out) {
				t.Errorf("%d: head and payload are not the packet", n)
			}
			if err := decodeWire(&p, v, out, Limits{}); err != nil || !bytes.Equal(p.Publish.Payload, long) {
				t.Errorf("%d: %v", n, err)
			}
		}
	}
}

// A field of more than 65,535 bytes is cut, not written with a wrong length; a
// packet of more than 268,435,455 bytes is not written.
func TestUnframeable(t *testing.T) {
	long := make([]byte, 70_000)
	for i := range long {
		long[i] = 'x'
	}
	var p Packet
	pub := Publish{Topic: long}
	out := pub.AppendTo(nil, V311)
	if err := decodeWire(&p, V311, out, Limits{}); err != nil || len(p.Publish.Topic) != 65_535 || pub.Size(V311) != len(out) {
		t.Errorf("%v, topic of %d bytes", err, len(p.Publish.Topic))
	}
	pub = Publish{Topic: b("t"), Payload: make([]byte, maxRemaining)}
	if out := pub.AppendTo(nil, V311); out != nil || pub.Size(V311) != 0 {
		t.Errorf("wrote %d bytes", len(out))
	}
}

func TestAppendAndEach(t *testing.T) {
	m := MessageProperties{Forward: AppendPayloadFormat(nil, true)}
	m.Forward = AppendUserProperty(m.Forward, "k", "1")
	m.Forward = AppendContentType(m.Forward, "text/plain")
	m.Forward = AppendResponseTopic(m.Forward, "r/t")
	m.Forward = AppendCorrelationData(m.Forward, []byte{0, 255})
	m.Forward = AppendUserProperty(m.Forward, "k", "")
	want := "1  01;38 k 31;3  746578742f706c61696e;8  722f74;9  00ff;38 k ;"
	var got bytes.Buffer
	for range 2 {
		got.Reset()
		m.Each(func(id PropertyID, name, value []byte) bool {
			writeProperty(&got, id, name, value)
			return true
		})
		if got.String() != want {
			t.Errorf("got  %s\nwant %s", got.String(), want)
		}
		// The same after the way through a packet.
		var p Packet
		pub := Publish{Topic: b("t"), Props: m}
		if err := decodeWire(&p, V5, pub.AppendTo(nil, V5), Limits{}); err != nil || !p.Publish.Props.UTF8 {
			t.Fatal(err, p.Publish.Props.UTF8)
		}
		m = p.Publish.Props
	}
	got.Reset()
	m.Each(func(id PropertyID, name, value []byte) bool {
		writeProperty(&got, id, name, value)
		return id != PropUser
	})
	if got.String() != "1  01;38 k 31;" {
		t.Errorf("did not stop: %s", got.String())
	}
	(&MessageProperties{Forward: wire("26 0001 'k' 00")}).Each(func(PropertyID, []byte, []byte) bool {
		t.Error("a property out of half of one")
		return true
	})
}
