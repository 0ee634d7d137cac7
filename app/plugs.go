package app

import (
	"context"
	"log/slog"
	"net"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
)

// Broker is what the app needs of one.
type Broker interface {
	ServeDoor(l net.Listener, d *broker.Door) error // until l closes
	SetLimits(l broker.Limits, d broker.Delivery) error
	Control() *broker.Control
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

// openBroker builds the broker from its sections. It is the one place that knows what is plugged
// into what.
func openBroker(cfg Config, kept store.Store, log *slog.Logger) (Broker, error) {
	return broker.New(broker.Options{
		Store:    kept,
		Limits:   &cfg.Limits,
		Delivery: &cfg.Delivery,
		Logger:   log,
		SysEvery: cfg.Sys.Interval,
		Version:  Version,
	})
}
