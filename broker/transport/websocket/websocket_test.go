package websocket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// frame is a client's frame: first byte, payload, masked.
func frame(first byte, payload string) string {
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i&3])
	}
	return string(b)
}

// decode feeds in in pieces of size n, 0 for all at once.
func decode(in string, n int) (payload, answer string, err error) {
	var d Decoder
	for len(in) > 0 {
		k := len(in)
		if n > 0 {
			k = min(n, k)
		}
		p, a, e := d.Decode([]byte(in[:k]), nil)
		payload += string(p)
		answer += string(a)
		if err == nil {
			err = e
		}
		in = in[k:]
	}
	return payload, answer, err
}

// F177: packets over several frames, several in one, zero-length frames, pings between fragments: one stream of bytes
// [MQTT5 MQTT-6.0.0-2] [MQTT311 MQTT-6.0.0-2].
func TestStream(t *testing.T) {
	long := strings.Repeat("0123456789", 7000)
	f := func(name, in, payload, answer string) {
		t.Helper()
		for _, n := range []int{0, 1, 2, 3, 7, 1000} {
			p, a, err := decode(in, n)
			if p != payload || a != answer || err != nil {
				t.Errorf("%s, by %d: %d bytes, answer %q, %v", name, n, len(p), a, err)
			}
		}
	}
	f("one frame", frame(0x82, "hello"), "hello", "")
	f("several", frame(0x82, "he")+frame(0x82, "")+frame(0x82, "llo"), "hello", "")
	f("fragments", frame(0x02, "he")+frame(0x00, "l")+frame(0x80, "lo"), "hello", "")
	f("empty fragments", frame(0x02, "")+frame(0x00, "hello")+frame(0x80, ""), "hello", "")
	f("ping between", frame(0x02, "he")+frame(0x89, "are you?")+frame(0x80, "llo"), "hello", "\x8a\x08are you?")
	f("empty ping", frame(0x89, "")+frame(0x82, "x"), "x", "\x8a\x00")
	f("pong", frame(0x8A, "unasked")+frame(0x82, "x"), "x", "")
	f("medium", frame(0x82, long[:1000])+frame(0x82, long[:126]), long[:1000]+long[:126], "")
	f("long", frame(0x82, long), long, "")
}

// F178: what RFC 6455 forbids fails the connection with 1002, whatever is announced; F176: a text frame with 1003
// [MQTT5 MQTT-6.0.0-1] [MQTT311 MQTT-6.0.0-1].
func TestViolations(t *testing.T) {
	f := func(name, in string, status Status) {
		t.Helper()
		for _, n := range []int{0, 1} {
			p, a, err := decode(frame(0x82, "ok")+in+frame(0x82, "never seen"), n)
			var e *Error
			if p != "ok" || !errors.As(err, &e) || e.Status != status || a != string(AppendClose(nil, status)) {
				t.Errorf("%s: %q, answer %q, %v", name, p, a, err)
			}
		}
	}
	f("unmasked", "\x82\x05hello", ProtocolError)
	for _, bit := range []byte{0x40, 0x20, 0x10} {
		f("reserved bit", frame(0x82|bit, "x"), ProtocolError)
	}
	f("long control frame", frame(0x89, strings.Repeat("x", 126)), ProtocolError)
	f("top bit", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01mask", ProtocolError)
	f("fragmented control frame", frame(0x09, "x"), ProtocolError)
	f("continuation of nothing", frame(0x80, "x"), ProtocolError)
	f("message within a message", frame(0x02, "")+frame(0x82, "x"), ProtocolError)
	f("opcode", frame(0x83, "x"), ProtocolError)
	f("control opcode", frame(0x8B, "x"), ProtocolError)
	f("half a status", frame(0x88, "x"), ProtocolError)
	f("status 1005", frame(0x88, "\x03\xed"), ProtocolError)
	f("text", frame(0x81, "x"), UnsupportedData)
	f("text fragment", frame(0x01, "x"), UnsupportedData)
}

func TestCloseFrame(t *testing.T) {
	for in, want := range map[string]Status{"": NormalClosure, "\x03\xe8": 1000, "\x03\xe9bye": 1001, "\x0b\xb8": 3000} {
		p, a, err := decode(frame(0x82, "x")+frame(0x88, in)+frame(0x82, "y"), 0)
		if p != "x" || a != string(AppendClose(nil, want)) || err != io.EOF {
			t.Errorf("%q: %q, %q, %v", in, p, a, err)
		}
	}
}

// A length that was announced allocates nothing.
func TestAnnouncedLength(t *testing.T) {
	in := []byte("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffmask-")
	b := make([]byte, len(in))
	if n := testing.AllocsPerRun(100, func() {
		var d Decoder
		copy(b, in)
		d.Decode(b, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAppendHeader(t *testing.T) {
	for n, want := range map[int]string{0: "\x82\x00", 125: "\x82\x7d", 126: "\x82\x7e\x00\x7e", 65535: "\x82\x7e\xff\xff", 65536: "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"} {
		if got := AppendHeader(nil, n); string(got) != want {
			t.Errorf("%d: % x", n, got)
		}
	}
}

func request(change ...string) string {
	s := "GET /mqtt HTTP/1.1\r\nHost: example.org:8083\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	return strings.NewReplacer(change...).Replace(s)
}

func TestUpgrade(t *testing.T) {
	p := &Policy{Path: "/mqtt", Origins: []string{"https://app.example.com"}}
	f := func(code int, text string, change ...string) {
		t.Helper()
		r, _, err := Parse([]byte(request(change...)))
		var answer []byte
		if err == nil {
			answer, err = p.Answer(r)
		}
		if code == 101 {
			if err != nil || !strings.Contains(string(answer), text) {
				t.Errorf("%v: %q, %v", change, answer, err)
			}
			return
		}
		var no *Refusal
		if !errors.As(err, &no) || no.Code != code || !strings.Contains(string(no.AppendTo(nil)), text) {
			t.Errorf("%v: %v, want %d with %q", change, err, code, text)
		}
	}
	f(101, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") // RFC 6455 1.3
	// [MQTT5 MQTT-6.0.0-3] [MQTT5 MQTT-6.0.0-4] [MQTT311 MQTT-6.0.0-3] [MQTT311 MQTT-6.0.0-4]
	f(101, "Sec-WebSocket-Protocol: mqtt\r\n")
	f(101, "Sec-WebSocket-Protocol: mqttv3.1\r\n", "Protocol: mqtt", "Protocol: chat, mqttv3.1")
	f(400, "mqttv3.1", "Protocol: mqtt", "Protocol: chat")
	f(101, "", "GET /mqtt", "GET /mqtt?x=1")
	f(404, "/mqtt", "GET /mqtt", "GET /other")
	f(405, "Allow: GET", "GET /", "PUT /")
	f(400, "HTTP/1.1", "HTTP/1.1", "HTTP/1.0")
	f(426, "Upgrade: websocket", "Upgrade: websocket\r\n", "")
	f(426, "Upgrade: websocket", "keep-alive, Upgrade", "close")
	f(426, "Sec-WebSocket-Version: 13", "Version: 13", "Version: 8")
	f(400, "16 bytes", "dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=")
	f(400, "no body", "Host:", "Content-Length: 4\r\nHost:")
	f(400, "not an HTTP request", "HTTP/1.1", "HTTP/1.1\r\nno header")
	// F180: a page of a foreign site may not connect, unless it is listed; one of our own host may.
	f(403, "origin", "Host:", "Origin: https://evil.example\r\nHost:")
	f(403, "origin", "Host:", "Origin: null\r\nHost:")
	f(403, "origin", "Host:", "Origin: https://example.org:8083\r\nOrigin: https://evil.example\r\nHost:")
	f(403, "origin", "Host:", "Origin: https://example.org:8083.evil.example\r\nHost:")
	f(101, "", "Host:", "Origin: http://EXAMPLE.org:8083\r\nHost:")
	f(101, "", "Host:", "Origin: https://app.example.com\r\nHost:")
	// Where everybody on this machine is let in, a name that leads here is not enough: evil.example may lead to 127.0.0.1 for a moment.
	p.Local = true
	own := func(host string) []string {
		return []string{"Host: example.org:8083", "Origin: http://" + host + "\r\nHost: " + host}
	}
	for _, host := range []string{"evil.example:8083", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1:8083", "[2001:db8::1]"} {
		f(403, "origin", own(host)...)
	}
	for _, host := range []string{"localhost:8083", "LOCALHOST", "app.localhost:8083", "127.0.0.1:8083", "[::1]:8083"} {
		f(101, "", own(host)...)
	}
	f(101, "", "Host:", "Origin: https://app.example.com\r\nHost:")
	f(101, "")
	p.Origins = []string{"*"}
	f(101, "", "Host:", "Origin: https://evil.example\r\nHost:")
}

func TestUpgradeLimits(t *testing.T) {
	if _, n, err := Parse([]byte(request()[:50])); n != 0 || err != nil {
		t.Error(n, err)
	}
	for _, in := range []string{"\x10\x0c\x00\x04MQTT", "\x16\x03\x01", "get / HTTP/1.1\r\n", " GET", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		var no *Refusal
		if _, _, err := Parse([]byte(in)); !errors.As(err, &no) || no.Code != 400 {
			t.Errorf("%q: %v", in, err)
		}
	}
	long := request("Host:", "X: "+strings.Repeat("x", MaxRequest)+"\r\nHost:")
	var no *Refusal
	if _, _, err := Parse([]byte(long)); !errors.As(err, &no) || no.Code != 431 {
		t.Error(err)
	}
}

// An upgrade and frames in whatever pieces.
func TestConn(t *testing.T) {
	in := request() + frame(0x82, "hel") + frame(0x82, "lo")
	for n := 1; n <= len(in); n++ {
		c := &Conn{Policy: func() *Policy { return &Policy{} }}
		if len(c.AppendClose(nil)) != 0 {
			t.Fatal("a closing frame before the upgrade")
		}
		var payload, answer []byte
		for rest := []byte(in); len(rest) > 0; {
			k := min(n, len(rest))
			p, a, err := c.Decode(bytes.Clone(rest[:k]))
			if err != nil {
				t.Fatal(err)
			}
			payload, answer = append(payload, p...), append(answer, a...)
			rest = rest[k:]
		}
		if string(payload) != "hello" || bytes.Count(answer, []byte("HTTP/1.1 101 ")) != 1 {
			t.Fatalf("by %d: %q, %q", n, payload, answer)
		}
	}
	c := &Conn{Policy: func() *Policy { return &Policy{} }, Accept: func(*http.Request) error { return errors.New("not you") }}
	if _, answer, err := c.Decode([]byte(request())); err == nil || !strings.HasPrefix(string(answer), "HTTP/1.1 403 Forbidden\r\n") || !strings.HasSuffix(string(answer), "\r\n\r\nnot you\n") {
		t.Errorf("%q, %v", answer, err)
	}
}

// FuzzDecode: whatever comes, in whatever pieces, the outcome is the same, and nothing panics.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(frame(0x82, "hello")+frame(0x89, "ping")+frame(0x88, "\x03\xe8")), uint64(1))
	f.Add([]byte(frame(0x02, "he")+frame(0x80, "")+"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01mask"), uint64(2))
	f.Add([]byte(frame(0x81, "text")), uint64(3))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		p1, a1, err1 := decode(string(in), 0)
		var d Decoder
		var p2, a2 []byte
		var err2 error
		r := rand.New(rand.NewPCG(seed, 0))
		for rest := bytes.Clone(in); len(rest) > 0; {
			n := 1 + r.IntN(len(rest))
			p, a, err := d.Decode(rest[:n], nil)
			p2, a2 = append(p2, p...), append(a2, a...)
			if err2 == nil {
				err2 = err
			}
			rest = rest[n:]
		}
		if p1 != string(p2) || a1 != string(a2) || (err1 == nil) != (err2 == nil) {
			t.Errorf("whole: %q %q %v; in pieces: %q %q %v", p1, a1, err1, p2, a2, err2)
		}
		if len(p1) > len(in) || len(a1) > len(in)+8 {
			t.Errorf("%d bytes became %d and %d", len(in), len(p1), len(a1))
		}
	})
}

// FuzzUpgrade: a request is accepted or refused with an answer, and more of it changes no verdict.
func FuzzUpgrade(f *testing.F) {
	f.Add([]byte(request()))
	f.Add([]byte(request("Host:", "Origin: https://evil.example\r\nHost:")))
	f.Add([]byte("GET /mqtt HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, n, err := Parse(in)
		switch {
		case err != nil:
			var no *Refusal
			if !errors.As(err, &no) || !strings.HasPrefix(string(no.AppendTo(nil)), "HTTP/1.1 4") {
				t.Fatalf("%v", err)
			}
		case n > len(in) || n > MaxRequest:
			t.Fatalf("%d of %d", n, len(in))
		case n > 0:
			p := &Policy{Path: "/mqtt"}
			answer, err := p.Answer(r)
			if err == nil && (!bytes.HasSuffix(answer, []byte("\r\n\r\n")) || bytes.Count(answer, []byte("\r\n\r\n")) != 1) {
				t.Fatalf("%q", answer)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{16, 64, 1024, 16 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			in := []byte(frame(0x82, strings.Repeat("x", size)))
			buf := make([]byte, len(in))
			var d Decoder
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				copy(buf, in)
				d.Decode(buf, nil)
			}
		})
	}
}
