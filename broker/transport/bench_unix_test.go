//go:build unix

package transport_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/transport"
)

// BenchmarkHandshake is what one handshake costs, both sides and the connection on loopback together: full and resumed, without and
// with a client certificate and a revocation list of 100,000 entries. The CPU time is the figure: others use the machine too.
func BenchmarkHandshake(b *testing.B) {
	for _, mutual := range []bool{false, true} {
		for _, resumed := range []bool{false, true} {
			name := map[bool]string{false: "server", true: "mutual"}[mutual] + map[bool]string{false: "/full", true: "/resumed"}[resumed]
			b.Run(name, func(b *testing.B) { benchHandshake(b, mutual, resumed) })
		}
	}
}

func benchHandshake(b *testing.B, mutual, resumed bool) {
	p := newPKI(b)
	cfg := p.config()
	client := &tls.Config{ServerName: "broker.test", RootCAs: x509.NewCertPool()}
	client.RootCAs.AddCert(p.ca.Cert)
	if mutual {
		p.revoke("crl.pem", p.ca, time.Now(), time.Now().Add(year), serials(100_000)...)
		cfg = p.mutual()
		cfg.CRL = p.path("crl.pem")
		client.Certificates = []tls.Certificate{p.client(p.ca, "pump")}
	}
	if resumed {
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	config := p.open(cfg, transport.TLSOptions{}).Config()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	p.must(err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			server := tls.Server(conn, config)
			server.Write([]byte("x"))
			conn.Close()
		}
	}()
	one := func() bool {
		conn, err := tls.Dial("tcp", l.Addr().String(), client)
		p.must(err)
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1)) // the ticket comes before it
		p.must(err)
		return conn.ConnectionState().DidResume
	}
	one()
	before := cpu(b)
	defer func() { b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op") }()
	for b.Loop() {
		if one() != resumed {
			b.Fatal("not the kind of handshake that is measured")
		}
	}
}

// cpu is the time that this process has computed.
func cpu(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
