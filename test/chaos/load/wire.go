package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// How long a broker may be silent in the middle of something before its client tries anew.
const (
	handshakeTime = 3 * time.Second
	writeTime     = 3 * time.Second
)

func write(conn net.Conn, b []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err := conn.Write(b)
	return err
}

// handshake sends CONNECT and takes CONNACK; a refusal is an error. It reads byte by byte, so that it takes nothing that
// comes behind.
func handshake(conn net.Conn, p *mqtt.Connect) (*mqtt.Connack, error) {
	if err := write(conn, p.AppendTo(nil)); err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(handshakeTime)); err != nil {
		return nil, err
	}
	ack, err := readPacket(bufio.NewReaderSize(single{conn}, 16), p.Version)
	switch {
	case err != nil:
		return nil, err
	case ack.Type != mqtt.CONNACK:
		return nil, fmt.Errorf("the broker answered CONNECT with %s", ack.Type)
	case ack.Connack.Reason != mqtt.Success:
		return nil, ack.Connack.Reason
	}
	return &ack.Connack, conn.SetReadDeadline(time.Time{})
}

// single reads one byte at a time.
type single struct{ io.Reader }

func (s single) Read(b []byte) (int, error) { return s.Reader.Read(b[:min(1, len(b))]) }

// read hands over packets until the connection ends or nobody wants more.
func read(conn net.Conn, v mqtt.Version, to chan<- *mqtt.Packet, done <-chan struct{}) {
	defer close(to)
	r := bufio.NewReader(conn)
	for {
		p, err := readPacket(r, v)
		if err != nil {
			return
		}
		select {
		case to <- p:
		case <-done:
			return
		}
	}
}

// readPacket reads one packet into memory of its own.
func readPacket(r *bufio.Reader, v mqtt.Version) (*mqtt.Packet, error) {
	var head []byte
	for size := 2; ; size++ {
		var err error
		if head, err = r.Peek(size); err != nil {
			return nil, err
		}
		h, n, err := mqtt.ParseHeader(head)
		switch {
		case err != nil:
			return nil, err
		case n == 0:
			continue
		}
		whole := make([]byte, n+h.Length)
		if _, err := io.ReadFull(r, whole); err != nil {
			return nil, err
		}
		p := &mqtt.Packet{}
		if err := p.Decode(v, h, whole[n:], mqtt.Limits{}); err != nil {
			return nil, errors.Join(errors.New("the broker sent what cannot be read"), err)
		}
		return p, nil
	}
}
