package transport

import (
	"crypto/x509"
	"fmt"
	"time"
)

// TLSStatus is what a listener's TLS is made of, for people, API and metrics.
type TLSStatus struct {
	Certificates []CertificateStatus `json:"certificates"`          // what it shows; the first is the default
	Authorities  []CertificateStatus `json:"authorities,omitempty"` // whose client certificates it believes
	Lists        []ListStatus        `json:"revocation_lists,omitempty"`
	Failed       string              `json:"reload_error,omitempty"` // why the last reload kept what was there
	Warnings     []string            `json:"warnings,omitempty"`     // what a person should look after
	Grave        []string            `json:"-"`                      // those of Warnings that keep clients out at present
}

// CertificateStatus is one certificate.
type CertificateStatus struct {
	File      string    `json:"file,omitempty"` // "" when ACME got it
	Subject   string    `json:"subject"`
	Names     []string  `json:"names,omitempty"` // DNS names, addresses, e-mail addresses and URIs it stands for
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"` // hexadecimal
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Days      int       `json:"days_left"` // whole ones; negative when expired
	Loaded    time.Time `json:"loaded,omitzero"`
	Staple    time.Time `json:"ocsp_staple_until,omitzero"` // zero = it is not stapled
}

// ListStatus is one authority's revocation list.
type ListStatus struct {
	File    string    `json:"file"`
	Issuer  string    `json:"issuer"`
	Revoked int       `json:"revoked"` // certificates on it
	Of      time.Time `json:"of"`
	Until   time.Time `json:"until,omitzero"` // when the next one was due; zero = not said
	Loaded  time.Time `json:"loaded"`
}

// Describe tells about a certificate at a time.
func Describe(cert *x509.Certificate, now time.Time) CertificateStatus {
	names := append(cert.DNSNames[:len(cert.DNSNames):len(cert.DNSNames)], cert.EmailAddresses...)
	for _, a := range cert.IPAddresses {
		names = append(names, a.String())
	}
	for _, u := range cert.URIs {
		names = append(names, u.String())
	}
	days := cert.NotAfter.Sub(now).Hours() / 24
	whole := int(days)
	if days < 0 {
		whole--
	}
	return CertificateStatus{
		Subject: cert.Subject.String(), Names: names, Issuer: cert.Issuer.String(), Serial: cert.SerialNumber.Text(16),
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, Days: whole,
	}
}

// soon is when an expiry is worth a warning: enough for a renewal by hand, later than a renewal by machine.
const soon = 14

// Status tells what there is now.
func (c *Certificates) Status() TLSStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opt.Now()
	s := TLSStatus{Certificates: []CertificateStatus{}}
	warn := func(format string, args ...any) { s.Warnings = append(s.Warnings, fmt.Sprintf(format, args...)) }
	grave := func(format string, args ...any) {
		warn(format, args...)
		s.Grave = append(s.Grave, s.Warnings[len(s.Warnings)-1])
	}
	if c.failed != nil {
		s.Failed = c.failed.Error()
		warn("the last reload kept what was there: %s", s.Failed)
	}
	if c.cfg.ACME {
		got := c.opt.Authority.Certificates()
		for _, cert := range got {
			s.Certificates = append(s.Certificates, Describe(cert, now))
		}
		if len(got) == 0 {
			grave("ACME has got no certificate yet: nobody can connect")
		}
	}
	for _, p := range c.own.pairs {
		v := Describe(p.cert.Leaf, now)
		v.File, v.Loaded, v.Staple = p.file, p.loaded, p.staple.Until
		s.Certificates = append(s.Certificates, v)
		if p.unasked != nil {
			warn("OCSP: %v", p.unasked)
		} else if c.cfg.Staple != "" && c.cfg.Staple != Fetch && p == c.own.pairs[0] && p.staple.Response == nil {
			warn("%s: the OCSP response is past its time and not used", c.cfg.Staple)
		}
		if unfit := unfit(p.cert.Leaf); unfit != "" {
			warn("%s: %s", p.file, unfit)
		}
	}
	for _, v := range s.Certificates {
		expiry(v, "certificate", now, warn, grave)
	}
	c.trustStatus(&s, now, warn, grave)
	return s
}

// trustStatus adds the authorities and their lists.
func (c *Certificates) trustStatus(s *TLSStatus, now time.Time, warn, grave func(string, ...any)) {
	for _, a := range c.trust.authorities {
		v := Describe(a, now)
		v.File, v.Loaded = c.cfg.ClientCA, c.trust.loaded
		s.Authorities = append(s.Authorities, v)
		expiry(v, "client authority", now, warn, grave)
		l := c.trust.lists[keyOf(a)]
		if l == nil || l.issuer != a {
			continue
		}
		s.Lists = append(s.Lists, ListStatus{
			File: c.cfg.CRL, Issuer: v.Subject, Revoked: len(l.serials), Of: l.crl.ThisUpdate, Until: l.crl.NextUpdate, Loaded: c.trust.loaded,
		})
		if until := l.crl.NextUpdate; !until.IsZero() && now.After(until) {
			warn("%s: the revocation list of %s is past its time (%s); those on it stay refused, newer revocations are not known", c.cfg.CRL, v.Subject, date(until))
		}
	}
}

// expiry warns of a certificate that does not hold, or not for long.
func expiry(v CertificateStatus, what string, now time.Time, warn, grave func(string, ...any)) {
	at := v.File
	if at == "" {
		at = "by ACME"
	}
	switch {
	case now.After(v.NotAfter):
		grave("%s %s (%s) expired on %s", what, v.Subject, at, date(v.NotAfter))
	case now.Before(v.NotBefore):
		grave("%s %s (%s) is not valid before %s", what, v.Subject, at, date(v.NotBefore))
	case v.Days < soon:
		warn("%s %s (%s) expires in %d days", what, v.Subject, at, v.Days)
	}
}

// unfit says why clients that check would not take a certificate for a server's, "" when they would.
func unfit(leaf *x509.Certificate) string {
	if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
		return "names no host (subject alternative name), so that clients that check refuse it"
	}
	for _, usage := range leaf.ExtKeyUsage {
		if usage == x509.ExtKeyUsageServerAuth || usage == x509.ExtKeyUsageAny {
			return ""
		}
	}
	if len(leaf.ExtKeyUsage) > 0 {
		return "is not for servers (extended key usage), so that clients that check refuse it"
	}
	return ""
}
