// Package packettext is a notation of control packets for people: one line per
// packet, for test scripts, logs and tools. It translates between lines, packets
// and, for what is no packet, bytes; it does not judge whether MQTT allows them.
//
// A line is the type and then words, in any order:
//
//	CONNECT v5 id=dev1 clean keepalive=30 username=u password=p expiry=60 user=site=3
//	CONNECT v3.1.1 id=dev1 will=status/dev1 will-qos=1 will-retain will-delay=5 "offline"
//	CONNACK 0x00 present receive-max=20 assigned-id=x1
//	PUBLISH qos=1 id=7 dup retain topic=a/b alias=3 utf8=1 user=k=v "payload"
//	PUBACK id=7 0x10 reason="nobody there"        (and PUBREC, PUBREL, PUBCOMP)
//	SUBSCRIBE id=1 subid=5 a/+ qos=1 nl rap rh=2, $share/g/b qos=0
//	SUBACK id=1 0x01,0x8F                         (and UNSUBACK)
//	UNSUBSCRIBE id=2 a/+, "b c"
//	DISCONNECT 0x04 expiry=0
//	AUTH 0x18 auth-method=M auth-data="\x00\xff"
//	PINGREQ                                       (and PINGRESP)
//	RAW 30 05 00 'a/b'                            (hex digits and quoted text)
//
// A flag is a word, everything else key=value. A value that has other characters
// than letters, digits and _ - . / + # $ : @ * % is quoted as in Go. Reason codes
// are those of MQTT 5 for every version and may be left out when 0x00. A quoted
// word without a key is the payload, in a CONNECT that of the will. Properties
// are key=value in every packet; those of a will begin with "will-".
package packettext

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Parse reads the line of one packet into a Packet of its own. A CONNECT without
// a version is one of mqtt.V5. RAW is no packet: see Encode.
func Parse(line string) (*mqtt.Packet, error) { return parse(mqtt.V5, line) }

// Encode appends the bytes of the line's packet in the form of version v; a
// CONNECT that names its own version keeps that. RAW appends what it says. What
// MQTT cannot frame is an error.
func Encode(dst []byte, v mqtt.Version, line string) ([]byte, error) {
	if text, ok := strings.CutPrefix(strings.TrimSpace(line), "RAW"); ok {
		return appendRaw(dst, text)
	}
	p, err := parse(v, line)
	if err != nil {
		return dst, err
	}
	out := AppendPacket(dst, p, v)
	if len(out) == len(dst) {
		return dst, fmt.Errorf("%s: no bytes stand for it in MQTT %v", line, v)
	}
	return out, nil
}

// AppendPacket appends the bytes of p in the form of version v. What MQTT cannot
// frame is not appended.
func AppendPacket(dst []byte, p *mqtt.Packet, v mqtt.Version) []byte {
	switch p.Type {
	case mqtt.CONNECT:
		return p.Connect.AppendTo(dst)
	case mqtt.CONNACK:
		return p.Connack.AppendTo(dst, v, 0)
	case mqtt.PUBLISH:
		return p.Publish.AppendTo(dst, v)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		return p.Ack.AppendTo(dst, p.Type, v, 0)
	case mqtt.SUBSCRIBE:
		return p.Subscribe.AppendTo(dst, v)
	case mqtt.SUBACK, mqtt.UNSUBACK:
		return p.Suback.AppendTo(dst, p.Type, v, 0)
	case mqtt.UNSUBSCRIBE:
		return p.Unsubscribe.AppendTo(dst, v)
	case mqtt.PINGREQ, mqtt.PINGRESP:
		return mqtt.AppendPing(dst, p.Type)
	case mqtt.DISCONNECT:
		return p.Disconnect.AppendTo(dst, v, 0)
	case mqtt.AUTH:
		return p.Auth.AppendTo(dst, 0)
	}
	return dst
}

func appendRaw(dst []byte, text string) ([]byte, error) {
	for i, part := range strings.Split(text, "'") {
		if i%2 == 1 {
			dst = append(dst, part...)
			continue
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
		if err != nil {
			return dst, fmt.Errorf("RAW%s: %w", text, err)
		}
		dst = append(dst, b...)
	}
	return dst, nil
}
