package app

import (
	"context"
	"log/slog"
	"net"
	"sync"
)

// Broker is what the app needs of one.
type Broker interface {
	Serve(l net.Listener) error // until l closes
	Close(ctx context.Context) error
}

// openBroker builds the broker from its sections. It is the one place that knows what is plugged
// into what.
func openBroker(Config, *slog.Logger) (Broker, error) {
	return &unplugged{}, nil
}

// unplugged accepts connections and closes them: the place of the broker on this branch.
type unplugged struct{ serving sync.WaitGroup }

func (u *unplugged) Serve(l net.Listener) error {
	u.serving.Add(1)
	defer u.serving.Done()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		c.Close()
	}
}

func (u *unplugged) Close(context.Context) error {
	u.serving.Wait()
	return nil
}
