package app

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/broker/transport/acme"
	"github.com/sapwood-mqtt/sapwood/broker/transport/ocsp"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// keyring opens what listeners show and believe.
type keyring struct {
	log     *slog.Logger
	acme    *acme.Manager                  // nil = none
	control atomic.Pointer[broker.Control] // nil until there is a broker
}

// openACME opens the manager of certificates from an authority, if any is wanted.
func (a *App) openACME(context.Context) error {
	if !a.cfg.ACME.Enabled() {
		return nil
	}
	manager, err := acme.Open(a.cfg.ACME, filepath.Join(a.cfg.Data, "acme"), a.log)
	if err != nil {
		return &SettingError{Key: "acme", Value: a.cfg.ACME.Directory, Why: err.Error(), Err: err}
	}
	a.certs.acme = manager
	a.open.add("acme", func(context.Context) error { manager.Close(); return nil })
	return nil
}

// follow has clients follow what is revoked.
func (k *keyring) follow(control *broker.Control) { k.control.Store(control) }

// open opens what a section says; nil where it says nothing.
func (k *keyring) open(key string, cfg transport.TLSConfig, protocols []string) (*certificates, error) {
	if !cfg.Enabled() {
		return nil, nil
	}
	o := transport.TLSOptions{Protocols: protocols, Stapler: ocsp.Stapler{}, Logger: k.log}
	if k.acme != nil {
		o.Authority = k.acme
	}
	opened, err := transport.OpenTLS(cfg, o)
	if err != nil {
		return nil, &SettingError{Key: key, Value: strings.Join(cfg.Certificate, ", "), Why: err.Error(), Err: err}
	}
	c := &certificates{Certificates: opened, control: &k.control}
	var ctx context.Context
	ctx, c.end = context.WithCancel(context.Background())
	c.gone.Go(func() { opened.Run(ctx) })
	return c, nil
}

// certificates are those of one address, kept fresh until they are stopped.
type certificates struct {
	*transport.Certificates
	control *atomic.Pointer[broker.Control]
	end     context.CancelFunc
	gone    sync.WaitGroup
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
	control := c.control.Load()
	if control == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), prompt)
	defer cancel()
	revoked := func(p *auth.Principal) bool { return p.Peer.Cert != nil && c.Revoked(p.Peer.Cert) != nil }
	_, failed := control.DisconnectAll(ctx, revoked, mqtt.NotAuthorized, "the certificate was revoked")
	return errors.Join(err, failed)
}
