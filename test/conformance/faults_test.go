package conformance

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
)

// bystander is a client that must not notice what others do.
type bystander struct{ c *client }

func newBystander(t testing.TB, b *served) bystander {
	t.Helper()
	c := dial(t, b.addr, "bystander", mqtt.V5)
	c.exchange("CONNECT id=bystander clean", "CONNACK 0x00")
	c.exchange("SUBSCRIBE id=1 bystander/# qos=1", "SUBACK id=1 0x01")
	return bystander{c}
}

// unaffected makes sure that the bystander publishes and receives as ever, and got nothing else.
func (b bystander) unaffected() {
	b.c.t.Helper()
	b.c.send(`PUBLISH topic=bystander/own "hello"`)
	b.c.expect(`PUBLISH topic=bystander/own "hello"`)
	b.c.exchange("PINGREQ", "PINGRESP")
}

// raw are hex digits and quoted text behind the first byte, with the Remaining Length put in.
func raw(t testing.TB, body string) string {
	t.Helper()
	wire, err := packettext.Encode(nil, mqtt.V5, "RAW "+body)
	if err != nil {
		t.Fatal(err)
	}
	n := len(wire) - 1
	out := fmt.Sprintf("RAW %02x ", wire[0])
	for ; n >= 0x80; n >>= 7 {
		out += fmt.Sprintf("%02x ", n&0x7F|0x80)
	}
	return out + fmt.Sprintf("%02x ", n) + hex.EncodeToString(wire[1:])
}

// Bad bytes on a connection: the right reason for a client of version 5, the connection closed, counted,
// and nobody else affected [MQTT5 MQTT-4.13.1-1] [MQTT5 MQTT-4.8.0-1].
func TestBadInput(t *testing.T) {
	t.Parallel()
	b := serve(t, broker.Options{})
	by := newBystander(t, b)
	f := func(fault string, v mqtt.Version, in string, want mqtt.ReasonCode) {
		t.Helper()
		before := b.stats()
		c := dial(t, b.addr, fault, v)
		c.exchange("CONNECT id=bad clean", "CONNACK 0x00")
		c.send(in)
		if v >= mqtt.V5 {
			c.expect(fmt.Sprintf("DISCONNECT 0x%02x", uint8(want)))
		}
		c.expectClosed()
		c.drop()
		after := b.stats()
		if n := after.Violations[want] - before.Violations[want]; n != 1 && !strings.Contains(fault, "session") {
			t.Errorf("%s: %d violations counted with %v", fault, n, want)
		}
		by.unaffected()
	}
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		f("F001 packet type 0", v, "RAW 00 00", mqtt.MalformedPacket)
		f("F002 five bytes of Remaining Length", v, "RAW 30 ff ff ff ff", mqtt.MalformedPacket)
		f("F002 with a smuggled packet behind", v, "RAW 30 ff ff ff ff 7f c0 00 30 0c 000a 'bystander/' 00", mqtt.MalformedPacket)
		f("F005 larger than the limit, announced only", v, "RAW 30 ff ff ff 7f", mqtt.PacketTooLarge)
		f("F006 topic runs past the end", v, "RAW 30 04 00ff 'ab'", mqtt.MalformedPacket)
		f("F006 no room for a topic", v, "RAW 30 01 00", mqtt.MalformedPacket)
		f("F006 no room for the packet identifier", v, "RAW 32 03 0001 'a'", mqtt.MalformedPacket)
		f("F006 filter runs past the end", v, raw(t, "82 0001 00 00ff 'a' 00"), mqtt.MalformedPacket)
		f("F008 CONNECT with flags", v, "RAW 11 00", mqtt.MalformedPacket)
		f("F008 PUBACK with flags", v, "RAW 41 02 0001", mqtt.MalformedPacket)
		f("F008 PUBREC with flags", v, "RAW 52 02 0001", mqtt.MalformedPacket)
		f("F008 PUBREL without", v, "RAW 60 02 0001", mqtt.MalformedPacket)
		f("F008 PUBCOMP with flags", v, "RAW 78 02 0001", mqtt.MalformedPacket)
		f("F008 SUBSCRIBE without", v, raw(t, "80 0001 0001 'a' 00"), mqtt.MalformedPacket)
		f("F008 UNSUBSCRIBE without", v, raw(t, "a0 0001 0001 'a'"), mqtt.MalformedPacket)
		f("F008 PINGREQ with flags", v, "RAW c1 00", mqtt.MalformedPacket)
		f("F008 DISCONNECT with flags", v, "RAW e1 00", mqtt.MalformedPacket)
		f("PUBLISH with QoS 3", v, "RAW 36 05 0001 'a' 0001", mqtt.MalformedPacket)
		f("PINGREQ with a body", v, "RAW c0 01 00", mqtt.MalformedPacket)
	}
	f("F032 property length overruns", mqtt.V5, raw(t, "30 0001 't' 7f"), mqtt.MalformedPacket)
	f("F029 many user properties", mqtt.V5, raw(t, "30 0001 't' c503"+strings.Repeat(" 26 0001 'a' 0000", 75)+" 0000"), mqtt.MalformedPacket)
	f("F029 65 user properties", mqtt.V5, "PUBLISH topic=t"+strings.Repeat(" user=k=v", 65), mqtt.QuotaExceeded)
	f("F029 a pair of 2 x 64 KiB", mqtt.V5, "PUBLISH topic=t user="+strings.Repeat("k", 65535)+"="+strings.Repeat("v", 65535), mqtt.PacketTooLarge)
}

// What is wrong with a CONNECT: refused, told in version 5 only, counted, and nobody else affected.
func TestBadConnect(t *testing.T) {
	t.Parallel()
	b := serve(t, with(t, "max_connect_size=1000000"))
	by := newBystander(t, b)
	f := func(fault string, v mqtt.Version, in string, want mqtt.ReasonCode) {
		t.Helper()
		before := b.stats()
		c := dial(t, b.addr, fault, v)
		c.send(in)
		if v >= mqtt.V5 {
			c.expect(fmt.Sprintf("CONNACK 0x%02x", uint8(want)))
		}
		c.expectClosed()
		c.drop()
		if n := b.stats().Refused[want] - before.Refused[want]; n != 1 {
			t.Errorf("%s: %d refusals counted with %v", fault, n, want)
		}
		by.unaffected()
	}
	const name, v4, v5 = "10 0004 'MQTT'", " 04", " 05"
	f("F021 will QoS without will", mqtt.V5, raw(t, name+v5+" 0a 0000 00 0001 'c'"), mqtt.MalformedPacket)
	f("F021 will retain without will", mqtt.V311, raw(t, name+v4+" 22 0000 0001 'c'"), mqtt.MalformedPacket)
	f("F022 will QoS 3", mqtt.V5, raw(t, name+v5+" 1e 0000 00 0001 'c' 00 0001 't' 0000"), mqtt.MalformedPacket)
	f("F024 password without user name", mqtt.V311, raw(t, name+v4+" 42 0000 0001 'c' 0001 'p'"), mqtt.MalformedPacket)
	f("F025 user name missing", mqtt.V5, raw(t, name+v5+" 82 0000 00 0001 'c'"), mqtt.MalformedPacket)
	f("F025 user name cut", mqtt.V311, raw(t, name+v4+" 82 0000 0001 'c' 0005 'u'"), mqtt.MalformedPacket)
	f("F028 client id with U+0000", mqtt.V5, raw(t, name+v5+" 02 0000 00 0003 'a' 00 'b'"), mqtt.MalformedPacket)
	f("F028 client id not UTF-8", mqtt.V311, raw(t, name+v4+" 02 0000 0001 ff"), mqtt.MalformedPacket)
	f("F028 client id of 65,535 bytes", mqtt.V5, "CONNECT clean id="+strings.Repeat("x", 65535), mqtt.ClientIDNotValid)
	f("F029 10,000 user properties", mqtt.V5, "CONNECT clean id=a"+strings.Repeat(" user=k=v", 10000), mqtt.PacketTooLarge)
	f("F029 1,000 user properties", mqtt.V5, "CONNECT clean id=a"+strings.Repeat(" user=k=v", 1000), mqtt.QuotaExceeded)
	f("F029 a pair of 2 x 64 KiB", mqtt.V5, "CONNECT clean id=a user="+strings.Repeat("k", 65535)+"="+strings.Repeat("v", 65535), mqtt.PacketTooLarge)
	f("F030 receive maximum twice", mqtt.V5, raw(t, name+v5+" 02 0000 06 21 0001 21 0001 0001 'c'"), mqtt.ProtocolError)
	f("a property of another packet", mqtt.V5, raw(t, name+v5+" 02 0000 03 23 0001 0001 'c'"), mqtt.MalformedPacket)
}

// The first packet is no CONNECT, or no MQTT at all: closed without a byte in answer (F010, F013)
// [MQTT5 MQTT-3.1.0-1] [MQTT5 MQTT-3.14.0-1] [MQTT311 MQTT-3.1.0-1], whatever other connections sent just before.
func TestStrangers(t *testing.T) {
	t.Parallel()
	log := &logbook{}
	o := with(t, "connect_timeout=300ms")
	o.Logger = log.logger()
	b := serve(t, o)
	by := newBystander(t, b)
	f := func(name, in string) {
		t.Helper()
		c := dial(t, b.addr, name, mqtt.V5)
		c.send(in)
		c.expectClosed()
		c.drop()
		by.unaffected()
		again := dial(t, b.addr, "before the next", mqtt.V5)
		again.exchange("CONNECT id=other clean", "CONNACK 0x00")
		again.drop()
	}
	f("F010 PUBLISH", "PUBLISH qos=1 id=1 topic=bystander/x")
	f("F010 PUBACK", "RAW 40 02 0001")
	f("F010 PINGREQ", "PINGREQ")
	f("F010 AUTH", "AUTH 0x18 auth-method=M")
	f("F010 DISCONNECT", "DISCONNECT")
	f("F010 SUBSCRIBE", "SUBSCRIBE id=1 bystander/# qos=0")
	f("F009 CONNACK", "CONNACK 0x00")
	f("F001 type 0", "RAW 00")
	f("F013 HTTP", "RAW 'GET / HTTP/1.1' 0d0a 'Host: broker' 0d0a0d0a")
	f("F013 TLS", "RAW 16 03 01 02 00 01 00 01 fc 03 03")
	f("F013 SSH", "RAW 'SSH-2.0-OpenSSH_9.6' 0d0a")
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		junk := make([]byte, 64<<10)
		for i := range junk {
			junk[i] = byte(random.Uint32())
		}
		f("F013 random", "RAW "+hex.EncodeToString(junk))
	}
	if !log.has("likely=HTTP") { // TLS and SSH fall into the same second
		t.Errorf("F013: no line in the log names HTTP:\n%s", log)
	}
}
