package transport

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// trust is whose client certificates are believed. It never changes once made.
type trust struct {
	pool        *x509.CertPool      // nil = clients are not asked
	authorities []*x509.Certificate // of the pool
	lists       map[string]*list    // by the key of their issuer; nil = none are used
	tickets     *tls.Config         // makes and reads session tickets, with keys that rotate daily
	sum         []byte              // of the files
	loaded      time.Time
}

// list is one authority's revocation list.
type list struct {
	issuer  *x509.Certificate
	crl     *x509.RevocationList // without its entries
	serials map[string]time.Time
}

// readTrust reads the authorities and their revocation lists.
func readTrust(cfg *TLSConfig, now time.Time) (*trust, error) {
	t := &trust{tickets: &tls.Config{}, loaded: now}
	if cfg.ClientCA == "" {
		return t, nil
	}
	bundle, err := read(cfg.ClientCA)
	if err != nil {
		return nil, err
	}
	if t.authorities, err = parseCertificates(cfg.ClientCA, bundle); err != nil {
		return nil, err
	}
	t.pool = x509.NewCertPool()
	for _, a := range t.authorities {
		t.pool.AddCert(a)
	}
	sum := sha256.New()
	sum.Write(bundle)
	if cfg.CRL != "" {
		data, err := read(cfg.CRL)
		if err != nil {
			return nil, err
		}
		if err := t.readLists(cfg.CRL, data, now); err != nil {
			return nil, err
		}
		fmt.Fprintf(sum, "%d", len(bundle))
		sum.Write(data)
	}
	t.sum = sum.Sum(nil)
	return t, nil
}

// readLists reads a file of revocation lists: PEM, or one in DER.
func (t *trust) readLists(file string, data []byte, now time.Time) error {
	ders := [][]byte{data}
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		blocks, err := decodeAll(data)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		ders = nil
		for _, b := range blocks {
			if b.Type == "X509 CRL" {
				ders = append(ders, b.Bytes)
			}
		}
	}
	t.lists = map[string]*list{}
	for _, der := range ders {
		crl, err := x509.ParseRevocationList(der)
		if err != nil {
			return fmt.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "x509: "))
		}
		if err := t.addList(crl, now); err != nil {
			return fmt.Errorf("%s: the list of %s %w", file, crl.Issuer, err)
		}
	}
	if len(t.lists) == 0 {
		return fmt.Errorf("%s: no revocation list", file)
	}
	return nil
}

// skew is how far a list's clock may be ahead of ours.
const skew = 5 * time.Minute

// addList takes one list, if one of the authorities has signed it.
func (t *trust) addList(crl *x509.RevocationList, now time.Time) error {
	var issuer *x509.Certificate
	for _, a := range t.authorities {
		if bytes.Equal(a.RawSubject, crl.RawIssuer) && crl.CheckSignatureFrom(a) == nil {
			issuer = a
		}
	}
	switch {
	case issuer == nil:
		return fmt.Errorf("is not signed by an authority in client_ca")
	case now.Add(skew).Before(crl.ThisUpdate):
		return fmt.Errorf("is dated %s, which is to come", date(crl.ThisUpdate))
	}
	for _, e := range crl.Extensions {
		if e.Critical { // such as that of a list that holds only changes, or only a part
			return fmt.Errorf("has the critical extension %s, which is not understood; use complete lists", e.Id)
		}
	}
	l := &list{issuer: issuer, crl: crl, serials: make(map[string]time.Time, len(crl.RevokedCertificateEntries))}
	for _, e := range crl.RevokedCertificateEntries {
		l.serials[string(e.SerialNumber.Bytes())] = e.RevocationTime
	}
	crl.RevokedCertificateEntries, crl.Raw, crl.RawTBSRevocationList = nil, nil, nil // a million entries are kept once
	if before := t.lists[keyOf(issuer)]; before == nil || crl.ThisUpdate.After(before.crl.ThisUpdate) {
		t.lists[keyOf(issuer)] = l
	}
	return nil
}

// keyOf is what makes an issuer: a certificate renewed with the same name and key is the same.
func keyOf(issuer *x509.Certificate) string {
	return string(issuer.RawSubject) + string(issuer.RawSubjectPublicKeyInfo)
}

// follows refuses a list that is older than the one in use: somebody put an old file back, and those revoked since
// would be let in.
func (t *trust) follows(before *trust) error {
	for key, old := range before.lists {
		if now := t.lists[key]; now != nil && now.crl.ThisUpdate.Before(old.crl.ThisUpdate) {
			return fmt.Errorf("the revocation list of %s is of %s, older than the one in use, of %s; restart to use it all the same",
				now.crl.Issuer, date(now.crl.ThisUpdate), date(old.crl.ThisUpdate))
		}
	}
	return nil
}

// CertificateError is why a client certificate was refused although its authority is known.
type CertificateError struct {
	Cert *x509.Certificate
	Why  string
}

// Error names the certificate by its serial number, which is what its authority knows it by.
func (e *CertificateError) Error() string {
	return fmt.Sprintf("client certificate %q, serial number %s: %s", e.Cert.Subject.CommonName, e.Cert.SerialNumber.Text(16), e.Why)
}

// check judges what a handshake has verified. It runs for resumed sessions too, whose ticket may be older than a revocation.
func (t *trust) check(cs *tls.ConnectionState, now time.Time) error {
	if len(cs.PeerCertificates) == 0 {
		return nil
	}
	leaf := cs.PeerCertificates[0]
	no := func(format string, args ...any) error { return &CertificateError{leaf, fmt.Sprintf(format, args...)} }
	switch why := unclear(leaf); {
	case why != "":
		return no("%s, and nobody could be sure who it names", why)
	case now.After(leaf.NotAfter):
		return no("expired on %s", date(leaf.NotAfter))
	case now.Before(leaf.NotBefore):
		return no("not valid before %s", date(leaf.NotBefore))
	case len(cs.VerifiedChains) == 0:
		return no("not verified")
	}
	if t.lists == nil {
		return nil
	}
	why := ""
	for _, chain := range cs.VerifiedChains {
		if why = t.revoked(chain); why == "" {
			return nil
		}
	}
	return no("%s", why)
}

// revoked says why a chain does not hold, "" when it does.
func (t *trust) revoked(chain []*x509.Certificate) string {
	for i, cert := range chain[:len(chain)-1] {
		l := t.lists[keyOf(chain[i+1])]
		switch {
		case l == nil && i == 0:
			return "its authority has no revocation list here, so nobody can tell"
		case l == nil:
			continue
		}
		if when, ok := l.serials[string(cert.SerialNumber.Bytes())]; ok {
			if i == 0 {
				return "revoked on " + date(when)
			}
			return fmt.Sprintf("its authority %s was revoked on %s", cert.Subject, date(when))
		}
	}
	return ""
}

// Revoked says when a client's certificate is on a revocation list as it is now, nil when it is not. A reload ends no
// connection; who wants those of revoked clients ended asks here about each. The certificate is one that a handshake has verified.
func (c *Certificates) Revoked(cert *x509.Certificate) error {
	c.mu.Lock()
	t := c.trust
	c.mu.Unlock()
	for _, l := range t.lists {
		if !bytes.Equal(l.issuer.RawSubject, cert.RawIssuer) {
			continue
		}
		ours, its := l.issuer.SubjectKeyId, cert.AuthorityKeyId
		if len(ours) > 0 && len(its) > 0 && !bytes.Equal(ours, its) { // another authority of the same name
			continue
		}
		if when, ok := l.serials[string(cert.SerialNumber.Bytes())]; ok {
			return &CertificateError{cert, "revoked on " + date(when)}
		}
	}
	return nil
}

// unclear says what in a certificate programs may read differently, "" for nothing: a name with NUL or other control
// characters or not in UTF-8, or two common names, of which some take the first and some the last. Rules and logs see names.
func unclear(cert *x509.Certificate) string {
	names := append(cert.DNSNames[:len(cert.DNSNames):len(cert.DNSNames)], cert.EmailAddresses...)
	for _, u := range cert.URIs {
		names = append(names, u.String())
	}
	common := 0
	for _, a := range cert.Subject.Names {
		if a.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
			common++
		}
		if text, ok := a.Value.(string); ok {
			names = append(names, text)
		}
	}
	if common > 1 {
		return "it has more than one common name"
	}
	for _, name := range names {
		if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
			return fmt.Sprintf("%q in it is not one line of text", name)
		}
	}
	return ""
}
