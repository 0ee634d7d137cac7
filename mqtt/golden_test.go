package mqtt

import (
	"bytes"
	"reflect"
	"testing"
)

func b(s string) []byte { return []byte(s) }

func has(ids ...PropertyID) (s PropertySet) {
	for _, id := range ids {
		s = s.With(id)
	}
	return s
}

type golden struct {
	name string
	v    Version
	wire string
	want any
}

// Lengths and identifiers in the vectors are written by hand from the
// specifications, one vector at least per packet type and version.
var goldens = []golden{
	{
		"3.1 CONNECT, F018", V31, "10 11 0006 'MQIsdp' 03 02 003c 0003 'abc'",
		Connect{Version: V31, CleanStart: true, KeepAlive: 60, ClientID: b("abc")},
	},
	{
		"3.1 CONNECT with will, user name and password", V31,
		"10 1b 0006 'MQIsdp' 03 ec 0000 0001 'c' 0001 'w' 0001 'm' 0001 'u' 0001 'p'",
		Connect{
			Version: V31, ClientID: b("c"), Will: &Will{Topic: b("w"), Payload: b("m"), QoS: 1, Retain: true},
			Username: b("u"), Password: b("p"), HasUser: true, HasPass: true,
		},
	},
	{
		"3.1.1 CONNECT without a client id, F018", V311, "10 0c 0004 'MQTT' 04 02 000a 0000",
		Connect{Version: V311, CleanStart: true, KeepAlive: 10, ClientID: b("")},
	},
	{
		"3.1.1 CONNECT: fields in order [MQTT311 MQTT-3.1.3-1], a binary password", V311,
		"10 1f 0004 'MQTT' 04 d4 0000 0002 'id' 0003 'w/t' 0000 0001 'u' 0005 00ff'abc'",
		Connect{
			Version: V311, ClientID: b("id"), Will: &Will{Topic: b("w/t"), Payload: b(""), QoS: 2},
			Username: b("u"), Password: b("\x00\xffabc"), HasUser: true, HasPass: true,
		},
	},
	{
		"5 CONNECT without properties, F018", V5, "10 0e 0004 'MQTT' 05 00 ffff 00 0001 'x'",
		Connect{Version: V5, KeepAlive: 65535, ClientID: b("x")},
	},
	{
		"5 CONNECT with a password and no user name, F024", V5, "10 10 0004 'MQTT' 05 42 0000 00 0000 0001 'p'",
		Connect{Version: V5, CleanStart: true, ClientID: b(""), Password: b("p"), HasPass: true},
	},
	{
		"5 CONNECT with every property [MQTT5 MQTT-3.1.3-1]", V5,
		"10 62 0004 'MQTT' 05 f6 001e" +
			" 2a 11 00000078 15 0001 'M' 16 0002 'ad' 17 00 19 01 21 000a 22 0005 27 00001000 26 0001 'k' 0001 'v' 26 0001 'k' 0000" +
			" 0003 'cid'" +
			" 17 02 0000000a 18 00000005 01 01 03 0001 't' 26 0001 'a' 0001 'b'" +
			" 0002 'wt' 0004 'gone' 0001 'u' 0001 'p'",
		Connect{
			Version: V5, CleanStart: true, KeepAlive: 30, ClientID: b("cid"),
			Will: &Will{Topic: b("wt"), Payload: b("gone"), QoS: 2, Retain: true, Props: MessageProperties{
				Forward: wire("01 01 03 0001 't' 26 0001 'a' 0001 'b'"),
				Expiry:  10, HasExpiry: true, UTF8: true, WillDelay: 5,
			}},
			Username: b("u"), Password: b("p"), HasUser: true, HasPass: true,
			Props: Properties{
				Has: has(PropSessionExpiry, PropAuthMethod, PropAuthData, PropRequestProblemInfo,
					PropRequestResponseInfo, PropReceiveMaximum, PropTopicAliasMaximum, PropMaximumPacketSize),
				SessionExpiry: 120, AuthMethod: b("M"), AuthData: b("ad"), RequestResponseInfo: true,
				ReceiveMaximum: 10, TopicAliasMaximum: 5, MaximumPacketSize: 4096,
				User: []UserProperty{{b("k"), b("v")}, {b("k"), b("")}},
			},
		},
	},

	{"3.1 CONNACK", V31, "20 02 00 02", Connack{Reason: ClientIDNotValid}},
	{"3.1.1 CONNACK, session present", V311, "20 02 01 00", Connack{SessionPresent: true}},
	{"3.1.1 CONNACK, not authorized", V311, "20 02 00 05", Connack{Reason: NotAuthorized}},
	{"5 CONNACK", V5, "20 03 01 00 00", Connack{SessionPresent: true}},
	{
		"5 CONNACK with every property", V5,
		"20 4b 00 00 48 11 00000001 12 0002 'id' 13 000f 15 0001 'M' 16 0000 1a 0001 'r' 1c 0001 's'" +
			" 21 0014 22 0010 24 01 25 00 27 00000400 28 00 29 01 2a 00 1f 0002 'ok' 26 0003 'key' 0003 'val'" +
			" 26 0001 'x' 0001 'y'",
		Connack{Props: Properties{
			Has: has(PropSessionExpiry, PropAssignedClientID, PropServerKeepAlive, PropAuthMethod, PropAuthData,
				PropResponseInfo, PropServerReference, PropReceiveMaximum, PropTopicAliasMaximum, PropMaximumQoS,
				PropRetainAvailable, PropMaximumPacketSize, PropWildcardSubAvailable, PropSubIDAvailable,
				PropSharedSubAvailable, PropReasonString),
			SessionExpiry: 1, AssignedClientID: b("id"), ServerKeepAlive: 15, AuthMethod: b("M"), AuthData: b(""),
			ResponseInfo: b("r"), ServerReference: b("s"), ReceiveMaximum: 20, TopicAliasMaximum: 16, MaximumQoS: 1,
			MaximumPacketSize: 1024, SubIDAvailable: true, ReasonString: b("ok"),
			User: []UserProperty{{b("key"), b("val")}, {b("x"), b("y")}},
		}},
	},

	{
		"3.1 PUBLISH QoS 0: no packet identifier [MQTT311 MQTT-2.3.1-5]", V31, "30 07 0003 'a/b' 'hi'",
		Publish{Topic: b("a/b"), Payload: b("hi")},
	},
	{
		"3.1.1 PUBLISH QoS 2, DUP, RETAIN", V311, "3d 06 0001 't' 1234 'x'",
		Publish{Topic: b("t"), Payload: b("x"), ID: 0x1234, QoS: 2, Retain: true, Dup: true},
	},
	{
		"5 PUBLISH QoS 0: no packet identifier [MQTT5 MQTT-2.2.1-2], property length 0 [MQTT5 MQTT-2.2.2-1]",
		V5, "31 04 0001 't' 00",
		Publish{Topic: b("t"), Payload: b(""), Retain: true},
	},
	{
		"5 PUBLISH QoS 1 by alias alone", V5, "32 0b 0000 0001 03 23 0007 'pay'",
		Publish{Topic: b(""), Payload: b("pay"), ID: 1, QoS: 1, Props: MessageProperties{TopicAlias: 7}},
	},
	{
		"5 PUBLISH with every property, [MQTT5 MQTT-3.3.2-18] in order, F062", V5,
		"34 3c 0001 't' 00ff 32 02 00000e10 23 0002 0b 05 0b 8001" +
			" 26 0001 'b' 0001 '2' 01 01 03 0002 'ct' 26 0001 'a' 0001 '1' 08 0003 'r/t' 09 0002 00ff" +
			" 26 0000 0000 'body'",
		Publish{Topic: b("t"), Payload: b("body"), ID: 255, QoS: 2, Props: MessageProperties{
			Forward: wire("26 0001 'b' 0001 '2' 01 01 03 0002 'ct' 26 0001 'a' 0001 '1' 08 0003 'r/t' 09 0002 00ff" +
				" 26 0000 0000"),
			Expiry: 3600, HasExpiry: true, UTF8: true, TopicAlias: 2, SubscriptionIDs: []uint32{5, 128},
		}},
	},
	{
		"U+FEFF is kept [MQTT5 MQTT-1.5.4-3] [MQTT311 MQTT-1.5.3-3], as are composed and decomposed accents, F052",
		V5, "30 0e 0009 efbbbf'/'c3a9'e'cc81 00 'm!'",
		Publish{Topic: b("\ufeff/\u00e9e\u0301"), Payload: b("m!")},
	},

	{"3.1.1 PUBACK", V311, "40 02 0001", Ack{ID: 1}},
	{"3.1 PUBREC", V31, "50 02 0001", Ack{ID: 1}},
	{"3.1.1 PUBREL", V311, "62 02 0001", Ack{ID: 1}},
	{"3.1.1 PUBCOMP", V311, "70 02 0001", Ack{ID: 1}},
	{"5 PUBACK of two bytes, F077", V5, "40 02 ffff", Ack{ID: 65535}},
	{"5 PUBREC of three bytes, F077", V5, "50 03 0002 97", Ack{ID: 2, Reason: QuotaExceeded}},
	{"5 PUBREL of three bytes, F077", V5, "62 03 0002 92", Ack{ID: 2, Reason: PacketIDNotFound}},
	{
		"5 PUBCOMP with properties", V5, "70 0f 0002 92 0b 1f 0001 'r' 26 0001 'n' 0001 'v'",
		Ack{ID: 2, Reason: PacketIDNotFound, Props: Properties{
			Has: has(PropReasonString), ReasonString: b("r"),
			User: []UserProperty{{b("n"), b("v")}},
		}},
	},

	{
		"3.1 SUBSCRIBE", V31, "82 08 0001 0003 'a/b' 01",
		Subscribe{ID: 1, Filters: []Subscription{{b("a/b"), 1}}},
	},
	{
		"3.1.1 SUBSCRIBE", V311, "82 0a 000a 0001 '#' 02 0001 '+' 00",
		Subscribe{ID: 10, Filters: []Subscription{{b("#"), 2}, {b("+"), 0}}},
	},
	{
		"5 SUBSCRIBE", V5, "82 10 000a 09 0b 01 26 0001 'k' 0001 'v' 0001 't' 2e",
		Subscribe{ID: 10, Filters: []Subscription{{b("t"), 0x2e}}, Props: Properties{
			Has:            has(PropSubscriptionID),
			SubscriptionID: 1, User: []UserProperty{{b("k"), b("v")}},
		}},
	},
	{
		"5 SUBSCRIBE: the greatest subscription identifier", V5, "82 0c 0001 05 0b ffffff7f 0001 't' 00",
		Subscribe{ID: 1, Filters: []Subscription{{b("t"), 0}}, Props: Properties{
			Has:            has(PropSubscriptionID),
			SubscriptionID: 268_435_455,
		}},
	},
	{
		"3.1.1 SUBACK [MQTT311 MQTT-3.9.3-1]", V311, "90 06 000a 00 01 02 80",
		Suback{ID: 10, Reasons: []ReasonCode{0, 1, 2, 0x80}},
	},
	{
		"5 SUBACK [MQTT5 MQTT-3.9.3-1]", V5, "90 06 000a 00 02 9e 8f",
		Suback{ID: 10, Reasons: []ReasonCode{2, SharedSubsNotSupported, TopicFilterInvalid}},
	},
	{"3.1 UNSUBSCRIBE", V31, "a2 05 0001 0001 'a'", Unsubscribe{ID: 1, Filters: [][]byte{b("a")}}},
	{"3.1.1 UNSUBSCRIBE", V311, "a2 08 0001 0001 'a' 0001 '#'", Unsubscribe{ID: 1, Filters: [][]byte{b("a"), b("#")}}},
	{
		"5 UNSUBSCRIBE", V5, "a2 0d 0001 07 26 0001 'k' 0001 'v' 0001 'a'",
		Unsubscribe{ID: 1, Filters: [][]byte{b("a")}, Props: Properties{User: []UserProperty{{b("k"), b("v")}}}},
	},
	{"3.1.1 UNSUBACK", V311, "b0 02 0001", Suback{ID: 1}},
	{
		"5 UNSUBACK [MQTT5 MQTT-3.11.3-1]", V5, "b0 09 0001 04 1f 0001 'n' 11 00",
		Suback{
			ID: 1, Reasons: []ReasonCode{NoSubscriptionExisted, Success},
			Props: Properties{Has: has(PropReasonString), ReasonString: b("n")},
		},
	},

	{"PINGREQ", V311, "c0 00", nil},
	{"PINGRESP", V5, "d0 00", nil},
	{"3.1.1 DISCONNECT", V311, "e0 00", Disconnect{}},
	{"5 DISCONNECT, normal", V5, "e0 00", Disconnect{}},
	{"5 DISCONNECT with will", V5, "e0 01 04", Disconnect{Reason: DisconnectWithWill}},
	{
		"5 DISCONNECT with every property", V5, "e0 16 9c 14 11 00000000 1c 0001 's' 1f 0001 'r' 26 0001 'k' 0001 'v'",
		Disconnect{Reason: UseAnotherServer, Props: Properties{
			Has:             has(PropSessionExpiry, PropServerReference, PropReasonString),
			ServerReference: b("s"), ReasonString: b("r"), User: []UserProperty{{b("k"), b("v")}},
		}},
	},
	{"5 AUTH, success", V5, "f0 00", Auth{}},
	{
		"5 AUTH, continue", V5, "f0 0a 18 08 15 0001 'M' 16 0001 'd'",
		Auth{Reason: ContinueAuthentication, Props: Properties{
			Has:        has(PropAuthMethod, PropAuthData),
			AuthMethod: b("M"), AuthData: b("d"),
		}},
	},
}

// Every vector decodes to its value and the value encodes to the vector, also
// when the Packet and its slices were used before.
func TestGolden(t *testing.T) {
	var reused Packet
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			for _, p := range []*Packet{new(Packet), &reused} {
				in := wire(g.wire)
				if err := decodeWire(p, g.v, in, Limits{}); err != nil {
					t.Fatal(err)
				}
				if got := encode(p, g.v, b("before")); !bytes.Equal(got, append(b("before"), wire(g.wire)...)) {
					t.Errorf("encoded\n%x, want\n%x", got[6:], wire(g.wire))
				}
				if p != &reused && !reflect.DeepEqual(part(p), g.want) {
					t.Errorf("decoded\n%+v, want\n%+v", part(p), g.want)
				}
			}
		})
	}
}

// A prefix of a packet never decodes as the whole one: every field is bounded by
// the Remaining Length (F006).
func TestTruncated(t *testing.T) {
	for _, g := range goldens {
		whole := wire(g.wire)
		h, n, _ := ParseHeader(whole)
		for cut := n; cut < len(whole); cut++ {
			var p Packet
			body := wire(g.wire)[n:cut:cut]
			if p.Decode(g.v, h, body, Limits{}) == nil && reflect.DeepEqual(part(&p), g.want) {
				t.Errorf("%s: %d of %d bytes decode as the whole", g.name, cut, len(whole))
			}
		}
	}
}

// What is decoded at one byte at a time from the header on is what is decoded
// from the whole (F012).
func TestHeaderByteByByte(t *testing.T) {
	for _, g := range goldens {
		whole := wire(g.wire)
		want, size, _ := ParseHeader(whole)
		for n := range len(whole) {
			h, got, err := ParseHeader(whole[:n])
			if err != nil || n < size && got != 0 || n >= size && (got != size || h != want) {
				t.Fatalf("%s: %d bytes give %+v, %d, %v", g.name, n, h, got, err)
			}
		}
	}
}
