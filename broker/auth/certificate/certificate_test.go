package certificate

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
)

var (
	began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ends  = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
)

// made is a certificate that went through its DER form, as one from the wire.
func made(t *testing.T, tmpl x509.Certificate) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.SerialNumber, tmpl.NotBefore, tmpl.NotAfter = big.NewInt(1), began, ends
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func open(t *testing.T, cfg Config, now time.Time) *Backend {
	t.Helper()
	b, err := Open(t.Context(), cfg, Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func config(change func(*Config)) Config {
	c := DefaultConfig()
	if change != nil {
		change(&c)
	}
	return c
}

// TestIdentity: the name comes from the certificate by the configured rule, and a user name that says something else is refused (F153).
func TestIdentity(t *testing.T) {
	uri, err := url.Parse("urn:device:7")
	if err != nil {
		t.Fatal(err)
	}
	cert := made(t, x509.Certificate{
		Subject:        pkix.Name{CommonName: "meter-7", Organization: []string{"Acme"}, OrganizationalUnit: []string{"north", "heat"}},
		DNSNames:       []string{"seven.devices.example.com", "other.example.com"},
		EmailAddresses: []string{"seven@example.com"}, URIs: []*url.URL{uri},
	})
	f := func(change func(*Config), user, want string) {
		t.Helper()
		a := &auth.Attempt{Peer: auth.Peer{Cert: cert}, Username: user, HasUser: user != ""}
		id, err := open(t, config(change), began).Authenticate(context.Background(), a)
		var no *auth.Refusal
		switch {
		case want == "" && (id != nil || !errors.As(err, &no)):
			t.Errorf("got %v, %v, want a refusal", id, err)
		case want != "" && (err != nil || id.Name != want || !id.Expires.Equal(ends) || id.By != "certificate"):
			t.Errorf("got %+v, %v, want %s", id, err, want)
		}
	}
	by := func(what, pattern string) func(*Config) {
		return func(c *Config) { c.Identity, c.Pattern = what, pattern }
	}
	f(nil, "", "meter-7")
	f(nil, "meter-7", "meter-7")
	f(nil, "meter-8", "")
	f(nil, "METER-7", "")
	f(func(c *Config) { c.MatchUsername = "ignore" }, "meter-8", "meter-7")
	f(by("cn", `meter-(\d+)`), "", "7")
	f(by("cn", `meter-(\d+)`), "meter-7", "")
	f(by("cn", `meter`), "", "")
	f(by("cn", `a|meter-7`), "", "meter-7")
	f(by("cn", `a|meter`), "", "") // the whole value, in each alternative
	f(by("cn", `meter-7()`), "", "")
	f(by("san_dns", ""), "", "") // two
	f(by("san_dns", `(.+)\.devices\.example\.com`), "", "seven")
	f(by("san_email", ""), "", "seven@example.com")
	f(by("san_uri", ""), "", "urn:device:7")
	f(by("subject", ""), "", "CN=meter-7,OU=heat+OU=north,O=Acme")

	groups := func(which string) []string {
		id, err := open(t, config(func(c *Config) { c.Groups = which }), began).Authenticate(context.Background(), &auth.Attempt{Peer: auth.Peer{Cert: cert}})
		if err != nil {
			t.Fatal(err)
		}
		return id.Groups
	}
	if none, ou, o := groups("none"), groups("ou"), groups("o"); none != nil || !slices.Equal(ou, []string{"heat", "north"}) || !slices.Equal(o, []string{"Acme"}) {
		t.Errorf("groups %v, %v, %v", none, ou, o)
	}
}

// TestUnknown: without a certificate somebody else is asked.
func TestUnknown(t *testing.T) {
	id, err := open(t, DefaultConfig(), began).Authenticate(context.Background(), &auth.Attempt{Username: "meter-7", HasUser: true})
	if id != nil || !errors.Is(err, auth.ErrUnknown) {
		t.Errorf("got %v, %v", id, err)
	}
}

// TestBadNames: what a certificate authority let pass may still be no name, and is not made one by cutting it (F152).
func TestBadNames(t *testing.T) {
	named := func(values ...any) *x509.Certificate {
		c := &x509.Certificate{NotBefore: began, NotAfter: ends}
		for _, v := range values {
			c.Subject.Names = append(c.Subject.Names, pkix.AttributeTypeAndValue{Type: oidCommonName, Value: v})
		}
		return c
	}
	f := func(cert *x509.Certificate, now time.Time, change func(*Config), want string) {
		t.Helper()
		id, err := open(t, config(change), now).Authenticate(context.Background(), &auth.Attempt{Peer: auth.Peer{Cert: cert}})
		var no *auth.Refusal
		if id != nil || !errors.As(err, &no) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v, want %q", id, err, want)
		}
	}
	f(named("admin\x00.example.com"), began, nil, "control character")
	f(named("admin\x00.example.com"), began, func(c *Config) { c.Pattern = `(admin)[\s\S]*` }, "control character")
	f(named("admin\xff"), began, nil, "not UTF-8")
	f(named("admin\nX"), began, nil, "control character")
	f(named(strings.Repeat("a", 1025)), began, nil, "1025 bytes")
	f(named(""), began, nil, "is empty")
	f(named(), began, nil, "0 names")
	f(named(7), began, nil, "0 names")
	f(named("a", "admin"), began, nil, "2 names")
	f(named("a"), began.Add(-1), nil, "holds from")
	f(named("a"), ends.Add(1), nil, "holds from")
	f(&x509.Certificate{NotBefore: began, NotAfter: ends, DNSNames: []string{"a\x00b"}}, began, func(c *Config) { c.Identity = "san_dns" }, "control character")
	f(&x509.Certificate{NotBefore: began, NotAfter: ends}, began, func(c *Config) { c.Identity = "subject" }, "0 names")

	// The same from the wire: a common name in two forms of string that can carry such bytes.
	for _, tag := range []int{asn1.TagUTF8String, asn1.TagIA5String} {
		raw, err := asn1.Marshal([][]struct {
			Type  asn1.ObjectIdentifier
			Value asn1.RawValue
		}{{{oidCommonName, asn1.RawValue{Tag: tag, Bytes: []byte("admin\x00.evil")}}}})
		if err != nil {
			t.Fatal(err)
		}
		raw[2] = 0x31 // a SET
		f(made(t, x509.Certificate{RawSubject: raw}), began, nil, "control character")
	}
}

func TestConfig(t *testing.T) {
	for _, pattern := range []string{"(", "(a)(b)"} {
		cfg, told := config(func(c *Config) { c.Pattern = pattern }), ""
		cfg.Check(func(key, _, _ string) { told += key })
		if _, err := Open(t.Context(), cfg, Options{}); err == nil || told != "pattern" {
			t.Errorf("%s: %v, %q", pattern, err, told)
		}
	}
}
