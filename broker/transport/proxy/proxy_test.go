package proxy_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/transport/proxy"
)

const signature = "\r\n\r\n\x00\r\nQUIT\n"

// v2 builds a header of version 2.
func v2(command, family byte, body string) string {
	b := append([]byte(signature), command, family, 0, 0)
	binary.BigEndian.PutUint16(b[14:], uint16(len(body)))
	return string(b) + body
}

// tlv builds one value.
func tlv(kind byte, v string) string {
	return string([]byte{kind, byte(len(v) >> 8), byte(len(v))}) + v
}

// ssl builds the account of TLS.
func ssl(client byte, verify uint32, inner string) string {
	return tlv(0x20, string(binary.BigEndian.AppendUint32([]byte{client}, verify))+inner)
}

// summed gives a header whose last value is a checksum the right one.
func summed(header string) string {
	sum := crc32.Checksum([]byte(header), crc32.MakeTable(crc32.Castagnoli))
	return string(binary.BigEndian.AppendUint32([]byte(header[:len(header)-4]), sum))
}

const (
	tcp4 = "\xc0\x00\x02\x01\xc6\x33\x64\x01\xdc\x04\x07\x5b" // 192.0.2.1:56324 to 198.51.100.1:1883
	rest = "\x10\x0c\x00\x04MQTT"
)

var (
	tcp6   = string(append(append(netip.MustParseAddr("2001:db8::1").AsSlice(), netip.MustParseAddr("2001:db8::2").AsSlice()...), 0xdc, 4, 7, 0x5b))
	mapped = string(append(append(netip.MustParseAddr("::ffff:192.0.2.1").AsSlice(), netip.MustParseAddr("::1").AsSlice()...), 0xdc, 4, 7, 0x5b))
)

func source(text string) proxy.Header { return proxy.Header{Source: netip.MustParseAddrPort(text)} }

func TestParse(t *testing.T) {
	secure := func(name string) proxy.Header {
		return proxy.Header{Source: netip.MustParseAddrPort("192.0.2.1:56324"), TLS: true, CommonName: name}
	}
	f := func(header string, want proxy.Header) {
		t.Helper()
		for n := range len(header) { // however it is cut
			if h, n, err := proxy.Parse([]byte(header[:n])); n != 0 || err != nil {
				t.Fatalf("%q: %v, %d, %v, want more bytes to be asked for", header[:n], h, n, err)
			}
		}
		h, n, err := proxy.Parse([]byte(header + rest))
		if h != want || n != len(header) || err != nil {
			t.Errorf("%q: got %+v, %d, %v, want %+v, %d", header, h, n, err, want, len(header))
		}
	}
	// The examples of section 2.1, with the longest lines.
	f("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", source("192.168.0.1:56324"))
	f("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", source("255.255.255.255:65535"))
	f("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		source("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"))
	f("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", source("192.0.2.1:1"))
	f("PROXY UNKNOWN\r\n", proxy.Header{Local: true})
	f("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", proxy.Header{Local: true})

	f(v2(0x21, 0x11, tcp4), source("192.0.2.1:56324"))
	f(v2(0x21, 0x21, tcp6), source("[2001:db8::1]:56324"))
	f(v2(0x21, 0x21, mapped), source("192.0.2.1:56324"))
	f(v2(0x20, 0x00, ""), proxy.Header{Local: true})
	f(v2(0x20, 0x11, "what a health check adds"), proxy.Header{Local: true})
	f(v2(0x21, 0x00, tlv(0x04, "padding")), proxy.Header{Local: true})
	f(v2(0x21, 0x11, tcp4+tlv(0x01, "h2")+tlv(0xee, "")), source("192.0.2.1:56324"))
	f(v2(0x21, 0x11, tcp4+tlv(0x04, strings.Repeat("x", proxy.MaxSize-16-12-3))), source("192.0.2.1:56324"))
	f(summed(v2(0x21, 0x11, tcp4+tlv(0x03, "\x00\x00\x00\x00"))), source("192.0.2.1:56324"))

	f(v2(0x21, 0x11, tcp4+ssl(1, 0, tlv(0x21, "TLSv1.3"))), secure(""))
	f(v2(0x21, 0x11, tcp4+ssl(3, 0, tlv(0x21, "TLSv1.3")+tlv(0x22, "pump-é"))), secure("pump-é"))
	f(v2(0x21, 0x11, tcp4+ssl(5, 0, tlv(0x22, "pump"))), secure("pump"))
	f(v2(0x21, 0x11, tcp4+ssl(3, 1, tlv(0x22, "unverified"))), secure(""))
	f(v2(0x21, 0x11, tcp4+ssl(1, 0, tlv(0x22, "without a certificate"))), secure(""))
	f(v2(0x21, 0x11, tcp4+ssl(2, 0, tlv(0x22, "without TLS"))), source("192.0.2.1:56324"))
}

// TestMalformed refuses what cannot be believed. F154
func TestMalformed(t *testing.T) {
	f := func(header string) {
		t.Helper()
		var malformed proxy.Malformed
		if h, n, err := proxy.Parse([]byte(header)); !errors.As(err, &malformed) || n != 0 || h != (proxy.Header{}) {
			t.Errorf("%q: got %+v, %d, %v, want it refused", header, h, n, err)
		}
	}
	f("PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883\n")
	f("PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883 more\r\n")
	f("PROXY TCP4 192.0.2.1  198.51.100.1 56324 1883\r\n")
	f("PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n")
	f("PROXY TCP4 192.0.2.1 198.51.100.1 65536 1883\r\n")
	f("PROXY TCP4 192.0.2.1 198.51.100.1 056 1883\r\n")
	f("PROXY TCP4 192.0.2.1 198.51.100.1 +56 1883\r\n")
	f("PROXY TCP4 192.0.2.01 198.51.100.1 56324 1883\r\n")
	f("PROXY TCP4 2001:db8::1 2001:db8::2 56324 1883\r\n")
	f("PROXY TCP6 192.0.2.1 198.51.100.1 56324 1883\r\n")
	f("PROXY TCP6 fe80::1%eth0 ::1 56324 1883\r\n")
	f("PROXY TCP4 192.0.2.1 hostname 56324 1883\r\n")
	f("PROXY UDP4 192.0.2.1 198.51.100.1 56324 1883\r\n")
	f("PROXY \r\n")
	f("PROXY \n")
	f("PROXY UNKNOWN " + strings.Repeat("x", 107))
	f("PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n")

	f(v2(0x31, 0x11, tcp4))                      // version 3
	f(v2(0x22, 0x11, tcp4))                      // no such command
	f(v2(0x21, 0x12, tcp4))                      // UDP
	f(v2(0x21, 0x31, string(make([]byte, 216)))) // a Unix socket
	f(v2(0x21, 0x11, tcp4[:11]))
	f(v2(0x21, 0x21, tcp4))
	f(v2(0x21, 0x11, tcp4+"\x04"))
	f(v2(0x21, 0x11, tcp4+"\x04\x00"))
	f(v2(0x21, 0x11, tcp4+"\x04\x00\x02x"))
	f(v2(0x21, 0x11, tcp4+"\x04\xff\xffx"))
	f(v2(0x21, 0x11, tcp4+tlv(0x03, "\x01\x02\x03\x04")))
	f(v2(0x21, 0x11, tcp4+tlv(0x03, "")))
	f(signature + "\x21\x11\x10\x00") // longer than allowed: refused before it is there

	f(v2(0x21, 0x11, tcp4+tlv(0x20, "\x01\x00\x00\x00")))
	f(v2(0x21, 0x11, tcp4+ssl(1, 0, "\x22\x00\x09x"))) // into what follows
	f(v2(0x21, 0x11, tcp4+ssl(3, 0, tlv(0x22, "a"))+ssl(3, 0, tlv(0x22, "b"))))
	f(v2(0x21, 0x11, tcp4+ssl(3, 0, tlv(0x22, "a")+tlv(0x22, "b"))))
	for _, name := range []string{"", "a\r\nb", "a\nb", "a\x00b", "a\x7fb", "\xff\xfe", "\xc3", "a\u0085b"} {
		f(v2(0x21, 0x11, tcp4+ssl(3, 0, tlv(0x22, name))))
		f(v2(0x21, 0x11, tcp4+ssl(3, 7, tlv(0x22, name)))) // even where it would not count
	}
}

func TestMissing(t *testing.T) {
	for _, b := range []string{"\x10", rest, "GET / HTTP/1.1\r\n", "PROXX", "proxy tcp4", "\r\n\r\n\x01", "\x16\x03\x01\x02\x00"} {
		if _, n, err := proxy.Parse([]byte(b)); !errors.Is(err, proxy.ErrMissing) || n != 0 {
			t.Errorf("%q: got %d, %v, want ErrMissing", b, n, err)
		}
	}
}

func trusted(t *testing.T, networks ...string) proxy.Trusted {
	t.Helper()
	set, err := proxy.ParseTrusted(networks)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestTrusted(t *testing.T) {
	set := trusted(t, "10.1.2.3/8", "192.0.2.7", "fd00::/8", "::ffff:172.16.0.0/108")
	for text, want := range map[string]bool{
		"10.255.0.1": true, "11.0.0.1": false, "192.0.2.7": true, "192.0.2.8": false, "::ffff:10.0.0.1": true,
		"fd12::1": true, "fd12::1%eth0": true, "fe80::1": false, "172.16.9.9": true, "172.32.0.1": false,
	} {
		if got := set.Contains(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
	if set.Contains(netip.Addr{}) || proxy.Trusted(nil).Contains(netip.MustParseAddr("127.0.0.1")) {
		t.Error("trusted what nobody named")
	}
	for _, text := range []string{"", "10.0.0.0/33", "localhost", "10.0.0", "fe80::1%eth0"} {
		if _, err := proxy.ParseTrusted([]string{text}); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// TestForwardedFor believes only what trusted proxies wrote. F154
func TestForwardedFor(t *testing.T) {
	set := trusted(t, "10.0.0.0/8", "fd00::/8")
	f := func(conn, want string, values ...string) {
		t.Helper()
		got, err := set.ForwardedFor(netip.MustParseAddr(conn), values)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%s, %q: got %v, %v, want %s", conn, values, got, err, want)
		}
	}
	f("192.0.2.1", "192.0.2.1")
	f("192.0.2.1", "192.0.2.1", "203.0.113.9")
	f("192.0.2.1", "192.0.2.1", "rubbish")
	f("10.0.0.1", "10.0.0.1")
	f("10.0.0.1", "203.0.113.9", "203.0.113.9")
	f("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9")
	f("10.0.0.1", "203.0.113.9", "1.1.1.1, 203.0.113.9")
	f("10.0.0.1", "203.0.113.9", "rubbish, 203.0.113.9, 10.0.0.2")
	f("10.0.0.1", "203.0.113.9", "1.1.1.1", "203.0.113.9,10.0.0.2", "fd00::1")
	f("10.0.0.1", "10.0.0.3", "10.0.0.3, 10.0.0.2")
	f("10.0.0.1", "203.0.113.9", "203.0.113.9:4711")
	f("10.0.0.1", "2001:db8::1", "[2001:db8::1]:4711")
	f("10.0.0.1", "2001:db8::1", "[2001:db8::1]")
	f("10.0.0.1", "203.0.113.9", "::ffff:203.0.113.9")
	f("10.0.0.1", "203.0.113.9", " 203.0.113.9 ,, ")
	f("10.0.0.1", "", "203.0.113.9, rubbish")
	f("10.0.0.1", "", "fe80::1%eth0")
	f("10.0.0.1", "", "203.0.113.9\r\nx")
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883\r\n", "PROXY UNKNOWN\r\n", "PROXY TCP6 ::1 ::2 1 2\r\nrest",
		v2(0x21, 0x11, tcp4), v2(0x21, 0x21, tcp6), v2(0x20, 0, ""), v2(0x21, 0x11, tcp4+ssl(3, 0, tlv(0x22, "pump"))),
		summed(v2(0x21, 0x11, tcp4+tlv(0x03, "\x00\x00\x00\x00"))),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := proxy.Parse(b)
		if n < 0 || n > min(len(b), proxy.MaxSize) || err != nil && n != 0 {
			t.Fatalf("n = %d of %d, %v", n, len(b), err)
		}
		if n == 0 && err == nil && len(b) >= proxy.MaxSize {
			t.Fatal("asks for more than MaxSize")
		}
		if n > 0 && h.Local == h.Source.IsValid() {
			t.Fatalf("neither local nor from somewhere: %+v", h)
		}
		if strings.ContainsAny(h.CommonName, "\r\n\x00") {
			t.Fatalf("%q", h.CommonName)
		}
		for cut := range n { // the answer does not depend on how it arrives
			if _, early, err := proxy.Parse(b[:cut]); early != 0 || err != nil {
				t.Fatalf("%d of %d bytes: %d, %v", cut, n, early, err)
			}
		}
	})
}
