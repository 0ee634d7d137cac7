package app

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/transport/privateca"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// authority is a private one with its files, and client certificates that it issued.
type authority struct {
	*testing.T
	dir privateca.Dir
	ca  *privateca.Authority
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{T: t, dir: privateca.Dir(filepath.Join(t.TempDir(), name))}
	var err error
	if a.ca, err = privateca.New(name, time.Now().Add(1000*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := a.dir.Create(a.ca); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) issued(i *privateca.Issued, err error) *privateca.Issued {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
	return i
}

func (a *authority) server() *privateca.Issued {
	a.Helper()
	return a.issued(a.ca.Server([]string{"localhost", "127.0.0.1"}, time.Now().Add(500*time.Hour)))
}

// client is what a client needs that believes roots.
func (a *authority) client(name string, roots *x509.CertPool) (*tls.Config, *big.Int) {
	a.Helper()
	i := a.issued(a.ca.Client(name, time.Now().Add(500*time.Hour)))
	return &tls.Config{
		RootCAs: roots, ServerName: "localhost",
		Certificates: []tls.Certificate{{Certificate: [][]byte{i.Cert.Raw}, PrivateKey: i.Key, Leaf: i.Cert}},
	}, i.Cert.SerialNumber
}

// With 1,000 clients connected over TLS, a new leaf, another authority, another CRL, other rules and another chain take effect, and
// nobody is disconnected but the one whose certificate is revoked.
func TestReloadKeepsTLSClients(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	if err := ours.dir.WriteServer(ours.server()); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ours.ca.Cert)
	bundle, lists := filepath.Join(t.TempDir(), "bundle.pem"), filepath.Join(t.TempDir(), "lists.pem")
	copyTo := func(to string, from ...string) {
		t.Helper()
		var all []byte
		for _, f := range from {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, text...)
		}
		if err := os.WriteFile(to, all, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	copyTo(bundle, ours.dir.AuthorityCert())
	copyTo(lists, ours.dir.List())
	cert, key := ours.dir.Server()
	file := func(chain, rules string) string {
		return off + fmt.Sprintf("listeners: [{address: '127.0.0.1:0', name: tls, limits: {max_connections_per_address: 0, connect_rate: 0, connect_rate_per_address: 0}, tls: {certificate: '%s', key: '%s', client_ca: '%s', crl: '%s'}}]\n"+
			"authentication: {chain: [%s]}\nauthorization: {rules: [{allow: [publish, subscribe, receive], topics: [%s]}]}\n", cert, key, bundle, lists, chain, rules)
	}
	s := serveFile(t, file("certificate", `"#"`))
	dial := func(id string, c *tls.Config) (*client.Client, error) {
		got, err := client.Dial(t.Context(), client.Options{Address: s.Bound().MQTT[0], TLS: c, ClientID: id, Timeout: time.Minute})
		if err == nil {
			t.Cleanup(got.Abort)
		}
		return got, err
	}
	good, _ := ours.client("good", roots)
	bad, serial := ours.client("bad", roots)
	other, _ := theirs.client("other", roots)
	revoked, err := dial("bad", bad)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := dial("other", other); err == nil {
		c.Abort()
		t.Fatal("a certificate of another authority is believed")
	}
	const many = 1000
	clients := make([]*client.Client, many)
	var wait sync.WaitGroup
	for worker := range 20 {
		wait.Go(func() {
			for i := worker; i < many; i += 20 {
				var err error
				if clients[i], err = dial(fmt.Sprint("c", i), good); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	if wait.Wait(); t.Failed() {
		return
	}
	if err := ours.dir.ReplaceServer(ours.server()); err != nil {
		t.Fatal(err)
	}
	copyTo(bundle, ours.dir.AuthorityCert(), theirs.dir.AuthorityCert())
	if err := ours.dir.Revoke(ours.ca, []*big.Int{serial}); err != nil {
		t.Fatal(err)
	}
	copyTo(lists, ours.dir.List(), theirs.dir.List())
	done := s.reload(file("certificate, password", `"free/#"`))
	if len(done.Refused) > 0 {
		t.Error(done.Refused)
	}
	select {
	case <-revoked.Done():
		if !errors.Is(revoked.Err(), mqtt.NotAuthorized) {
			t.Error(revoked.Err())
		}
	case <-time.After(patience):
		t.Error("the client with the revoked certificate stays")
	}
	if c, err := dial("bad", bad); err == nil {
		c.Abort()
		t.Error("and comes back")
	}
	if _, err := dial("other", other); err != nil {
		t.Errorf("the other authority is believed now: %v", err)
	}
	for i := range 20 { // as a change of files makes
		for _, w := range s.watching() {
			if err := w.Reload(); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
	}
	lost := 0
	for i, c := range clients {
		topic := []string{"free/x", "secret/x"}[i%2]
		reason, err := c.Publish(t.Context(), &mqtt.Publish{Topic: []byte(topic), QoS: 1})
		if c.Err() != nil {
			lost++
			continue
		}
		if denied := errors.Is(err, mqtt.NotAuthorized); denied != (i%2 == 1) {
			t.Errorf("%s: %v %v", topic, reason, err)
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d clients were disconnected", lost, many)
	}
	if left := s.doors.status()[0].TLS.Certificates[0]; left.Days < 19 || left.Days > 21 {
		t.Errorf("the status tells of %+v", left)
	}
}
