package app

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	peer "github.com/xdg-go/scram"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// talk is an MQTT 5 connection that authenticates with AUTH packets, written by hand.
type talk struct {
	*testing.T
	conn net.Conn
	in   *bufio.Reader
}

func field(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// properties are Authentication Method and Authentication Data.
func properties(method, data string) []byte {
	p := slices.Concat([]byte{0x15}, field(method), []byte{0x16}, field(data))
	return append(binary.AppendUvarint(nil, uint64(len(p))), p...)
}

func (c *talk) send(head byte, body []byte) {
	c.Helper()
	if _, err := c.conn.Write(slices.Concat([]byte{head}, binary.AppendUvarint(nil, uint64(len(body))), body)); err != nil {
		c.Fatal(err)
	}
}

// next is the next packet: its type, reason code and Authentication Data.
func (c *talk) next() (mqtt.Type, mqtt.ReasonCode, string) {
	c.Helper()
	head, err := c.in.ReadByte()
	if err != nil {
		c.Fatal(err)
	}
	n, err := binary.ReadUvarint(c.in)
	body := make([]byte, n)
	if err == nil {
		_, err = io.ReadFull(c.in, body)
	}
	if err != nil {
		c.Fatal(err)
	}
	kind, flags := mqtt.Type(head>>4), 0
	if kind == mqtt.CONNACK {
		flags = 1
	}
	if len(body) <= flags {
		return kind, mqtt.Success, ""
	}
	for rest := body[flags+1:]; len(rest) > 3; rest = rest[1:] { // no other property of these packets holds what looks like it
		if at := int(binary.BigEndian.Uint16(rest[1:])); rest[0] == 0x16 && len(rest) >= 3+at {
			return kind, mqtt.ReasonCode(body[flags]), string(rest[3 : 3+at])
		}
	}
	return kind, mqtt.ReasonCode(body[flags]), ""
}

// SCRAM from the first byte to the last, with a client that somebody else wrote: who knows the password gets in and is who it says,
// proves it again while connected, and is offered no method that the configuration does not name.
func TestScramConnects(t *testing.T) {
	address := freeAddress(t)
	s := serveFile(t, locked(address, ", scram: [SCRAM-SHA-256]"))
	u := accounts.User{Name: "ann"}
	if err := s.people.accounts.SetPassword(t.Context(), &u, []byte("a password")); err != nil {
		t.Fatal(err)
	}
	s.apply(accounts.Change{User: &u})
	// converse sends packets with what the client says until the server answers with another packet than AUTH.
	converse := func(c *talk, user, password, method string, first func(data string)) (mqtt.Type, mqtt.ReasonCode) {
		t.Helper()
		made, err := peer.SHA256.NewClient(user, password, "")
		if err != nil {
			t.Fatal(err)
		}
		side := made.NewConversation()
		say, err := side.Step("")
		if err != nil {
			t.Fatal(err)
		}
		for first(say); ; {
			kind, reason, data := c.next()
			if data != "" {
				if say, err = side.Step(data); err != nil {
					t.Fatal(err)
				}
			}
			if kind != mqtt.AUTH || reason == mqtt.Success {
				if reason == mqtt.Success && !side.Valid() {
					t.Error("the server has not proved that it knows the password")
				}
				return kind, reason
			}
			c.send(0xF0, append([]byte{0x18}, properties(method, say)...))
		}
	}
	connect := func(user, password, method string) (*talk, mqtt.ReasonCode) {
		t.Helper()
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c := &talk{t, conn, bufio.NewReader(conn)}
		kind, reason := converse(c, user, password, method, func(data string) {
			c.send(0x10, slices.Concat([]byte("\x00\x04MQTT\x05\x02\x00\x3c"), properties(method, data), field("c-"+user)))
		})
		if kind != mqtt.CONNACK {
			t.Errorf("answered by %v", kind)
		}
		return c, reason
	}
	c, reason := connect("ann", "a password", "SCRAM-SHA-256")
	if reason != mqtt.Success {
		t.Fatal(reason)
	}
	if who, err := s.broker.Control().Principal(t.Context(), "c-ann"); err != nil || who.Name != "ann" {
		t.Errorf("%+v, %v", who, err)
	}
	kind, reason := converse(c, "ann", "a password", "SCRAM-SHA-256", func(data string) {
		c.send(0xF0, append([]byte{0x19}, properties("SCRAM-SHA-256", data)...))
	})
	if kind != mqtt.AUTH || reason != mqtt.Success {
		t.Errorf("again: %v %v", kind, reason)
	}
	for _, bad := range [][3]string{{"ann", "another one", "SCRAM-SHA-256"}, {"nobody", "a password", "SCRAM-SHA-256"}} {
		if _, reason := connect(bad[0], bad[1], bad[2]); reason != mqtt.NotAuthorized && reason != mqtt.BadUserNameOrPassword {
			t.Errorf("%v: %v", bad, reason)
		}
	}
	if _, reason := connect("ann", "a password", "SCRAM-SHA-512"); reason != mqtt.BadAuthenticationMethod {
		t.Errorf("a method that is not offered: %v", fmt.Sprint(reason))
	}
}
