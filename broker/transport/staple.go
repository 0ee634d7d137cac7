package transport

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Staple is an authority's word that a certificate is not revoked.
type Staple struct {
	Response []byte    // as it goes into the handshake
	Until    time.Time // it holds until then
	Refresh  time.Time // when to ask for the next one
}

// Stapler reads and fetches OCSP responses (RFC 6960). A response that is not about the certificate, not signed for its
// issuer, or says anything but "good" is an error. It must not keep what it is given.
type Stapler interface {
	Read(response []byte, leaf, issuer *x509.Certificate) (Staple, error) // one past its time is no error
	Fetch(ctx context.Context, leaf, issuer *x509.Certificate) (Staple, error)
}

var errNoIssuer = errors.New("the certificate's file does not hold its issuer's certificate, which OCSP needs: append it")

// readStaple takes a response from a file.
func (p *pair) readStaple(s Stapler, file string, response []byte) error {
	if p.issuer == nil {
		return fmt.Errorf("%s: %w", p.file, errNoIssuer)
	}
	staple, err := s.Read(response, p.cert.Leaf, p.issuer)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	p.staple = staple
	return nil
}

// keepStaple takes over what is known of the same certificate.
func (p *pair) keepStaple(before *own) {
	for _, old := range before.pairs {
		if p.staple.Response == nil && old.cert.Leaf.Equal(p.cert.Leaf) {
			p.staple, p.retry, p.unasked = old.staple, old.retry, old.unasked
		}
	}
}

// The waits after a responder failed, and how long it may take.
const (
	stapleRetry   = 30 * time.Minute
	stapleTimeout = 15 * time.Second
)

// tendStaples drops staples that no longer hold and fetches those that are due.
func (c *Certificates) tendStaples(ctx context.Context) {
	if c.cfg.Staple == "" {
		return
	}
	now := c.opt.Now()
	changed := false
	for _, p := range c.pairs() {
		if ctx.Err() != nil {
			return
		}
		if c.cfg.Staple == Fetch && c.due(p, now) {
			staple, err := c.fetch(ctx, p)
			changed = c.stapled(p, staple, err, now) || changed
		}
		changed = c.expireStaple(p, now) || changed
	}
	if changed {
		c.mu.Lock()
		c.publish()
		c.mu.Unlock()
	}
}

// pairs are the certificates at present.
func (c *Certificates) pairs() []*pair {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.own.pairs
}

// due tells whether to ask the responder about p.
func (c *Certificates) due(p *pair, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !now.Before(p.retry) && (p.staple.Response == nil || !now.Before(p.staple.Refresh))
}

// fetch asks the responder. Nothing is locked meanwhile.
func (c *Certificates) fetch(ctx context.Context, p *pair) (Staple, error) {
	if p.issuer == nil {
		return Staple{}, fmt.Errorf("%s: %w", p.file, errNoIssuer)
	}
	ctx, cancel := context.WithTimeout(ctx, stapleTimeout)
	defer cancel()
	return c.opt.Stapler.Fetch(ctx, p.cert.Leaf, p.issuer)
}

// stapled keeps what the responder said.
func (c *Certificates) stapled(p *pair, staple Staple, err error, now time.Time) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.unasked = err
	if err != nil {
		p.retry = now.Add(stapleRetry)
		return false
	}
	p.staple = staple
	return true
}

// expireStaple takes away a staple that no longer holds.
func (c *Certificates) expireStaple(p *pair, now time.Time) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.staple.Response == nil || now.Before(p.staple.Until) {
		return false
	}
	p.staple = Staple{}
	return true
}
