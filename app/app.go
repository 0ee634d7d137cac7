// Package app puts the process together: it reads the configuration, opens what is plugged in,
// starts it in order and stops it in reverse. It decides nothing about MQTT, and nothing imports it
// but cmd.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/broker/transport/acme"
	"github.com/sapwood-mqtt/sapwood/console"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/fleet/sqlite"
)

var (
	errStarting = errors.New("starting")
	errStopping = errors.New("stopping")
)

// App is one Sapwood process. Start it once, then Stop it once; Failed and Bound may be asked from
// any goroutine after Start has returned.
type App struct {
	cfg     Config
	log     *slog.Logger
	store   store.Store
	disk    *disk.Store // the store again, where it is one on disk; nil with durability memory
	broker  Broker
	access  *access.Access
	api     atomic.Pointer[api.API]
	closers []closer
	http    string // where HTTP is answered, as a URL; "" when it is off
	found   Found
	began   time.Time
	failed  chan error
	reload  *reloader // nil = there is nothing to read again

	mu       sync.Mutex
	notReady error // why /readyz says no; nil when the store's health decides
	db       *sqlite.DB
	accounts *accounts.Accounts
	hashing  *phc.Gate
	bans     *ban.Table
	policy   *acl.Engine
	exchange auth.Exchanger // nil = no enhanced authentication
	acme     *acme.Manager  // nil = none
	web      *broker.Door   // MQTT on the HTTP side
	webTLS   *certificates  // of the HTTP side; nil = none

	lock    *entry    // who may connect
	aclFile *acl.File // nil = none
	gates   []*gate   // the listeners that accept, in the order of the configuration
}

// Bound is where the process listens: what a client has to be told.
type Bound struct {
	MQTT []string `json:"mqtt"`           // as URLs: mqtt://127.0.0.1:1883, or unix:/path
	HTTP string   `json:"http,omitempty"` // as a URL; "" when HTTP is off
}

// Found is what the start found in the store.
type Found struct {
	Sessions int           `json:"sessions"`
	Messages int           `json:"queued_messages"`
	Retained int           `json:"retained"`
	Took     time.Duration `json:"took_ns"`
	Damage   []disk.Damage `json:"damage,omitempty"`
	Warnings []string      `json:"warnings,omitempty"` // what weakens the promise
}

// closer undoes one step of Start.
type closer struct {
	name  string
	close func(context.Context) error
}

// New prepares an app. It opens nothing yet.
func New(cfg Config, log *slog.Logger) *App {
	return &App{cfg: cfg, log: log, web: broker.NewDoor(broker.Listener{Name: webName}), failed: make(chan error, 1), notReady: errStarting}
}

// Start opens everything, in the order in which it is written here. When it returns nil, every
// listener accepts. When it returns an error, all that was opened is closed again; an address that
// cannot be had is a *SettingError.
func (a *App) Start(ctx context.Context) error {
	if a.reload != nil { // what asks for a reload meanwhile, waits
		a.reload.mu.Lock()
		defer a.reload.mu.Unlock()
	}
	a.began = time.Now()
	err := a.start()
	if err != nil {
		return errors.Join(err, a.unwind(ctx))
	}
	a.found.Took = time.Since(a.began)
	a.notReadyAfter(errStarting, nil)
	return nil
}

func (a *App) start() error {
	ctx := context.Background()
	for _, open := range []func() error{
		a.openACME, a.openHTTP, a.openStore, a.openPolicy,
		func() error { return a.openAccounts(ctx) },
		a.openKept,
		func() error { return a.openActing(ctx) },
		a.openWho, a.openAPI, a.openListeners,
	} {
		if err := open(); err != nil {
			return err
		}
	}
	a.onStop("memory", a.giveBack())
	for _, g := range a.gates {
		a.accept(g)
	}
	for _, w := range a.cfg.Warnings() {
		a.log.Warn(w)
	}
	a.openReload()
	return nil
}

// giveBack gives the system the memory that reading the store took and nobody needs any more, which may be as much as what
// is kept. What it returns waits until that is done.
func (a *App) giveBack() func(context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		debug.FreeOSMemory()
	}()
	return func(context.Context) error { <-done; return nil }
}

// openHTTP comes first and goes last, so that /readyz can say no while the rest starts and stops.
func (a *App) openHTTP() error {
	if a.cfg.HTTP.Off() {
		return nil
	}
	l, err := transport.Listen(a.cfg.HTTP.Address)
	if err != nil {
		return cannotListen("http.address", a.cfg.HTTP.Address, err)
	}
	a.http = "http://" + l.Addr().String()
	if a.webTLS, err = a.openTLS("http.tls", a.cfg.HTTP.TLS, []string{"h2", "http/1.1"}); err != nil {
		return errors.Join(err, l.Close())
	}
	server := &http.Server{
		Handler:           console.MQTT(console.Handler(a.isReady, a.apiHandler), a.webPolicy, a.takeWeb),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	a.onStop("http", func(ctx context.Context) error {
		defer a.webTLS.stop()
		return server.Shutdown(ctx)
	})
	serve := func() error { return server.Serve(l) }
	if a.webTLS != nil {
		a.http = "https://" + l.Addr().String()
		server.TLSConfig = a.webTLS.Config()
		serve = func() error { return server.ServeTLS(l, "", "") }
	}
	go a.serve("http "+l.Addr().String(), serve)
	return nil
}

// serve runs one accepting loop. That it ends before Stop is a failure of the process.
func (a *App) serve(name string, run func() error) {
	err := run()
	if errors.Is(a.phase(), errStopping) || errors.Is(err, errMeant) {
		return
	}
	if err == nil {
		err = errors.New("stopped accepting")
	}
	err = fmt.Errorf("%s: %w", name, err)
	a.notReadyAfter(nil, err)
	a.notReadyAfter(errStarting, err)
	select {
	case a.failed <- err:
	default: // one failure is enough to stop
	}
}

// Failed receives the error of a listener that stopped accepting although nobody asked.
func (a *App) Failed() <-chan error { return a.failed }

// Bound tells where the process listens, with the ports that port 0 became.
func (a *App) Bound() Bound {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := Bound{HTTP: a.http}
	for _, g := range a.gates {
		b.MQTT = append(b.MQTT, g.url())
	}
	return b
}

// Found tells what the start found in the store.
func (a *App) Found() Found { return a.found }

// FirstPassword is the random password of the user admin that this start has made, to be shown once; "" otherwise.
func (a *App) FirstPassword() string {
	if a.access == nil {
		return ""
	}
	return a.access.FirstPassword()
}

// Stop closes everything in reverse order and gives it until ctx ends.
func (a *App) Stop(ctx context.Context) error {
	a.mu.Lock()
	a.notReady = errStopping
	a.mu.Unlock()
	if a.reload != nil {
		a.reload.wait()
	}
	return a.unwind(ctx)
}

func (a *App) onStop(name string, f func(context.Context) error) {
	a.closers = append(a.closers, closer{name, f})
}

func (a *App) unwind(ctx context.Context) error {
	a.mu.Lock()
	a.notReady = errStopping
	a.mu.Unlock()
	var errs []error
	for len(a.closers) > 0 {
		c := a.closers[len(a.closers)-1]
		a.closers = a.closers[:len(a.closers)-1]
		if err := c.close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", c.name, err))
		}
	}
	return errors.Join(errs...)
}

// isReady tells why the process does not do all that it is for: it starts, it stops, a listener failed, or the
// store refuses what would have to be kept.
func (a *App) isReady() error {
	if err := a.phase(); err != nil {
		return err
	}
	return a.store.Health()
}

// phase is isReady without the store.
func (a *App) phase() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.notReady
}

// notReadyAfter moves from one state to the next, unless something else came in between.
func (a *App) notReadyAfter(before, now error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.notReady == before {
		a.notReady = now
	}
}
