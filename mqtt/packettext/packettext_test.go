package packettext

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// A line in its own form: what it parses to is written as the same line, and the
// bytes of it decode to what is written as the same line again.
func TestRoundTrip(t *testing.T) {
	f := func(v mqtt.Version, line string) {
		t.Helper()
		p, err := Parse(line)
		if err != nil {
			t.Error(err)
			return
		}
		if got := Format(p); got != line {
			t.Errorf("parsed and written\n%s, want\n%s", got, line)
		}
		wire, err := Encode(nil, v, line)
		if err != nil {
			t.Error(err)
			return
		}
		h, n, err := mqtt.ParseHeader(wire)
		if err != nil || n+h.Length != len(wire) {
			t.Errorf("%s: header %v of %x", line, err, wire)
			return
		}
		var back mqtt.Packet
		if err := back.Decode(v, h, wire[n:], mqtt.Limits{}); err != nil {
			t.Errorf("%s: %v", line, err)
			return
		}
		if got := Format(&back); got != line {
			t.Errorf("over the wire\n%s, want\n%s", got, line)
		}
	}
	f(mqtt.V31, `CONNECT v3.1 id=dev1 clean keepalive=30`)
	f(mqtt.V311, `CONNECT v3.1.1 id="" clean username=u password="p\x00\xff" will=w/t will-qos=2 will-retain "offline"`)
	f(mqtt.V5, `CONNECT v5 id=dev1 clean keepalive=30 expiry=60 will=status/dev1 will-qos=1 will-retain "offline"`)
	f(mqtt.V5, `CONNECT v5 id=x expiry=0 receive-max=7 max-packet=4096 alias-max=5 request-response=1 request-problem=0 `+
		`auth-method=M auth-data="\x01" user=a=b user="a b"="" will=t will-expiry=9 will-delay=5 will-utf8=1 will-user=k=v "gone"`)
	f(mqtt.V311, `CONNACK 0x00 present`)
	f(mqtt.V311, `CONNACK 0x87`)
	f(mqtt.V5, `CONNACK 0x00 expiry=1 receive-max=20 max-qos=0 retain-available=0 max-packet=1024 assigned-id=id alias-max=16 `+
		`wildcard-available=0 subid-available=1 shared-available=0 server-keepalive=15 response-info=r server-ref=s `+
		`auth-method=M auth-data="" reason="all right" user=k=v`)
	f(mqtt.V31, `PUBLISH topic=a/b "payload"`)
	f(mqtt.V311, `PUBLISH qos=2 id=4660 dup retain topic="a b,c=d" "\"\x00"`)
	f(mqtt.V5, `PUBLISH qos=1 id=7 topic="" alias=3`)
	f(mqtt.V5, `PUBLISH topic=t expiry=3600 alias=2 subid=5 subid=128 user=b=2 utf8=1 content-type=ct user=a=1 response-topic=r/t correlation="\x00" "x"`)
	f(mqtt.V311, `PUBACK id=7`)
	f(mqtt.V5, `PUBREC id=7 0x97 reason=full user=k=v`)
	f(mqtt.V5, `PUBREL id=7 0x92`)
	f(mqtt.V5, `PUBCOMP id=65535`)
	f(mqtt.V5, `SUBSCRIBE id=1 subid=5 user=k=v a/+ qos=1 nl rap rh=2, $share/g/b qos=0, "" qos=2`)
	f(mqtt.V311, `SUBSCRIBE id=1 nl qos=0, "x=y" qos=2, rap qos=1`)
	f(mqtt.V5, `SUBACK id=1 0x01,0x8F reason=r`)
	f(mqtt.V5, `UNSUBSCRIBE id=2 user=k=v a/+, "b c"`)
	f(mqtt.V311, `UNSUBACK id=2`)
	f(mqtt.V5, `UNSUBACK id=2 0x00,0x11`)
	f(mqtt.V311, `PINGREQ`)
	f(mqtt.V5, `PINGRESP`)
	f(mqtt.V311, `DISCONNECT`)
	f(mqtt.V5, `DISCONNECT 0x9C expiry=0 server-ref=other reason=moved user=k=v`)
	f(mqtt.V5, `AUTH 0x18 auth-method=M auth-data="\x00\xff"`)
}

// Words may stand in any order, and what is left out has its zero value.
func TestLoose(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		p, err := Parse(line)
		if err != nil {
			t.Error(err)
			return
		}
		if got := Format(p); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
	f(`CONNECT "gone" will=w clean id=a`, `CONNECT v5 id=a clean will=w "gone"`)
	f(`PUBLISH "m" topic=t qos=1  id=0x10`, `PUBLISH qos=1 id=16 topic=t "m"`)
	f(`SUBSCRIBE id=1 "a","b" qos=1`, `SUBSCRIBE id=1 a qos=0, b qos=1`)
	f(`SUBACK 0x00 , 0x01 id=3`, `SUBACK id=3 0x00,0x01`)
	f(`CONNACK`, `CONNACK 0x00`)
	f(`PUBACK id=1 0x00`, `PUBACK id=1`)
}

func TestRaw(t *testing.T) {
	got, err := Encode([]byte("x"), mqtt.V5, `RAW 30 0500 03'a b'`)
	if err != nil || !bytes.Equal(got, []byte("x\x30\x05\x00\x03a b")) {
		t.Errorf("%x, %v", got, err)
	}
	if got, _ = Encode(nil, mqtt.V31, `CONNECT id=a`); !bytes.Contains(got, []byte("MQIsdp\x03")) {
		t.Errorf("a CONNECT without a version is not of the one given: %x", got)
	}
}

func TestMistakes(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		_, err := Encode(nil, mqtt.V311, line)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
	f("", "an empty line")
	f("PUBLISCH", "no packet type")
	f("RAW 3", "RAW 3")
	f(`PUBLISH topic="a`, "unfinished quotes")
	f("PUBLISH topic=", "a value is missing")
	f("PUBLISH topic=a qos=4", "not a number of 2 bits")
	f("PUBLISH color=red", "does not belong here")
	f("CONNECT dirty", "does not belong here")
	f("PUBACK id=70000", "not a number of 16 bits")
	f("DISCONNECT id=1", "does not belong here")
	f("DISCONNECT no", "not a reason code")
	f("SUBSCRIBE id=1 a color=1", "does not belong here")
	f("PUBLISH topic=t user=k", "does not belong here")
	f("PINGREQ 1", "does not belong here")
	f("AUTH user=k", "does not belong here")
	f("CONNACK 0x95", "no bytes stand for it")
}
