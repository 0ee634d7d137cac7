// Package app puts the process together: it reads the configuration, opens what is plugged in,
// starts it in order and stops it in reverse. It decides nothing about MQTT, and nothing imports it
// but cmd.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/console/telemetry"
	"github.com/sapwood-mqtt/sapwood/fleet/canary"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	figures "github.com/sapwood-mqtt/sapwood/fleet/history"
	"github.com/sapwood-mqtt/sapwood/fleet/ledger"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

// App is one Sapwood process. Start it once, then Stop it once; Failed and Bound may be asked from
// any goroutine after Start has returned.
type App struct {
	cfg    Config
	log    *slog.Logger
	began  time.Time
	phase  phase
	open   steps
	failed chan error

	store    store.Store
	disk     *disk.Store // the store again, where it is one on disk; nil with durability memory
	found    Found
	facts    *fact.Recorder
	sinks    []sink   // of facts, that are counted
	lesser   []string // what is kept in memory although the rest is on disk
	certs    *keyring
	rules    *rules
	people   *people
	broker   Broker
	ledger   *ledger.Ledger
	doors    *doors
	canary   *canary.Canary // nil = none
	requests *requester
	vitals   *vitals.Vitals
	kept     *figures.History // of figures; nil = none
	sent     sent
	site     *site
	reload   *reloader // nil = there is nothing to read again
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

// New prepares an app. It opens nothing yet.
func New(cfg Config, log *slog.Logger) *App {
	exporter := telemetry.New(cfg.Telemetry, Version, log)
	log = slog.New(exporter.Handler(log.Handler()))
	a := &App{cfg: cfg, log: log, sent: sent{exporter: exporter}, failed: make(chan error, 1), phase: phase{why: errStarting}}
	a.certs = &keyring{log: log}
	a.rules = newRules(log)
	a.people = &people{log: log, rules: a.rules}
	a.doors = &doors{log: log, certs: a.certs, people: a.people, serve: a.serve, web: broker.NewDoor(broker.Listener{Name: webName})}
	a.site = &site{ready: a.isReady, doors: a.doors}
	return a
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
	err := a.start(context.Background())
	if err != nil {
		return errors.Join(err, a.unwind(ctx))
	}
	a.found.Took = time.Since(a.began)
	a.phase.move(errStarting, nil)
	return nil
}

func (a *App) start(ctx context.Context) error {
	limitMemory(a)
	for _, open := range []func(context.Context) error{
		a.openTelemetry, a.openACME, a.openHTTP, a.openStore, a.openFacts, a.openAccess, a.openBroker, a.openPublishing, a.openActing, a.openDoors,
		a.openCanary, a.openRequests, a.openVitals, a.openAPI,
	} {
		if err := open(ctx); err != nil {
			return err
		}
	}
	a.open.add("memory", giveBack())
	a.doors.accept()
	tellStarted(a)
	for _, w := range a.cfg.Warnings() {
		a.log.Warn(w)
	}
	a.openReload()
	return nil
}

// limitMemory has the collector work harder before the machine's memory is exhausted, unless GOMEMLIMIT says when.
func limitMemory(a *App) {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return
	}
	if hard := overload.HardLimit(); hard > 0 {
		limit := hard / 10 * 9
		debug.SetMemoryLimit(limit)
		a.log.Debug("GOMEMLIMIT is not set: the limit is nine tenths of what there is", "limit", limit, "of", hard)
	}
}

// giveBack gives the system the memory that reading the store took and nobody needs any more, which may be as much as what
// is kept. What it returns waits until that is done.
func giveBack() func(context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		debug.FreeOSMemory()
	}()
	return func(context.Context) error { <-done; return nil }
}

// serve runs one accepting loop. That it ends before Stop is a failure of the process.
func (a *App) serve(name string, run func() error) {
	err := run()
	if errors.Is(a.phase.now(), errStopping) || errors.Is(err, errMeant) {
		return
	}
	if err == nil {
		err = errors.New("stopped accepting")
	}
	err = fmt.Errorf("%s: %w", name, err)
	a.phase.move(nil, err)
	a.phase.move(errStarting, err)
	select {
	case a.failed <- err:
	default: // one failure is enough to stop
	}
}

// Failed receives the error of a listener that stopped accepting although nobody asked.
func (a *App) Failed() <-chan error { return a.failed }

// Bound tells where the process listens, with the ports that port 0 became.
func (a *App) Bound() Bound { return Bound{MQTT: a.doors.urls(), HTTP: a.site.url} }

// Found tells what the start found in the store.
func (a *App) Found() Found { return a.found }

// FirstPassword is the random password of the user admin that this start has made, to be shown once; "" otherwise.
func (a *App) FirstPassword() string {
	if who := a.site.access.Load(); who != nil {
		return who.FirstPassword()
	}
	return ""
}

// Stop closes everything in reverse order and gives it until ctx ends.
func (a *App) Stop(ctx context.Context) error {
	a.phase.stop()
	tellStopping(a)
	if a.reload != nil {
		a.reload.wait()
	}
	return a.unwind(ctx)
}

func (a *App) unwind(ctx context.Context) error {
	a.phase.stop()
	return a.open.undo(ctx)
}

// isReady tells why the process does not do all that it is for: it starts, it stops, a listener failed, it is overloaded, or the
// store refuses what would have to be kept.
func (a *App) isReady() error {
	if err := a.phase.now(); err != nil {
		return err
	}
	if err := a.broker.Ready(); err != nil {
		return err
	}
	return a.store.Health()
}
