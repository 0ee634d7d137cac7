// Package acme gets certificates from an ACME server such as Let's Encrypt (RFC 8555), keeps them in the data directory and renews
// them. It is the only place that knows the library, certmagic, and quiets it; what it gets is served by package transport.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/sapwood-mqtt/sapwood/broker/transport"
)

// Config says which certificate is wanted, and from whom. The zero value wants none; start from DefaultConfig.
type Config struct {
	Names     []string `yaml:"names" doc:"The DNS names that the certificates are for, one each. Empty: ACME is not used. Listeners use them with tls.acme."`
	Email     string   `yaml:"email" doc:"Where the authority may write to when something is wrong with a certificate. May be empty."`
	Directory string   `yaml:"directory" doc:"URL of the ACME server's directory. The default is Let's Encrypt; its staging server is https://acme-staging-v02.api.letsencrypt.org/directory."`
	CARoot    string   `yaml:"ca_root" doc:"PEM file with the authority that signed the ACME server's own certificate, for a server within a company. Empty: those of the system."`
	Agree     bool     `yaml:"agree_terms" doc:"You agree to the terms of service of the ACME server. Without it nothing is asked for."`
	Challenge string   `yaml:"challenge" enum:"http-01,tls-alpn-01" doc:"How the server makes sure that the names are ours: it connects to port 80 and asks by HTTP, or to port 443 and asks by TLS."`
	Address   string   `yaml:"challenge_address" doc:"host:port on this machine that those connections reach; it is listened on only while there is a challenge. With tls-alpn-01 it may be that of a listener with tls.acme, which then answers. Empty: :80 or :443."`
}

// The challenges.
const (
	HTTP01    = "http-01"
	TLSALPN01 = "tls-alpn-01"
)

// DefaultConfig is the configuration of a process that was told nothing: no ACME.
func DefaultConfig() Config {
	return Config{Names: []string{}, Directory: certmagic.LetsEncryptProductionCA, Challenge: HTTP01}
}

// Enabled tells whether certificates are wanted.
func (c *Config) Enabled() bool { return len(c.Names) > 0 }

// Check tells what cannot be.
func (c *Config) Check(bad func(key, message, fix string)) {
	if !c.Enabled() {
		return
	}
	for _, name := range c.Names {
		if strings.Contains(name, "*") {
			bad("names", name+" has a wildcard, which neither challenge can prove", "give each name")
		}
	}
	if !c.Agree {
		bad("agree_terms", "is false, and the server issues nothing to who does not agree", "read its terms and set true")
	}
	if u, err := url.Parse(c.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		bad("directory", "is not an https URL", "leave it out for Let's Encrypt")
	}
	if _, _, err := c.challengeAt(); err != nil {
		bad("challenge_address", err.Error(), "write it as :80 or 192.0.2.1:8080")
	}
}

// challengeAt is where challenges are answered.
func (c *Config) challengeAt() (host string, port int, err error) {
	address := c.Address
	switch {
	case address != "":
	case c.Challenge == TLSALPN01:
		address = ":443"
	default:
		address = ":80"
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("is %q, but must be host:port", address)
	}
	p, err := strconv.ParseUint(text, 10, 16)
	if err != nil || p == 0 {
		return "", 0, fmt.Errorf("has the port %q, but must have one from 1 to 65535", text)
	}
	return host, int(p), nil
}

// Manager gets and renews. Its methods may be called from any goroutine.
type Manager struct {
	names  []string
	log    *slog.Logger
	cache  *certmagic.Cache
	magic  *certmagic.Config
	stop   context.CancelFunc
	closed sync.Once
}

var _ transport.Authority = (*Manager)(nil)

// Open begins to look after the names. It reads what is in dir, and asks the ACME server in the background for what is missing or about
// to expire, again and again until it succeeds. Close ends it.
func Open(cfg Config, dir string, log *slog.Logger) (*Manager, error) {
	host, port, err := cfg.challengeAt()
	if err != nil {
		return nil, fmt.Errorf("acme.challenge_address %w", err)
	}
	issuer := certmagic.ACMEIssuer{
		CA: cfg.Directory, Email: cfg.Email, Agreed: cfg.Agree, ListenHost: host, AltHTTPPort: port, AltTLSALPNPort: port,
		DisableHTTPChallenge: cfg.Challenge == TLSALPN01, DisableTLSALPNChallenge: cfg.Challenge != TLSALPN01,
		Logger: logger(log),
	}
	if cfg.CARoot != "" {
		data, err := os.ReadFile(cfg.CARoot)
		if err != nil {
			return nil, err
		}
		issuer.TrustedRoots = x509.NewCertPool()
		if !issuer.TrustedRoots.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s: no certificate in PEM form", cfg.CARoot)
		}
	}
	m := &Manager{names: cfg.Names, log: log}
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return m.magic, nil },
		Logger:           logger(log),
	})
	m.magic = certmagic.New(m.cache, certmagic.Config{
		DefaultServerName: cfg.Names[0], FallbackServerName: cfg.Names[0],
		KeySource: certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
		Storage:   &certmagic.FileStorage{Path: dir},
		OnEvent:   tell(log),
		Logger:    logger(log),
	})
	m.magic.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(m.magic, issuer)}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.load(ctx)
	if err := m.magic.ManageAsync(ctx, cfg.Names); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// loading bounds how long a start waits for an OCSP responder.
const loading = 5 * time.Second

// load takes what the directory holds, so that the first handshake after a restart finds it. What is missing is not this
// function's business, and the library renews what it took here.
func (m *Manager) load(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, loading)
	defer cancel()
	for _, name := range m.names {
		if _, err := m.magic.CacheManagedCertificate(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			m.log.Warn("a certificate by ACME cannot be read and will be asked for again", "name", name, "error", err)
		}
	}
}

// Close ends what Open began. It may be called again.
func (m *Manager) Close() error {
	m.closed.Do(func() {
		m.stop()
		m.cache.Stop()
	})
	return nil
}

// GetCertificate implements transport.Authority.
func (m *Manager) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return m.magic.GetCertificate(hello)
}

// Certificates implements transport.Authority.
func (m *Manager) Certificates() []*x509.Certificate {
	var all []*x509.Certificate
	for _, name := range m.names {
		for _, cert := range m.cache.AllMatchingCertificates(name) {
			all = append(all, cert.Leaf)
		}
	}
	return all
}
