package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/certificate"
	"github.com/sapwood-mqtt/sapwood/broker/auth/chain"
	"github.com/sapwood-mqtt/sapwood/broker/auth/jwt"
	"github.com/sapwood-mqtt/sapwood/broker/auth/ldap"
	"github.com/sapwood-mqtt/sapwood/broker/auth/password"
	"github.com/sapwood-mqtt/sapwood/broker/auth/postgres"
	"github.com/sapwood-mqtt/sapwood/broker/auth/scram"
	"github.com/sapwood-mqtt/sapwood/broker/auth/webhook"
)

// reads is a backend that reads files.
type reads interface {
	Files() []string
	Reload() error
}

// entry is what decides who may connect: all backends, open, in one chain.
type entry struct {
	cfg   Authentication
	chain *chain.Chain // nil = nobody is asked
	close []func()
	files []Watched
	end   context.CancelFunc // of the watch
	ended chan struct{}
}

// openEntry opens the backends that the configuration asks. Nothing is asked yet.
func openEntry(cfg *Config, stored *people) (_ *entry, err error) {
	k := &entry{cfg: cfg.Authentication}
	defer func() {
		if err != nil {
			k.shut()
		}
	}()
	var all atomic.Pointer[chain.Chain]
	changed := func(name string) {
		if c := all.Load(); c != nil {
			c.Changed(name)
		}
	}
	var links []chain.Link
	names := cfg.asked()
	for _, name := range names {
		link, err := k.open(stored, name, cfg.later(name), changed)
		if err != nil {
			return nil, fmt.Errorf("authentication.%s: %w", name, err)
		}
		links = append(links, link)
	}
	if len(links) == 0 {
		return k, nil
	}
	k.chain, err = chain.Open(links, chain.Options{Cache: k.cfg.Cache, Circuit: k.cfg.Circuit, Refresh: k.cfg.Refresh, Log: stored.log})
	all.Store(k.chain)
	return k, err
}

// open opens one backend.
func (k *entry) open(stored *people, name string, next bool, changed func(string)) (chain.Link, error) {
	ctx := context.Background()
	link := chain.Link{Name: name}
	switch name {
	case "certificate":
		b, err := certificate.Open(ctx, k.cfg.Certificate, certificate.Options{})
		link.Authn = b
		return link, err
	case "password":
		b, err := password.Open(password.Options{
			Config: k.cfg.Password, Accounts: stored.accounts, Gate: stored.hashing, Next: next, Changed: stored.act, Logger: stored.log,
		})
		if err != nil {
			return link, err
		}
		link.Authn = b
		k.keep(b, b.Close)
	case "jwt":
		b, err := jwt.Open(ctx, k.cfg.JWT, jwt.Options{})
		if err != nil {
			return link, err
		}
		link.Authn = b
		k.keep(b, b.Close)
	case "http":
		b, err := webhook.Open(ctx, k.cfg.HTTP, webhook.Options{})
		if err != nil {
			return link, err
		}
		link.Authn, link.Cached, link.Timeout, link.Concurrent = b, true, k.cfg.HTTP.Timeout, k.cfg.HTTP.Connections
		k.keep(b, b.Close)
	case "postgres":
		b, err := postgres.Open(ctx, k.cfg.Postgres, postgres.Options{Gate: stored.hashing, Changed: changed, Log: stored.log})
		if err != nil {
			return link, err
		}
		link.Authn, link.Cached, link.Timeout = b, true, 3*k.cfg.Postgres.Timeout // up to three queries
		k.keep(b, b.Close)
	case "ldap":
		b, err := ldap.Open(ctx, k.cfg.LDAP, ldap.Options{})
		if err != nil {
			return link, err
		}
		link.Authn, link.Cached, link.Timeout, link.Concurrent = b, true, 3*k.cfg.LDAP.Timeout, 4*k.cfg.LDAP.Connections
		k.keep(b, b.Close)
	}
	return link, nil
}

func (k *entry) keep(files reads, shut func()) {
	k.files, k.close = append(k.files, files), append(k.close, shut)
}

// watch keeps the identities of connected clients true until the lock is shut.
func (k *entry) watch(clients chain.Clients) {
	if k.chain == nil {
		return
	}
	var ctx context.Context
	ctx, k.end = context.WithCancel(context.Background())
	k.ended = make(chan struct{})
	go func() {
		defer close(k.ended)
		k.chain.Watch(ctx, clients)
	}()
}

// shut closes the backends.
func (k *entry) shut() {
	if k.end != nil {
		k.end()
		<-k.ended
	}
	for _, f := range slices.Backward(k.close) {
		f()
	}
}

// of is who is asked at one listener: nil = nobody.
func (k *entry) of(names []string, anonymous bool) (auth.Authenticator, error) {
	if len(names) == 0 {
		names = k.cfg.Chain
	}
	if len(names) == 0 {
		return nil, nil
	}
	part, err := k.chain.Of(names...)
	if err != nil {
		return nil, err
	}
	if anonymous {
		return guests{part}, nil
	}
	return part, nil
}

// guests lets those in, as nobody, who show nothing at all; others are asked about.
type guests struct{ auth.Authenticator }

// Authenticate implements auth.Authenticator.
func (g guests) Authenticate(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
	if !a.HasUser && !a.HasPass && a.Cert == nil {
		return &auth.Identity{By: "anonymous"}, nil
	}
	return g.Authenticator.Authenticate(ctx, a)
}

// scramKeys gives the exchange the keys of stored users.
type scramKeys struct{ *accounts.Accounts }

// Key implements scram.Keys.
func (s scramKeys) Key(ctx context.Context, user, method string) (*scram.Key, error) {
	u, k, err := s.Keys(ctx, user, method)
	if errors.Is(err, accounts.ErrNotFound) || errors.Is(err, accounts.ErrNoKey) {
		return nil, auth.ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	admit := func(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
		now, _, err := s.Keys(ctx, user, method) // it may have been changed since the challenge
		switch {
		case errors.Is(err, accounts.ErrNotFound), errors.Is(err, accounts.ErrNoKey), err == nil && now.Password != u.Password:
			return nil, fmt.Errorf("user %q was changed while it authenticated by %s", user, method)
		case err != nil:
			return nil, err
		}
		return now.Admit(a.ClientID, time.Now())
	}
	return &scram.Key{Salt: k.Salt, Iterations: k.Iterations, StoredKey: k.StoredKey, ServerKey: k.ServerKey, Admit: admit}, nil
}
