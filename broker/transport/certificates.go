package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// challenge is the only protocol that an ACME server offers when it validates (RFC 8737).
const challenge = "acme-tls/1"

// ErrChallenge ends the handshake with an ACME server that has seen what it came for. It is no failure.
var ErrChallenge = errors.New("an ACME challenge was answered")

// Authority gets certificates for a listener from elsewhere, and renews them.
type Authority interface {
	// GetCertificate gives the certificate for a handshake, that of a challenge included.
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Certificates are those there are now; the first is the default.
	Certificates() []*x509.Certificate
}

// TLSOptions are what a listener's TLS needs beside its files.
type TLSOptions struct {
	// Protocols are what is spoken on top, by their ALPN names: "mqtt", or "http/1.1" for WebSocket. A client that offers
	// only others is refused (RFC 7301 3.2); one that offers none is not.
	Protocols []string
	Authority Authority        // where the configuration says acme
	Stapler   Stapler          // where it says ocsp_staple
	Now       func() time.Time // nil = time.Now
	Logger    *slog.Logger     // nil = discard
}

// Certificates is the TLS of one listener: the files it is made of, and what they say at present. Every handshake takes
// what is current when it begins; no change touches a connection. Methods may be called from any goroutine.
type Certificates struct {
	cfg     TLSConfig
	opt     TLSOptions
	config  *tls.Config
	current atomic.Pointer[tls.Config]

	mu     sync.Mutex // guards what follows, and that one change is made at a time
	own    *own
	trust  *trust
	failed error // of the last Reload
}

// OpenTLS reads the files. A certificate that is expired is served all the same, with a warning: the clients that do not check
// get in, and other listeners live.
func OpenTLS(cfg TLSConfig, o TLSOptions) (*Certificates, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Certificates{cfg: cfg, opt: o, own: &own{}}
	c.config = &tls.Config{GetConfigForClient: c.configFor}
	switch {
	case !cfg.Enabled():
		return nil, errors.New("no certificate is configured")
	case cfg.ACME && o.Authority == nil:
		return nil, errors.New("nobody gets certificates by ACME here")
	}
	if cfg.Staple != "" && o.Stapler == nil {
		return nil, errors.New("nobody reads OCSP responses here")
	}
	var err error
	if !cfg.ACME {
		if c.own, err = c.readOwn(); err != nil {
			return nil, err
		}
	}
	if c.trust, err = readTrust(&c.cfg, o.Now()); err != nil {
		return nil, err
	}
	c.publish()
	return c, nil
}

// Config is for tls.Server, always the same one: what is current it finds out for each handshake.
func (c *Certificates) Config() *tls.Config { return c.config }

// configFor answers a client's hello.
func (c *Certificates) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if c.cfg.ACME && slices.Equal(hello.SupportedProtos, []string{challenge}) {
		return c.challengeConfig(), nil
	}
	return c.current.Load(), nil
}

// challengeConfig answers an ACME server, which shows no certificate of its own. It never lets a client in: in TLS 1.3
// the other side has seen our certificate and is done when VerifyConnection ends the handshake here.
func (c *Certificates) challengeConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{challenge},
		GetCertificate:         c.opt.Authority.GetCertificate,
		SessionTicketsDisabled: true,
		VerifyConnection:       func(tls.ConnectionState) error { return ErrChallenge },
	}
}

// suites are those of TLS 1.2 with forward secrecy and authenticated encryption. The standard library also offers CBC with a MAC beside it,
// whose padding it cannot check in constant time.
func suites() []uint16 {
	var ids []uint16
	for _, s := range tls.CipherSuites() {
		if !strings.Contains(s.Name, "_CBC_") {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// publish makes what own and trust say the configuration of the next handshakes.
func (c *Certificates) publish() {
	t := &tls.Config{
		Time:       c.opt.Now,
		MinVersion: c.cfg.MinVersion.number(),
		// Of TLS 1.2; those of TLS 1.3 are not for choice, and all good.
		CipherSuites: suites(),
		NextProtos:   c.opt.Protocols,
		// The event loops hand over whole turns: small first records only cost.
		DynamicRecordSizingDisabled: true,
		// Tickets are worth something as long as the same authorities and lists hold.
		WrapSession:   c.trust.tickets.EncryptTicket,
		UnwrapSession: c.trust.tickets.DecryptTicket,
	}
	if c.cfg.ACME {
		t.GetCertificate = c.opt.Authority.GetCertificate
	}
	for _, p := range c.own.pairs {
		t.Certificates = append(t.Certificates, p.served(t.Time()))
	}
	if c.trust.pool != nil {
		t.ClientCAs = c.trust.pool
		t.ClientAuth = tls.RequireAndVerifyClientCert
		if c.cfg.Client == Optional {
			t.ClientAuth = tls.VerifyClientCertIfGiven
		}
		verify := c.trust
		t.VerifyConnection = func(cs tls.ConnectionState) error { return verify.check(&cs, c.opt.Now()) }
	}
	c.current.Store(t)
}

// Files lists the files that Reload reads.
func (c *Certificates) Files() []string { return c.cfg.files() }

// Reload reads the files again. What is new holds from the next handshake on; connections live. A certificate that does not
// parse, is cut off, does not fit its key, or does not hold now is the error, and the one before stays; likewise for authorities and
// lists, which change together. Session tickets survive a new certificate but not new authorities or lists.
func (c *Certificates) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errOwn error
	if !c.cfg.ACME {
		errOwn = c.reloadOwn()
	}
	fresh, errTrust := readTrust(&c.cfg, c.opt.Now())
	if errTrust == nil && !bytes.Equal(fresh.sum, c.trust.sum) {
		if errTrust = fresh.follows(c.trust); errTrust == nil {
			c.trust = fresh
		}
	}
	c.publish()
	c.failed = errors.Join(errOwn, errTrust)
	return c.failed
}

// reloadOwn takes new certificates if they hold.
func (c *Certificates) reloadOwn() error {
	fresh, err := c.readOwn()
	if err != nil {
		return err
	}
	if bytes.Equal(fresh.sum, c.own.sum) {
		return nil
	}
	for _, p := range fresh.pairs {
		if err := p.holds(c.opt.Now()); err != nil {
			return err
		}
		if p.staple.Response != nil && c.opt.Now().After(p.staple.Until) {
			return fmt.Errorf("%s: the OCSP response held until %s", c.cfg.Staple, date(p.staple.Until))
		}
		p.keepStaple(c.own)
	}
	c.own = fresh
	return nil
}

// tending is how often Run looks after what time changes.
const tending = 10 * time.Minute

// Run keeps the staples fresh and says what is about to expire, until ctx ends. It returns when it is done.
func (c *Certificates) Run(ctx context.Context) {
	var said []string
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		c.tendStaples(ctx)
		warnings := c.Status().Warnings
		for _, w := range warnings {
			if !slices.Contains(said, w) {
				c.opt.Logger.Warn("TLS needs care", "what", w)
			}
		}
		said = warnings
		timer.Reset(tending)
	}
}
