package ocsp_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/broker/transport/ocsp"
	"github.com/sapwood-mqtt/sapwood/broker/transport/privateca"
)

const year = 365 * 24 * time.Hour

// world is an authority, a responder that speaks for it, and a leaf that names it.
type world struct {
	*testing.T
	ca, leaf  *privateca.Issued
	responder *httptest.Server
	asked     atomic.Int64
	answer    func() []byte
}

func newWorld(t *testing.T) *world {
	w := &world{T: t}
	authority, err := privateca.New("test CA", time.Now().Add(year))
	w.must(err)
	w.ca = &privateca.Issued{Cert: authority.Cert, Key: authority.Key}
	w.responder = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		if q, err := xocsp.ParseRequest(body); err != nil || q.SerialNumber.Cmp(w.leaf.Cert.SerialNumber) != 0 {
			http.Error(rw, "not about our certificate", http.StatusBadRequest)
			return
		}
		rw.Write(w.answer())
	}))
	t.Cleanup(w.responder.Close)
	w.leaf = w.issue(x509.Certificate{DNSNames: []string{"broker.test"}, OCSPServer: []string{w.responder.URL}})
	w.answer = func() []byte { return w.response(xocsp.Good, time.Now(), time.Hour, w.ca) }
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) issue(template x509.Certificate) *privateca.Issued {
	w.Helper()
	i, err := (&privateca.Authority{Cert: w.ca.Cert, Key: w.ca.Key}).Issue(&template, time.Now().Add(year))
	w.must(err)
	return i
}

// response is what the responder by says about the leaf.
func (w *world) response(status int, at time.Time, holds time.Duration, by *privateca.Issued) []byte {
	w.Helper()
	r := xocsp.Response{Status: status, SerialNumber: w.leaf.Cert.SerialNumber, ThisUpdate: at, NextUpdate: at.Add(holds), RevokedAt: at}
	if !by.Cert.Equal(w.ca.Cert) {
		r.Certificate = by.Cert
	}
	der, err := xocsp.CreateResponse(w.ca.Cert, by.Cert, r, by.Key)
	w.must(err)
	return der
}

// open writes the leaf and its chain to files and opens them.
func (w *world) open(staple string, now func() time.Time) *transport.Certificates {
	w.Helper()
	dir := w.TempDir()
	key, err := w.leaf.KeyPEM()
	w.must(err)
	chain := append(w.leaf.CertPEM(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.ca.Cert.Raw})...)
	file := filepath.Join(dir, "server.pem")
	w.must(os.WriteFile(file, append(chain, key...), 0o600))
	c, err := transport.OpenTLS(transport.TLSConfig{Certificate: []string{file}, Staple: staple},
		transport.TLSOptions{Stapler: ocsp.Stapler{}, Now: now})
	w.must(err)
	return c
}

// shown is the response that a handshake gets, nil for none.
func (w *world) shown(c *transport.Certificates) *xocsp.Response {
	w.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = c.Config()
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	w.must(err)
	defer conn.Close()
	state := conn.ConnectionState()
	if state.OCSPResponse == nil {
		return nil
	}
	r, err := xocsp.ParseResponseForCert(state.OCSPResponse, state.PeerCertificates[0], w.ca.Cert)
	w.must(err)
	return r
}

// until waits for something that Run does.
func (w *world) until(what string, f func() bool) {
	w.Helper()
	deadline := time.Now().Add(time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			w.Fatalf("%s did not happen", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestFetch(t *testing.T) {
	w := newWorld(t)
	c := w.open(transport.Fetch, nil)
	if w.shown(c) != nil {
		t.Fatal("there is a staple before anybody asked")
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	w.until("a fetch", func() bool { return !c.Status().Certificates[0].Staple.IsZero() })
	w.until("stapling", func() bool { r := w.shown(c); return r != nil && r.Status == xocsp.Good })
	w.must(c.Reload())
	if w.shown(c) == nil || w.asked.Load() != 1 {
		t.Error("a reload of the same certificate lost the staple")
	}
	stop()
	<-done
}

func TestResponderFails(t *testing.T) {
	w := newWorld(t)
	w.answer = func() []byte { return []byte("sorry") }
	c := w.open(transport.Fetch, nil)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	w.until("a warning", func() bool { return strings.Contains(strings.Join(c.Status().Warnings, "\n"), "OCSP") })
	if w.shown(c) != nil {
		t.Error("something is stapled")
	}
	stop()
	<-done
}

func TestStapleFromFile(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "staple.der")
	w.must(os.WriteFile(file, w.answer(), 0o600))
	now := time.Now()
	c := w.open(file, func() time.Time { return now })
	if r := w.shown(c); r == nil || r.Status != xocsp.Good {
		t.Error("the file is not stapled")
	}
	w.must(os.WriteFile(file, w.response(xocsp.Good, now.Add(-2*time.Hour), time.Hour, w.ca), 0o600))
	if err := c.Reload(); err == nil || !strings.Contains(err.Error(), "held until") {
		t.Errorf("a response past its time: %v", err)
	}
	now = now.Add(2 * time.Hour)
	w.must(os.WriteFile(file, w.response(xocsp.Good, now, time.Hour, w.ca), 0o600))
	w.must(c.Reload())
	if r := w.shown(c); r == nil || !r.ThisUpdate.After(time.Now()) {
		t.Error("the new file is not stapled")
	}
}

// TestRead refuses responses that prove nothing.
func TestRead(t *testing.T) {
	w := newWorld(t)
	delegate := w.issue(x509.Certificate{Subject: pkix.Name{CommonName: "responder"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}})
	stranger := w.issue(x509.Certificate{Subject: pkix.Name{CommonName: "device"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	f := func(response []byte, want string) {
		t.Helper()
		_, err := ocsp.Stapler{}.Read(response, w.leaf.Cert, w.ca.Cert)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	now := time.Now()
	f(w.answer(), "")
	f(w.response(xocsp.Good, now, time.Hour, delegate), "")
	f(w.response(xocsp.Good, now, time.Hour, stranger), "signed by somebody who may not")
	f(w.response(xocsp.Revoked, now, time.Hour, w.ca), "was revoked on")
	f(w.response(xocsp.Unknown, now, time.Hour, w.ca), "does not know")
	f([]byte("rubbish"), "OCSP response")
	other := newWorld(t)
	f(other.answer(), "OCSP response")
}
