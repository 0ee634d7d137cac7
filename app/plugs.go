package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/flapping"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/fleet/observe"
)

// Broker is what the app needs of one.
type Broker interface {
	ServeDoor(l net.Listener, d *broker.Door) error // until l closes
	ServeWebSocket(nc net.Conn, prefix []byte, r *http.Request, d *broker.Door) error
	Ready() error // why it does not take everything: overload
	Overload() overload.State
	SetRates(r limit.Rates) error
	SetFlapping(c flapping.Config) error
	SetOverload(c overload.Config) error
	SetLimits(l broker.Limits, d broker.Delivery) error
	Control() *broker.Control
	View() *broker.View
	Carry() *broker.Carry
	Close(ctx context.Context) error
	Stats() (broker.Stats, bool) // false when it is closed
}

// openStore opens the engine of a level. The disk engine comes twice, as a store and as itself; it is nil with
// durability memory.
func openStore(cfg Config, log *slog.Logger) (store.Store, *disk.Store, error) {
	if cfg.Durability == Memory {
		return mem.New(), nil, nil
	}
	d, err := disk.Open(cfg.Data, disk.Level(cfg.Durability), cfg.Storage, disk.Options{Logger: log})
	if err != nil {
		return nil, nil, err
	}
	return d, d, nil
}

// openBroker builds the broker from its sections, and has it read what the store kept. It is the one place that knows what is
// plugged into what.
func (a *App) openBroker(ctx context.Context) error {
	defer a.sayThatItTakesLong()()
	cfg := &a.cfg
	b, err := broker.New(broker.Options{
		Store:    a.store,
		Limits:   &cfg.Limits,
		Delivery: &cfg.Delivery,
		Rates:    &cfg.Rates,
		Flapping: &cfg.Flapping,
		Overload: &cfg.Overload,
		Trace:    &cfg.Trace,
		Books:    &cfg.Books,
		Spans:    a.sent.exporter.Spans(),
		Bans:     a.people.bans,
		Authz:    a.rules.policy,
		Events:   observe.Watch(a.facts, nil),
		Logger:   a.log,
		SysEvery: cfg.Sys.Interval,
		Version:  Version,
	})
	if err != nil {
		return fmt.Errorf("open the broker: %w", err)
	}
	a.broker = b
	a.openLedger(ctx) // it closes when the broker is closed
	a.open.add("broker", b.Close)
	a.count() // now that everything was read, what is damaged does not count
	return b.Control().DisconnectDenied(ctx, cfg.Authorization.DeniedPublish == "disconnect")
}
