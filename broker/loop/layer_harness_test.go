package loop

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// The layers that the suite runs on: a head of one line, TLS, and a framing of counted pieces that are hidden by an XOR.

const headLine = "head\n"

func headLayers(testing.TB) *Layers {
	return &Layers{Head: func(_ *Conn, b []byte) (int, bool, error) {
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			return i + 1, true, nil
		}
		return 0, false, nil
	}}
}

func framedLayers(testing.TB) *Layers {
	return &Layers{Framing: func(*Conn) Framing { return &counted{} }}
}

func tlsLayers(t testing.TB) *Layers {
	y, err := newTLSLayers()
	if err != nil {
		t.Fatal(err)
	}
	return y
}

func newTLSLayers() (*Layers, error) {
	cert, err := certificate()
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{cert.Certificate}, DynamicRecordSizingDisabled: true}
	return &Layers{TLS: func() *tls.Config { return cfg }, Handshakes: NewHandshakes(8, 8)}, nil
}

func allLayers(t testing.TB) *Layers {
	y := tlsLayers(t)
	y.Head = headLayers(t).Head
	y.Framing = framedLayers(t).Framing
	return y
}

// through puts a client's side of layers on a pair.
func through(pair func(testing.TB) (net.Conn, net.Conn), client func(net.Conn) net.Conn) func(testing.TB) (net.Conn, net.Conn) {
	return func(t testing.TB) (net.Conn, net.Conn) {
		ours, peer := pair(t)
		return ours, client(peer)
	}
}

// counted is a framing: 4 bytes of length, then the bytes XOR 0x55. A length of 0 is the end.
type counted struct {
	head [4]byte
	have int
	rest uint32
	over bool
}

func (f *counted) Decode(b []byte) (payload, answer []byte, err error) {
	out := 0
	for i := 0; i < len(b) && !f.over; {
		if f.rest == 0 {
			f.head[f.have] = b[i]
			f.have++
			i++
			if f.have == 4 {
				f.have = 0
				f.rest = binary.BigEndian.Uint32(f.head[:])
				f.over = f.rest == 0
			}
			continue
		}
		n := min(int(f.rest), len(b)-i)
		for _, x := range b[i : i+n] {
			b[out] = x ^ 0x55
			out++
		}
		i += n
		f.rest -= uint32(n)
	}
	if f.over {
		err = io.EOF
	}
	return b[:out], nil, err
}

func (f *counted) AppendHeader(b []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

func (f *counted) AppendClose(b []byte) []byte { return append(b, 0, 0, 0, 0) }

// peer is a client's end of the layers.
type peer struct {
	net.Conn
	once  sync.Once
	tls   *tls.Conn
	head  bool // send the line first
	frame bool
	in    counted // the client's decoder; our output is not hidden
	ready []byte
}

func headClient(nc net.Conn) net.Conn   { return &peer{Conn: nc, head: true} }
func framedClient(nc net.Conn) net.Conn { return &peer{Conn: nc, frame: true} }
func tlsClient(nc net.Conn) net.Conn    { return withTLS(&peer{Conn: nc}) }
func allClient(nc net.Conn) net.Conn    { return withTLS(&peer{Conn: nc, head: true, frame: true}) }

func withTLS(p *peer) net.Conn {
	p.tls = tls.Client(p.Conn, &tls.Config{InsecureSkipVerify: true})
	return p
}

func (p *peer) handshake() (err error) {
	p.once.Do(func() {
		if p.head {
			_, err = io.WriteString(p.Conn, headLine)
		}
		if p.tls != nil && err == nil {
			err = p.tls.Handshake()
		}
	})
	return err
}

func (p *peer) under() net.Conn {
	if p.tls != nil {
		return p.tls
	}
	return p.Conn
}

func (p *peer) Write(b []byte) (int, error) {
	if err := p.handshake(); err != nil {
		return 0, err
	}
	if !p.frame || len(b) == 0 {
		return p.under().Write(b)
	}
	msg := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
	for _, x := range b {
		msg = append(msg, x^0x55)
	}
	if _, err := p.under().Write(msg); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (p *peer) Read(b []byte) (int, error) {
	if err := p.handshake(); err != nil {
		return 0, err
	}
	if !p.frame {
		return p.under().Read(b)
	}
	for len(p.ready) == 0 {
		raw := make([]byte, 32<<10)
		n, err := p.under().Read(raw)
		if n > 0 {
			payload, _, end := p.in.Decode(raw[:n])
			for i := range payload {
				payload[i] ^= 0x55
			}
			p.ready = payload
			if len(payload) == 0 && end != nil {
				return 0, end
			}
		} else if err != nil {
			return 0, err
		}
	}
	n := copy(b, p.ready)
	p.ready = p.ready[n:]
	return n, nil
}

func (p *peer) Close() error { return p.under().Close() }

func (p *peer) CloseWrite() error { return p.under().(interface{ CloseWrite() error }).CloseWrite() }

// SetLinger is of the TCP connection below.
func (p *peer) SetLinger(sec int) error { return p.Conn.(*net.TCPConn).SetLinger(sec) }
