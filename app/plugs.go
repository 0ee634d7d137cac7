package app

import (
	"context"
	"log/slog"
	"net"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
)

// Broker is what the app needs of one.
type Broker interface {
	Serve(l net.Listener) error // until l closes
	Close(ctx context.Context) error
}

// openBroker builds the broker from its sections. It is the one place that knows what is plugged
// into what.
func openBroker(cfg Config, log *slog.Logger) (Broker, error) {
	return broker.New(broker.Options{
		Store:    mem.New(),
		Limits:   &cfg.Limits,
		Delivery: &cfg.Delivery,
		Logger:   log,
		SysEvery: cfg.Sys.Interval,
		Version:  Version,
	})
}
