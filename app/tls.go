package app

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/broker/transport/acme"
	"github.com/sapwood-mqtt/sapwood/broker/transport/ocsp"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// certificates are those of one address, kept fresh until they are stopped.
type certificates struct {
	*transport.Certificates
	app  *App
	end  context.CancelFunc
	gone sync.WaitGroup
}

// openACME opens the manager of certificates from an authority, if any is wanted.
func (a *App) openACME() (err error) {
	if !a.cfg.ACME.Enabled() {
		return nil
	}
	if a.acme, err = acme.Open(a.cfg.ACME, filepath.Join(a.cfg.Data, "acme"), a.log); err != nil {
		return &SettingError{Key: "acme", Value: a.cfg.ACME.Directory, Why: err.Error(), Err: err}
	}
	a.onStop("acme", func(context.Context) error { a.acme.Close(); return nil })
	return nil
}

// openTLS opens what a section says; nil where it says nothing.
func (a *App) openTLS(key string, cfg transport.TLSConfig, protocols []string) (*certificates, error) {
	if !cfg.Enabled() {
		return nil, nil
	}
	o := transport.TLSOptions{Protocols: protocols, Stapler: ocsp.Stapler{}, Logger: a.log}
	if a.acme != nil {
		o.Authority = a.acme
	}
	opened, err := transport.OpenTLS(cfg, o)
	if err != nil {
		return nil, &SettingError{Key: key, Value: strings.Join(cfg.Certificate, ", "), Why: err.Error(), Err: err}
	}
	c := &certificates{Certificates: opened, app: a}
	var ctx context.Context
	ctx, c.end = context.WithCancel(context.Background())
	c.gone.Go(func() { opened.Run(ctx) })
	return c, nil
}

// stop ends what keeps them fresh. Connections that are there are not touched; nil is none.
func (c *certificates) stop() {
	if c != nil {
		c.end()
		c.gone.Wait()
	}
}

// Reload reads the files again, and ends the connections of clients whose certificates are revoked now.
func (c *certificates) Reload() error {
	err := c.Certificates.Reload()
	if c.app.broker == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), prompt)
	defer cancel()
	revoked := func(p *auth.Principal) bool { return p.Peer.Cert != nil && c.Revoked(p.Peer.Cert) != nil }
	_, failed := c.app.broker.Control().DisconnectAll(ctx, revoked, mqtt.NotAuthorized, "the certificate was revoked")
	return errors.Join(err, failed)
}
