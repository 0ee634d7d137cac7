package app

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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
	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
	"github.com/sapwood-mqtt/sapwood/broker/auth/postgres"
	"github.com/sapwood-mqtt/sapwood/broker/auth/scram"
	"github.com/sapwood-mqtt/sapwood/broker/auth/webhook"
)

// Authentication is who may connect.
type Authentication struct {
	Chain       []string           `yaml:"chain" doc:"The backends that are asked who a client is, in this order, by the names of their sections. Who is not known to one is shown to the next; a backend that cannot be asked refuses. Empty: nobody is asked, and everybody is anonymous."`
	Cache       chain.Cache        `yaml:"cache" doc:"How long the answers of http, postgres and ldap are good for."`
	Circuit     chain.Circuit      `yaml:"circuit" doc:"What keeps a server that fails from being asked on and on."`
	Refresh     chain.Refresh      `yaml:"refresh" doc:"How what is known of connected clients is kept true."`
	Password    password.Config    `yaml:"password" doc:"User names and passwords: those that are stored (sapwood users), and password files."`
	Certificate certificate.Config `yaml:"certificate" doc:"Client certificates, on listeners with tls.client_ca."`
	JWT         jwt.Config         `yaml:"jwt" doc:"Signed tokens."`
	HTTP        webhook.Config     `yaml:"http" doc:"A server of your own that is asked by HTTP."`
	Postgres    postgres.Config    `yaml:"postgres" doc:"A PostgreSQL database."`
	LDAP        ldap.Config        `yaml:"ldap" doc:"A directory."`
	Scram       []string           `yaml:"scram" reload:"restart" doc:"Methods of enhanced authentication (MQTT 5) that are offered to stored users: SCRAM-SHA-256, SCRAM-SHA-512. Their keys are made when a password is set."`
}

func defaultAuthentication() Authentication {
	return Authentication{
		Cache: chain.DefaultCache(), Circuit: chain.DefaultCircuit(), Refresh: chain.DefaultRefresh(),
		Password: password.DefaultConfig(), Certificate: certificate.DefaultConfig(), JWT: jwt.DefaultConfig(), HTTP: webhook.DefaultConfig(),
		Postgres: postgres.DefaultConfig(), LDAP: ldap.DefaultConfig(),
	}
}

// backends are the names that a chain may have.
func backends() []string {
	return []string{"certificate", "password", "jwt", "http", "postgres", "ldap"}
}

// Check refuses unknown methods; what the chain needs is looked at by the whole configuration.
func (c *Authentication) Check(bad func(key, message, fix string)) {
	for _, m := range c.Scram {
		if m != scram.SHA256 && m != scram.SHA512 {
			bad("scram", fmt.Sprintf("%q is no method", m), "take "+scram.SHA256+" or "+scram.SHA512)
		}
	}
}

// asked are the backends that any listener asks, each once.
func (c *Config) asked() []string {
	names := slices.Clone(c.Authentication.Chain)
	for _, l := range c.Listeners {
		names = append(names, l.Backends...)
	}
	names = append(names, c.HTTP.MQTT.Backends...)
	var once []string
	for _, n := range names {
		if !slices.Contains(once, n) {
			once = append(once, n)
		}
	}
	return once
}

// checkBackends refuses backends that there are not, or that lack what they need.
func (c *Config) checkBackends(bad func(key, message, fix string)) {
	known := func(key string, names []string) {
		for _, n := range names {
			if !slices.Contains(backends(), n) {
				bad(key, fmt.Sprintf("%q is no backend", n), "there are certificate, password, jwt, http, postgres and ldap")
			}
		}
	}
	known("authentication.chain", c.Authentication.Chain)
	for i, l := range c.Listeners {
		known(listenerKey(i)+".authentication", l.Backends)
	}
	known("http.mqtt.authentication", c.HTTP.MQTT.Backends)
	a := &c.Authentication
	for name, usable := range map[string]func() error{"jwt": a.JWT.Usable, "http": a.HTTP.Usable, "postgres": a.Postgres.Usable, "ldap": a.LDAP.Usable} {
		if !slices.Contains(c.asked(), name) {
			continue
		}
		if err := usable(); err != nil {
			bad("authentication."+name, err.Error(), "set it, or take "+name+" out of the chain")
		}
	}
}

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

// openLock opens the backends that the configuration asks. Nothing is asked yet.
func (a *App) openLock(cfg *Config) (_ *entry, err error) {
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
		link, err := k.open(a, name, a.later(cfg, name), changed)
		if err != nil {
			return nil, fmt.Errorf("authentication.%s: %w", name, err)
		}
		links = append(links, link)
	}
	if len(links) == 0 {
		return k, nil
	}
	k.chain, err = chain.Open(links, chain.Options{Cache: k.cfg.Cache, Circuit: k.cfg.Circuit, Refresh: k.cfg.Refresh, Log: a.log})
	all.Store(k.chain)
	return k, err
}

// later tells whether somebody is asked after a backend, on any listener.
func (a *App) later(cfg *Config, name string) bool {
	after := func(names []string) bool {
		i := slices.Index(names, name)
		return i >= 0 && i < len(names)-1
	}
	return after(cfg.Authentication.Chain) || after(cfg.HTTP.MQTT.Backends) ||
		slices.ContainsFunc(cfg.Listeners, func(l Listener) bool { return after(l.Backends) })
}

// open opens one backend.
func (k *entry) open(a *App, name string, next bool, changed func(string)) (chain.Link, error) {
	ctx := context.Background()
	link := chain.Link{Name: name}
	switch name {
	case "certificate":
		b, err := certificate.Open(ctx, k.cfg.Certificate, certificate.Options{})
		link.Authn = b
		return link, err
	case "password":
		b, err := password.Open(password.Options{
			Config: k.cfg.Password, Accounts: a.accounts, Gate: a.hashing, Next: next, Changed: a.actOn, Logger: a.log,
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
		b, err := postgres.Open(ctx, k.cfg.Postgres, postgres.Options{Gate: a.hashing, Changed: changed, Log: a.log})
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

// newGate bounds how many passwords are hashed at once, whoever asks.
func newGate(cfg *Config) *phc.Gate {
	return phc.NewGate(runtime.GOMAXPROCS(0), cfg.Authentication.Password.Queue)
}
