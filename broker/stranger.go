package broker

import (
	"bytes"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/loop"
)

// stranger reports a connection whose first bytes are no CONNECT, at most once a second: somebody who
// speaks another protocol on this port wants to know, and a scanner must not fill the log.
func (sh *shard) stranger(conn *loop.Conn, b []byte) {
	protocol := likelyProtocol(b)
	if protocol == "" {
		return
	}
	if n, ok := sh.b.strangers.allow(time.Now()); ok {
		sh.b.log.Warn("a connection does not speak MQTT", "remote", addressOf(conn), "likely", protocol, "times", n)
	}
}

// likelyProtocol names the protocol that begins like b, "" for none that is known.
func likelyProtocol(b []byte) string {
	if len(b) > 1 && b[0] == 0x16 && b[1] == 3 { // a handshake record of any version (RFC 8446 5.1)
		return "TLS"
	}
	for _, p := range [...]struct{ start, name string }{
		{"GET ", "HTTP"},
		{"POST ", "HTTP"},
		{"HEAD ", "HTTP"},
		{"PUT ", "HTTP"},
		{"OPTIONS ", "HTTP"},
		{"CONNECT ", "HTTP"},
		{"PRI * HTTP/2", "HTTP"},
		{"SSH-", "SSH"},
		{"PROXY ", "PROXY"},
		{"\r\n\r\n\x00\r\nQUIT\n", "PROXY"},
		{"EHLO ", "SMTP"},
		{"HELO ", "SMTP"},
	} {
		if bytes.HasPrefix(b, []byte(p.start)) {
			return p.name
		}
	}
	return ""
}
