// Package privateca is a certificate authority for those who have none: it makes keys, certificates and revocation lists
// (ECDSA P-256, RFC 5280). It knows nothing of listeners and keeps nothing in memory; Dir is where its files are.
package privateca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Authority signs certificates. It is read-only and safe for concurrent use.
type Authority struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// Issued is a certificate with its private key.
type Issued struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// backdate is how far before its making a certificate holds: devices have slow clocks.
const backdate = time.Hour

// New makes an authority that holds until the given time. It signs leaves only, no other authorities.
func New(name string, until time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-backdate), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, err := sign(&template, &template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Authority{cert, key}, nil
}

// Server issues a certificate for a server that is reached by these names: DNS names and IP addresses.
func (a *Authority) Server(names []string, until time.Time) (*Issued, error) {
	if len(names) == 0 {
		return nil, errors.New("a server needs at least one name")
	}
	template := x509.Certificate{Subject: pkix.Name{CommonName: names[0]}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		if !hostname(name) {
			return nil, fmt.Errorf("%q is neither a DNS name nor an address", name)
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	return a.Issue(&template, until)
}

// Client issues a certificate for a client of this common name, which other commands and rules know it by.
func (a *Authority) Client(name string, until time.Time) (*Issued, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	template := x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	return a.Issue(&template, until)
}

// Issue signs a leaf from a template with a new key. What the template leaves out is filled in; no leaf outlives its authority.
func (a *Authority) Issue(template *x509.Certificate, until time.Time) (*Issued, error) {
	if until.After(a.Cert.NotAfter) {
		until = a.Cert.NotAfter
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := *template
	t.SerialNumber = serial()
	t.NotAfter = until
	if t.NotBefore.IsZero() {
		t.NotBefore = time.Now().Add(-backdate)
	}
	t.BasicConstraintsValid = true
	t.KeyUsage = x509.KeyUsageDigitalSignature
	cert, err := sign(&t, a.Cert, key.Public(), a.Key)
	if err != nil {
		return nil, err
	}
	return &Issued{cert, key}, nil
}

// Revoke makes the revocation list that follows before (nil = there was none), with these serial numbers added. It is DER.
func (a *Authority) Revoke(before *x509.RevocationList, serials []*big.Int, now, until time.Time) ([]byte, error) {
	template := x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: until}
	if before != nil {
		template.RevokedCertificateEntries = before.RevokedCertificateEntries
		template.Number = new(big.Int).Add(before.Number, big.NewInt(1))
	}
	known := map[string]bool{}
	for _, e := range template.RevokedCertificateEntries {
		known[e.SerialNumber.String()] = true
	}
	for _, s := range serials {
		if known[s.String()] {
			continue
		}
		known[s.String()] = true
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: now})
	}
	return x509.CreateRevocationList(rand.Reader, &template, a.Cert, a.Key)
}

// sign makes a certificate.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// serial is 127 random bits (RFC 5280 4.1.2.2: positive, at most 20 bytes).
func serial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}

// CheckName refuses what cannot be the common name of a client: RFC 5280 allows 64 characters, and control characters would
// be read differently by different programs.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("a name is empty")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%q is not one line of text", name)
	case utf8.RuneCountInString(name) > 64:
		return fmt.Errorf("%q is longer than 64 characters", name)
	}
	return nil
}

// LocalNames are what a server on this machine is reached by: its host name, and the names of loopback.
func LocalNames() []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if host, err := os.Hostname(); err == nil && hostname(host) && host != names[0] {
		names = append([]string{host}, names...)
	}
	return names
}

// hostname tells whether a server can be called so: labels of letters, digits, hyphens and underscores (Docker has them), a
// wildcard before them.
func hostname(name string) bool {
	rest := strings.TrimPrefix(name, "*.")
	for label := range strings.SplitSeq(rest, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return len(rest) <= 253
}

// CertPEM is the certificate as files hold it.
func (i *Issued) CertPEM() []byte { return certPEM(i.Cert) }

// KeyPEM is the private key as files hold it (PKCS #8).
func (i *Issued) KeyPEM() ([]byte, error) { return keyPEM(i.Key) }

func certPEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
