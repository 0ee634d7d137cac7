package broker

import "testing"

func TestLikelyProtocol(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := likelyProtocol([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	f("GET / HTTP/1.1\r\n", "HTTP") // F013
	f("\x16\x03\x01\x02\x00\x01", "TLS")
	f("SSH-2.0-OpenSSH_9.6\r\n", "SSH")
	f("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY")
	f("\r\n\r\n\x00\r\nQUIT\n\x21", "PROXY")
	f("EHLO example.org\r\n", "SMTP")
	f("\x10\x0c\x00\x04MQTT", "")
	f("", "")
}
