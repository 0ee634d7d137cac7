// Package certificate tells who a client is by the certificate it proved to own in the TLS handshake. The listener has verified it;
// here it is only read. It asks nobody and keeps nothing.
package certificate

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/grant"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Config is the rule by which a certificate names its client. Its zero value is not usable: start from DefaultConfig.
type Config struct {
	Identity      string `yaml:"identity" enum:"cn,san_dns,san_email,san_uri,subject" doc:"What of the client's certificate is its name. Exactly one value must be there (with a pattern: fit)."`
	Pattern       string `yaml:"pattern" doc:"Regular expression that the whole value must match; with a group in parentheses, the group is the name, such as (.+)\\.devices\\.example\\.com. Empty = any value."`
	MatchUsername string `yaml:"match_username" enum:"required,ignore" doc:"Whether a user name in CONNECT must be the name in the certificate (required) or is not looked at (ignore)."`
	Groups        string `yaml:"groups" enum:"none,ou,o" doc:"What of the certificate's subject are the client's groups: organisational units (ou), organisations (o), or nothing."`
}

// DefaultConfig is the one of a process that was told nothing.
func DefaultConfig() Config {
	return Config{Identity: "cn", MatchUsername: "required", Groups: "none"}
}

// Check tells what cannot be.
func (c *Config) Check(bad func(key, message, fix string)) {
	if _, err := compile(c.Pattern); err != nil {
		bad("pattern", err.Error(), `write it as in (.+)\.devices\.example\.com`)
	}
}

func compile(pattern string) (*regexp.Regexp, error) {
	if pattern == "" {
		return nil, nil
	}
	r, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	if err != nil {
		return nil, err
	}
	if r.NumSubexp() > 1 {
		return nil, fmt.Errorf("has %d groups, but at most one can be the name", r.NumSubexp())
	}
	return r, nil
}

// Options are what the backend needs of the world.
type Options struct {
	Name string           // of the backend; "" = certificate
	Now  func() time.Time // nil = time.Now
}

// Backend reads certificates. Its methods may be called from any goroutine.
type Backend struct {
	cfg     Config
	name    string
	now     func() time.Time
	pattern *regexp.Regexp
}

// Open makes a backend.
func Open(_ context.Context, cfg Config, o Options) (*Backend, error) {
	pattern, err := compile(cfg.Pattern)
	if err != nil {
		return nil, fmt.Errorf("certificate pattern: %w", err)
	}
	b := &Backend{cfg: cfg, name: "certificate", now: time.Now, pattern: pattern}
	if o.Name != "" {
		b.name = o.Name
	}
	if o.Now != nil {
		b.now = o.Now
	}
	return b, nil
}

// Authenticate tells whose certificate it is; a client without one is unknown.
func (b *Backend) Authenticate(_ context.Context, a *auth.Attempt) (*auth.Identity, error) {
	cert := a.Cert
	if cert == nil {
		return nil, auth.ErrUnknown
	}
	if now := b.now(); now.Before(cert.NotBefore) || now.After(cert.NotAfter) { // a resumed session's was verified some time ago
		return nil, b.refuse("the certificate holds from %v to %v", cert.NotBefore, cert.NotAfter)
	}
	name, err := b.identify(cert)
	if err != nil {
		return nil, err
	}
	if b.cfg.MatchUsername != "ignore" && a.HasUser && a.Username != name {
		return nil, b.refuse("the certificate says %q, the user name says %q", name, a.Username)
	}
	id := &auth.Identity{Name: name, By: b.name, Expires: cert.NotAfter}
	switch b.cfg.Groups {
	case "ou":
		id.Groups = cert.Subject.OrganizationalUnit
	case "o":
		id.Groups = cert.Subject.Organization
	}
	if err := grant.Identity(id); err != nil {
		return nil, b.refuse("the certificate: %v", err)
	}
	return id, nil
}

// identify finds the one value that is the name.
func (b *Backend) identify(cert *x509.Certificate) (string, error) {
	var names []string
	for _, v := range values(cert, b.cfg.Identity) {
		if err := grant.Name(v); err != nil { // before the pattern looks at it
			return "", b.refuse("the %s of the certificate %v", b.cfg.Identity, err)
		}
		if b.pattern != nil {
			found := b.pattern.FindStringSubmatch(v)
			if found == nil {
				continue
			}
			v = found[len(found)-1]
		}
		if !slices.Contains(names, v) {
			names = append(names, v)
		}
	}
	if len(names) != 1 {
		return "", b.refuse("%d names in the %s of the certificate fit the rule, not one", len(names), b.cfg.Identity)
	}
	return names[0], nil
}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// values are all of one kind: a subject may have several common names, of which Go shows the last.
func values(cert *x509.Certificate, kind string) (list []string) {
	switch kind {
	case "san_dns":
		return cert.DNSNames
	case "san_email":
		return cert.EmailAddresses
	case "san_uri":
		for _, u := range cert.URIs {
			list = append(list, u.String())
		}
	case "subject":
		if s := cert.Subject.String(); s != "" {
			list = append(list, s)
		}
	default:
		return commonNames(&cert.Subject)
	}
	return list
}

func commonNames(n *pkix.Name) (list []string) {
	for _, v := range n.Names {
		if text, ok := v.Value.(string); ok && v.Type.Equal(oidCommonName) {
			list = append(list, text)
		}
	}
	return list
}

func (b *Backend) refuse(format string, args ...any) error {
	return &auth.Refusal{
		Reason: mqtt.NotAuthorized, Text: "authentication failed", By: b.name,
		Why: strings.ToValidUTF8(fmt.Sprintf(format, args...), "\ufffd"),
	}
}
