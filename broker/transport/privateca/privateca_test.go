package privateca_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/transport/privateca"
)

func authority(t *testing.T, until time.Time) *privateca.Authority {
	t.Helper()
	a, err := privateca.New("test CA", until)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestIssued: what is issued verifies for its purpose alone, and does not outlive its authority.
func TestIssued(t *testing.T) {
	end := time.Now().Add(48 * time.Hour)
	a := authority(t, end)
	roots := x509.NewCertPool()
	roots.AddCert(a.Cert)
	f := func(i *privateca.Issued, err error, name string, usage, not x509.ExtKeyUsage) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := i.Cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Error(err)
		}
		if _, err := i.Cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{not}}); err == nil {
			t.Error("verifies for what it is not for")
		}
		if i.Cert.NotAfter.After(end) || i.Cert.SerialNumber.Sign() <= 0 || i.Cert.SerialNumber.BitLen() > 127 {
			t.Errorf("%v, %v", i.Cert.NotAfter, i.Cert.SerialNumber)
		}
	}
	far := time.Now().AddDate(5, 0, 0)
	server, err := a.Server([]string{"broker.test", "*.plant.test", "my_broker", "192.0.2.1", "2001:db8::1"}, far)
	for _, name := range []string{"broker.test", "a.plant.test", "my_broker", "192.0.2.1", "[2001:db8::1]"} {
		f(server, err, name, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	}
	client, err := a.Client("Pumpe 7/é", far)
	f(client, err, "", x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth)
	local, err := a.Server(privateca.LocalNames(), far)
	f(local, err, "localhost", x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

func TestBadNames(t *testing.T) {
	a := authority(t, time.Now().Add(time.Hour))
	for _, name := range []string{"", "a b", "https://x", "x:8883", "a..b", "*.", "*", "é.test", strings.Repeat("a", 64) + ".test"} {
		if _, err := a.Server([]string{name}, time.Now()); err == nil {
			t.Errorf("server %q was taken", name)
		}
	}
	if _, err := a.Server(nil, time.Now()); err == nil {
		t.Error("a server without a name was taken")
	}
	for _, name := range []string{"", "a\x00b", "a\nb", "\xff", strings.Repeat("é", 65)} {
		if _, err := a.Client(name, time.Now()); err == nil {
			t.Errorf("client %q was taken", name)
		}
	}
}

// TestDir keeps an authority in files: nothing is overwritten, lists grow and count up, clients' names stay within their
// directory.
func TestDir(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d := privateca.Dir(t.TempDir())
	a := authority(t, time.Now().Add(time.Hour))
	must(d.Create(a))
	if err := d.Create(authority(t, time.Now().Add(time.Hour))); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	a, err := d.Open()
	must(err)
	for i, name := range []string{"pump", "../../escape", "..", ".hidden", "a/b"} {
		c, err := a.Client(name, time.Now().Add(time.Hour))
		must(err)
		must(d.WriteClient(name, c))
		if err := d.WriteClient(name, c); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", name, err)
		}
		serial, err := d.Serial(name)
		must(err)
		if serial.Cmp(c.Cert.SerialNumber) != 0 {
			t.Errorf("%s: %v", name, serial)
		}
		must(d.Revoke(a, []*big.Int{serial, serial}))
		der, err := os.ReadFile(d.List())
		must(err)
		list := parse(t, der)
		if list.CheckSignatureFrom(a.Cert) != nil || len(list.RevokedCertificateEntries) != i+1 || list.Number.Int64() != int64(i+2) {
			t.Errorf("%d entries, number %v", len(list.RevokedCertificateEntries), list.Number)
		}
	}
	entries, err := os.ReadDir(d.Clients())
	must(err)
	if len(entries) != 10 {
		t.Errorf("%v", entries)
	}
}

func parse(t *testing.T, data []byte) *x509.RevocationList {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("not PEM: %q", data)
	}
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
