package mqtt

import "testing"

// fault is one bad packet and the reason code that answers it.
type fault struct {
	name string
	v    Version
	wire string // without the Remaining Length, which the test puts in
	want ReasonCode
}

// sized puts the Remaining Length behind the first byte.
func sized(s string) []byte {
	w := wire(s)
	return append(appendVarint([]byte{w[0]}, len(w)-1), w[1:]...)
}

func run(t *testing.T, faults []fault) {
	t.Helper()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			var p Packet
			wantReason(t, decodeWire(&p, f.v, sized(f.wire), Limits{}), f.want)
		})
	}
}

func TestFaultsConnect(t *testing.T) {
	const id = " 0001 'c'"
	run(t, []fault{
		{"empty", 0, "10", MalformedPacket},
		{"F020 reserved flag [MQTT5 MQTT-3.1.2-3]", V5, "10 0004 'MQTT' 05 03 0000 00" + id, MalformedPacket},
		{"F020 reserved flag [MQTT311 MQTT-3.1.2-3]", V311, "10 0004 'MQTT' 04 03 0000" + id, MalformedPacket},
		{"F021 will QoS without will [MQTT5 MQTT-3.1.2-11]", V5, "10 0004 'MQTT' 05 0a 0000 00" + id, MalformedPacket},
		{"F021 will QoS without will [MQTT311 MQTT-3.1.2-13]", V311, "10 0004 'MQTT' 04 0a 0000" + id, MalformedPacket},
		{"F021 will retain without will [MQTT5 MQTT-3.1.2-13]", V5, "10 0004 'MQTT' 05 22 0000 00" + id, MalformedPacket},
		{
			"F021 will retain without will [MQTT311 MQTT-3.1.2-15] [MQTT311 MQTT-3.1.2-11]", V311,
			"10 0004 'MQTT' 04 22 0000" + id, MalformedPacket,
		},
		{
			"F022 will QoS 3 [MQTT5 MQTT-3.1.2-12]", V5,
			"10 0004 'MQTT' 05 1e 0000 00" + id + " 00 0001 't' 0000", MalformedPacket,
		},
		{"F022 will QoS 3 [MQTT311 MQTT-3.1.2-14]", V311, "10 0004 'MQTT' 04 1e 0000" + id + " 0001 't' 0000", MalformedPacket},
		{"F024 password without user name [MQTT311 MQTT-3.1.2-22]", V311, "10 0004 'MQTT' 04 42 0000" + id + " 0001 'p'", MalformedPacket},
		{"F025 user name missing [MQTT5 MQTT-3.1.2-17]", V5, "10 0004 'MQTT' 05 82 0000 00" + id, MalformedPacket},
		{"F025 user name missing [MQTT311 MQTT-3.1.2-19]", V311, "10 0004 'MQTT' 04 82 0000" + id, MalformedPacket},
		{"F025 user name cut", V31, "10 0006 'MQIsdp' 03 82 0000" + id + " 0002 'u'", MalformedPacket},
		{"password missing [MQTT5 MQTT-3.1.2-19]", V5, "10 0004 'MQTT' 05 c2 0000 00" + id + " 0001 'u'", MalformedPacket},
		{"password missing [MQTT311 MQTT-3.1.2-21]", V311, "10 0004 'MQTT' 04 c2 0000" + id + " 0001 'u'", MalformedPacket},
		{"user name without its flag [MQTT5 MQTT-3.1.2-16]", V5, "10 0004 'MQTT' 05 02 0000 00" + id + " 0001 'u'", MalformedPacket},
		{"user name without its flag [MQTT311 MQTT-3.1.2-18]", V311, "10 0004 'MQTT' 04 02 0000" + id + " 0001 'u'", MalformedPacket},
		{
			"password without its flag [MQTT5 MQTT-3.1.2-18]", V5,
			"10 0004 'MQTT' 05 82 0000 00" + id + " 0001 'u' 0001 'p'", MalformedPacket,
		},
		{
			"password without its flag [MQTT311 MQTT-3.1.2-20]", V311,
			"10 0004 'MQTT' 04 82 0000" + id + " 0001 'u' 0001 'p'", MalformedPacket,
		},
		{"no client id [MQTT5 MQTT-3.1.3-3]", V5, "10 0004 'MQTT' 05 02 0000 00", MalformedPacket},
		{"no client id [MQTT311 MQTT-3.1.3-3]", V311, "10 0004 'MQTT' 04 02 0000", MalformedPacket},
		{"F028 client id is not UTF-8 [MQTT5 MQTT-3.1.3-4]", V5, "10 0004 'MQTT' 05 02 0000 00 0001 ff", MalformedPacket},
		{"F028 client id is not UTF-8 [MQTT311 MQTT-3.1.3-4]", V311, "10 0004 'MQTT' 04 02 0000 0001 ff", MalformedPacket},
		{"user name is not UTF-8 [MQTT5 MQTT-3.1.3-12]", V5, "10 0004 'MQTT' 05 82 0000 00" + id + " 0001 ff", MalformedPacket},
		{"user name is not UTF-8 [MQTT311 MQTT-3.1.3-11]", V311, "10 0004 'MQTT' 04 82 0000" + id + " 0001 ff", MalformedPacket},
		{
			"will topic is not UTF-8 [MQTT5 MQTT-3.1.3-11]", V5,
			"10 0004 'MQTT' 05 06 0000 00" + id + " 00 0001 ff 0000", MalformedPacket,
		},
		{
			"will topic is not UTF-8 [MQTT311 MQTT-3.1.3-10]", V311,
			"10 0004 'MQTT' 04 06 0000" + id + " 0001 ff 0000", MalformedPacket,
		},
		{
			"will topic with a wildcard [MQTT5 MQTT-4.7.0-1]", V5,
			"10 0004 'MQTT' 05 06 0000 00" + id + " 00 0003 'a/#' 0000", TopicNameInvalid,
		},
		{"will topic empty [MQTT5 MQTT-4.7.3-1]", V5, "10 0004 'MQTT' 05 06 0000 00" + id + " 00 0000 0000", ProtocolError},
		{"will payload missing [MQTT5 MQTT-3.1.2-9]", V5, "10 0004 'MQTT' 05 06 0000 00" + id + " 00 0001 't'", MalformedPacket},
		{"will missing [MQTT311 MQTT-3.1.2-9]", V311, "10 0004 'MQTT' 04 06 0000" + id, MalformedPacket},
		{
			"will without its flag [MQTT311 MQTT-3.1.2-11]", V311,
			"10 0004 'MQTT' 04 02 0000" + id + " 0001 't' 0001 'm'", MalformedPacket,
		},
		{
			"will response topic with a wildcard", V5,
			"10 0004 'MQTT' 05 06 0000 00" + id + " 04 08 0001 '+' 0001 't' 0000", ProtocolError,
		},
		{
			"will delay twice", V5,
			"10 0004 'MQTT' 05 06 0000 00" + id + " 0a 18 00000001 18 00000001 0001 't' 0000", ProtocolError,
		},
		{"will with a topic alias", V5, "10 0004 'MQTT' 05 06 0000 00" + id + " 03 23 0001 0001 't' 0000", MalformedPacket},
	})
}

func TestFaultsConnectProperties(t *testing.T) {
	f := func(name, props string, want ReasonCode) fault {
		w := wire(props)
		return fault{name, V5, "10 0004 'MQTT' 05 02 0000" + hexOf(byte(len(w))) + props + " 0001 'c'", want}
	}
	run(t, []fault{
		f("F030 session expiry twice", "11 00000001 11 00000001", ProtocolError),
		f("F030 receive maximum twice", "21 0001 21 0001", ProtocolError),
		f("F030 maximum packet size twice", "27 00000001 27 00000001", ProtocolError),
		f("F030 topic alias maximum twice", "22 0001 22 0001", ProtocolError),
		f("F030 request problem information twice", "17 01 17 01", ProtocolError),
		f("F030 request response information twice", "19 01 19 01", ProtocolError),
		f("F030 authentication method twice", "15 0001 'M' 15 0001 'M'", ProtocolError),
		f("F030 authentication data twice", "15 0001 'M' 16 0000 16 0000", ProtocolError),
		f("F032 unknown identifier", "7f 00", MalformedPacket),
		f("F032 unknown identifier of two bytes", "ff01 00", MalformedPacket),
		f("F032 identifier of two bytes for one", "9100 00000001", MalformedPacket),
		f("F032 value runs past the property length", "11 0000", MalformedPacket),
		f("property of another packet (MQTT5 2.2.2.2)", "1f 0001 'r'", MalformedPacket),
		f("F033 receive maximum 0", "21 0000", ProtocolError),
		f("F033 maximum packet size 0", "27 00000000", ProtocolError),
		f("F034 authentication data without a method", "16 0001 'd'", ProtocolError),
		f("request problem information 2", "17 02", ProtocolError),
		f("request response information 2", "19 02", ProtocolError),
		f("user property name is not UTF-8 [MQTT5 MQTT-1.5.7-1]", "26 0001 ff 0001 'v'", MalformedPacket),
		f("user property value is not UTF-8 [MQTT5 MQTT-1.5.7-1]", "26 0001 'k' 0001 ff", MalformedPacket),
		f("user property without a value", "26 0001 'k'", MalformedPacket),
		{"F032 property length runs past the packet", V5, "10 0004 'MQTT' 05 02 0000 10 0001 'c'", MalformedPacket},
		{"property length of five bytes", V5, "10 0004 'MQTT' 05 02 0000 8080808000 0001 'c'", MalformedPacket},
		{"property length missing [MQTT5 MQTT-2.2.2-1]", V5, "10 0004 'MQTT' 05 02 0000", MalformedPacket},
	})
}

func hexOf(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{' ', digits[c>>4], digits[c&15], ' '})
}

func TestFaultsPublish(t *testing.T) {
	run(t, []fault{
		{"F006 topic runs past the end", V311, "30 0005 'abc'", MalformedPacket},
		{"F006 no topic length", V311, "30 00", MalformedPacket},
		{"no topic [MQTT5 MQTT-3.3.2-1]", V5, "30", MalformedPacket},
		{"no topic [MQTT311 MQTT-3.3.2-1]", V311, "30", MalformedPacket},
		{"no packet identifier at QoS 1", V311, "32 0001 't' 00", MalformedPacket},
		{"F049 packet identifier 0 [MQTT311 MQTT-2.3.1-1]", V311, "32 0001 't' 0000", ProtocolError},
		{"F049 packet identifier 0 at QoS 2", V5, "34 0001 't' 0000 00", ProtocolError},
		{"F050 empty topic without alias", V5, "30 0000 00 'x'", ProtocolError},
		{"F050 empty topic [MQTT311 MQTT-4.7.3-1]", V311, "30 0000 'x'", ProtocolError},
		{"topic is not UTF-8 [MQTT5 MQTT-3.3.2-1]", V5, "30 0002 'a'ff 00", MalformedPacket},
		{"U+0000 in the topic [MQTT5 MQTT-4.7.3-2]", V5, "30 0003 'a'00'b' 00", MalformedPacket},
		{"U+0000 in the topic [MQTT311 MQTT-4.7.3-2]", V311, "30 0003 'a'00'b'", MalformedPacket},
		{"wildcard # [MQTT5 MQTT-3.3.2-2] [MQTT5 MQTT-4.7.0-1]", V5, "30 0003 'a/#' 00", TopicNameInvalid},
		{"wildcard + [MQTT311 MQTT-3.3.2-2] [MQTT311 MQTT-4.7.1-1]", V311, "30 0009 'a/bcdef/+'", TopicNameInvalid},
		{"no property length [MQTT5 MQTT-2.2.2-1]", V5, "30 0001 't'", MalformedPacket},
		{"property length runs past the end", V5, "30 0001 't' 05 01", MalformedPacket},
		{"topic alias 0 [MQTT5 MQTT-3.3.2-8]", V5, "30 0000 03 23 0000", ProtocolError},
		{"topic alias twice", V5, "30 0001 't' 06 23 0001 23 0001", ProtocolError},
		{"payload format 2", V5, "30 0001 't' 02 01 02", ProtocolError},
		{"payload format twice", V5, "30 0001 't' 04 01 01 01 01", ProtocolError},
		{"message expiry twice", V5, "30 0001 't' 0a 02 00000001 02 00000001", ProtocolError},
		{"content type twice", V5, "30 0001 't' 06 03 0000 03 0000", ProtocolError},
		{"content type is not UTF-8 [MQTT5 MQTT-3.3.2-19]", V5, "30 0001 't' 04 03 0001 ff", MalformedPacket},
		{"correlation data twice", V5, "30 0001 't' 06 09 0000 09 0000", ProtocolError},
		{"F061 response topic with a wildcard [MQTT5 MQTT-3.3.2-14]", V5, "30 0001 't' 06 08 0003 'r/#'", ProtocolError},
		{"response topic is not UTF-8 [MQTT5 MQTT-3.3.2-13]", V5, "30 0001 't' 04 08 0001 ff", MalformedPacket},
		{"response topic empty [MQTT5 MQTT-4.7.3-1]", V5, "30 0001 't' 03 08 0000", ProtocolError},
		{"response topic twice", V5, "30 0001 't' 08 08 0001 'r' 08 0001 'r'", ProtocolError},
		{"subscription identifier 0", V5, "30 0001 't' 02 0b 00", ProtocolError},
		{"session expiry in a PUBLISH", V5, "30 0001 't' 05 11 00000000", MalformedPacket},
		{"will delay in a PUBLISH", V5, "30 0001 't' 05 18 00000000", MalformedPacket},
	})
}

func TestFaultsSubscribe(t *testing.T) {
	run(t, []fault{
		{"F082 no filter [MQTT5 MQTT-3.8.3-2]", V5, "82 0001 00", ProtocolError},
		{"F082 no filter [MQTT311 MQTT-3.8.3-3]", V311, "82 0001", ProtocolError},
		{"F082 no filter to unsubscribe [MQTT5 MQTT-3.10.3-2]", V5, "a2 0001 00", ProtocolError},
		{"F082 no filter to unsubscribe [MQTT311 MQTT-3.10.3-2]", V311, "a2 0001", ProtocolError},
		{"F084 packet identifier 0", V5, "82 0000 00 0001 't' 00", ProtocolError},
		{"F084 packet identifier 0 [MQTT311 MQTT-2.3.1-1]", V311, "82 0000 0001 't' 00", ProtocolError},
		{"F084 packet identifier 0 in UNSUBSCRIBE", V5, "a2 0000 00 0001 't'", ProtocolError},
		{"F084 packet identifier 0 in UNSUBSCRIBE [MQTT311 MQTT-2.3.1-1]", V311, "a2 0000 0001 't'", ProtocolError},
		{"F085 QoS 3", V5, "82 0001 00 0001 't' 03", ProtocolError},
		{"F085 QoS 3", V311, "82 0001 0001 't' 03", ProtocolError},
		{"F085 retain handling 3", V5, "82 0001 00 0001 't' 30", ProtocolError},
		{"F085 reserved bit 6 [MQTT5 MQTT-3.8.3-5]", V5, "82 0001 00 0001 't' 40", MalformedPacket},
		{"F085 reserved bit 7 [MQTT5 MQTT-3.8.3-5]", V5, "82 0001 00 0001 't' 80", MalformedPacket},
		{"F085 options of v5 before it", V311, "82 0001 0001 't' 04", MalformedPacket},
		{"F085 options of v5 before it", V31, "82 0001 0001 't' 10", MalformedPacket},
		{"no options", V5, "82 0001 00 0001 't'", MalformedPacket},
		{"second filter cut", V5, "82 0001 00 0001 't' 00 0005 'a'", MalformedPacket},
		{"filter is not UTF-8 [MQTT5 MQTT-3.8.3-1]", V5, "82 0001 00 0001 ff 00", MalformedPacket},
		{"filter is not UTF-8 [MQTT311 MQTT-3.8.3-1]", V311, "82 0001 0001 ff 00", MalformedPacket},
		{"F086 U+0000 in a filter", V5, "82 0001 00 0002 '#'00 00", MalformedPacket},
		{"filter is not UTF-8 [MQTT5 MQTT-3.10.3-1]", V5, "a2 0001 00 0001 ff", MalformedPacket},
		{"filter is not UTF-8 [MQTT311 MQTT-3.10.3-1]", V311, "a2 0001 0001 ff", MalformedPacket},
		{"F090 subscription identifier 0", V5, "82 0001 02 0b 00 0001 't' 00", ProtocolError},
		{"F090 subscription identifier twice", V5, "82 0001 04 0b 01 0b 02 0001 't' 00", ProtocolError},
		{"F090 subscription identifier of five bytes", V5, "82 0001 06 0b 8080808001 0001 't' 00", MalformedPacket},
		{"subscription identifier with a needless byte [MQTT5 MQTT-1.5.5-1]", V5, "82 0001 03 0b 8100 0001 't' 00", MalformedPacket},
		{"subscription identifier to unsubscribe", V5, "a2 0001 02 0b 01 0001 't'", MalformedPacket},
		{"SUBACK without codes", V5, "90 0001 00", ProtocolError},
		{"SUBACK with a code of UNSUBACK [MQTT5 MQTT-3.9.3-2]", V5, "90 0001 00 11", ProtocolError},
		{"SUBACK with a v5 code [MQTT311 MQTT-3.9.3-2]", V311, "90 0001 87", ProtocolError},
		{"UNSUBACK with a code of SUBACK [MQTT5 MQTT-3.11.3-2]", V5, "b0 0001 00 01", ProtocolError},
		{"UNSUBACK with a code before v5", V311, "b0 0001 00", MalformedPacket},
	})
}

func TestFaultsAcks(t *testing.T) {
	run(t, []fault{
		{"no packet identifier", V5, "40", MalformedPacket},
		{"half a packet identifier", V311, "62 00", MalformedPacket},
		{"packet identifier 0", V5, "50 0000", ProtocolError},
		{"F077 a third byte before v5", V311, "40 0001 00", MalformedPacket},
		{"F077 a property section before v5", V31, "70 0001 00 00", MalformedPacket},
		{"F077 property length runs past the end", V5, "40 0001 00 05", MalformedPacket},
		{"F077 bytes after the properties", V5, "40 0001 00 00 00", MalformedPacket},
		{"reason code of another packet [MQTT5 MQTT-3.4.2-1]", V5, "40 0001 92", ProtocolError},
		{"reason code of another packet [MQTT5 MQTT-3.5.2-1]", V5, "50 0001 01", ProtocolError},
		{"reason code of another packet [MQTT5 MQTT-3.6.2-1]", V5, "62 0001 10", ProtocolError},
		{"reason code of another packet [MQTT5 MQTT-3.7.2-1]", V5, "70 0001 80", ProtocolError},
		{"reason string twice", V5, "40 0001 00 06 1f 0000 1f 0000", ProtocolError},
		{"reason string is not UTF-8", V5, "40 0001 00 04 1f 0001 ff", MalformedPacket},
		{"property of another packet", V5, "40 0001 00 05 11 00000000", MalformedPacket},
	})
}

func TestFaultsOthers(t *testing.T) {
	run(t, []fault{
		{"PINGREQ with content", V5, "c0 00", MalformedPacket},
		{"PINGRESP with content", V311, "d0 00", MalformedPacket},
		{"DISCONNECT with content before v5", V311, "e0 00", MalformedPacket},
		{"DISCONNECT with an unknown code [MQTT5 MQTT-3.14.2-1]", V5, "e0 05", ProtocolError},
		{"DISCONNECT with a code of CONNACK [MQTT5 MQTT-3.14.2-1]", V5, "e0 86 00", ProtocolError},
		{"DISCONNECT with bytes behind", V5, "e0 00 00 00", MalformedPacket},
		{"DISCONNECT with session expiry twice", V5, "e0 00 0a 11 00000001 11 00000001", ProtocolError},
		{"AUTH before v5", V311, "f0", MalformedPacket},
		{"AUTH with an unknown code [MQTT5 MQTT-3.15.2-1]", V5, "f0 01 00", ProtocolError},
		{"AUTH without a property length", V5, "f0 18", MalformedPacket},
		{"AUTH without a method", V5, "f0 18 00", ProtocolError},
		{"AUTH with data without a method", V5, "f0 00 04 16 0001 'd'", ProtocolError},
		{"CONNACK with reserved flags [MQTT5 MQTT-3.2.2-1]", V5, "20 02 00 00", MalformedPacket},
		{"CONNACK with reserved flags", V311, "20 02 00", MalformedPacket},
		{"CONNACK cut", V311, "20 00", MalformedPacket},
		{"CONNACK with an unknown code [MQTT5 MQTT-3.2.2-8]", V5, "20 00 01 00", ProtocolError},
		{"CONNACK with an unknown code", V311, "20 00 06", ProtocolError},
		{"CONNACK refuses with a session [MQTT5 MQTT-3.2.2-6]", V5, "20 01 87 00", ProtocolError},
		{"CONNACK refuses with a session [MQTT311 MQTT-3.2.2-4]", V311, "20 01 05", ProtocolError},
		{"CONNACK with maximum QoS 2", V5, "20 00 00 02 24 02", ProtocolError},
		{"CONNACK with retain available 2", V5, "20 00 00 02 25 02", ProtocolError},
	})
}

// The level is told even when it is not supported, so that the refusal can be
// written in the client's form.
func TestUnsupportedVersion(t *testing.T) {
	f := func(name string, wire string, level Version) {
		t.Run(name, func(t *testing.T) {
			var p Packet
			wantReason(t, decodeWire(&p, 0, sized(wire), Limits{}), UnsupportedProtocolVersion)
			if p.Connect.Version != level {
				t.Errorf("version %d, want %d", p.Connect.Version, level)
			}
		})
	}
	f("level 6 [MQTT5 MQTT-3.1.2-2]", "10 0004 'MQTT' 06 02 0000 00 0001 'c'", 6)
	f("level 3 of MQTT [MQTT311 MQTT-3.1.2-2]", "10 0004 'MQTT' 03 02 0000 0001 'c'", 3)
	f("level 4 of MQIsdp", "10 0006 'MQIsdp' 04 02 0000 0001 'c'", 4)
	f("a bridge's level 0x84", "10 0004 'MQTT' 84 02 0000 0001 'c'", 0x84)
	f("name [MQTT5 MQTT-3.1.2-1]", "10 0004 'mqtt' 05 02 0000 00 0001 'c'", 5)
	f("name [MQTT311 MQTT-3.1.2-1]", "10 0005 'MQTT '04 02 0000 0001 'c'", 4)
}

// 3.1 lets the Remaining Length overrule the user name and password flags; the
// user is absent then, not empty (F025).
func TestUserLeftOut31(t *testing.T) {
	var p Packet
	if err := decodeWire(&p, 0, sized("10 0006 'MQIsdp' 03 c2 0000 0001 'c'"), Limits{}); err != nil {
		t.Fatal(err)
	}
	if p.Connect.HasUser || p.Connect.HasPass {
		t.Error("a user name or a password came from nothing")
	}
}

func TestHeaderFaults(t *testing.T) {
	f := func(name, in string) {
		t.Run(name, func(t *testing.T) {
			_, n, err := ParseHeader(wire(in))
			wantReason(t, err, MalformedPacket)
			if n != 0 {
				t.Errorf("n = %d with an error", n)
			}
		})
	}
	f("F001 type 0", "00")
	f("F001 type 0", "0f 00")
	f("F002 a fifth length byte, before it is there", "30 ffffffff")
	f("F002 a fifth length byte", "30 ffffffff7f")
	f("F002 a fifth length byte of zero", "30 8080808000")
	f("needless length byte [MQTT5 MQTT-1.5.5-1]", "30 8000")
	f("needless length byte [MQTT5 MQTT-1.5.5-1]", "30 ffff00")
	f("F048 DUP at QoS 0 [MQTT5 MQTT-3.3.1-2] [MQTT311 MQTT-3.3.1-2]", "38")
	f("QoS 3 [MQTT5 MQTT-3.3.1-4] [MQTT311 MQTT-3.3.1-4]", "36")
	f("QoS 3 with DUP", "3e")
	f("F008 PUBREL [MQTT5 MQTT-3.6.1-1] [MQTT311 MQTT-3.6.1-1]", "60")
	f("F008 SUBSCRIBE [MQTT5 MQTT-3.8.1-1] [MQTT311 MQTT-3.8.1-1]", "80")
	f("F008 UNSUBSCRIBE [MQTT5 MQTT-3.10.1-1] [MQTT311 MQTT-3.10.1-1]", "a0")
	f("F008 DISCONNECT [MQTT5 MQTT-3.14.1-1] [MQTT311 MQTT-3.14.1-1]", "e1")
	f("AUTH [MQTT5 MQTT-3.15.1-1]", "f2")
	f("F013 HTTP", "'GET / HTTP/1.1'")
	f("F013 SSH", "'SSH-2.0'")
	f("F013 TLS", "16 0301")
}

// Every type has exactly its flags (F008) [MQTT5 MQTT-2.1.3-1]
// [MQTT311 MQTT-2.2.2-1] [MQTT311 MQTT-2.2.2-2].
func TestHeaderFlags(t *testing.T) {
	valid := func(typ Type, flags byte) bool {
		switch typ {
		case 0:
			return false
		case PUBLISH:
			qos := flags >> 1 & 3
			return qos != 3 && (qos != 0 || flags&8 == 0)
		case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
			return flags == 2 || flags == 0x0A // the second only in 3.1, see TestDup31
		}
		return flags == 0
	}
	for first := range 256 {
		typ, flags := Type(first>>4), byte(first&15)
		_, n, err := ParseHeader([]byte{byte(first), 0})
		if got := err == nil && n == 2; got != valid(typ, flags) {
			t.Errorf("first byte %#x: accepted %v", first, got)
		}
	}
}

// 3.1 has a DUP flag in PUBREL, SUBSCRIBE and UNSUBSCRIBE (MQTT 3.1 sections 3.6,
// 3.8, 3.10); later versions refuse it [MQTT311 MQTT-3.6.1-1]
// [MQTT311 MQTT-3.8.1-1] [MQTT311 MQTT-3.10.1-1] [MQTT5 MQTT-3.6.1-1]
// [MQTT5 MQTT-3.8.1-1] [MQTT5 MQTT-3.10.1-1].
func TestDup31(t *testing.T) {
	for _, in := range []string{"6a 0001", "8a 0001 0001 't' 01", "aa 0001 0001 't'"} {
		var p Packet
		if err := decodeWire(&p, V31, sized(in), Limits{}); err != nil {
			t.Errorf("3.1: %v", err)
		}
		for _, v := range []Version{V311, V5} {
			wantReason(t, decodeWire(&p, v, sized(in), Limits{}), MalformedPacket)
		}
	}
}

// The Remaining Length of one to four bytes, and its limits (MQTT5 1.5.5).
func TestHeaderLength(t *testing.T) {
	f := func(in string, length, n int) {
		t.Helper()
		h, got, err := ParseHeader(wire(in))
		if err != nil || got != n || h.Length != length {
			t.Errorf("%s: %d in %d bytes, %v; want %d in %d", in, h.Length, got, err, length, n)
		}
		if out := appendVarint([]byte{0x30}, length); string(out) != string(wire(in)) {
			t.Errorf("%d encodes to %x, want %s [MQTT5 MQTT-1.5.5-1]", length, out, in)
		}
		if k := varintSize(length); k != n-1 {
			t.Errorf("size of %d is %d, want %d", length, k, n-1)
		}
	}
	f("30 00", 0, 2)
	f("30 7f", 127, 2)
	f("30 8001", 128, 3)
	f("30 ff7f", 16_383, 3)
	f("30 808001", 16_384, 4)
	f("30 ffff7f", 2_097_151, 4)
	f("30 80808001", 2_097_152, 5)
	f("30 ffffff7f", 268_435_455, 5)
}

// Properties beyond the limits are refused before they are read or kept (F029).
func TestLimits(t *testing.T) {
	f := func(name, in string, lim Limits, want ReasonCode) {
		t.Run(name, func(t *testing.T) {
			var p Packet
			err := decodeWire(&p, V5, sized(in), lim)
			if want == Success {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantReason(t, err, want)
			if n := len(p.Connect.Props.User); n > lim.UserProperties {
				t.Errorf("%d user properties kept", n)
			}
		})
	}
	const two = " 0e 26 0001 'a' 0001 'b' 26 0001 'a' 0001 'b'"
	connect := "10 0004 'MQTT' 05 02 0000" + two + " 0001 'c'"
	will := "10 0004 'MQTT' 05 06 0000 00 0001 'c'" + two + " 0001 't' 0000"
	publish := "30 0001 't'" + two
	for _, in := range []string{connect, will, publish} {
		f("two allowed", in, Limits{UserProperties: 2, PropertyBytes: 14}, Success)
		f("one too many", in, Limits{UserProperties: 1}, QuotaExceeded)
		f("one byte too many", in, Limits{PropertyBytes: 13}, PacketTooLarge)
	}
	f("announced bytes are not waited for", "30 0001 't' ffffff7f", Limits{PropertyBytes: 100}, PacketTooLarge)
}
