package transport_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/transport"
)

// badClients are the certificates of F152 and what the listener says of them.
func badClients(p *pki) map[string]struct {
	cert tls.Certificate
	why  string
} {
	now := time.Now()
	selfSigned := p.authority("device")
	other := p.authority("other CA")
	impostor := p.authority("test CA") // the right name, another key
	named := func(name string) tls.Certificate {
		return p.issue(x509.Certificate{Subject: pkix.Name{CommonName: name}}, now.Add(year))
	}
	bad := map[string]struct {
		cert tls.Certificate
		why  string
	}{
		"self-signed":     {tls.Certificate{Certificate: [][]byte{selfSigned.Cert.Raw}, PrivateKey: selfSigned.Key}, "unknown authority"},
		"other CA":        {p.client(other, "device"), "unknown authority"},
		"CA of same name": {p.client(impostor, "device"), "unknown authority"},
		"expired":         {p.issue(x509.Certificate{NotBefore: now.Add(-year)}, now.Add(-time.Minute)), "expired"},
		"not yet valid":   {p.issue(x509.Certificate{NotBefore: now.Add(time.Hour)}, now.Add(year)), "not yet valid"},
		"for servers":     {p.issue(x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, now.Add(year)), "key usage"},
		"NUL in CN":       {named("admin\x00.device"), `"admin\x00.device" in it is not one line of text`},
		"line end in CN":  {named("a\r\nb"), "not one line"},
		"two CNs": {p.issue(x509.Certificate{Subject: pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "device"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "admin"},
		}}}, now.Add(year)), "more than one common name"},
		"control in SAN": {p.issue(x509.Certificate{DNSNames: []string{"a\x00b"}}, now.Add(year)), "not one line"},
	}
	return bad
}

// TestBadClientCertificates refuses each, in both versions of TLS, whether a certificate is required or not. F152
func TestBadClientCertificates(t *testing.T) {
	p := newPKI(t)
	for _, policy := range []transport.ClientCertificate{transport.Required, transport.Optional} {
		cfg := p.mutual()
		cfg.Client = policy
		l := p.listen(p.open(cfg, transport.TLSOptions{}))
		for name, bad := range badClients(p) {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				err := l.refused(&tls.Config{Certificates: []tls.Certificate{bad.cert}, MaxVersion: version})
				if !strings.Contains(err.Error(), bad.why) {
					t.Errorf("%s: the listener says %v, want %q", name, err, bad.why)
				}
			}
		}
		l.welcome(&tls.Config{Certificates: []tls.Certificate{p.client(p.ca, "pump-é 7")}})
		if policy == transport.Optional {
			l.welcome(&tls.Config{})
		} else if err := l.refused(&tls.Config{}); !strings.Contains(err.Error(), "didn't provide a certificate") {
			t.Errorf("without a certificate: %v", err)
		}
	}
}

// TestOverHTTP refuses the same certificates where HTTP, and with it WebSocket, is spoken on top. F152
func TestOverHTTP(t *testing.T) {
	p := newPKI(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.TLS.VerifiedChains[0][0].Subject.CommonName)
	}))
	server.TLS = p.open(p.mutual(), transport.TLSOptions{Protocols: []string{"http/1.1"}}).Config()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	get := func(cert tls.Certificate) (string, error) {
		config := &tls.Config{ServerName: "broker.test", RootCAs: x509.NewCertPool()}
		config.RootCAs.AddCert(p.ca.Cert)
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
		r, err := client.Get(server.URL)
		if err != nil {
			return "", err
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		return string(body), err
	}
	for name, bad := range badClients(p) {
		if got, err := get(bad.cert); err == nil {
			t.Errorf("%s: was let in: %q", name, got)
		}
	}
	if got, err := get(p.client(p.ca, "pump")); got != "pump" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestInvalidUTF8 refuses a name that is not UTF-8. F152
func TestInvalidUTF8(t *testing.T) {
	p := newPKI(t)
	l := p.listen(p.open(p.mutual(), transport.TLSOptions{}))
	key := p.client(p.ca, "x").PrivateKey.(crypto.Signer)
	template := x509.Certificate{
		SerialNumber: big.NewInt(7), NotAfter: time.Now().Add(year), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		RawSubject: []byte("\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x0c\x04ab\xff\xfe"),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, p.ca.Cert, key.Public(), p.ca.Key)
	p.must(err)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	if err := l.refused(&tls.Config{Certificates: []tls.Certificate{cert}}); !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("%v", err)
	}
}

// TestRevoked refuses a certificate on the list, at once, and in sessions that were there before. F152
func TestRevoked(t *testing.T) {
	p := newPKI(t)
	good, bad := p.client(p.ca, "good"), p.client(p.ca, "bad")
	now := time.Now()
	p.revoke("crl.pem", p.ca, now.Add(-time.Hour), now.Add(year))
	cfg := p.mutual()
	cfg.CRL = p.path("crl.pem")
	c := p.open(cfg, transport.TLSOptions{})
	l := p.listen(c)

	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		resume := func(cert tls.Certificate) *tls.Config {
			return &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
		}
		thief, friend := resume(bad), resume(good)
		live := l.welcome(thief)
		l.welcome(friend)
		if !l.welcome(thief).ConnectionState().DidResume || !l.welcome(friend).ConnectionState().DidResume {
			t.Fatal("sessions are not resumed")
		}
		p.revoke("crl.pem", p.ca, time.Now(), now.Add(year), bad.Leaf.SerialNumber)
		p.must(c.Reload())
		if err := l.refused(thief); !strings.Contains(err.Error(), "revoked on") {
			t.Errorf("the ticket of a revoked client: %v", err)
		}
		if err := l.refused(&tls.Config{Certificates: []tls.Certificate{bad}, MaxVersion: version}); !strings.Contains(err.Error(), bad.Leaf.SerialNumber.Text(16)) {
			t.Errorf("the error does not name the certificate: %v", err)
		}
		if l.welcome(friend).ConnectionState().DidResume {
			t.Error("a ticket from before the new list was taken")
		}
		if !l.welcome(friend).ConnectionState().DidResume {
			t.Error("a new ticket was not taken")
		}
		p.must(live.say("a reload ends no connection"))
		if c.Revoked(bad.Leaf) == nil || c.Revoked(good.Leaf) != nil {
			t.Errorf("of those connected: bad %v, good %v", c.Revoked(bad.Leaf), c.Revoked(good.Leaf))
		}
		p.revoke("crl.pem", p.ca, time.Now(), now.Add(year))
		p.must(c.Reload())
	}
}

// TestListPolicy: a list must be signed by its authority, complete, and no older than the one in use; every authority that signs
// needs one; one past its time is used and said. F152
func TestListPolicy(t *testing.T) {
	p := newPKI(t)
	now := time.Now()
	good, bad := p.client(p.ca, "good"), p.client(p.ca, "bad")
	p.revoke("crl.pem", p.ca, now.Add(-48*time.Hour), now.Add(-24*time.Hour), bad.Leaf.SerialNumber)
	cfg := p.mutual()
	cfg.CRL = p.path("crl.pem")
	c := p.open(cfg, transport.TLSOptions{})
	l := p.listen(c)
	l.welcome(&tls.Config{Certificates: []tls.Certificate{good}})
	l.refused(&tls.Config{Certificates: []tls.Certificate{bad}})
	if w := strings.Join(c.Status().Warnings, "\n"); !strings.Contains(w, "past its time") {
		t.Errorf("nobody is told that the list is past its time: %q", w)
	}

	f := func(why string) {
		t.Helper()
		if err := c.Reload(); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("got %v, want %q", err, why)
		}
		if s := c.Status(); !strings.Contains(s.Failed, why) || len(s.Warnings) == 0 {
			t.Errorf("the status does not say %q: %+v", why, s)
		}
		l.welcome(&tls.Config{Certificates: []tls.Certificate{good}})
		l.refused(&tls.Config{Certificates: []tls.Certificate{bad}})
	}
	p.revoke("crl.pem", p.ca, now.Add(-72*time.Hour), now.Add(year))
	f("older than the one in use")
	p.revoke("crl.pem", p.authority("test CA"), now, now.Add(year)) // the right name, another key
	f("not signed by an authority in client_ca")
	p.revoke("crl.pem", p.ca, now.Add(time.Hour), now.Add(year))
	f("to come")
	p.revoke("crl.pem", p.ca, now, now.Add(year))
	whole := p.read("crl.pem")
	p.write("crl.pem", whole[:len(whole)/2])
	f("cut off")
	p.write("crl.pem", nil)
	f("crl.pem")
	p.write("crl.pem", whole)
	p.must(c.Reload())
	l.welcome(&tls.Config{Certificates: []tls.Certificate{bad}}) // taken off the list by its authority
	if s := c.Status(); s.Failed != "" || len(s.Lists) != 1 || s.Lists[0].Revoked != 0 {
		t.Errorf("%+v", s)
	}

	// A second authority, without a list.
	second := p.authority("second CA")
	p.write("ca.pem", append(block("CERTIFICATE", p.ca.Cert.Raw), block("CERTIFICATE", second.Cert.Raw)...))
	p.must(c.Reload())
	if err := l.refused(&tls.Config{Certificates: []tls.Certificate{p.client(second, "x")}}); !strings.Contains(err.Error(), "no revocation list here") {
		t.Errorf("%v", err)
	}
	l.welcome(&tls.Config{Certificates: []tls.Certificate{good}})
}

// TestAuthorityTakenAway: tickets of clients whose authority is no longer believed are worth nothing, connections live. F182
func TestAuthorityTakenAway(t *testing.T) {
	p := newPKI(t)
	second := p.authority("second CA")
	both := append(block("CERTIFICATE", p.ca.Cert.Raw), block("CERTIFICATE", second.Cert.Raw)...)
	p.write("ca.pem", both)
	c := p.open(p.mutual(), transport.TLSOptions{})
	l := p.listen(c)
	config := &tls.Config{Certificates: []tls.Certificate{p.client(second, "x")}, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	live := l.welcome(config)
	p.write("ca.pem", both[:len(both)-30])
	if err := c.Reload(); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("a bundle that is cut off: %v", err)
	}
	if !l.welcome(config).ConnectionState().DidResume {
		t.Error("a bad reload made tickets worthless")
	}
	p.write("ca.pem", block("CERTIFICATE", p.ca.Cert.Raw))
	p.must(c.Reload())
	if err := l.refused(config); !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("%v", err)
	}
	p.must(live.say("still here"))
}

// TestTicketOfExpiredCertificate: what was valid when the ticket was made may have expired since. F152
func TestTicketOfExpiredCertificate(t *testing.T) {
	p := newPKI(t)
	var later atomic.Int64
	c := p.open(p.mutual(), transport.TLSOptions{Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	l := p.listen(c)
	cert := p.issue(x509.Certificate{Subject: pkix.Name{CommonName: "short"}}, time.Now().Add(time.Hour))
	config := &tls.Config{Certificates: []tls.Certificate{cert}, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	l.welcome(config)
	later.Store(int64(2 * time.Hour))
	if err := l.refused(config); !strings.Contains(err.Error(), "expired") {
		t.Errorf("%v", err)
	}
}

// TestOpenSSL speaks with another implementation. F152, F181
func TestOpenSSL(t *testing.T) {
	p := newPKI(t)
	cfg := p.mutual()
	good, bad := p.client(p.ca, "good"), p.client(p.ca, "bad")
	p.revoke("crl.pem", p.ca, time.Now(), time.Now().Add(year), bad.Leaf.SerialNumber)
	cfg.CRL = p.path("crl.pem")
	l := p.listen(p.open(cfg, transport.TLSOptions{}))
	f := func(want string, cert *tls.Certificate, args ...string) {
		t.Helper()
		args = append([]string{"s_client", "-connect", l.address, "-CAfile", p.path("ca.pem"), "-verify_return_error", "-quiet"}, args...)
		if cert != nil {
			p.pair("client", p.issued(cert))
			args = append(args, "-cert", p.path("client.crt"), "-key", p.path("client.key"))
		}
		if out := openssl(t, want, args...); !strings.Contains(out, want) {
			t.Errorf("%v: want %q in\n%s", args, want, out)
		}
	}
	f("hello openssl", &good, "-tls1_3", "-servername", "broker.test", "-verify_hostname", "broker.test")
	f("hello openssl", &good, "-tls1_2", "-noservername")
	f("hello openssl", &good, "-alpn", "mqtt")
	f("hello openssl", &good, "-alpn", "x-amzn-mqtt-ca,mqtt")
	f("no application protocol", &good, "-alpn", "h2")
	f("alert", &bad, "-tls1_2")
	f("alert", &bad, "-tls1_3")
	f("alert", nil, "-tls1_2")
	f("alert", nil, "-tls1_3")
	for _, old := range []string{"-tls1", "-tls1_1"} {
		f("alert", &good, old, "-cipher", "ALL:@SECLEVEL=0")
	}
	for _, weak := range []string{"AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-NULL-SHA", "AECDH-NULL-SHA", "AECDH-AES128-SHA"} {
		f("alert handshake failure", &good, "-tls1_2", "-cipher", weak+":@SECLEVEL=0")
	}
}

// openssl runs s_client until it has printed what is wanted, or ends. It returns what it has printed.
func openssl(t *testing.T, want string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, printed := io.Pipe()
	cmd.Stdout, cmd.Stderr = printed, printed
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { cmd.Wait(); printed.Close() }()
	io.WriteString(in, "hello openssl\n") // a client that was refused reads nothing
	var b strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		b.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), want) {
			cancel()
		}
	}
	return b.String()
}
