package mqtt

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// wire turns "30 05 0003 'a/b'" into bytes: hex digits and quoted text.
func wire(s string) []byte {
	var out []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			panic(err)
		}
		out = append(out, b...)
	}
	return out
}

// decodeWire reads the one packet that b holds.
func decodeWire(p *Packet, v Version, b []byte, lim Limits) error {
	h, n, err := ParseHeader(b)
	if err != nil {
		return err
	}
	if n == 0 || len(b) != n+h.Length {
		return errors.New("the bytes are not one whole packet")
	}
	return p.Decode(v, h, b[n:], lim)
}

// part is the part of p in force; nil for pings.
func part(p *Packet) any {
	switch p.Type {
	case CONNECT:
		return p.Connect
	case CONNACK:
		return p.Connack
	case PUBLISH:
		return p.Publish
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return p.Ack
	case SUBSCRIBE:
		return p.Subscribe
	case SUBACK, UNSUBACK:
		return p.Suback
	case UNSUBSCRIBE:
		return p.Unsubscribe
	case DISCONNECT:
		return p.Disconnect
	case AUTH:
		return p.Auth
	}
	return nil
}

// encode writes the part of p in force.
func encode(p *Packet, v Version, dst []byte) []byte {
	switch p.Type {
	case CONNECT:
		return p.Connect.AppendTo(dst)
	case CONNACK:
		return p.Connack.AppendTo(dst, v, 0)
	case PUBLISH:
		return p.Publish.AppendTo(dst, v)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return p.Ack.AppendTo(dst, p.Type, v, 0)
	case SUBSCRIBE:
		return p.Subscribe.AppendTo(dst, v)
	case SUBACK, UNSUBACK:
		return p.Suback.AppendTo(dst, p.Type, v, 0)
	case UNSUBSCRIBE:
		return p.Unsubscribe.AppendTo(dst, v)
	case PINGREQ, PINGRESP:
		return AppendPing(dst, p.Type)
	case DISCONNECT:
		return p.Disconnect.AppendTo(dst, v, 0)
	}
	return p.Auth.AppendTo(dst, 0)
}

// wantReason fails unless err is an *Error with the reason.
func wantReason(t *testing.T, err error, want ReasonCode) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Reason != want || !errors.Is(err, want) {
		t.Fatalf("got %v, want an *Error with %v", err, want)
	}
}

func writeProperty(w io.Writer, id PropertyID, name, value []byte) {
	fmt.Fprintf(w, "%d %s %x;", id, name, value)
}
