package transport_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/broker/transport/privateca"
)

const year = 365 * 24 * time.Hour

// pki is a directory with files as an operator has them.
type pki struct {
	testing.TB
	dir string
	ca  *privateca.Authority
}

func newPKI(t testing.TB) *pki {
	t.Helper()
	p := &pki{TB: t, dir: t.TempDir()}
	p.ca = p.authority("test CA")
	p.write("ca.pem", block("CERTIFICATE", p.ca.Cert.Raw))
	p.server("server", time.Now().Add(year), "broker.test", "127.0.0.1")
	return p
}

func (p *pki) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *pki) authority(name string) *privateca.Authority {
	p.Helper()
	a, err := privateca.New(name, time.Now().Add(10*year))
	p.must(err)
	return a
}

func (p *pki) path(name string) string { return filepath.Join(p.dir, name) }

// write writes a file in one step.
func (p *pki) write(name string, data []byte) string {
	p.Helper()
	p.must(os.WriteFile(p.path(name)+".new", data, 0o600))
	p.must(os.Rename(p.path(name)+".new", p.path(name)))
	return p.path(name)
}

func (p *pki) read(name string) []byte {
	p.Helper()
	data, err := os.ReadFile(p.path(name))
	p.must(err)
	return data
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// server writes name.crt, with its authority's certificate behind it, and name.key.
func (p *pki) server(name string, until time.Time, names ...string) *x509.Certificate {
	p.Helper()
	i, err := p.ca.Server(names, until)
	p.must(err)
	p.pair(name, i)
	return i.Cert
}

// serials are as many serial numbers.
func serials(n int) (all []*big.Int) {
	for i := range n {
		all = append(all, big.NewInt(int64(i+1)))
	}
	return all
}

func (p *pki) pair(name string, i *privateca.Issued) {
	p.Helper()
	key, err := i.KeyPEM()
	p.must(err)
	p.write(name+".crt", append(i.CertPEM(), block("CERTIFICATE", p.ca.Cert.Raw)...))
	p.write(name+".key", key)
}

// client is a certificate as a client shows it.
func (p *pki) client(a *privateca.Authority, name string) tls.Certificate {
	p.Helper()
	i, err := a.Client(name, time.Now().Add(year))
	p.must(err)
	return pairOf(i)
}

// issue makes a client's certificate from a template.
func (p *pki) issue(template x509.Certificate, until time.Time) tls.Certificate {
	p.Helper()
	if template.ExtKeyUsage == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	i, err := p.ca.Issue(&template, until)
	p.must(err)
	return pairOf(i)
}

func pairOf(i *privateca.Issued) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{i.Cert.Raw}, PrivateKey: i.Key, Leaf: i.Cert}
}

// revoke writes name with the list of an authority.
func (p *pki) revoke(name string, a *privateca.Authority, at, until time.Time, serials ...*big.Int) {
	p.Helper()
	der, err := a.Revoke(nil, serials, at, until)
	p.must(err)
	p.write(name, block("X509 CRL", der))
}

// config is that of a listener which asks for no client certificates.
func (p *pki) config() transport.TLSConfig {
	return transport.TLSConfig{Certificate: []string{p.path("server.crt")}, Key: []string{p.path("server.key")}}
}

// mutual is that of one which does.
func (p *pki) mutual() transport.TLSConfig {
	c := p.config()
	c.ClientCA = p.path("ca.pem")
	return c
}

func (p *pki) open(cfg transport.TLSConfig, o transport.TLSOptions) *transport.Certificates {
	p.Helper()
	if o.Protocols == nil {
		o.Protocols = []string{"mqtt"}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	c, err := transport.OpenTLS(cfg, o)
	p.must(err)
	return c
}

// listener answers every line over TLS with the same line, and keeps why handshakes failed.
type listener struct {
	*pki
	address string
	failed  chan error
}

func (p *pki) listen(c *transport.Certificates) *listener {
	p.Helper()
	l, err := transport.Listen("127.0.0.1:0")
	p.must(err)
	s := &listener{pki: p, address: l.Addr().String(), failed: make(chan error, 100)}
	var all sync.WaitGroup
	config := c.Config()
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { s.echo(tls.Server(conn, config)) })
		}
	})
	p.Cleanup(func() { l.Close(); all.Wait() })
	return s
}

func (s *listener) echo(conn *tls.Conn) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		s.failed <- err
		return
	}
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := io.WriteString(conn, line); err != nil {
			return
		}
	}
}

// peer is a client's connection.
type peer struct {
	*tls.Conn
	r *bufio.Reader
}

// say sends a line and waits for it to come back.
func (c *peer) say(line string) error {
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return err
	}
	if got, err := c.r.ReadString('\n'); err != nil || got != line+"\n" {
		return errors.Join(fmt.Errorf("got %q", got), err)
	}
	return nil
}

// dial connects and exchanges a line: in TLS 1.3 only that tells a client whether it is let in.
func (s *listener) dial(config *tls.Config) (*peer, error) {
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	if config.RootCAs == nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AddCert(s.ca.Cert)
	}
	if config.ServerName == "" {
		config.ServerName = "broker.test"
	}
	if certs := config.Certificates; certs != nil { // shown even to who asks for others
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certs[0], nil }
	}
	c := &peer{Conn: tls.Client(conn, config)}
	c.r = bufio.NewReader(c.Conn)
	s.Cleanup(func() { c.Close() })
	if err := c.say("hello"); err != nil {
		return c, err
	}
	return c, nil
}

// welcome dials and must be let in.
func (s *listener) welcome(config *tls.Config) *peer {
	s.Helper()
	c, err := s.dial(config)
	if err != nil {
		s.Fatalf("refused: %v", err)
	}
	return c
}

// refused dials, must not be let in, and returns what the listener says about it.
func (s *listener) refused(config *tls.Config) error {
	s.Helper()
	if _, err := s.dial(config); err == nil {
		s.Fatal("was let in")
	}
	select {
	case err := <-s.failed:
		return err
	case <-time.After(time.Minute):
		s.Fatal("the listener saw no failure")
		return nil
	}
}
