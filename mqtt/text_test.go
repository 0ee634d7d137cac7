package mqtt

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValidText(t *testing.T) {
	f := func(name, s string, want bool) {
		t.Run(name, func(t *testing.T) {
			// Every offset to the eight-byte steps, before and behind ASCII.
			for n := range 17 {
				pad := strings.Repeat("x", n)
				for _, in := range []string{pad + s, s + pad, pad + s + pad} {
					if got := validText(b(in)); got != want {
						t.Fatalf("%q: %v", in, got)
					}
				}
			}
		})
	}
	f("empty", "", true)
	f("ASCII with controls", "\x01\x1f\x7f", true)
	f("two, three and four bytes", "\u00e9\u20ac\U0001F600", true)
	f("U+FEFF [MQTT5 MQTT-1.5.4-3]", "\ufeff", true)
	f("noncharacters are discouraged, not forbidden", "\ufffe\uffff", true)
	f("U+0000 [MQTT5 MQTT-1.5.4-2] [MQTT311 MQTT-1.5.3-2]", "\x00", false)
	f("U+0000 behind others", "\u20ac\x00", false)
	f("surrogate U+D800 [MQTT5 MQTT-1.5.4-1] [MQTT311 MQTT-1.5.3-1]", "\xed\xa0\x80", false)
	f("surrogate U+DFFF [MQTT5 MQTT-1.5.4-1] [MQTT311 MQTT-1.5.3-1]", "\xed\xbf\xbf", false)
	f("overlong U+0000", "\xc0\x80", false)
	f("overlong slash", "\xc0\xaf", false)
	f("above U+10FFFF", "\xf4\x90\x80\x80", false)
	f("lone continuation", "\x80", false)
	f("cut sequence", "\xe2\x82", false)
}

func TestHasWildcard(t *testing.T) {
	for c := range 256 {
		for n := range 17 {
			in := append(bytes.Repeat([]byte{'x'}, n), byte(c))
			in = append(in, "tail/of/it"...)
			wild := c == '+' || c == '#'
			if hasWildcard(in) != wild || plainTopic(in) != (!wild && c > 0 && c < 0x80) {
				t.Fatalf("%q: %v, plain %v", in, hasWildcard(in), plainTopic(in))
			}
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add([]byte("a/b/c/d/e/f"))
	f.Add([]byte("\xed\xa0\x80abcdefgh"))
	f.Fuzz(func(t *testing.T, s []byte) {
		if got, want := validText(s), utf8.Valid(s) && !bytes.Contains(s, []byte{0}); got != want {
			t.Errorf("validText(%q) = %v", s, got)
		}
		want := utf8.Valid(s) && !bytes.Contains(s, []byte{0}) && !bytes.ContainsAny(s, "+#")
		if err := topicFault(s); (err == nil) != want {
			t.Errorf("topicFault(%q) = %v", s, err)
		}
	})
}

func TestNames(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f(V31.String(), "3.1")
	f(V311.String(), "3.1.1")
	f(V5.String(), "5.0")
	f(Version(9).String(), "level 9")
	f(CONNECT.String(), "CONNECT")
	f(AUTH.String(), "AUTH")
	f(Type(0).String(), "type 0")
	f(Success.String(), "Success")
	f(Reauthenticate.Error(), "Re-authenticate")
	f(UnspecifiedError.Error(), "Unspecified error")
	f(ReceiveMaximumExceeded.Error(), "Receive Maximum exceeded")
	f(QoSNotSupported.Error(), "QoS not supported")
	f(WildcardSubsNotSupported.Error(), "Wildcard Subscriptions not supported")
	f(ReasonCode(0xA3).Error(), "reason code 0xa3")
	f(ReasonCode(0x03).Error(), "reason code 0x3")
	f((&Error{MalformedPacket, "why"}).Error(), "Malformed Packet: why")
}
