package acme_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/broker/transport/acme"
	"github.com/sapwood-mqtt/sapwood/broker/transport/privateca"
)

// pebble is Let's Encrypt's server for tests, with a resolver for which every name is this machine.
type pebble struct {
	*testing.T
	dir       string
	directory string // URL
	client    *http.Client
	manage    string
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// freePort is one that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// program builds the server, which is in the module of the tools, into Go's build cache.
func program(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("go", "tool", "-n", "pebble")
	cmd.Dir = "../../../tools"
	out, err := cmd.Output()
	must(t, err)
	return strings.TrimSpace(string(out))
}

func newPebble(t *testing.T, challengePort int) *pebble {
	t.Helper()
	p := &pebble{T: t, dir: t.TempDir()}
	ca, err := privateca.New("ACME server's CA", time.Now().Add(time.Hour))
	must(t, err)
	d := privateca.Dir(p.dir)
	must(t, d.Create(ca))
	own, err := ca.Server([]string{"127.0.0.1"}, time.Now().Add(time.Hour))
	must(t, err)
	must(t, d.WriteServer(own))
	cert, key := d.Server()
	listen, manage := freePort(t), freePort(t)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": fmt.Sprintf("127.0.0.1:%d", listen), "managementListenAddress": fmt.Sprintf("127.0.0.1:%d", manage),
		"certificate": cert, "privateKey": key, "httpPort": challengePort, "tlsPort": challengePort,
	}})
	must(t, err)
	file := filepath.Join(p.dir, "pebble.json")
	must(t, os.WriteFile(file, config, 0o600))
	cmd := exec.Command(program(t), "-config", file, "-dnsserver", resolver(t))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	p.directory = fmt.Sprintf("https://127.0.0.1:%d/dir", listen)
	p.manage = fmt.Sprintf("https://127.0.0.1:%d", manage)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	p.until("a directory", func() bool { return p.get(p.directory) != nil })
	return p
}

// resolver is a DNS server.
func resolver(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // pebble asks by TCP
	must(t, err)
	server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)}}
		}
		w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() { defer close(done); server.ActivateAndServe() }()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// get asks the server, nil for no answer.
func (p *pebble) get(url string) []byte {
	r, err := p.client.Get(url)
	if err != nil {
		return nil
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		return nil
	}
	return body
}

func (p *pebble) until(what string, f func() bool) {
	p.Helper()
	deadline := time.Now().Add(time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			p.Fatalf("%s did not come", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// config asks this server for a certificate.
func (p *pebble) config(challenge, address string) acme.Config {
	c := acme.DefaultConfig()
	c.Names, c.Directory, c.CARoot, c.Agree = []string{"broker.test"}, p.directory, privateca.Dir(p.dir).AuthorityCert(), true
	c.Challenge, c.Address = challenge, address
	return c
}

// served accepts on a listener with ACME, as a broker does, and sends "hello" to whoever is let in.
func (p *pebble) served(m *acme.Manager, l net.Listener, cfg transport.TLSConfig) *transport.Certificates {
	p.Helper()
	c, err := transport.OpenTLS(cfg, transport.TLSOptions{Protocols: []string{"mqtt"}, Authority: m})
	must(p.T, err)
	config := c.Config()
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(time.Minute))
				io.WriteString(tls.Server(conn, config), "hello\n")
			})
		}
	})
	p.Cleanup(func() { l.Close(); all.Wait() })
	return c
}

// trusted connects as a client that believes the test authority alone.
func (p *pebble) trusted(address, name string) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.get(p.manage + "/roots/0"))
	block, _ := pem.Decode(p.get(p.manage + "/intermediates/0"))
	if block == nil {
		return fmt.Errorf("no intermediate")
	}
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: name})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 6))
	return err
}

func open(t *testing.T, cfg acme.Config, dir string) *acme.Manager {
	t.Helper()
	m, err := acme.Open(cfg, dir, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	must(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := transport.Listen("127.0.0.1:0")
	must(t, err)
	return l
}

// TestHTTP01 gets a certificate by a challenge on a port of its own, and finds it again after a restart without asking.
func TestHTTP01(t *testing.T) {
	port := freePort(t)
	p := newPebble(t, port)
	cfg, dir := p.config(acme.HTTP01, fmt.Sprintf("127.0.0.1:%d", port)), t.TempDir()
	m := open(t, cfg, dir)
	l := listen(t)
	c := p.served(m, l, transport.TLSConfig{ACME: true})
	p.until("a certificate", func() bool { return len(m.Certificates()) > 0 })
	must(t, p.trusted(l.Addr().String(), "broker.test"))
	if s := c.Status(); len(s.Certificates) != 1 || s.Certificates[0].Names[0] != "broker.test" || s.Certificates[0].Days < 1 {
		t.Errorf("%+v", s)
	}
	must(t, m.Close())

	again := open(t, cfg, dir)
	if len(again.Certificates()) != 1 {
		t.Error("a restart lost the certificate")
	}
	// No name, and a name that nobody has, get the certificate there is (F181).
	l2 := listen(t)
	p.served(again, l2, transport.TLSConfig{ACME: true})
	for _, name := range []string{"", "unknown.test"} {
		conn, err := tls.Dial("tcp", l2.Addr().String(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		must(t, err)
		if got := conn.ConnectionState().PeerCertificates[0].DNSNames; len(got) != 1 || got[0] != "broker.test" {
			t.Errorf("%q: %v", name, got)
		}
		conn.Close()
	}
}

// TestTLSALPN01 gets a certificate through the listener that will use it, which demands certificates of its clients; and
// the challenge is no way around that.
func TestTLSALPN01(t *testing.T) {
	l := listen(t)
	address := l.Addr().String()
	p := newPebble(t, l.Addr().(*net.TCPAddr).Port)
	m := open(t, p.config(acme.TLSALPN01, address), t.TempDir())
	c := p.served(m, l, transport.TLSConfig{ACME: true, ClientCA: privateca.Dir(p.dir).AuthorityCert()})
	if w := strings.Join(c.Status().Warnings, "\n"); len(m.Certificates()) == 0 && !strings.Contains(w, "no certificate yet") {
		t.Errorf("nobody is told that there is no certificate yet: %q", w)
	}
	p.until("a certificate", func() bool { return len(m.Certificates()) > 0 })
	if err := p.trusted(address, "broker.test"); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{ServerName: "broker.test", InsecureSkipVerify: true, NextProtos: []string{"acme-tls/1"}}}
	if conn, err := d.DialContext(ctx, "tcp", address); err == nil {
		if n, err := conn.Read(make([]byte, 6)); err == nil {
			t.Errorf("a client that says it is an ACME server was let in, and read %d bytes", n)
		}
		conn.Close()
	}
}
