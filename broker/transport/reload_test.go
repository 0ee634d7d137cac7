package transport_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/broker/transport/privateca"
)

func (p *pki) issued(c *tls.Certificate) *privateca.Issued {
	return &privateca.Issued{Cert: c.Leaf, Key: c.PrivateKey.(crypto.Signer)}
}

// TestNewCertificate takes effect for the next handshake and ends no connection. F182
func TestNewCertificate(t *testing.T) {
	p := newPKI(t)
	c := p.open(p.config(), transport.TLSOptions{})
	l := p.listen(c)
	config := &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	var live []*peer
	for range 50 {
		live = append(live, l.welcome(&tls.Config{}))
	}
	l.welcome(config)
	before := c.Status().Certificates[0]

	fresh := p.server("server", time.Now().Add(year/2), "broker.test", "new.test")
	p.must(c.Reload())
	if got := l.welcome(&tls.Config{}).ConnectionState().PeerCertificates[0]; !got.Equal(fresh) {
		t.Error("the old certificate is shown")
	}
	if !l.welcome(config).ConnectionState().DidResume {
		t.Error("a new certificate made tickets worthless")
	}
	for _, conn := range live {
		p.must(conn.say("still here"))
	}
	after := c.Status().Certificates[0]
	if before.Serial == after.Serial || !slices.Equal(after.Names, []string{"broker.test", "new.test"}) || after.Days != 182 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	p.must(c.Reload())
	if again := c.Status().Certificates[0]; again.Loaded != after.Loaded {
		t.Error("files that have not changed count as loaded again")
	}
}

// TestBadNewCertificate keeps the old one and says why. F182
func TestBadNewCertificate(t *testing.T) {
	p := newPKI(t)
	c := p.open(p.config(), transport.TLSOptions{})
	l := p.listen(c)
	live := l.welcome(&tls.Config{})
	old := live.ConnectionState().PeerCertificates[0]
	crt, key := p.read("server.crt"), p.read("server.key")
	f := func(why string, change func()) {
		t.Helper()
		change()
		if err := c.Reload(); err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), p.dir) {
			t.Errorf("got %v, want the file and %q", err, why)
		}
		if s := c.Status(); !strings.Contains(s.Failed, why) || !strings.Contains(strings.Join(s.Warnings, "\n"), why) {
			t.Errorf("the status does not say so: %+v", s)
		}
		if got := l.welcome(&tls.Config{}).ConnectionState().PeerCertificates[0]; !got.Equal(old) {
			t.Errorf("%s: the old certificate is gone", why)
		}
		p.must(live.say("still here"))
		p.write("server.crt", crt)
		p.write("server.key", key)
		p.must(c.Reload())
		if s := c.Status(); s.Failed != "" {
			t.Errorf("an error that is over is still told: %s", s.Failed)
		}
	}
	for _, cut := range []int{28, 127, len(crt) / 2, len(crt) - 73, len(crt) - 2} {
		f("cut off", func() { p.write("server.crt", crt[:cut]) })
	}
	f("no certificate", func() { p.write("server.crt", nil) })
	f("no certificate", func() { p.write("server.crt", []byte("rubbish")) })
	f("damaged", func() { p.write("server.crt", bytes.Replace(crt, []byte("MI"), []byte("!!"), 1)) })
	f("server.key", func() { p.write("server.key", key[:len(key)/2]) })
	f("server.key", func() { p.write("server.key", nil) })
	f("encrypted", func() { p.write("server.key", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")) })
	f("no such file", func() { p.must(os.Remove(p.path("server.key"))) })
	f("does not match", func() {
		p.server("other", time.Now().Add(year), "broker.test")
		p.write("server.crt", p.read("other.crt"))
	})
	f("expired on", func() { p.server("server", time.Now().Add(-time.Minute), "broker.test") })
	f("not valid before", func() {
		i, err := p.ca.Issue(&x509.Certificate{NotBefore: time.Now().Add(time.Hour), DNSNames: []string{"broker.test"}}, time.Now().Add(year))
		p.must(err)
		p.pair("server", i)
	})
}

// TestStartsWithExpired: a broker that comes back up matters more than a certificate that nobody renewed.
func TestStartsWithExpired(t *testing.T) {
	p := newPKI(t)
	p.server("server", time.Now().Add(-time.Minute), "broker.test")
	c := p.open(p.config(), transport.TLSOptions{})
	if s := c.Status(); len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "expired on") || s.Certificates[0].Days != -1 {
		t.Errorf("%+v", s)
	}
	p.listen(c).welcome(&tls.Config{InsecureSkipVerify: true})
}

// TestServerName picks the certificate by the name that is asked for; no name, and a name nobody has, get the first. F181
func TestServerName(t *testing.T) {
	p := newPKI(t)
	p.server("second", time.Now().Add(year), "*.second.test")
	cfg := p.config()
	cfg.Certificate = append(cfg.Certificate, p.path("second.crt"))
	cfg.Key = append(cfg.Key, p.path("second.key"))
	l := p.listen(p.open(cfg, transport.TLSOptions{}))
	for name, want := range map[string]string{"broker.test": "broker.test", "a.second.test": "*.second.test", "unknown.test": "broker.test", "127.0.0.1": "broker.test"} {
		conn := l.welcome(&tls.Config{ServerName: name, InsecureSkipVerify: true})
		if got := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// TestProtocols: a client that offers none is let in, one that offers only others is told so. F181
func TestProtocols(t *testing.T) {
	p := newPKI(t)
	for _, ours := range []string{"mqtt", "http/1.1"} {
		l := p.listen(p.open(p.config(), transport.TLSOptions{Protocols: []string{ours}}))
		l.welcome(&tls.Config{})
		if got := l.welcome(&tls.Config{NextProtos: []string{"x", ours}}).ConnectionState().NegotiatedProtocol; got != ours {
			t.Errorf("got %q", got)
		}
		if err := l.refused(&tls.Config{NextProtos: []string{"x", "acme-tls/1"}}); !strings.Contains(err.Error(), "requested unsupported application protocols") {
			t.Errorf("%v", err)
		}
	}
}

// TestMinVersion refuses what is too old. F181
func TestMinVersion(t *testing.T) {
	p := newPKI(t)
	for configured, least := range map[transport.Version]uint16{0: tls.VersionTLS12, tls.VersionTLS12: tls.VersionTLS12, tls.VersionTLS13: tls.VersionTLS13} {
		cfg := p.config()
		cfg.MinVersion = configured
		l := p.listen(p.open(cfg, transport.TLSOptions{}))
		for version := uint16(tls.VersionTLS10); version <= tls.VersionTLS13; version++ {
			offer := &tls.Config{MinVersion: version, MaxVersion: version}
			if version >= least {
				l.welcome(offer)
			} else if err := l.refused(offer); !strings.Contains(err.Error(), "unsupported versions") {
				t.Errorf("%x: %v", version, err)
			}
		}
	}
}

// TestSuites: TLS 1.2 is spoken with forward secrecy and authenticated encryption only.
func TestSuites(t *testing.T) {
	p := newPKI(t)
	l := p.listen(p.open(p.config(), transport.TLSOptions{}))
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if !slices.Contains(s.SupportedVersions, tls.VersionTLS12) || strings.HasPrefix(s.Name, "TLS_ECDHE_RSA") { // the certificate is not RSA's
			continue
		}
		offer := &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{s.ID}}
		if strings.HasPrefix(s.Name, "TLS_ECDHE_") && (strings.Contains(s.Name, "_GCM_") || strings.Contains(s.Name, "_POLY1305_")) {
			l.welcome(offer)
		} else if err := l.refused(offer); !strings.Contains(err.Error(), "no cipher suite supported") {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	f := func(want string, c transport.TLSConfig) {
		t.Helper()
		var got []string
		c.Check(func(key, _, _ string) { got = append(got, key) })
		if strings.Join(got, " ") != want {
			t.Errorf("%+v: got %v, want %q", c, got, want)
		}
	}
	one := []string{"x"}
	f("", transport.TLSConfig{})
	f("", transport.TLSConfig{Certificate: one})
	f("", transport.TLSConfig{Certificate: one, Key: one, ClientCA: "x", CRL: "x", Staple: "fetch"})
	f("", transport.TLSConfig{ACME: true, ClientCA: "x"})
	f("key", transport.TLSConfig{Certificate: []string{"a", "b"}, Key: one})
	f("key certificate", transport.TLSConfig{Key: one, ClientCA: "x"})
	f("acme ocsp_staple", transport.TLSConfig{ACME: true, Certificate: one, Staple: "x"})
	f("crl", transport.TLSConfig{Certificate: one, CRL: "x"})

	c := transport.TLSConfig{Certificate: []string{"b", "a"}, Key: []string{"a", "c"}, CRL: "d", Staple: "fetch"}
	p := newPKI(t)
	live := p.mutual()
	if got := p.open(live, transport.TLSOptions{}).Files(); !slices.Equal(got, []string{p.path("ca.pem"), p.path("server.crt"), p.path("server.key")}) {
		t.Errorf("%v", got)
	}
	if c.Enabled() != true || (&transport.TLSConfig{}).Enabled() {
		t.Error("Enabled")
	}
}

// TestReloadUnderLoad: whatever is replaced while clients connect, each gets in and stays. F182
func TestReloadUnderLoad(t *testing.T) {
	p := newPKI(t)
	p.revoke("crl.pem", p.ca, time.Now().Add(-time.Hour), time.Now().Add(year))
	cfg := p.mutual()
	cfg.CRL = p.path("crl.pem")
	c := p.open(cfg, transport.TLSOptions{})
	l := p.listen(c)
	config := &tls.Config{Certificates: []tls.Certificate{p.client(p.ca, "pump")}, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	done := make(chan struct{})
	dialled := make(chan error, 3)
	for range cap(dialled) {
		go func() {
			var live []*peer
			for {
				select {
				case <-done:
					for _, conn := range live {
						if err := conn.say("still here"); err != nil {
							dialled <- err
							return
						}
					}
					dialled <- nil
					return
				default:
				}
				conn, err := l.dial(config)
				if err != nil {
					dialled <- err
					return
				}
				live = append(live, conn)
			}
		}()
	}
	for i := range 30 {
		p.server("server", time.Now().Add(year), "broker.test")
		if i%3 == 0 {
			p.revoke("crl.pem", p.ca, time.Now(), time.Now().Add(year))
		}
		p.must(c.Reload())
		p.must(l.welcome(config).say("in between"))
	}
	close(done)
	for range cap(dialled) {
		p.must(<-dialled)
	}
}
