package transport

import (
	"crypto/tls"
	"errors"
	"slices"
)

// TLSConfig is the TLS of one listener. The zero value is no TLS at all.
type TLSConfig struct {
	Certificate []string          `yaml:"certificate" doc:"PEM file with the listener's certificate and those between it and its authority. Several may be given: a client gets the one for the name it asks for (SNI), otherwise the first."`
	Key         []string          `yaml:"key" doc:"PEM file with the private key, one for each certificate. Empty: the key is in the certificate's file."`
	ACME        bool              `yaml:"acme" doc:"Get the certificate by ACME, as the section acme says, in place of files."`
	MinVersion  Version           `yaml:"min_version" enum:"1.2,1.3" doc:"The oldest version of TLS that is spoken. What is older than 1.2 never is."`
	ClientCA    string            `yaml:"client_ca" doc:"PEM file with the authorities whose client certificates are believed. Empty: clients are not asked for certificates."`
	Client      ClientCertificate `yaml:"client_certificate" enum:"required,optional" doc:"Whether a client without a certificate is refused. One that shows a bad certificate always is. Used with client_ca."`
	CRL         string            `yaml:"crl" doc:"File with the revocation lists (PEM or DER) of the authorities in client_ca. With it, every authority that signs client certificates needs its list here. A list past its time goes on being used, and says so."`
	Staple      string            `yaml:"ocsp_staple" doc:"Show clients that the certificate is not revoked: a file with the OCSP response (DER), or fetch to ask the responder that the certificate names, in the background. Empty: do neither."`
}

// Fetch is the OCSP staple that is asked for instead of read.
const Fetch = "fetch"

// Enabled tells whether TLS is spoken at all.
func (c *TLSConfig) Enabled() bool { return len(c.Certificate) > 0 || c.ACME }

// Check holds the rules that no tag can say. It opens no file.
func (c *TLSConfig) Check(bad func(key, message, fix string)) {
	if len(c.Key) > 0 && len(c.Key) != len(c.Certificate) {
		bad("key", "does not have one file for each certificate", "name as many, or none if the keys are in the certificates' files")
	}
	if c.ACME && len(c.Certificate) > 0 {
		bad("acme", "is on, and certificate names a file", "use one of them")
	}
	if c.ACME && c.Staple != "" {
		bad("ocsp_staple", "is set, but a certificate by ACME is stapled by itself", "leave it empty")
	}
	if c.ClientCA == "" && c.CRL != "" {
		bad("crl", "is set, but no client_ca", "name the authorities whose lists these are in client_ca")
	}
	if !c.Enabled() && (c.ClientCA != "" || c.Staple != "") {
		bad("certificate", "is empty, so this listener speaks no TLS", "name a certificate: sapwood cert init makes one")
	}
}

// files lists what is read, without doubles.
func (c *TLSConfig) files() []string {
	all := append(slices.Clone(c.Certificate), c.Key...)
	all = append(all, c.ClientCA, c.CRL)
	if c.Staple != Fetch {
		all = append(all, c.Staple)
	}
	all = slices.DeleteFunc(all, func(s string) bool { return s == "" })
	slices.Sort(all)
	return slices.Compact(all)
}

// Version is a version of TLS: tls.VersionTLS12 or later. The zero value is 1.2.
type Version uint16

// number is the version as it is on the wire.
func (v Version) number() uint16 { return max(uint16(v), tls.VersionTLS12) }

// MarshalText writes 1.2 or 1.3.
func (v Version) MarshalText() ([]byte, error) {
	if v.number() == tls.VersionTLS13 {
		return []byte("1.3"), nil
	}
	return []byte("1.2"), nil
}

// UnmarshalText reads 1.2 or 1.3.
func (v *Version) UnmarshalText(text []byte) error {
	switch string(text) {
	case "1.2":
		*v = tls.VersionTLS12
	case "1.3":
		*v = tls.VersionTLS13
	default:
		return errors.New("must be one of: 1.2, 1.3")
	}
	return nil
}

// ClientCertificate is what is asked of clients. The zero value is Required.
type ClientCertificate int

// What is asked of clients where client_ca is set.
const (
	Required ClientCertificate = iota
	Optional
)

// MarshalText writes required or optional.
func (c ClientCertificate) MarshalText() ([]byte, error) {
	if c == Optional {
		return []byte("optional"), nil
	}
	return []byte("required"), nil
}

// UnmarshalText reads required or optional.
func (c *ClientCertificate) UnmarshalText(text []byte) error {
	switch string(text) {
	case "required":
		*c = Required
	case "optional":
		*c = Optional
	default:
		return errors.New("must be one of: required, optional")
	}
	return nil
}
