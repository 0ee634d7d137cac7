package why

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
	"github.com/sapwood-mqtt/sapwood/test/selfsigned"
)

// peer is one raw connection. Nothing is read from it but when the test does.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	v    mqtt.Version
}

// dial connects from an address of this machine; "" = any.
func dial(t *testing.T, to, from string) *peer {
	t.Helper()
	d := net.Dialer{Timeout: patience}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &peer{t, conn, bufio.NewReader(conn), mqtt.V5}
}

// send sends packets that stand in lines. A connection that the broker has closed swallows them.
func (p *peer) send(lines ...string) {
	p.t.Helper()
	var out []byte
	for _, line := range lines {
		if strings.HasPrefix(line, "CONNECT v3.1.1") {
			p.v = mqtt.V311
		}
		var err error
		if out, err = packettext.Encode(out, p.v, line); err != nil {
			p.t.Fatal(err)
		}
	}
	p.conn.SetWriteDeadline(time.Now().Add(patience))
	_, _ = p.conn.Write(out)
}

// until reads until a packet comes that begins so.
func (p *peer) until(want string) {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(patience))
	var got []string
	for {
		line, err := p.next()
		if err != nil {
			p.t.Fatalf("no %s came: %v after %q", want, err, got)
		}
		if strings.HasPrefix(line, want) {
			return
		}
		got = append(got, line)
	}
}

func (p *peer) next() (string, error) {
	head, err := p.in.Peek(2)
	if err != nil {
		return "", err
	}
	h, n, err := mqtt.ParseHeader(head)
	for size := 3; err == nil && n == 0; size++ {
		if head, err = p.in.Peek(size); err == nil {
			h, n, err = mqtt.ParseHeader(head)
		}
	}
	if err != nil {
		return "", err
	}
	whole := make([]byte, n+h.Length)
	if _, err := io.ReadFull(p.in, whole); err != nil {
		return "", err
	}
	var x mqtt.Packet
	if err := x.Decode(p.v, h, whole[n:], mqtt.Limits{}); err != nil {
		return "", err
	}
	return packettext.Format(&x), nil
}

// closed waits until the broker has closed the connection.
func (p *peer) closed() {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, p.in)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		p.t.Fatal("the connection stays open")
	}
}

// shake does a TLS handshake with a certificate, and waits until the broker has judged it.
func (p *peer) shake(with tls.Certificate) {
	conn := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{with}})
	p.conn.SetDeadline(time.Now().Add(patience))
	if conn.Handshake() == nil {
		_, _ = io.Copy(io.Discard, conn) // TLS 1.3 tells what is wrong afterwards
	}
}

// sign makes a client's certificate that ends at a time.
func sign(t *testing.T, by *selfsigned.Certificate, name string, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.Leaf, key.Public(), by.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
